"""The camera of a viewer, and the image that fills the canvas until the user zooms or moves it."""

from __future__ import annotations

from typing import Any

import numpy as np
from napari import Viewer
from qtpy.QtCore import QEvent, QObject

from micro_sam.sam_annotator.runtime.timers import once
from micro_sam.sam_annotator.view.frame import leave


def camera_of(viewer: Viewer) -> Any:
    """The camera: of ``viewer.scene`` from napari 0.9 on, of the viewer itself before."""
    return viewer.scene.camera if hasattr(viewer, "scene") else viewer.camera


class FittedView(QObject):
    """Fits the image to the canvas again whenever the canvas gets another size and the user has not changed the view.

    Parameters
    ----------
    viewer
        Its canvas is watched.
    """

    def __init__(self, viewer: Viewer) -> None:
        self._canvas = viewer.window._qt_viewer.canvas.native
        super().__init__(self._canvas)
        self._viewer = viewer
        self._fitted: np.ndarray | None = None
        self._timer = once(self._fit_again, parent=self)  # napari takes over the new size first
        self._canvas.installEventFilter(self)

    def fit(self) -> None:
        """Show the whole image, as large as the canvas."""
        self._viewer.reset_view()
        self._fitted = self._view()

    def close(self) -> None:
        """Watch no more."""
        self._timer.stop()
        leave(self._canvas, self)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """See Qt."""
        if event.type() == QEvent.Type.Resize:
            self._timer.start()
        return False

    def _fit_again(self) -> None:
        if self._fitted is not None and np.allclose(self._fitted, self._view(), rtol=1e-6):
            self.fit()

    def _view(self) -> np.ndarray:
        """Zoom and centre of the camera."""
        camera = camera_of(self._viewer)
        return np.array([camera.zoom, *camera.center])
