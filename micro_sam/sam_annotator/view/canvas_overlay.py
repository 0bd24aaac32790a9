"""A picture over the canvas that moves with the image.

A layer for it would take half a second of the window's thread to make, and another colour map of the labels compiles
code at its first use; a picture that Qt lays over the canvas costs nothing and touches no layer.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from napari import Viewer
from qtpy.QtCore import QEvent, QObject, Qt
from qtpy.QtGui import QTransform
from qtpy.QtWidgets import QWidget

from micro_sam.sam_annotator.state.window import WindowState
from micro_sam.sam_annotator.view.camera import camera_of
from micro_sam.sam_annotator.view.frame import leave
from micro_sam.sam_annotator.view.layers.session_layers import SessionLayers


class CanvasOverlay(QWidget):
    """Follows where the camera looks. Never gets the mouse. Who draws says when there is something to draw.

    Parameters
    ----------
    state, viewer, layers
        Of the window.
    """

    def __init__(self, state: WindowState, viewer: Viewer, layers: SessionLayers) -> None:
        self._canvas = viewer.window._qt_viewer.canvas.native
        super().__init__(self._canvas)
        self._state, self._viewer, self._layers = state, viewer, layers
        self.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        self.setAttribute(Qt.WidgetAttribute.WA_NoSystemBackground)
        self.hide()
        self._canvas.installEventFilter(self)
        self._events = (camera_of(viewer).events, viewer.dims.events.ndisplay)
        for event in (*self._events, state.events.z):
            event.connect(self._show)

    def end(self) -> None:
        """Draw no more; the canvas stays."""
        for event in self._events:
            event.disconnect(self._show)
        leave(self._canvas, self)

    def _is_needed(self) -> bool:
        """Whether there is something to draw."""
        raise NotImplementedError

    def _show(self, *_: Any) -> None:
        if self._state.closed:  # Qt has deleted the canvas, and this with it
            return
        visible = self._state.session is not None and self._viewer.dims.ndisplay == 2 and self._is_needed()
        if visible or self.isVisible():
            self.setGeometry(self._canvas.rect())
            self.setVisible(visible)
            self.update()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """See Qt."""
        if event.type() == QEvent.Type.Resize:
            self._show()
        return False

    def _to_canvas(self) -> QTransform:
        """From (x, y) in pixels of the image, whose corners lie at -0.5, to pixels of the canvas."""
        camera, raw = camera_of(self._viewer), self._layers.raw
        z = (self._state.z,) * (raw.ndim - 2)
        places = [np.array(raw.data_to_world((*z, *yx))[-2:]) for yx in ((0, 0), (0, 1), (1, 0))]
        origin, along_x, along_y = (
            ((place - camera.center[-2:]) * camera.zoom)[::-1] + (self._canvas.width() / 2, self._canvas.height() / 2)
            for place in places
        )
        return QTransform(*(along_x - origin), *(along_y - origin), *origin)
