"""All layers of one tool, kept in step with its session in both directions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, cast

import numpy as np
from napari import Viewer
from napari.layers import Image, Layer
from psygnal import Signal
from qtpy.QtCore import QTimer

from micro_sam.sam_annotator.state.images import OpenImage, full_scale, origin
from micro_sam.sam_annotator.state.window import WindowState
from micro_sam.sam_annotator.view.camera import FittedView, camera_of
from micro_sam.sam_annotator.view.layers import overlays
from micro_sam.sam_annotator.view.layers.label_layers import LabelLayer, label_on_ray
from micro_sam.sam_annotator.view.layers.object_colours import ObjectColours
from micro_sam.sam_annotator.view.layers.prompt_layers import PointLayer, ShapeLayer
from micro_sam.sam_annotator.view.layers.shared_labels import Region
from micro_sam.session.prompts import PromptSet
from micro_sam.session.session import Session
from micro_sam.session.values import LayerName


class SessionLayers:
    """Layers <-> session. They are made when the first image is shown.

    Parameters
    ----------
    viewer
        Gets the layers.
    state
        Has their names (one whose name is empty is not made), and the tool of the mouse.

    Attributes
    ----------
    image, session
        What the layers show; None before the first image.
    points, shapes, labels
        The parts; ``labels`` by the session's names ("current", "committed", "auto").
    colours
        Of the labels.
    raw
        The image layer; if the image was taken from a layer of the viewer, that one.

    Signals
    -------
    edited
        The user added, moved or removed prompts, and the session knows them.
    recreated
        Names of layers that were deleted and made again.
    clicked
        Id of the committed object that was clicked with the pick tool (0: background).
    refused
        Why something that was drawn is no prompt.
    present_changed
        The viewer has other layers, of the tool or of the user.
    shown
        Another image is shown.
    mode_changed
        A layer of the tool has another mode.
    """

    _point_type: type[PointLayer] = PointLayer
    _shape_type: type[ShapeLayer] = ShapeLayer

    edited = Signal()
    recreated = Signal(tuple)
    clicked = Signal(int)
    refused = Signal(str)
    present_changed = Signal()
    shown = Signal()
    mode_changed = Signal()

    def __init__(self, viewer: Viewer, state: WindowState) -> None:
        self.viewer = viewer
        self._names = state.tool.names
        self.session: Any = None
        self.image: Any = None
        self.raw: Any = None
        self.labels: dict[str, LabelLayer] = {}
        self.colours = ObjectColours(state, self.labels)
        self.points: Any = None
        self.shapes: Any = None
        self._state = state
        self._view = FittedView(viewer)
        self._closed = False
        self._moving = False
        for event in (viewer.layers.events.inserted, viewer.layers.events.removed):
            event.connect(self._present_changed)

    def show(self, image: OpenImage, session: Session) -> None:
        """Show an image and its session; in the layers that are there, which is much quicker than making new ones."""
        if self.session is None:
            self._begin(image, session)
        else:
            self._show_other(image, session)
        self._wire_session()
        self.colours.follow()
        self._look_at_image()
        self.shown.emit()
        self.present_changed.emit()

    def _begin(self, image: OpenImage, session: Session) -> None:
        viewer = self.viewer
        self.image, self.session, self.raw = image, session, image.layer
        self._make_missing()
        viewer.layers.events.removed.connect(self._removed)
        camera_of(viewer).events.zoom.connect(self._zoomed)

    def _show_other(self, image: OpenImage, session: Session) -> None:
        self._unwire_session()
        self.image, self.session = image, session
        with self._moves():
            self._replace_raw()
            for key, part in cast("dict[LayerName, LabelLayer]", self.labels).items():
                if part.can_show(session.labels.layer(key)):
                    part.replace(session.labels.layer(key), image.scale)
                else:
                    self.viewer.layers.remove(part.layer)
            if self._make_missing():
                self._restore_order()
        for part in (self.points, self.shapes):
            part.rescale(image.scale)
            part.show(session.prompts.drawn)
        self.points.next_positive = session.prompts.next_positive
        self._place()

    def _replace_raw(self) -> None:
        image, old = self.image, self.raw
        if image.layer is old:
            return
        same_kind = image.layer is None and old.name == self._names.raw and bool(old.rgb) == image.rgb
        same_kind &= old.multiscale == bool(image.levels)
        if same_kind and old in self.viewer.layers:
            old.data = image.shown
            old.scale = full_scale(image.scale, old.ndim)
            if image.contrast_limits is not None:
                old.reset_contrast_limits_range()
                old.contrast_limits = image.contrast_limits
            return
        if old is not None and old.name == self._names.raw and old in self.viewer.layers:
            self.viewer.layers.remove(old)
        self.raw = image.layer
        self._make_missing()
        self._restore_order()

    def fit(self) -> None:
        """Show the whole image, as large as the canvas."""
        self._view.fit()

    def _look_at_image(self) -> None:
        if self.image.layer is None:
            self.fit()
        self._zoomed()

    def _zoomed(self, _event: Any = None) -> None:
        """Keep points at the same size on the screen."""
        if not self._closed:
            self.points.fit_to_zoom(camera_of(self.viewer).zoom)

    # ------------------------------------------------------------------ what there is

    @property
    def all(self) -> list[Layer]:
        """The layers of the tool that are in the viewer, from the bottom to the top."""
        parts = [part for part in (*self.labels.values(), self.shapes, self.points) if part is not None]
        return [layer for layer in (self.raw, *(part.layer for part in parts)) if layer is not None]

    def others(self, kind: type[Layer]) -> list[Any]:
        """Layers of a kind that the user has brought."""
        own = set(self.all)
        return [layer for layer in self.viewer.layers if isinstance(layer, kind) and layer not in own]

    def _present_changed(self, _event: Any = None) -> None:
        if not self._closed:
            self.present_changed.emit()

    def _mode_changed(self, _event: Any = None) -> None:
        if not self._closed:
            self.mode_changed.emit()

    def show_embeddings(self, picture: np.ndarray, scale: tuple[float, ...]) -> None:
        """Lay a picture of the embeddings over the image; see :func:`overlays.embedding_layer`."""
        layer = overlays.embedding_layer(picture, scale, full_scale(self.image.scale, self.session.ndim))
        self._replace_overlay(overlays.EMBEDDINGS, layer, self.viewer.layers.index(self.raw) + 1)

    def show_hover(self, on: bool) -> overlays.MaskOverlay | None:
        """Add the layer for the mask under the mouse, below the prompts, or take it away; returns what draws on it."""
        layer = overlays.hover_layer(self.session.shape[-2:], self.image.scale) if on else None
        self._replace_overlay(overlays.HOVER, layer, self.viewer.layers.index(self.shapes.layer))
        return None if layer is None else overlays.MaskOverlay(self.viewer, layer)

    def _replace_overlay(self, name: str, layer: Layer | None, position: int) -> None:
        if layer is not None:
            (self.image.placement or origin(self.session.ndim)).apply(layer)
        overlays.replace(self.viewer, name, layer, position, self.points.layer)

    # ------------------------------------------------------------------ layers -> session

    def read_prompts(self) -> None:
        """Take over what the prompt layers show; whatever differs becomes one step of undo."""
        if self._closed or self.session is None:
            return
        known = self.session.prompts.drawn
        self._state.status.acted()
        try:
            points = self.points.read(known)
            shapes = self.shapes.read(known)
            changed = self.session.prompts.replace(points, shapes) != known
        except Exception as error:
            changed = False
            self._state.status.report(error)
        # Also when nothing changed for the session: rows of no use (a line, a click outside) leave the layer.
        self._show_prompts(self.session.prompts.drawn)
        if changed:
            self.edited.emit()

    def _read_paint(self, key: LayerName, region: Region, after: np.ndarray, before: np.ndarray) -> None:
        self._state.status.acted()
        try:
            self.session.labels.paint(key, region, after, before=before)
        except Exception as error:
            self._state.status.report(error)
            labels = self.session.labels.layer(key)

            def restore() -> None:
                labels[region] = before
                self.labels[key].repaint()

            restore()
            QTimer.singleShot(0, restore)  # napari may be about to draw it

    def _read_labels(self, key: LayerName, labels: Any) -> None:
        """Take over an array that somebody put into the data of a layer."""
        try:
            self.session.labels.replace(key, np.asarray(labels))
        except Exception as error:
            self._state.status.report(error)

    # ------------------------------------------------------------------ session -> layers

    def _wires(self) -> tuple[tuple[Any, Any], ...]:
        """Signals of the session, and what follows them."""
        events = self.session.events
        labels = ((events.objects_changed, self.colours.follow), (events.labels_changed, self._show_labels))
        prompts = ((events.prompts_changed, self._show_prompts), (events.polarity_changed, self._show_polarity))
        return (*labels, *prompts, (events.history_changed, self.colours.follow_current))

    def _wire_session(self) -> None:
        for signal, follow in self._wires():
            signal.connect(follow)

    def _unwire_session(self) -> None:
        for signal, follow in self._wires():
            signal.disconnect(follow)

    def _show_prompts(self, prompts: PromptSet) -> None:
        if not self._closed:
            self.points.show(prompts)
            self.shapes.show(prompts)

    def _show_labels(self, name: str, region: tuple[slice, ...]) -> None:
        if not self._closed and name in self.labels:
            self.labels[name].repaint(region)

    def _show_polarity(self, positive: bool) -> None:
        if not self._closed:
            self.points.next_positive = positive

    # ------------------------------------------------------------------ making layers

    def _make_missing(self) -> list[str]:
        """Make the layers that are not in the viewer. Returns their names."""
        made, present, names, scale = [], set(self.viewer.layers), self._names, self.image.scale
        if self.raw is None or self.raw not in present:
            self.raw = self._make_raw()
            self.viewer.layers.insert(0, self.raw)
            made.append(self.raw.name)
        keys: tuple[LayerName, ...] = ("auto", "committed", "current")
        for key, name in zip(keys, (names.auto, names.committed, names.current), strict=True):
            if name and (key not in self.labels or self.labels[key].layer not in present):
                if key in self.labels:
                    self.labels[key].forget()
                layer = LabelLayer.make(name, self.session.labels.layer(key), scale)
                self._add(layer, made)
                self.labels[key] = LabelLayer(layer, partial(self._read_paint, key), partial(self._read_labels, key))
                self.colours.dress(key)
                if key == "committed":
                    layer.mouse_drag_callbacks.append(self._pick)
        if self.shapes is None or self.shapes.layer not in present:
            layer = self._shape_type.make(names.box_prompts, self.session.ndim, scale)
            self._add(layer, made)
            self.shapes = self._shape_type(layer, self.read_prompts, self.refused.emit)
            self.shapes.show(self.session.prompts.drawn)
        if self.points is None or self.points.layer not in present:
            layer = self._point_type.make(names.prompts, self.session.ndim, scale)
            self._add(layer, made)
            self.points = self._point_type(layer, self.read_prompts)
            self.points.show(self.session.prompts.drawn)
            self.points.next_positive = self.session.prompts.next_positive
        if made:
            self._place()
        return made

    def _place(self) -> None:
        """Lay all layers of the tool where the image lies."""
        placement = self.image.placement or origin(self.session.ndim)
        for layer in self.all:
            if layer is not self.image.layer:
                placement.apply(layer)

    def _make_raw(self) -> Image:
        image = self.image
        options = {"rgb": image.rgb, "contrast_limits": image.contrast_limits}
        if image.scale is not None:
            options["scale"] = image.scale
        options["multiscale"] = bool(image.levels)
        return Image(image.shown, name=image.layer.name if image.layer is not None else self._names.raw, **options)

    def _add(self, layer: Layer, made: list[str]) -> None:
        self.viewer.layers.append(layer)
        layer.events.mode.connect(self._mode_changed)
        made.append(layer.name)

    def _removed(self, event: Any) -> None:
        if not self._closed and not self._moving and event.value in self.all:
            # Let napari finish with the removal (possibly of several layers) first.
            QTimer.singleShot(0, self._recreate)

    def _recreate(self) -> None:
        if not self._closed and (made := self._make_missing()):
            self._restore_order()
            self.recreated.emit(tuple(made))

    def _restore_order(self) -> None:
        """Put the layers of the tool back into their order; layers of the user stay below or above them."""
        order = self.all
        positions = sorted(self.viewer.layers.index(layer) for layer in order)
        with self._moves():
            for position, layer in zip(positions, order, strict=True):
                if self.viewer.layers.index(layer) != position:
                    self.viewer.layers.move(self.viewer.layers.index(layer), position)

    @contextmanager
    def _moves(self) -> Iterator[None]:
        self._moving = True
        try:
            yield
        finally:
            self._moving = False

    # ------------------------------------------------------------------ selecting and closing

    def _pick(self, layer: Layer, event: Any) -> Iterator[None]:
        """A click (not a drag) on the committed objects with the pick tool."""
        if self._state.mouse != "pick":
            return
        position, ray, shown = event.position, event.view_direction, list(event.dims_displayed)
        yield
        if event.type == "mouse_move":
            return
        found = label_on_ray(layer, position, ray, shown) if len(shown) == 3 else None
        self.clicked.emit(self.session.objects.at(layer.world_to_data(position)) if found is None else found)

    def close(self) -> None:
        """Stop following the session; the layers stay."""
        if self._closed:
            return
        self._closed = True
        self._view.close()
        events = self.viewer.layers.events
        for event in (events.inserted, events.removed):
            event.disconnect(self._present_changed)
        if self.session is None:
            return
        self._unwire_session()
        for part in self.labels.values():
            part.leave()
        self.labels["committed"].layer.mouse_drag_callbacks.remove(self._pick)
        events.removed.disconnect(self._removed)
        camera_of(self.viewer).events.zoom.disconnect(self._zoomed)
