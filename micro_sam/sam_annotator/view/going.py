"""Bringing an object into sight."""

from __future__ import annotations

from napari import Viewer
from napari.layers import Image

from micro_sam.session.values import ObjectRecord

SHARE = 0.3  # of the canvas that an object takes at most when somebody jumps to it
MOST_PIXELS = 12  # of the screen for a pixel of the image


def go_to(viewer: Viewer, raw: Image, record: ObjectRecord, z: int) -> None:
    """Show the middle of an object, large enough to be judged.

    Parameters
    ----------
    raw
        The image.
    record
        The object.
    z
        The slice in view; it stays where the object is in it.
    """
    y0, x0, y1, x1 = record.box
    leading: tuple[int, ...] = ()
    if raw.ndim == 3:
        first, stop = record.slices
        leading = (z if first <= z < stop else (first + stop - 1) // 2,)
    low = raw.data_to_world((*leading, y0 - 0.5, x0 - 0.5))
    high = raw.data_to_world((*leading, y1 - 0.5, x1 - 0.5))
    if leading:
        viewer.dims.set_point(viewer.dims.ndim - raw.ndim, float(low[0]))
    height, width = viewer.window._qt_viewer.canvas.size
    size = max(abs(high[-2] - low[-2]) / height, abs(high[-1] - low[-1]) / width)
    pixel = abs(raw.data_to_world((*leading, 0, 1))[-1] - raw.data_to_world((*leading, 0, 0))[-1])
    zoom = viewer.camera.zoom
    wanted = min(SHARE / max(size, 1e-9), MOST_PIXELS / max(pixel, 1e-9))
    if size * zoom > 1 or zoom < wanted / 2:  # too large, or too small to be judged
        viewer.camera.zoom = wanted
    centre = [(a + b) / 2 for a, b in zip(low[-2:], high[-2:], strict=True)]
    viewer.camera.center = (*viewer.camera.center[:-2], *centre)
