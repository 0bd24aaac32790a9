"""Label layers that show the arrays of the session themselves: no copy, and only what changed is drawn again.

What is on such a layer is in the session, however it came there: by a tool of napari, by ``layer.paint`` of a script,
by a write into ``layer.data``, or by another array in its place.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from napari.layers import Labels

from micro_sam.sam_annotator.runtime.timers import once
from micro_sam.sam_annotator.view.layers.colours import PALETTE, label_colours
from micro_sam.sam_annotator.view.layers.large_labels import LargeLabels, is_large_plane, whole_of
from micro_sam.sam_annotator.view.layers.shared_labels import Region, SharedLabels, share

ReadBack = Callable[[Region, np.ndarray, np.ndarray], None]
THUMBNAIL_MS = 600


class LabelLayer:
    """One label layer and the session's array that it shows.

    Parameters
    ----------
    layer
        Made by :meth:`make`.
    on_paint
        Called with (region, values now, values before) when somebody changed pixels: with a tool of napari, its
        functions, or by writing into the layer's data. The layer may, but need not, show the values already. None: the
        layer only shows something.
    on_replace
        Called with the array that somebody put into ``layer.data``; the layer shows the session's again.
    """

    def __init__(
        self, layer: Labels, on_paint: ReadBack | None = None, on_replace: Callable[[Any], None] | None = None
    ) -> None:
        self.layer = layer
        self._worn: object = 0
        self._on_paint: Any = on_paint
        self._on_replace: Any = on_replace
        if on_paint is not None:
            self._watch(whole_of(layer.data))
            layer.events.paint.connect(self._painted)
            layer.events.data.connect(self._data_changed)
            layer.events.scale.connect(self._moved)
            layer.events.translate.connect(self._moved)
            self._moved()
        self._thumbnail = once(self._update_thumbnail, THUMBNAIL_MS)

    @staticmethod
    def make(name: str, data: np.ndarray, scale: tuple[float, ...] | None, opacity: float = 0.6) -> Labels:
        """A layer on an array of the session. The array is shared, not copied."""
        kind = LargeLabels if is_large_plane(data.shape) else Labels
        layer = kind(share(data), name=name, scale=scale, opacity=opacity, colormap=label_colours())
        layer.brush_size = max(3, min(10, round(min(data.shape[-2:]) / 50)))
        return layer

    def colour_of(self, label: int) -> tuple[float, float, float] | None:
        """RGB in 0..1 in which an object is drawn."""
        colour = self.layer.get_color(label)
        return None if colour is None else (float(colour[0]), float(colour[1]), float(colour[2]))

    def colour_from(self, first: int) -> None:
        """Show label 1 in the colour of the id `first`, label 2 in that of the next, ..."""
        offset = (first - 1) % len(PALETTE)
        self.wear(offset, lambda: label_colours(offset))

    def wear(self, name: object, make: Callable[[], Any]) -> None:
        """Show labels in other colours: `make` gives the colour map, unless the one of that name is there already."""
        if name != self._worn:
            self._worn, self.layer.colormap = name, make()

    def can_show(self, data: np.ndarray) -> bool:
        """Whether the layer is of the right kind for another array of the session."""
        return isinstance(self.layer, LargeLabels) or not is_large_plane(data.shape)

    def replace(self, data: np.ndarray, scale: tuple[float, ...] | None) -> None:
        """Show another array of the session."""
        self._watch(share(data))
        self.layer.data = self._shown
        self.layer.scale = tuple(scale) if scale is not None else (1.0,) * data.ndim
        self.forget_strokes()

    def forget(self) -> None:
        """Follow the layer no more; somebody deleted it, and what is done to it from now on is not the session's."""
        self.leave()
        if not isinstance(self.layer, LargeLabels):
            self.layer.data = np.array(self._shown)

    def leave(self) -> None:
        """Follow the layer no more: the session ends, its array is the layer's."""
        self._thumbnail.stop()
        self.layer.events.paint.disconnect(self._painted)
        self.layer.events.data.disconnect(self._data_changed)
        self.layer.events.scale.disconnect(self._moved)
        self.layer.events.translate.disconnect(self._moved)
        self._shown.listener.written = None
        self._shown.listener.is_deaf = bool  # False

    def _watch(self, data: SharedLabels) -> None:
        # The array holds this weakly: no collector sees what an array is a view of, so that all that its listener held
        # would stay in memory with every slice that is kept of it.
        self._shown, me = data, weakref.ref(self)

        def written(*change: Any) -> None:
            if (this := me()) is not None:
                this._on_paint(*change)

        def is_deaf() -> bool:  # a stroke is told when it is complete
            return (this := me()) is not None and bool(this.layer._staged_history)

        data.listener.written, data.listener.is_deaf = written, is_deaf

    def repaint(self, region: Region | None = None) -> None:
        """Draw a region again (None: everything in view)."""
        if not self._repaint_part(region):
            self.layer.refresh(extent=False, highlight=False, thumbnail=False)
        self._thumbnail.start()

    def _update_thumbnail(self) -> None:
        """The small picture in the layer list follows when the user pauses: it looks at the whole array."""
        if self.layer.visible and hasattr(self.layer, "_update_thumbnail"):
            self.layer._update_thumbnail()

    def _repaint_part(self, region: Region | None) -> bool:
        """Send only the changed part of the slice in view to the screen. False where this napari cannot."""
        layer = self.layer
        if isinstance(layer, LargeLabels):
            return False
        in_view = getattr(layer, "_slice_input", None)
        if region is None or not layer.visible or in_view is None or in_view.ndisplay != 2:
            return False
        if not hasattr(layer, "_partial_labels_refresh") or not hasattr(layer, "_raw_to_displayed"):
            return False
        displayed = list(in_view.displayed)
        if displayed != list(range(layer.ndim))[-2:] or layer.contour:
            return False
        for axis, point in enumerate(layer._data_slice.point[: layer.ndim - 2]):
            if not region[axis].start <= round(float(point)) < region[axis].stop:
                return True  # not in view: it is drawn when the user goes there
        image = layer._slice.image
        part = tuple(region[axis] for axis in displayed)
        if image.raw.shape != tuple(layer.data.shape[axis] for axis in displayed):
            return False
        # Layers of numpy arrays are views of them; after a change of dtype or slice napari may hold a copy.
        image.raw[part] = layer.data[self._index_in_view(part)]
        image.view[part] = layer._raw_to_displayed(image.raw, data_slice=part)
        layer._updated_slice = region
        # napari's list of layers draws all its rows again for whatever event of whatever layer, which takes longer than
        # the pixels: what listens to this event by its name (the canvas) hears it, the list does not.
        with layer.events.blocker():
            layer._partial_labels_refresh()
        return True

    def _index_in_view(self, part: Region) -> tuple[int | slice, ...]:
        point = self.layer._data_slice.point[: self.layer.ndim - 2]
        return (*(round(float(p)) for p in point), *part)

    def forget_strokes(self) -> None:
        """Empty napari's own undo list of the layer: undo belongs to the session."""
        for name in ("_undo_history", "_redo_history"):
            if hasattr(self.layer, name):
                getattr(self.layer, name).clear()

    def _moved(self, _event: Any = None) -> None:
        self._place = (np.array(self.layer.scale), np.array(self.layer.translate))

    def _data_changed(self, _event: Any) -> None:
        """Somebody put another array into the layer: it goes into the session, and the layer stays on the session's."""
        taken = whole_of(self.layer.data)
        if taken is self._shown:
            return
        scale, translate = self._place
        self.layer.data = self._shown
        self.layer.scale, self.layer.translate = scale, translate  # an array with other axes changes them
        self.forget_strokes()  # they were drawn on what is no longer there
        self._on_replace(taken)

    def _painted(self, event: Any) -> None:
        """Take over one action of napari: a stroke, a polygon, a fill, or what a script painted."""
        steps = list(event.value)
        self.forget_strokes()
        if steps:
            self._on_paint(*read_steps(steps, whole_of(self.layer.data)))


