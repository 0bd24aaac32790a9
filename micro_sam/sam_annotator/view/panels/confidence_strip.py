"""All slices side by side: where the object is, how certain the model is of it there, and which slice is in view."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from psygnal import SignalInstance
from qtpy.QtCore import QEvent, QPointF, QRectF, QSize, Qt
from qtpy.QtGui import QColor, QMouseEvent, QPainter, QPaintEvent, QPen, QPolygonF
from qtpy.QtWidgets import QSizePolicy, QToolTip, QWidget

from micro_sam.sam_annotator.actions import Actions
from micro_sam.sam_annotator.runtime.jobs import Jobs
from micro_sam.sam_annotator.runtime.timers import once
from micro_sam.sam_annotator.state.window import WindowState
from micro_sam.session.session import Session
from micro_sam.session.values import SliceConfidence

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


class FeaturesState(Protocol):
    """What the strip reads of the embedding."""

    @property
    def serves(self) -> bool:
        """Whether missing slices are computed."""

    @property
    def attached(self) -> SignalInstance:
        """There are other features."""

    @property
    def progressed(self) -> SignalInstance:
        """Another slice is there."""


class ConfidenceStrip(QWidget):
    """One bar per slice, green where the model is sure and red where it is not; a click goes to the slice.

    Parameters
    ----------
    state, actions
        What it reads and does; the session has propagation.
    jobs, features
        Whose progress it shows.
    """

    def __init__(self, state: WindowState, actions: Actions, jobs: Jobs, features: FeaturesState) -> None:
        super().__init__()
        self._state, self._actions, self._features = state, actions, features
        self._embedded: set[int] = set()
        self.state = StripState()
        self.setFixedHeight(HEIGHT)
        self.setMinimumWidth(120)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setMouseTracking(True)
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        self.setAccessibleName("confidence per slice")
        self._timer = once(self.refresh, REFRESH_MS, parent=self)
        state.events.session.connect(self._follow)
        state.events.z.connect(lambda _z: self.update())
        features.attached.connect(self._attached)
        features.progressed.connect(self._later)
        jobs.changed.connect(self._later)
        if state.session is not None:
            self._follow(state.session)

    def sizeHint(self) -> QSize:
        """See Qt."""
        return QSize(280, HEIGHT)

    # ------------------------------------------------------------------ what it shows

    def refresh(self) -> None:
        """Read the session again."""
        session = self._state.session
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

    def _follow(self, session: Session) -> None:
        self._embedded.clear()
        for signal in (session.events.prompts_changed, session.events.history_changed):
            signal.connect(self._later, check_nargs=False)
        session.events.labels_changed.connect(self._later, check_nargs=False)
        self.refresh()

    def _attached(self, *_: Any) -> None:
        self._embedded.clear()
        self._later()

    def _later(self, *_: Any) -> None:
        """Once for many changes: a propagation sends dozens a second."""
        if not self._timer.isActive():
            self._timer.start()

    def _ready_slices(self, session: Session) -> frozenset[int] | None:
        if not self._features.serves or session.model.embeddings is None:
            return None
        embeddings = session.model.embeddings
        self._embedded |= {z for z in range(session.shape[0]) if z not in self._embedded and embeddings.is_complete(z)}
        return frozenset(self._embedded)

    # ------------------------------------------------------------------ drawing

    def paintEvent(self, _event: QPaintEvent) -> None:
        """See Qt."""
        painter = QPainter(self)
        painter.fillRect(self.rect(), BACKGROUND)
        shown = self.state
        if shown.n:
            self._draw_bars(painter)
            self._draw_marks(painter)
            self._draw_view(painter)
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.setPen(FRAME)
        painter.drawRect(self.rect().adjusted(0, 0, -1, -1))
        painter.end()

    def _draw_view(self, painter: QPainter) -> None:
        """The slice in view: a light band, and a line where the band would be too narrow to see."""
        cell = self._cell(self._state.z)
        left, width = round(cell.left()), max(3, round(cell.width()))
        painter.fillRect(left, 0, width, self.height(), QColor(255, 255, 255, 60))
        painter.fillRect(left, 0, 1, self.height(), IN_VIEW)
        painter.fillRect(left + width - 1, 0, 1, self.height(), IN_VIEW)

    def _draw_bars(self, painter: QPainter) -> None:
        shown = self.state
        room = self.height() - MARKS - BASE
        for z, confidence in (shown.confidence or {}).items():
            cell = self._cell(z)
            tall = max(3.0, room * confidence.value)
            gap = 0.5 if cell.width() > 3 else 0.0
            bar = QRectF(cell.left() + gap, MARKS + room - tall, cell.width() - 2 * gap, tall)
            painter.fillRect(bar, PAINTED if confidence.source == "painted" else _colour(confidence.value))
        if shown.embedded is not None:
            for z in shown.embedded:
                cell = self._cell(z)
                painter.fillRect(QRectF(cell.left(), self.height() - BASE + 1, cell.width(), 3), EMBEDDED)

    def _draw_marks(self, painter: QPainter) -> None:
        """A green triangle: prompts. A red bar: the object is not there. A white ring: least certain."""
        shown = self.state
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(Qt.PenStyle.NoPen)
        for z in shown.prompted:
            middle = self._cell(z).center().x()
            if z in shown.stops:
                painter.fillRect(QRectF(middle - 1.5, 1, 3, self.height() - 2), STOP)
                continue
            painter.setBrush(PROMPT)
            painter.drawPolygon(QPolygonF([QPointF(middle - 4, 2), QPointF(middle + 4, 2), QPointF(middle, 9)]))
        if shown.weakest is not None and shown.confidence is not None:
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.setPen(QPen(_colour(shown.confidence[shown.weakest].value), 2))
            painter.drawEllipse(QPointF(self._cell(shown.weakest).center().x(), 6), 3.2, 3.2)
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
            self._actions.go_to_slice(self.slice_at(event.position().x()))

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        """See Qt."""
        if event.buttons() & Qt.MouseButton.LeftButton and self.state.n:
            self._actions.go_to_slice(self.slice_at(event.position().x()))

    def event(self, event: QEvent) -> bool:
        """See Qt."""
        if event.type() == QEvent.Type.ToolTip and self.state.n:
            QToolTip.showText(event.globalPos(), self.describe(self.slice_at(event.pos().x())), self)
            return True
        return super().event(event)

    def describe(self, z: int) -> str:
        """What is known of a slice, in words."""
        shown = self.state
        words = [f"{self._state.tool.place} {z}"]
        if z in shown.stops:
            words.append("the object is not here (your negative point)")
        elif z in shown.prompted:
            words.append("your prompts")
        confidence = (shown.confidence or {}).get(z)
        if confidence is not None:
            words.append(confidence.source)
            if confidence.score is not None:
                words.append(f"predicted quality {confidence.score:.2f}")
            if confidence.overlap is not None:
                words.append(f"overlap with the {self._state.tool.place} beside it {confidence.overlap:.2f}")
        if z == shown.weakest:
            words.append("the least certain one")
        return ", ".join(words)


def _colour(value: float) -> QColor:
    """Red over yellow to green."""
    part = min(max((value - UNSURE) / (SURE - UNSURE), 0.0), 1.0)
    return QColor.fromHsvF(part / 3, 0.75, 0.85)
