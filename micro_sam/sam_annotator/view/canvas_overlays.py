"""Pictures over the canvas that move with the image: outlines of the current objects, frames around selected ones.

A layer for them would take half a second of the window's thread to make, and another colour map of the labels compiles
code at its first use; a picture that Qt lays over the canvas costs nothing and touches no layer.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from napari import Viewer
from qtpy.QtCore import QEvent, QLineF, QObject, QRectF, Qt
from qtpy.QtGui import QColor, QPainter, QPaintEvent, QPen, QTransform
from qtpy.QtWidgets import QWidget

from micro_sam.sam_annotator.state.window import WindowState
from micro_sam.sam_annotator.view.camera import camera_of
from micro_sam.sam_annotator.view.frame import leave
from micro_sam.sam_annotator.view.layers.session_layers import SessionLayers
from micro_sam.segmentation.values import ObjectMask
from micro_sam.session.session import Session

Seen = tuple[tuple[int, int, int, int], int]

COLOUR = "#00e5ff"
WIDTHS = (("black", 4.5), (COLOUR, 2.0))
"""Colours and widths in pixels of the screen: seen on any image."""
MARGIN = 3  # pixels of the screen between an object and its frame
LARGE = 2**20  # pixels of a mask whose outline is found where it is seen only
OUTSIDE = 8  # pixels of the screen around the canvas in which that goes on, so that its end is not seen


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


class CurrentOutline(CanvasOverlay):
    """Follows the current objects in the slice in view."""

    def __init__(self, state: WindowState, viewer: Viewer, layers: SessionLayers) -> None:
        self._edges = np.zeros((0, 4))
        self._is_current = False
        self._large: list[ObjectMask] = []
        self._large_edges = self._edges
        self._seen: Seen | None = None
        super().__init__(state, viewer, layers)
        state.events.z.connect(self._changed)
        state.events.session.connect(self._follow)

    @property
    def edges(self) -> np.ndarray:
        """The outline in the slice in view: (n, 4), each row (y0, x0, y1, x1) in pixels of the image.

        Of large objects only what is on the canvas, as finely as it is seen there.
        """
        if not self._is_current:
            session, z = self._state.session, self._state.z
            masks = session.labels.current_in(z).values() if session is not None else ()
            self._large = [mask for mask in masks if mask.mask.size > LARGE]
            self._edges = outlines((mask for mask in masks if mask.mask.size <= LARGE), None)
            self._seen, self._is_current = None, True
        seen = self._in_view() if self._large else None
        if seen != self._seen:
            self._seen, self._large_edges = seen, outlines(self._large, seen)
        return np.concatenate([self._edges, self._large_edges]) if self._large else self._edges

    def _in_view(self) -> Seen:
        to_image, valid = self._to_canvas().inverted()
        around = QRectF(self._canvas.rect()).adjusted(-OUTSIDE, -OUTSIDE, OUTSIDE, OUTSIDE)
        place = to_image.mapRect(around)
        step = max(1, int(place.width() / around.width())) if valid else 1
        y0, x0, y1, x1 = (int(v // step) * step for v in (place.top(), place.left(), place.bottom(), place.right()))
        return (y0, x0, y1 + step, x1 + step), step

    def _follow(self, session: Session) -> None:
        session.events.labels_changed.connect(self._labels_changed)
        self._changed()

    def _labels_changed(self, name: str, _region: Any) -> None:
        if name == "current":
            self._changed()

    def _changed(self, *_: Any) -> None:
        self._is_current = False
        self._show()

    def _is_needed(self) -> bool:
        return self._state.session is not None and bool(self._state.session.labels.current_slices)

    def paintEvent(self, _event: QPaintEvent) -> None:
        """See Qt."""
        layer = self._layers.labels.get("current")
        if layer is None or not layer.layer.visible:
            return
        lines = [QLineF(x0, y0, x1, y1) for y0, x0, y1, x1 in self.edges.tolist()]
        painter = QPainter(self)
        painter.setTransform(self._to_canvas())
        for colour, width in WIDTHS:
            painter.setPen(screen_pen(colour, width))
            painter.drawLines(lines)


def screen_pen(colour: str, width: float, style: Qt.PenStyle = Qt.PenStyle.SolidLine) -> QPen:
    """Draws lines as wide on the screen, however large the pixels of the image are."""
    pen = QPen(QColor(colour), width, style)
    pen.setCosmetic(True)
    return pen


def outlines(masks: Iterable[ObjectMask], seen: Seen | None) -> np.ndarray:
    """The edges of objects, in pixels of the image.

    Parameters
    ----------
    masks
        Of a slice.
    seen
        The part of the slice that is looked at, and the distance of the pixels that are looked at; None: all.

    Returns
    -------
    edges
        As of :func:`outline`, with the middle of pixel (0, 0) at (0, 0).
    """
    found = [np.zeros((0, 4))]
    for mask in masks:
        y, x = mask.box[:2]
        if seen is None:
            found.append(outline(mask.mask) + np.tile((y, x), 2) - 0.5)
            continue
        (y0, x0, y1, x1), step = seen
        # the same pixels, wherever the view begins
        y0, x0 = (max(start, first) for start, first in ((y0, -(-y // step) * step), (x0, -(-x // step) * step)))
        part = mask.mask[y0 - y : max(y1 - y, 0) : step, x0 - x : max(x1 - x, 0) : step]
        if part.size:
            found.append(outline(part) * step + np.tile((y0, x0), 2) - 0.5)
    return np.concatenate(found)


def outline(mask: np.ndarray) -> np.ndarray:
    """The edges between object and background.

    Parameters
    ----------
    mask
        (H, W), bool.

    Returns
    -------
    edges
        (n, 4): y0, x0, y1, x1 of straight pieces along the borders of pixels; pixel (0, 0) reaches from 0 to 1.
    """
    padded = np.pad(mask, 1).astype(np.int8)
    rows = _runs(np.diff(padded, axis=0)[:, 1:-1])  # (y, x0, x1)
    columns = _runs(np.diff(padded, axis=1)[1:-1].T)  # (x, y0, y1)
    along_x = np.stack([rows[:, 0], rows[:, 1], rows[:, 0], rows[:, 2]], axis=1)
    along_y = np.stack([columns[:, 1], columns[:, 0], columns[:, 2], columns[:, 0]], axis=1)
    return np.concatenate([along_x, along_y]).astype(float)


def _runs(steps: np.ndarray) -> np.ndarray:
    """(n, 3): line, begin and end of each run of equal steps that are not 0."""
    padded = np.pad(steps, ((0, 0), (1, 1)))
    before, after = padded[:, :-1], padded[:, 1:]
    changes = before != after
    begin, end = np.nonzero(changes & (after != 0)), np.nonzero(changes & (before != 0))
    return np.stack([begin[0], begin[1], end[1]], axis=1)


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