def label_on_ray(layer: Labels, position: Any, ray: Any, displayed: list[int]) -> int:
    """The first label that a ray (from a position of the world in its direction) hits in the 3D view; 0: none."""
    return int(layer.get_value(position, view_direction=ray, dims_displayed=displayed, world=True) or 0)


def read_steps(steps: Sequence[Any], data: np.ndarray) -> tuple[Region, np.ndarray, np.ndarray]:
    """What the steps of napari's label history change: region, its values after them, and before them.

    Made from the steps, not from the pixels: the event of a mouse stroke comes after its pixels, that of a polygon or
    of ``layer.paint`` before them.

    Parameters
    ----------
    steps
        In the order they were done. Of newer napari: boxes with ``slice_key``, ``mask`` (None: all of the box),
        ``old_values`` and ``new_value``. Of older ones, and of ``layer.data_setitem``: (indices, values before, values
        after).
    data
        Of the layer, with all of the steps, or all but the last, done.
    """
    boxes = [_box(step) for step in steps]
    region = tuple(
        slice(min(box[axis].start for box in boxes), max(box[axis].stop for box in boxes)) for axis in range(data.ndim)
    )
    origin = tuple(axis.start for axis in region)
    before = np.array(data[region])
    for step, box in zip(reversed(steps), reversed(boxes), strict=True):
        _write(step, box, before, origin, is_undo=True)
    after = before.copy()
    for step, box in zip(steps, boxes, strict=True):
        _write(step, box, after, origin, is_undo=False)
    return region, after, before


def _box(step: Any) -> Region:
    """Bounding box of one step."""
    if hasattr(step, "slice_key"):
        return tuple(slice(int(axis.start), int(axis.stop)) for axis in step.slice_key)
    return tuple(slice(int(np.min(axis)), int(np.max(axis)) + 1) for axis in step[0])


def _write(step: Any, box: Region, values: np.ndarray, origin: tuple[int, ...], is_undo: bool) -> None:
    """Do one step, or take it back, in `values`, an array whose first element lies at `origin`."""
    if hasattr(step, "slice_key"):
        window = values[tuple(slice(axis.start - o, axis.stop - o) for axis, o in zip(box, origin, strict=True))]
        where = ... if step.mask is None else np.broadcast_to(step.mask, window.shape)
        window[where] = step.old_values if is_undo else step.new_value
        return
    indices, before, after = step
    values[tuple(np.asarray(axis) - o for axis, o in zip(indices, origin, strict=True))] = before if is_undo else after
