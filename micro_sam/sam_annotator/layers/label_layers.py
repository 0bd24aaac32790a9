"""Label layers that show the arrays of the session themselves: no copy, and only what changed is drawn again."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from napari.layers import Labels
from qtpy.QtCore import QTimer

Region = tuple[slice, ...]
ReadBack = Callable[[Region, np.ndarray, np.ndarray], None]
THUMBNAIL_MS = 600


class LabelLayer:
    """One label layer and the session's array that it shows.

    Parameters
    ----------
    layer
        Its data are the session's array.
    on_paint
        Called after a brush stroke with (region, values now, values before).
    """

    def __init__(self, layer: Labels, on_paint: ReadBack) -> None:
        self.layer = layer
        self._on_paint = on_paint
        layer.events.paint.connect(self._painted)
        self._thumbnail = QTimer()
        self._thumbnail.setSingleShot(True)
        self._thumbnail.setInterval(THUMBNAIL_MS)
        self._thumbnail.timeout.connect(self._update_thumbnail)

    @staticmethod
    def make(name: str, data: np.ndarray, scale: tuple[float, ...] | None, opacity: float = 0.6) -> Labels:
        """A layer on an array of the session. The array is shared, not copied."""
        layer = Labels(data, name=name, scale=scale, opacity=opacity)
        layer.brush_size = max(3, min(10, round(min(data.shape[-2:]) / 50)))
        return layer

    def replace(self, data: np.ndarray, scale: tuple[float, ...] | None) -> None:
        """Show another array of the session."""
        self.layer.data = data
        self.layer.scale = tuple(scale) if scale is not None else (1.0,) * data.ndim
        self.forget_strokes()

    def repaint(self, region: Region | None = None) -> None:
        """Draw a region again (None: everything in view)."""
        if not self._repaint_part(region):
            self.layer.refresh(extent=False, highlight=False, thumbnail=False)
        self._thumbnail.start()

    def _update_thumbnail(self) -> None:
        """The small picture in the layer list follows when the person pauses: it looks at the whole array."""
        if self.layer.visible and hasattr(self.layer, "_update_thumbnail"):
            self.layer._update_thumbnail()

    def _repaint_part(self, region: Region | None) -> bool:
        """Send only the changed part of the slice in view to the screen. False where this napari cannot."""
        layer = self.layer
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
                return True  # not in view: it is drawn when the person goes there
        image = layer._slice.image
        part = tuple(region[axis] for axis in displayed)
        if image.raw.shape != tuple(layer.data.shape[axis] for axis in displayed):
            return False
        # Layers of numpy arrays are views of them; after a change of dtype or slice napari may hold a copy.
        image.raw[part] = layer.data[self._index_in_view(part)]
        image.view[part] = layer._raw_to_displayed(image.raw, data_slice=part)
        layer._updated_slice = region
        layer._partial_labels_refresh()
        return True

    def _index_in_view(self, part: Region) -> tuple:
        point = self.layer._data_slice.point[: self.layer.ndim - 2]
        return (*(round(float(p)) for p in point), *part)

    def forget_strokes(self) -> None:
        """Empty napari's own undo list of the layer: undo belongs to the session."""
        for name in ("_undo_history", "_redo_history"):
            if hasattr(self.layer, name):
                getattr(self.layer, name).clear()

    def _painted(self, event) -> None:
        """Turn the atoms of a stroke (or fill) into one region with its content before and after."""
        atoms = list(event.value)
        self.forget_strokes()
        if not atoms:
            return
        boxes = [_atom_region(atom) for atom in atoms]
        region = tuple(
            slice(min(box[axis].start for box in boxes), max(box[axis].stop for box in boxes))
            for axis in range(self.layer.ndim)
        )
        after = np.array(self.layer.data[region])
        before = after.copy()
        for atom, box in zip(reversed(atoms), reversed(boxes), strict=True):
            _take_back(atom, box, before, tuple(axis.start for axis in region))
        self._on_paint(region, after, before)


def _atom_region(atom) -> Region:
    """Bounding box of one step of napari's label history.

    Releases up to 0.6 write (indices, values before, values after); later ones also a masked box with the fields
    ``slice_key``, ``mask`` and ``old_values``.
    """
    if hasattr(atom, "slice_key"):
        return tuple(slice(int(axis.start), int(axis.stop)) for axis in atom.slice_key)
    return tuple(slice(int(np.min(axis)), int(np.max(axis)) + 1) for axis in atom[0])


def _take_back(atom, box: Region, values: np.ndarray, origin: tuple[int, ...]) -> None:
    """Write what was there before one step into `values`, an array whose first element lies at `origin`."""
    if hasattr(atom, "slice_key"):
        window = values[tuple(slice(a.start - o, a.stop - o) for a, o in zip(box, origin, strict=True))]
        if atom.mask is None:
            window[...] = atom.old_values
        else:
            window[np.broadcast_to(atom.mask, window.shape)] = atom.old_values
        return
    indices, before, _ = atom
    values[tuple(np.asarray(axis) - o for axis, o in zip(indices, origin, strict=True))] = before
