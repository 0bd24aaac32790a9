"""All layers of one tool, kept in step with its session in both directions."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
from napari import Viewer
from napari.layers import Image, Layer
from psygnal import Signal
from qtpy.QtCore import QTimer

from micro_sam.sam_annotator.state.images import OpenImage
from micro_sam.sam_annotator.state.placement import origin
from micro_sam.sam_annotator.view.layers import overlays
from micro_sam.sam_annotator.view.layers.label_layers import LabelLayer
from micro_sam.sam_annotator.view.layers.prompt_layers import PointLayer, ShapeLayer
from micro_sam.sam_annotator.view.layers.shared_labels import Region
from micro_sam.sam_annotator.view.layers.values import SHAPE_MODES, LayerNames, Tool, full_scale
from micro_sam.session.session import Session

log = logging.getLogger(__name__)

VIEW_MS = 250


class SessionLayers:
    """Layers <-> session.

    Parameters
    ----------
    viewer
        Gets the layers.
    image
        What ``raw`` shows; if it was taken from a layer of the viewer, that layer is used.
    session
        What the layers show.
    names
        Names of the layers. A layer whose name is empty is not made.
    on_error
        Called with the exception when an edit of the person cannot be taken over.

    Attributes
    ----------
    points, shapes, labels
        The parts; ``labels`` by the session's names ("current", "committed", "auto").
    raw
        The image layer.
    current_track
        Track that new prompts belong to (tracking only).

    Signals
    -------
    edited
        The person added, moved or removed prompts, and the session knows them.
    recreated
        Names of layers that were deleted and made again.
    picked
        Id of the committed object that was clicked with the pick tool (0: background).
    refused
        Why something that was drawn is no prompt.
    tool_changed
        The mouse may have another tool now.
    """

    point_type: type[PointLayer] = PointLayer
    shape_type: type[ShapeLayer] = ShapeLayer

    edited = Signal()
    recreated = Signal(tuple)
    picked = Signal(int)
    refused = Signal(str)
    tool_changed = Signal()

    def __init__(
        self,
        viewer: Viewer,
        image: OpenImage,
        session: Session,
        names: LayerNames,
        on_error: Callable[[Exception], None],
    ) -> None:
        self.viewer = viewer
        self.session = session
        self.names = names
        self.image = image
        self.raw: Image | None = image.layer
        self.labels: dict[str, LabelLayer] = {}
        self.points: PointLayer
        self.shapes: ShapeLayer
        self.current_track: int | None = None
        self._on_error = on_error
        self._closed = False
        self._moving = False
        self._tool: Tool = "point"
        self._make_missing()
        self._wire_session()
        viewer.layers.events.removed.connect(self._removed)
        viewer.layers.selection.events.active.connect(self._tool_changed)
        viewer.camera.events.zoom.connect(self._zoomed)
        self._look_at_image()

    def show(self, image: OpenImage, session: Session) -> None:
        """Show another image and its session in the layers that are there: much quicker than making new ones."""
        self._unwire_session()
        self.image, self.session = image, session
        self._moving = True
        try:
            self._replace_raw()
            for key, part in self.labels.items():
                if part.can_show(session.labels.layer(key)):
                    part.replace(session.labels.layer(key), image.scale)
                else:
                    self.viewer.layers.remove(part.layer)
            if self._make_missing():
                self._restore_order()
        finally:
            self._moving = False
        for part in (self.points, self.shapes):
            part.rescale(image.scale)
            part.show(session.prompts.drawn)
        self.points.next_positive = session.prompts.next_positive
        self._place()
        self._wire_session()
        self._look_at_image()

    def _replace_raw(self) -> None:
        image, old = self.image, self.raw
        if image.layer is old:
            return
        same_kind = image.layer is None and old.name == self.names.raw and bool(old.rgb) == image.rgb
        same_kind &= old.multiscale == bool(image.levels)
        if same_kind and old in self.viewer.layers:
            old.data = image.shown
            old.scale = full_scale(image.scale, old.ndim)
            if image.contrast_limits is not None:
                old.reset_contrast_limits_range()
                old.contrast_limits = image.contrast_limits
            return
        if old is not None and old.name == self.names.raw and old in self.viewer.layers:
            self.viewer.layers.remove(old)
        self.raw = image.layer
        self._make_missing()
        self._restore_order()

    def _look_at_image(self) -> None:
        if self.image.layer is None:
            self.viewer.reset_view()
            # A window that is just opening gets its final size later.
            view = (self.viewer.camera.zoom, self.viewer.camera.center)
            QTimer.singleShot(VIEW_MS, lambda: self._fit_again(view))
        self._zoomed()

    def _fit_again(self, view: tuple) -> None:
        if not self._closed and view == (self.viewer.camera.zoom, self.viewer.camera.center):
            self.viewer.reset_view()

    def _zoomed(self, _event=None) -> None:
        """Keep points at the same size on the screen."""
        if not self._closed:
            self.points.fit_to_zoom(self.viewer.camera.zoom)

    # ------------------------------------------------------------------ what there is

    @property
    def all(self) -> list[Layer]:
        """The layers of the tool that are in the viewer, from the bottom to the top."""
        layers = [self.raw, *(part.layer for part in self.labels.values()), self.shapes.layer, self.points.layer]
        return [layer for layer in layers if layer is not None]

    @property
    def tool(self) -> Tool:
        """The tool that the mouse has."""
        return self._tool

    def tool_in_hand(self) -> str | None:
        """The tool that the mouse really has, seen from the layer that is selected; None for napari's own tools."""
        active = self.viewer.layers.selection.active
        if active is self.points.layer:
            return {"add": "point", "select": "move"}.get(str(active.mode))
        if active is self.shapes.layer:
            return {mode: tool for tool, mode in SHAPE_MODES.items()}.get(str(active.mode))
        if "current" in self.labels and active is self.labels["current"].layer:
            return str(active.mode) if str(active.mode) in ("paint", "erase") else None
        if "committed" in self.labels and active is self.labels["committed"].layer and self._tool == "pick":
            return "pick"
        return None

    def use(self, tool: Tool) -> None:
        """Give the mouse a tool: select the layer it works on, in the mode it needs."""
        self._tool = tool
        if tool == "point":
            self._activate(self.points.layer, "add")
        elif tool in SHAPE_MODES:
            self._activate(self.shapes.layer, SHAPE_MODES[tool])
        elif tool in ("paint", "erase"):
            self._activate(self.labels["current"].layer, tool)
        elif tool == "pick":
            self._activate(self.labels["committed"].layer, "pan_zoom")
        else:
            self._activate(self.points.layer, "select")

    def _activate(self, layer: Layer, mode: str) -> None:
        self.viewer.layers.selection.active = layer
        if not layer.visible:  # napari draws the layer anew even when it was visible all the time
            layer.visible = True
        layer.mode = mode
        self.tool_changed.emit()

    def _tool_changed(self, _event=None) -> None:
        if not self._closed:
            self.tool_changed.emit()

    def show_embeddings(self, picture: np.ndarray, scale: tuple[float, ...]) -> None:
        """Lay a picture of the embeddings over the image; see :func:`overlays.embedding_layer`."""
        layer = overlays.embedding_layer(picture, scale, full_scale(self.image.scale, self.session.ndim))
        self._replace_overlay(overlays.EMBEDDINGS, layer, self.viewer.layers.index(self.raw) + 1)

    def show_hover(self, on: bool) -> LabelLayer | None:
        """Add the layer for the mask under the mouse, below the prompts, or take it away; returns it."""
        layer = overlays.hover_layer(self.session.shape[-2:], self.image.scale) if on else None
        self._replace_overlay(overlays.HOVER, layer, self.viewer.layers.index(self.shapes.layer))
        return None if layer is None else LabelLayer(layer)

    def _replace_overlay(self, name: str, layer: Layer | None, position: int) -> None:
        active, layers = self.viewer.layers.selection.active, self.viewer.layers
        if name in layers:
            position -= layers.index(name) < position
            layers.remove(name)
        elif layer is None:
            return
        if layer is not None:
            (self.image.placement or origin(self.session.ndim)).apply(layer)
            layers.insert(position, layer)
        layers.selection.active = active if active in layers else self.points.layer

    # ------------------------------------------------------------------ layers -> session

    def read_prompts(self) -> None:
        """Take over what the prompt layers show; whatever differs becomes one step of undo."""
        if self._closed:
            return
        known = self.session.prompts.drawn
        try:
            points = self.points.read(known, self.current_track)
            shapes = self.shapes.read(known, self.current_track)
            changed = self.session.prompts.replace(points, shapes) != known
        except Exception as error:
            changed = False
            self._on_error(error)
        # Also when nothing changed for the session: rows of no use (a line, a click outside) leave the layer.
        self._show_prompts(self.session.prompts.drawn)
        if changed:
            self.edited.emit()

    def _read_paint(self, key: str, region: Region, after: np.ndarray, before: np.ndarray) -> None:
        try:
            self.session.labels.paint(key, region, after, before=before)
        except Exception as error:
            self._on_error(error)
            labels = self.session.labels.layer(key)

            def restore() -> None:
                labels[region] = before
                self.labels[key].repaint()

            restore()
            QTimer.singleShot(0, restore)  # napari may be about to draw it

    def _read_labels(self, key: str, labels: Any) -> None:
        """Take over an array that somebody put into the data of a layer."""
        try:
            self.session.labels.replace(key, np.asarray(labels))
        except Exception as error:
            self._on_error(error)

    # ------------------------------------------------------------------ session -> layers

    def _wire_session(self) -> None:
        events = self.session.events
        events.prompts_changed.connect(self._show_prompts)
        events.labels_changed.connect(self._show_labels)
        events.polarity_changed.connect(self._show_polarity)

    def _unwire_session(self) -> None:
        events = self.session.events
        events.prompts_changed.disconnect(self._show_prompts)
        events.labels_changed.disconnect(self._show_labels)
        events.polarity_changed.disconnect(self._show_polarity)

    def _show_prompts(self, prompts) -> None:
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
        made, present, names, scale = [], set(self.viewer.layers), self.names, self.image.scale
        if self.raw is None or self.raw not in present:
            self.raw = self._make_raw()
            self.viewer.layers.insert(0, self.raw)
            made.append(self.raw.name)
        for key, name in (("auto", names.auto), ("committed", names.committed), ("current", names.current)):
            if name and (key not in self.labels or self.labels[key].layer not in present):
                if key in self.labels:
                    self.labels[key].forget()
                layer = LabelLayer.make(name, self.session.labels.layer(key), scale)
                self._add(layer, made)
                self.labels[key] = LabelLayer(layer, partial(self._read_paint, key), partial(self._read_labels, key))
                if key == "committed":
                    layer.mouse_drag_callbacks.append(self._pick)
        if not hasattr(self, "shapes") or self.shapes.layer not in present:
            layer = self.shape_type.make(names.box_prompts, self.session.ndim, scale)
            self._add(layer, made)
            self.shapes = self.shape_type(layer, self.read_prompts, self.refused.emit)
            self.shapes.show(self.session.prompts.drawn)
        if not hasattr(self, "points") or self.points.layer not in present:
            layer = self.point_type.make(names.prompts, self.session.ndim, scale)
            self._add(layer, made)
            self.points = self.point_type(layer, self.read_prompts)
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
        return Image(image.shown, name=image.layer.name if image.layer is not None else self.names.raw, **options)

    def _add(self, layer: Layer, made: list[str]) -> None:
        self.viewer.layers.append(layer)
        layer.events.mode.connect(self._tool_changed)
        made.append(layer.name)

    def _removed(self, event) -> None:
        if not self._closed and not self._moving and event.value in self.all:
            # Let napari finish with the removal (possibly of several layers) first.
            QTimer.singleShot(0, self._recreate)

    def _recreate(self) -> None:
        if self._closed:
            return
        made = self._make_missing()
        if not made:
            return
        self._restore_order()
        self.use(self._tool)
        self.recreated.emit(tuple(made))

    def _restore_order(self) -> None:
        """Put the layers of the tool back into their order; layers of the person stay below or above them."""
        order = self.all
        positions = sorted(self.viewer.layers.index(layer) for layer in order)
        with self._moves():
            for position, layer in zip(positions, order, strict=True):
                here = self.viewer.layers.index(layer)
                if here != position:
                    self.viewer.layers.move(here, position)

    @contextmanager
    def _moves(self):
        self._moving = True
        try:
            yield
        finally:
            self._moving = False

    # ------------------------------------------------------------------ picking and closing

    def _pick(self, layer, event):
        """A click (not a drag) on the committed objects with the pick tool."""
        if self._tool != "pick":
            return
        position = event.position
        yield
        if event.type == "mouse_move":
            return
        self.picked.emit(self.session.objects.at(layer.world_to_data(position)))

    def close(self, remove: bool = True) -> None:
        """Stop following the session; with `remove`, take the layers out of the viewer."""
        if self._closed:
            return
        self._closed = True
        self._unwire_session()
        self.viewer.layers.events.removed.disconnect(self._removed)
        self.viewer.layers.selection.events.active.disconnect(self._tool_changed)
        self.viewer.camera.events.zoom.disconnect(self._zoomed)
        if remove:
            for layer in self.all:
                if layer in self.viewer.layers and layer is not self.image.layer:
                    self.viewer.layers.remove(layer)
