"""Frames around the selected objects, drawn over the canvas."""

from __future__ import annotations

from napari import Viewer
from qtpy.QtCore import QRectF
from qtpy.QtGui import QColor, QPainter, QPaintEvent, QPen

from micro_sam.sam_annotator.state.window import WindowState
from micro_sam.sam_annotator.view.canvas_overlay import CanvasOverlay
from micro_sam.sam_annotator.view.layers.session_layers import SessionLayers
from micro_sam.session.session import Session

MARGIN = 3  # pixels of the screen between an object and its frame


class SelectedFrames(CanvasOverlay):
    """A frame for each selected object that is in the slice in view."""

    def __init__(self, state: WindowState, viewer: Viewer, layers: SessionLayers) -> None:
        super().__init__(state, viewer, layers)
        state.events.selected.connect(self._show)
        state.events.session.connect(self._follow)

    def frames(self) -> list[QRectF]:
        """The frames in pixels of the canvas."""
        state, session = self._state, self._state.session
        if session is None or self._viewer.dims.ndisplay != 2:
            return []
        found = []
        to_canvas = self._to_canvas()
        for object_id in state.selected:
            record = session.objects.get(object_id)
            if record is None or not record.slices[0] <= state.z < record.slices[1]:
                continue
            y0, x0, y1, x1 = record.box
            frame = to_canvas.mapRect(QRectF(x0 - 0.5, y0 - 0.5, x1 - x0, y1 - y0))
            found.append(frame.adjusted(-MARGIN, -MARGIN, MARGIN, MARGIN))
        return found

    def _is_needed(self) -> bool:
        return bool(self._state.selected)

    def _follow(self, session: Session) -> None:
        session.events.objects_changed.connect(self._show)
        self._show()

    def paintEvent(self, _event: QPaintEvent) -> None:
        """See Qt."""
        painter = QPainter(self)
        for colour, width in (("black", 4), ("white", 2)):  # seen on any image
            painter.setPen(QPen(QColor(colour), width))
            for frame in self.frames():
                painter.drawRect(frame)
