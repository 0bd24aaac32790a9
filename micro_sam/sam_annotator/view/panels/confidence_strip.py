"""All slices side by side: where the object is, how certain the model is of it there, and which slice is in view."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from qtpy.QtCore import QEvent, QPointF, QRectF, QSize, Qt, QTimer
from qtpy.QtGui import QColor, QMouseEvent, QPainter, QPen, QPolygonF
from qtpy.QtWidgets import QSizePolicy, QToolTip, QWidget

from micro_sam.session.values import SliceConfidence

if TYPE_CHECKING:
    from micro_sam.sam_annotator.controller.annotator import Annotator

HEIGHT = 62
MARKS, BASE = 11, 5
"""Pixels above the bars for the marks of prompts, below them for the slices that are embedded."""
BACKGROUND, FRAME, IN_VIEW = QColor("#1b1d23"), QColor("#4a505c"), QColor("#ffffff")
PROMPT, STOP, EMBEDDED, PAINTED = QColor("#2ecc40"), QColor("#ff4136"), QColor("#4c9be8"), QColor("#9aa3b2")
SURE, UNSURE = 0.95, 0.5
"""Confidences that are drawn all green and all red."""
REFRESH_MS = 60


@dataclass(frozen=True)
class StripState:
    """What the strip shows.

    Attributes
    ----------
    n
        Number of slices.
    confidence
        Slice -> confidence of the current object there.
    prompted, stops
        Slices with prompts, and those that say that the object is not there.
    embedded
        Slices that are ready, while others are still being computed; None when all are.
    weakest
        The slice to look at first.
    """

    n: int = 0
    confidence: dict[int, SliceConfidence] | None = None
    prompted: frozenset[int] = frozenset()
    stops: frozenset[int] = frozenset()
    embedded: frozenset[int] | None = None
    weakest: int | None = None


class ConfidenceStrip(QWidget):
    """One bar per slice, green where the model is sure and red where it is not; a click goes to the slice.

    Parameters
    ----------
    annotator
        A tool with :class:`~micro_sam.sam_annotator.controller.slices.SliceActs`, whose session has runs.
    """

    def __init__(self, annotator: Annotator) -> None:
        super().__init__()
        self._annotator = annotator
        self._embedded: set[int] = set()
        self.state = StripState()
        self.setFixedHeight(HEIGHT)
        self.setMinimumWidth(120)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setMouseTracking(True)
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        self.setAccessibleName("confidence per slice")
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(REFRESH_MS)
        self._timer.timeout.connect(self.refresh)
        annotator.session_changed.connect(self._follow)
        annotator.engine.attached.connect(self._attached)
        annotator.engine.progressed.connect(self._later)
        annotator.jobs.changed.connect(self._later)
        annotator.viewer.dims.events.point.connect(self._view_changed)
        if annotator.session is not None:
            self._follow(annotator.session)

    def sizeHint(self) -> QSize:
        """See Qt."""
        return QSize(280, HEIGHT)

    # ------------------------------------------------------------------ what it shows

    def refresh(self) -> None:
        """Read the session again."""
        session = self._annotator.session
        if session is None or session.ndim != 3:
            self.state = StripState()
        else:
            prompted = frozenset(session.prompts.drawn.slices)
            stops = frozenset(z for z in prompted if session.prompts.drawn.in_slice(z).is_stop)
            stops = stops.difference(session.labels.current_slices)
            self.state = StripState(
                n=session.shape[0],
                confidence=session.propagation.confidence,
                prompted=prompted,
                stops=stops,
                embedded=self._ready_slices(session),
                weakest=session.propagation.weakest_slice(),
            )
        self.update()

    def _follow(self, session) -> None:
        self._embedded.clear()
        for signal in (session.events.prompts_changed, session.events.history_changed):
            signal.connect(self._later, check_nargs=False)
        session.events.labels_changed.connect(self._later, check_nargs=False)
        self.refresh()

    def _attached(self, *_) -> None:
        self._embedded.clear()
        self._later()

    def _later(self, *_) -> None:
        """Once for many changes: a run sends dozens a second."""
        if not self._timer.isActive():
            self._timer.start()

    def _view_changed(self, _event=None) -> None:
        self.update()

    def _ready_slices(self, session) -> frozenset[int] | None:
        if not self._annotator.engine.serves or session.model.embeddings is None:
            return None
        embeddings = session.model.embeddings
        self._embedded |= {z for z in range(session.shape[0]) if z not in self._embedded and embeddings.is_complete(z)}
        return frozenset(self._embedded)

    # ------------------------------------------------------------------ drawing

    def paintEvent(self, _event) -> None:
        """See Qt."""
        painter = QPainter(self)
        painter.fillRect(self.rect(), BACKGROUND)
        state = self.state
        if state.n:
            self._draw_bars(painter)
            self._draw_marks(painter)
            self._draw_view(painter)
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.setPen(FRAME)
        painter.drawRect(self.rect().adjusted(0, 0, -1, -1))
        painter.end()

    def _draw_view(self, painter: QPainter) -> None:
        """The slice in view: a light band, and a line where the band would be too narrow to see."""
        cell = self._cell(self._annotator.z)
        left, width = round(cell.left()), max(3, round(cell.width()))
        painter.fillRect(left, 0, width, self.height(), QColor(255, 255, 255, 60))
        painter.fillRect(left, 0, 1, self.height(), IN_VIEW)
        painter.fillRect(left + width - 1, 0, 1, self.height(), IN_VIEW)

    def _draw_bars(self, painter: QPainter) -> None:
        state = self.state
        room = self.height() - MARKS - BASE
        for z, confidence in (state.confidence or {}).items():
            cell = self._cell(z)
            tall = max(3.0, room * confidence.value)
            gap = 0.5 if cell.width() > 3 else 0.0
            bar = QRectF(cell.left() + gap, MARKS + room - tall, cell.width() - 2 * gap, tall)
            painter.fillRect(bar, PAINTED if confidence.source == "painted" else _colour(confidence.value))
        if state.embedded is not None:
            for z in state.embedded:
                cell = self._cell(z)
                painter.fillRect(QRectF(cell.left(), self.height() - BASE + 1, cell.width(), 3), EMBEDDED)

    def _draw_marks(self, painter: QPainter) -> None:
        """A green triangle: prompts. A red bar: the object is not there. A white ring: least certain."""
        state = self.state
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(Qt.PenStyle.NoPen)
        for z in state.prompted:
            middle = self._cell(z).center().x()
            if z in state.stops:
                painter.fillRect(QRectF(middle - 1.5, 1, 3, self.height() - 2), STOP)
                continue
            painter.setBrush(PROMPT)
            painter.drawPolygon(QPolygonF([QPointF(middle - 4, 2), QPointF(middle + 4, 2), QPointF(middle, 9)]))
        if state.weakest is not None:
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.setPen(QPen(_colour(state.confidence[state.weakest].value), 2))
            painter.drawEllipse(QPointF(self._cell(state.weakest).center().x(), 6), 3.2, 3.2)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing, False)

    def _cell(self, z: int) -> QRectF:
        width = (self.width() - 2) / max(1, self.state.n)
        return QRectF(1 + z * width, 0, width, self.height())

    # ------------------------------------------------------------------ mouse

    def slice_at(self, x: float) -> int:
        """The slice at a horizontal position."""
        n = max(1, self.state.n)
        return min(max(int((x - 1) / max(1, self.width() - 2) * n), 0), n - 1)

    def centre_of(self, z: int) -> QPointF:
        """Where a slice is drawn."""
        return self._cell(z).center()

    def mousePressEvent(self, event: QMouseEvent) -> None:
        """See Qt."""
        if event.button() == Qt.MouseButton.LeftButton and self.state.n:
            self._annotator.go_to_slice(self.slice_at(event.position().x()))

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        """See Qt."""
        if event.buttons() & Qt.MouseButton.LeftButton and self.state.n:
            self._annotator.go_to_slice(self.slice_at(event.position().x()))

    def event(self, event: QEvent) -> bool:
        """See Qt."""
        if event.type() == QEvent.Type.ToolTip and self.state.n:
            QToolTip.showText(event.globalPos(), self.describe(self.slice_at(event.pos().x())), self)
            return True
        return super().event(event)

    def describe(self, z: int) -> str:
        """What is known of a slice, in words."""
        state = self.state
        words = [f"{self._annotator.place} {z}"]
        if z in state.stops:
            words.append("the object is not here (your negative point)")
        elif z in state.prompted:
            words.append("your prompts")
        confidence = (state.confidence or {}).get(z)
        if confidence is not None:
            words.append(confidence.source)
            if confidence.score is not None:
                words.append(f"predicted quality {confidence.score:.2f}")
            if confidence.overlap is not None:
                words.append(f"overlap with the {self._annotator.place} beside it {confidence.overlap:.2f}")
        if z == state.weakest:
            words.append("the least certain one")
        return ", ".join(words)


def _colour(value: float) -> QColor:
    """Red over yellow to green."""
    part = min(max((value - UNSURE) / (SURE - UNSURE), 0.0), 1.0)
    return QColor.fromHsvF(part / 3, 0.75, 0.85)
