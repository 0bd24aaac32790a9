"""Where the user looks: the slice in view, the part of it on the screen, and going elsewhere."""

from __future__ import annotations

from typing import Any

import numpy as np
from napari import Viewer

from micro_sam.sam_annotator.state.window import WindowState
from micro_sam.sam_annotator.view.camera import camera_of
from micro_sam.sam_annotator.view.layers.session_layers import SessionLayers
from micro_sam.session.values import ObjectRecord

SHARE = 0.3  # of the canvas that an object takes at most when somebody jumps to it
MOST_PIXELS = 12  # of the screen for a pixel of the image


class Sight:
    """The camera and the sliders of a window.

    Parameters
    ----------
    viewer, layers
        Where the image lies.
    state
        Its `z` is kept up to date.
    """

    def __init__(self, viewer: Viewer, layers: SessionLayers, state: WindowState) -> None:
        self._viewer, self._layers, self._state = viewer, layers, state
        viewer.dims.events.point.connect(self._tell)
        layers.shown.connect(self._tell)

    def close(self) -> None:
        """Hear no more of the viewer."""
        self._viewer.dims.events.point.disconnect(self._tell)

    def _tell(self, _event: Any = None) -> None:
        session, raw = self._layers.session, self._layers.raw
        if self._state.closed or session is None:
            return
        z = 0
        if session.ndim == 3:
            position = raw.world_to_data(self._viewer.dims.point)
            z = int(np.clip(round(float(position[0])), 0, session.shape[0] - 1))
        self._state.z = z

    def box(self) -> tuple[float, float, float, float] | None:
        """(y0, x0, y1, x1) of the slice that is on the screen, as napari drew it last; None: nothing of it is."""
        layer, dims = self._layers.raw, self._viewer.dims
        if layer is None or not layer.visible or tuple(sorted(dims.displayed)) != (dims.ndim - 2, dims.ndim - 1):
            return None
        corners = layer.corner_pixels
        if layer.multiscale:  # they count the pixels of the resolution that is shown
            corners = (corners * layer.downsample_factors[layer.data_level]).astype(int)
        (y0, x0), (y1, x1) = corners[:, -2:].tolist()
        return (y0, x0, y1, x1) if y1 > y0 and x1 > x0 else None

    def object_under_mouse(self) -> int:
        """Id of the committed object under the mouse; 0: none."""
        layer = self._layers.labels["committed"].layer
        return int(self._layers.session.objects.at(layer.world_to_data(self._viewer.cursor.position)))

    def proposal_under_mouse(self) -> int:
        """Label of the automatic object under the mouse; 0: none."""
        layer = self._layers.labels["auto"].layer
        return int(self._layers.session.automatic.at(layer.world_to_data(self._viewer.cursor.position)))

    def go_to_slice(self, z: int) -> None:
        """Show a slice (or frame); the nearest that there is."""
        raw, dims = self._layers.raw, self._viewer.dims
        z = min(max(int(z), 0), self._layers.session.shape[0] - 1)
        world = raw.data_to_world((z, *[0] * (raw.ndim - 1)))
        dims.set_point(dims.ndim - raw.ndim, float(world[0]))

    def go_to(self, record: ObjectRecord) -> None:
        """Show the middle of an object, large enough to be judged; in the slice in view, where the object is in it."""
        viewer, raw, z = self._viewer, self._layers.raw, self._state.z
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
        zoom = camera_of(viewer).zoom
        wanted = min(SHARE / max(size, 1e-9), MOST_PIXELS / max(pixel, 1e-9))
        if size * zoom > 1 or zoom < wanted / 2:  # too large, or too small to be judged
            camera_of(viewer).zoom = wanted
        centre = [(a + b) / 2 for a, b in zip(low[-2:], high[-2:], strict=True)]
        camera_of(viewer).center = (*camera_of(viewer).center[:-2], *centre)
