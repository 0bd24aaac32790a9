"""Layers of the tracking tool: prompts that show their track and state, and napari's tracks layer for lineages."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
from napari import Viewer
from napari.layers import Labels, Layer, Points, Shapes, Tracks

from micro_sam.sam_annotator.runtime.timers import once
from micro_sam.sam_annotator.state.images import OpenImage, full_scale, origin
from micro_sam.sam_annotator.state.window import WindowState
from micro_sam.sam_annotator.view.layers.colours import label_colours, track_colours
from micro_sam.sam_annotator.view.layers.prompt_layers import BOX_COLOUR, PointLayer, ShapeLayer
from micro_sam.sam_annotator.view.layers.session_layers import SessionLayers
from micro_sam.session.prompts import PointPrompt, PromptSet, PromptState, ShapePrompt
from micro_sam.session.session import Session

REFRESH_MS = 60
TAIL_FRAMES = 15
SYMBOLS = {"track": "disc", "division": "star"}
_TEXT = {"string": "{track_id}", "size": 11, "color": "white", "anchor": "upper_left"}


class TrackPointLayer(PointLayer):
    """Points with the number of their track beside them and its colour around them; a division is a star."""

    next_state: PromptState = "track"
    first = 1
    """Id that track 1 gets at its commit: it has that one's colour already."""

    @staticmethod
    def make(name: str, ndim: int, scale: tuple[float, ...] | None) -> Points:
        """An empty layer, ready for clicks."""
        layer = PointLayer.make(name, ndim, scale)
        layer.text = {**_TEXT, "translation": [0.0] * ndim}
        layer.border_width = 0.25
        layer.current_border_width = 0.25
        return layer

    def read(self, known: PromptSet) -> tuple[PointPrompt, ...]:
        """As :meth:`PointLayer.read`; new points get the state that is chosen (a negative one marks no division)."""
        points = super().read(known)
        return tuple(
            replace(p, state=self.next_state if p.positive else "track") if p.id is None else p for p in points
        )

    def show(self, prompts: PromptSet) -> None:
        """Paint the points of the session."""
        super().show(prompts)
        points = prompts.points
        if not points:
            return
        with self._painted():
            colours = track_colours([p.track_id + self.first - 1 if p.track_id else 0 for p in points])
            if not np.allclose(self.layer.border_color, colours):
                self.layer.border_color = colours
            symbols = [SYMBOLS[p.state] for p in points]
            if [str(symbol) for symbol in self.layer.symbol] != symbols:
                self.layer.symbol = symbols


class TrackShapeLayer(ShapeLayer):
    """Boxes in the colour of their track; a division is filled."""

    next_state: PromptState = "track"
    first = 1
    """As of :class:`TrackPointLayer`."""

    @staticmethod
    def make(name: str, ndim: int, scale: tuple[float, ...] | None) -> Shapes:
        """An empty layer, ready to be drawn on."""
        layer = ShapeLayer.make(name, ndim, scale)
        layer.text = dict(_TEXT)
        return layer

    def read(self, known: PromptSet) -> tuple[ShapePrompt, ...]:
        """As :meth:`ShapeLayer.read`; new shapes get the state that is chosen."""
        shapes = super().read(known)
        return tuple(replace(s, state=self.next_state) if s.id is None else s for s in shapes)

    def show(self, prompts: PromptSet) -> None:
        """Paint the shapes of the session."""
        super().show(prompts)
        shapes = prompts.shapes
        with self._painted():
            if shapes:
                edges = track_colours([s.track_id + self.first - 1 if s.track_id else 0 for s in shapes])
                faces = edges * [[1, 1, 1, 0.3 if s.state == "division" else 0.0] for s in shapes]
                if not (np.allclose(self.layer.edge_color, edges) and np.allclose(self.layer.face_color, faces)):
                    self.layer.edge_color = edges
                    self.layer.face_color = faces
            self.layer.current_edge_color = BOX_COLOUR
            self.layer.current_face_color = "transparent"


