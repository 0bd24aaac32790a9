"""Frames around the selected objects, drawn over the canvas.

A layer for them would take half a second of the window's thread to make, and another colour map of the labels compiles
code at its first use; a picture that Qt lays over the canvas costs nothing and touches no layer.
"""

from __future__ import annotations

from typing import Any

from napari import Viewer
from qtpy.QtCore import QEvent, QObject, QRectF, Qt
from qtpy.QtGui import QColor, QPainter, QPaintEvent, QPen
from qtpy.QtWidgets import QWidget

from micro_sam.sam_annotator.state.window import WindowState
from micro_sam.sam_annotator.view.layers.session_layers import SessionLayers
from micro_sam.session.session import Session

MARGIN = 3  # pixels of the screen between an object and its frame


class SelectedFrames(QWidget):
    """Follows what is selected, where the camera looks, and the slice in view. Never gets the mouse."""

    def __init__(self, state: WindowState, viewer: Viewer, layers: SessionLayers) -> None:
        self._canvas = viewer.window._qt_viewer.canvas.native
        super().__init__(self._canvas)
        self._state, self._viewer, self._layers = state, viewer, layers
        self.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        self.setAttribute(Qt.WidgetAttribute.WA_NoSystemBackground)
        self.hide()
        self._canvas.installEventFilter(self)
        for event in (viewer.camera.events, viewer.dims.events.current_step, viewer.dims.events.ndisplay):
            event.connect(self._show)
        state.events.selected.connect(self._show)
        state.events.session.connect(self._follow)

    def frames(self) -> list[QRectF]:
        """The frames in pixels of the canvas."""
        state, session = self._state, self._state.session
        if session is None or self._viewer.dims.ndisplay != 2:
            return []
        found = []
        for object_id in state.selected:
            record = session.objects.get(object_id)
            if record is None or not record.slices[0] <= state.z < record.slices[1]:
                continue
            y0, x0, y1, x1 = record.box
            z = (state.z,) * (session.ndim - 2)
            a, b = (
                self._on_canvas(self._layers.raw.data_to_world((*z, y - 0.5, x - 0.5))) for y, x in ((y0, x0), (y1, x1))
            )
            found.append(QRectF(*a, b[0] - a[0], b[1] - a[1]).adjusted(-MARGIN, -MARGIN, MARGIN, MARGIN))
        return found

    def _on_canvas(self, world: tuple[float, ...]) -> tuple[float, float]:
        """(x, y) of a place in the world."""
        camera = self._viewer.camera
        y, x = ((w - c) * camera.zoom for w, c in zip(world[-2:], camera.center[-2:], strict=True))
        return x + self._canvas.width() / 2, y + self._canvas.height() / 2

    def _follow(self, session: Session) -> None:
        session.events.objects_changed.connect(self._show)
        self._show()

    def _show(self, *_: Any) -> None:
        if self._state.closed:  # Qt has deleted the canvas, and this with it
            return
        visible = bool(self._state.selected)
        if visible or self.isVisible():
            self.setGeometry(self._canvas.rect())
            self.setVisible(visible)
            self.update()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """See Qt."""
        if event.type() == QEvent.Type.Resize:
            self._show()
        return False

    def paintEvent(self, _event: QPaintEvent) -> None:
        """See Qt."""
        painter = QPainter(self)
        for colour, width in (("black", 4), ("white", 2)):  # seen on any image
            painter.setPen(QPen(QColor(colour), width))
            for frame in self.frames():
                painter.drawRect(frame)
