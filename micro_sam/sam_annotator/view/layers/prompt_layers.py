"""Points and shapes: what the user clicks and draws, read into the session, and painted from it.

Each row of a layer carries the id of its prompt as a feature, so that a moved point stays the same prompt. napari
copies features to new rows (a new point inherits the id of the one that is selected, a pasted one that of its
original), so an id counts only where it is known to the session and seen for the first time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Points, Shapes
from qtpy.QtCore import QTimer

from micro_sam.session.prompts import SHAPE_KINDS, PointPrompt, PromptSet, ShapePrompt

if TYPE_CHECKING:
    import pandas as pd

POSITIVE, NEGATIVE = "positive", "negative"
POINT_COLOURS = {POSITIVE: "#2ecc40", NEGATIVE: "#ff4136"}
BOX_COLOUR = "#ffdc00"
POINT_SIZE_ON_SCREEN = 11.0
"""Diameter of a point in screen pixels, at every zoom."""
READ_BACK_ON = ("added", "removed", "changed")
NEW = 0
"""Id of a row that is no prompt of the session yet."""


class _PromptLayer:
    """What points and shapes have in common: events are heard unless the layer is being painted."""

    def __init__(self, layer: Points | Shapes, on_edit: Callable[[], None]) -> None:
        self.layer = layer
        self._on_edit = on_edit
        self._painting = False
        layer.events.data.connect(self._heard)

    @contextmanager
    def _painted(self) -> Iterator[None]:
        self._painting = True
        try:
            yield
        finally:
            self._painting = False

    def _heard(self, event: Any) -> None:
        if not self._painting and getattr(event, "action", "changed") in READ_BACK_ON:
            self._on_edit()
            QTimer.singleShot(0, self._after_edit)

    def _after_edit(self) -> None:
        """Called when napari has done all that follows an edit."""

    def rescale(self, scale: tuple[float, ...] | None) -> None:
        """Follow the voxel size of another image."""
        self.layer.scale = tuple(scale) if scale is not None else (1.0,) * self.layer.ndim

    def _known_ids(self, known: PromptSet) -> list[int | None]:
        """Id of the prompt of each row; None for rows that are new."""
        from pandas import isna

        seen: set[int] = set()
        ids: list[int | None] = []
        for value in self.layer.features["id"]:
            fresh = isna(value) or int(value) == NEW or int(value) in seen or int(value) not in known
            ids.append(None if fresh else int(value))
            if not fresh:
                seen.add(int(value))
        return ids


class PointLayer(_PromptLayer):
    """The layer ``prompts``."""

    def __init__(self, layer: Points, on_edit: Callable[[], None]) -> None:
        super().__init__(layer, on_edit)
        self._next_positive = True

    @staticmethod
    def make(name: str, ndim: int, scale: tuple[float, ...] | None) -> Points:
        """An empty layer, ready for clicks."""
        features = _point_features(())
        return Points(
            name=name,
            ndim=ndim,
            scale=scale,
            features=features,
            feature_defaults={"label": POSITIVE, "id": NEW, "state": "track", "track_id": 0},
            face_color="label",
            face_color_cycle=list(POINT_COLOURS.values()),
            border_color="white",
            border_width=0.12,
            size=POINT_SIZE_ON_SCREEN,
            out_of_slice_display=False,
        )

    @property
    def next_positive(self) -> bool:
        """Whether the next click is a positive point."""
        return self._next_positive

    @next_positive.setter
    def next_positive(self, positive: bool) -> None:
        self._next_positive = bool(positive)
        self._set_defaults()

    def fit_to_zoom(self, zoom: float) -> None:
        """Keep the points at :data:`POINT_SIZE_ON_SCREEN` on the screen, where `zoom` is screen pixels per unit."""
        size = POINT_SIZE_ON_SCREEN / max(zoom * float(self.layer.scale[-1]), 1e-6)
        if (
            abs(size - float(self.layer.current_size)) > 0.02 * size
            or (self.layer.size != self.layer.current_size).any()
        ):
            with self._painted():
                self.layer.size = size
                self.layer.current_size = size

    @property
    def selected_ids(self) -> list[int]:
        """Ids of the points that the user selected with the selection tool (a point just placed does not count)."""
        if str(self.layer.mode) != "select":
            return []
        ids = self.layer.features["id"].to_numpy()
        return [int(ids[row]) for row in sorted(self.layer.selected_data)]

    def read(self, known: PromptSet) -> tuple[PointPrompt, ...]:
        """The points the layer shows, as prompts."""
        features = self.layer.features
        points = []
        for row, prompt_id in enumerate(self._known_ids(known)):
            old = known[prompt_id] if prompt_id is not None else None
            points.append(
                PointPrompt(
                    id=prompt_id,
                    position=tuple(self.layer.data[row]),
                    positive=features["label"].iloc[row] != NEGATIVE,
                    track_id=old.track_id if old is not None else None,
                    state="division" if features["state"].iloc[row] == "division" else "track",
                )
            )
        return tuple(points)

    def show(self, prompts: PromptSet) -> None:
        """Paint the points of the session, touching the layer only where it differs."""
        layer, points = self.layer, prompts.points
        data = np.array([p.position for p in points], dtype=np.float64).reshape(-1, layer.ndim)
        features = _point_features(points)
        with self._painted():
            if data.shape != layer.data.shape or not np.array_equal(data, layer.data):
                layer.selected_data = set()
                layer.data = data
            if not _same_table(features, layer.features):
                layer.features = features
                layer.refresh_colors(update_color_mapping=False)
            self._set_defaults()

    def _after_edit(self) -> None:
        # napari selects a new point: its highlight would hide the colour, and menus would act on it.
        if str(self.layer.mode) == "add":
            with self._painted():
                self.layer.selected_data = set()
                self._set_defaults()

    def _set_defaults(self) -> None:
        label = POSITIVE if self._next_positive else NEGATIVE
        self.layer.feature_defaults = {**self._defaults(), "label": label, "id": NEW}

    def _defaults(self) -> dict[str, Any]:
        defaults = self.layer.feature_defaults
        return {column: defaults[column].iloc[0] for column in defaults.columns}


class ShapeLayer(_PromptLayer):
    """The layer ``box_prompts``: rectangles, ellipses and polygons, one object each."""

    def __init__(self, layer: Shapes, on_edit: Callable[[], None], on_refused: Callable[[str], None]) -> None:
        super().__init__(layer, on_edit)
        self._on_refused = on_refused

    @staticmethod
    def make(name: str, ndim: int, scale: tuple[float, ...] | None) -> Shapes:
        """An empty layer, ready to be drawn on."""
        return Shapes(
            name=name,
            ndim=ndim,
            scale=scale,
            features={"id": np.zeros(0, dtype=np.int64), "track_id": np.zeros(0, dtype=np.int64)},
            feature_defaults={"id": NEW, "track_id": 0},
            edge_color=BOX_COLOUR,
            face_color="transparent",
            edge_width=2,
            opacity=0.9,
        )

    def read(self, known: PromptSet) -> tuple[ShapePrompt, ...]:
        """The shapes the layer shows, as prompts. Lines and paths enclose nothing and are left out, with a word."""
        shapes = []
        kinds = self.layer.shape_type
        for row, prompt_id in enumerate(self._known_ids(known)):
            vertices = np.asarray(self.layer.data[row], dtype=np.float64)
            if kinds[row] not in SHAPE_KINDS or _is_flat(vertices):
                self._on_refused(
                    "A line or an empty shape encloses no object. Draw a box, an ellipse or a polygon around one."
                )
                continue
            old = known[prompt_id] if prompt_id is not None else None
            shapes.append(
                ShapePrompt(
                    id=prompt_id,
                    kind=kinds[row],
                    vertices=tuple(map(tuple, vertices)),
                    track_id=old.track_id if old is not None else None,
                    state=old.state if old is not None else "track",
                )
            )
        return tuple(shapes)

    def show(self, prompts: PromptSet) -> None:
        """Paint the shapes of the session, touching the layer only where it differs."""
        layer, shapes = self.layer, prompts.shapes
        vertices = [np.array(s.vertices, dtype=np.float64) for s in shapes]
        kinds = [s.kind for s in shapes]
        same = (
            kinds == list(layer.shape_type)
            and len(vertices) == len(layer.data)
            and all(a.shape == b.shape and np.allclose(a, b) for a, b in zip(vertices, layer.data, strict=True))
        )
        ids = np.array([s.id for s in shapes], dtype=np.int64)
        with self._painted():
            if not same:
                layer.selected_data = set(range(len(layer.data)))
                layer.remove_selected()
                for points, kind in zip(vertices, kinds, strict=True):
                    layer.add(points, shape_type=kind)
                layer.selected_data = set()
            if len(ids):
                tracks = np.array([s.track_id or 0 for s in shapes], dtype=np.int64)
                layer.features = {"id": ids, "track_id": tracks}
            layer.feature_defaults = {"id": NEW, "track_id": 0}


def _is_flat(vertices: np.ndarray) -> bool:
    """Whether a shape has no area that could hold a pixel."""
    extent = np.ptp(vertices[:, -2:], axis=0)
    return len(vertices) < 3 or bool((extent < 0.5).any())


def _point_features(points: Sequence[PointPrompt]) -> pd.DataFrame:
    """A row for each point."""
    from pandas import Categorical, DataFrame  # a quarter of a second, which napari needs for the first layer only

    return DataFrame(
        {
            "label": Categorical([POSITIVE if p.positive else NEGATIVE for p in points], [POSITIVE, NEGATIVE]),
            "id": np.array([p.id for p in points], dtype=np.int64),
            "state": Categorical([p.state for p in points], ["track", "division"]),
            "track_id": np.array([p.track_id or 0 for p in points], dtype=np.int64),
        }
    )


def _same_table(a: pd.DataFrame, b: pd.DataFrame) -> bool:
    return len(a) == len(b) and all(column in b and list(a[column]) == list(b[column]) for column in a.columns)