class TrackLayers(SessionLayers):
    """Layers <-> session on a movie.

    Attributes
    ----------
    tracks
        napari's tracks layer. It cannot be empty, so it is hidden while no track is committed.
    """

    _point_type = TrackPointLayer
    _shape_type = TrackShapeLayer

    def __init__(self, viewer: Viewer, state: WindowState) -> None:
        self.tracks: Any = None
        self._hid_tracks = True
        self._refresh = once(self._show_tracks, REFRESH_MS)
        super().__init__(viewer, state)

    def show(self, image: OpenImage, session: Session) -> None:
        """Show a movie and its session; in the layers that are there, which is much quicker than making new ones."""
        super().show(image, session)
        self.tracks.scale = full_scale(image.scale, session.ndim)
        self._show_next(session.tracks.active, session.tracks.next_state)
        self._show_tracks()

    @property
    def all(self) -> list[Layer]:
        """The layers of the tool that are in the viewer, from the bottom to the top."""
        layers = super().all
        return layers if self.tracks is None else [*layers[:-2], self.tracks, *layers[-2:]]

    def segmentations(self) -> list[Labels]:
        """Label layers with objects that the tool did not make one by one: its automatic ones, and the user's."""
        mine = [self.labels["auto"].layer] if "auto" in self.labels else []
        return [*mine, *self.others(Labels)]

    def close(self) -> None:
        """Stop following the session."""
        self._refresh.stop()
        super().close()

    # ------------------------------------------------------------------ session -> layers

    def _wire_session(self) -> None:
        super()._wire_session()
        self.session.events.track_changed.connect(self._show_next)
        self.session.events.lineage_changed.connect(self._tracks_later)

    def _unwire_session(self) -> None:
        super()._unwire_session()
        self.session.events.track_changed.disconnect(self._show_next)
        self.session.events.lineage_changed.disconnect(self._tracks_later)

    def _show_prompts(self, prompts: PromptSet) -> None:
        if not self._closed:
            self.points.first = self.shapes.first = self.session.objects.next_id
        super()._show_prompts(prompts)

    def _show_labels(self, name: str, region: tuple[slice, ...]) -> None:
        super()._show_labels(name, region)
        if name == "committed":
            self._tracks_later()

    def _tracks_later(self) -> None:
        self._refresh.start()

    def _show_next(self, _track_id: int, state: PromptState) -> None:
        self.points.next_state = self.shapes.next_state = state

    def _show_tracks(self) -> None:
        """Bring the tracks layer in line with the committed tracks, soon after they changed."""
        if self._closed:
            return
        if self.points.first != self.session.objects.next_id:
            self._show_prompts(self.session.prompts.drawn)
        rows = self.session.tracks.points()
        if not len(rows):
            self._hid_tracks = self._hid_tracks or self.tracks.visible
            self.tracks.visible = False
            return
        if not np.array_equal(rows, self.tracks.data):
            self.tracks.data = rows
        graph = self.session.tracks.lineage.to_napari_graph()
        if {daughter: list(mothers) for daughter, mothers in self.tracks.graph.items()} != graph:
            self.tracks.graph = graph
        if self._hid_tracks:
            self.tracks.visible = True
            self._hid_tracks = False

    # ------------------------------------------------------------------ making layers

    def _make_missing(self) -> list[str]:
        made = super()._make_missing()
        if self.tracks is None or self.tracks not in set(self.viewer.layers):
            self.tracks = self._make_tracks()
            made.append(self.tracks.name)
        return made

    def _make_tracks(self) -> Tracks:
        rows, is_empty = self.session.tracks.points(), False
        if not len(rows):
            rows, is_empty = np.zeros((1, 4)), True
        layer = Tracks(
            rows,
            name=self._names.tracks,
            scale=self.image.scale,
            graph={} if is_empty else self.session.tracks.lineage.to_napari_graph(),
            visible=not is_empty,
            tail_length=TAIL_FRAMES,
            tail_width=3,
            opacity=0.9,
            colormaps_dict={"track_id": label_colours()},
        )
        (self.image.placement or origin(self.session.ndim)).apply(layer)
        with self._moves(), self._same_selection():
            self.viewer.layers.insert(self.viewer.layers.index(self.shapes.layer), layer)
        self._hid_tracks = is_empty
        return layer

    @contextmanager
    def _same_selection(self) -> Iterator[None]:
        """napari selects a layer that is added, but the next click must still place a prompt."""
        active = self.viewer.layers.selection.active
        try:
            yield
        finally:
            self.viewer.layers.selection.active = active
