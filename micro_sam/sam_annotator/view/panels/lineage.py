"""The committed tracks: a picture of the lineage, and what can be done to it."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import QEvent, QRectF, QSize, Qt, Signal
from qtpy.QtGui import QColor, QMouseEvent, QPainter, QPaintEvent, QPen
from qtpy.QtWidgets import QFrame, QScrollArea, QSizePolicy, QToolTip, QWidget

from micro_sam.sam_annotator.actions import Actions
from micro_sam.sam_annotator.runtime.timers import once
from micro_sam.sam_annotator.state.window import WindowState
from micro_sam.sam_annotator.view.layers.colours import track_colours
from micro_sam.sam_annotator.view.panels.objects import ObjectsPanel
from micro_sam.sam_annotator.view.panels.parts import FoldedMenu, action_button, menu_layout, row
from micro_sam.session.lineage import Lineage
from micro_sam.session.session import Session

ROW, BAR, MARGIN = 15, 7, 4
"""Height of a row and of the bar in it, and the frame around all, in pixels."""
LABELS = 30  # room for ids, left of the bars
MOST_HEIGHT = 190
BACKGROUND, LINE, TEXT, IN_VIEW = QColor("#1b1d23"), QColor("#9aa3b2"), QColor("#c8ccd4"), QColor(255, 255, 255, 110)
SELECTED = QColor("#ffffff")
REFRESH_MS = 60


def lay_out(lineage: Lineage) -> dict[int, float]:
    """Row of every track: families below each other, a mother in the middle of her daughters.

    Returns
    -------
    dict
        Track id -> row, 0 is the first. Tracks without daughters have whole numbers.
    """
    rows: dict[int, float] = {}
    waiting = [(i, False) for i in reversed(lineage.roots)]
    leaves = 0
    while waiting:
        track_id, is_done = waiting.pop()
        daughters = lineage.daughters(track_id)
        if not daughters:
            rows[track_id] = leaves
            leaves += 1
        elif is_done:
            rows[track_id] = (rows[daughters[0]] + rows[daughters[-1]]) / 2
        else:
            waiting.append((track_id, True))
            waiting += [(i, False) for i in reversed(daughters)]
    return rows


class LineageView(QWidget):
    """Time runs to the right; every track is a bar in its colour, and lines lead from mothers to daughters.

    A click selects the track and goes to the frame; with Ctrl or Shift it is selected beside others.
    """

    laid_out = Signal()

    def __init__(self, state: WindowState, actions: Actions) -> None:
        super().__init__()
        self._state, self._actions = state, actions
        self.lineage = Lineage()
        self.rows: dict[int, float] = {}
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        self.setAccessibleName("lineage")
        self._timer = once(self.refresh, REFRESH_MS, parent=self)
        state.events.session.connect(self._follow)
        state.events.selected.connect(lambda _ids: self.update())
        state.events.z.connect(lambda _z: self.update())
        self.refresh()

    def sizeHint(self) -> QSize:
        """See Qt."""
        leaves = int(max(self.rows.values(), default=0)) + 1
        return QSize(280, leaves * ROW + 2 * MARGIN)

    def refresh(self) -> None:
        """Read the session again."""
        session = self._state.session
        lineage = session.tracks.lineage if session is not None else Lineage()
        if lineage != self.lineage or not self.rows:
            self.lineage, self.rows = lineage, lay_out(lineage)
            self.setFixedHeight(self.sizeHint().height())
        self.update()
        self.laid_out.emit()

    def _follow(self, session: Session) -> None:
        session.events.lineage_changed.connect(self._later)
        self._later()

    def _later(self) -> None:
        self._timer.start()

    # ------------------------------------------------------------------ where things are

    def _x(self, frame: float) -> float:
        n = self._state.session.shape[0] if self._state.session is not None else 1
        return LABELS + frame * (self.width() - LABELS - MARGIN) / n

    def bar(self, track_id: int) -> QRectF:
        """Where a track is drawn."""
        track = self.lineage[track_id]
        y = MARGIN + self.rows[track_id] * ROW + (ROW - BAR) / 2
        return QRectF(self._x(track.start), y, max(2.0, self._x(track.end + 1) - self._x(track.start)), BAR)

    def track_at(self, x: float, y: float) -> int | None:
        """The track whose bar (or number) is at a position."""
        for track_id in self.rows:
            bar = self.bar(track_id)
            if abs(y - bar.center().y()) <= ROW / 2 and bar.left() - LABELS <= x <= bar.right() + 1:
                return track_id
        return None

    def frame_at(self, x: float) -> int:
        """The frame at a horizontal position."""
        n = self._state.session.shape[0]
        return min(max(int((x - LABELS) / max(1, self.width() - LABELS - MARGIN) * n), 0), n - 1)

    # ------------------------------------------------------------------ drawing

    def paintEvent(self, event: QPaintEvent) -> None:
        """See Qt."""
        painter = QPainter(self)
        painter.fillRect(self.rect(), BACKGROUND)
        if not self.rows:
            painter.setPen(LINE)
            painter.drawText(self.rect(), Qt.AlignmentFlag.AlignCenter, "no committed tracks yet")
            painter.end()
            return
        font = painter.font()
        font.setPixelSize(10)
        painter.setFont(font)
        seen = event.rect().adjusted(0, -ROW, 0, ROW)
        shown = [i for i in self.rows if seen.top() <= self.bar(i).center().y() <= seen.bottom()]
        colours = dict(zip(shown, track_colours(shown), strict=True)) if shown else {}
        for track_id in self.rows:
            self._draw_link(painter, track_id)
        for track_id in shown:
            bar = self.bar(track_id)
            r, g, b, _ = (float(value) for value in colours[track_id])
            painter.fillRect(bar, QColor.fromRgbF(r, g, b))
            is_selected = track_id in self._state.selected
            if is_selected:
                painter.setPen(QPen(SELECTED, 1.6))
                painter.drawRect(bar.adjusted(-1.5, -1.5, 1.5, 1.5))
            painter.setPen(SELECTED if is_selected else TEXT)
            number = QRectF(bar.left() - LABELS, bar.top() - 4, LABELS - 4, BAR + 8)
            painter.drawText(number, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter, str(track_id))
        z = self._state.z
        painter.fillRect(QRectF(self._x(z), 0, max(1.0, self._x(z + 1) - self._x(z)), self.height()), IN_VIEW)
        painter.end()

    def _draw_link(self, painter: QPainter, track_id: int) -> None:
        parent = self.lineage[track_id].parent
        if parent is None:
            return
        mother, daughter = self.bar(parent), self.bar(track_id)
        painter.setPen(QPen(LINE, 1.2))
        x, y = mother.right(), daughter.center().y()
        painter.drawLine(int(x), int(mother.center().y()), int(x), int(y))
        painter.drawLine(int(x), int(y), int(daughter.left()), int(y))

    # ------------------------------------------------------------------ mouse

    def mousePressEvent(self, event: QMouseEvent) -> None:
        """See Qt."""
        if event.button() != Qt.MouseButton.LeftButton or self._state.session is None:
            return
        x, y = event.position().x(), event.position().y()
        track_id = self.track_at(x, y)
        if track_id is None:
            self._actions.go_to_slice(self.frame_at(x))
        elif event.modifiers() & (Qt.KeyboardModifier.ControlModifier | Qt.KeyboardModifier.ShiftModifier):
            self._actions.select_one(track_id)
        else:
            track = self.lineage[track_id]
            self._actions.show_track(track_id, min(max(self.frame_at(x), track.start), track.end))

    def event(self, event: QEvent) -> bool:
        """See Qt."""
        if event.type() == QEvent.Type.ToolTip:
            track_id = self.track_at(event.pos().x(), event.pos().y())
            QToolTip.showText(event.globalPos(), self.describe(track_id) if track_id is not None else "", self)
            return True
        return super().event(event)

    def describe(self, track_id: int) -> str:
        """What is known of a track, in words."""
        track = self.lineage[track_id]
        words = [f"track {track_id}: frames {track.start} to {track.end}"]
        if track.parent is not None:
            words.append(f"daughter of {track.parent}")
        if daughters := self.lineage.daughters(track_id):
            words.append("goes on as " + " and ".join(map(str, daughters)))
        return ", ".join(words)


class LineagePanel(QWidget):
    """The picture, and actions on the selected tracks."""

    def __init__(self, state: WindowState, actions: Actions) -> None:
        super().__init__()
        self._was_opened = False
        self.view = LineageView(state, actions)
        self.scroll: Any = QScrollArea()
        self.scroll.setWidgetResizable(True)
        self.scroll.setFrameShape(QFrame.Shape.NoFrame)
        self.scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.scroll.setWidget(self.view)
        self.scroll.setFixedHeight(self._height())
        self.objects = ObjectsPanel(state, actions)
        self.split = self.objects.split
        self.link = action_button(actions, "link_selected")
        self.unlink = action_button(actions, "unlink_selected")
        layout = menu_layout(self, 3)
        layout.addWidget(self.scroll)
        layout.addWidget(self.objects)
        layout.addWidget(row(self.link, self.unlink).native)
        state.events.selected.connect(self._show_selected)
        state.events.session.connect(self._fit)
        self._show_selected(state.selected)
        self.view.laid_out.connect(self._fit)

    def _height(self) -> int:
        return min(MOST_HEIGHT, max(4 * ROW, self.view.sizeHint().height() + MARGIN))

    def _fit(self) -> None:
        self.scroll.setFixedHeight(self._height())
        if len(self.view.lineage) and not self._was_opened:
            self._open()

    def _open(self) -> None:
        """Unfold the menu with the first committed track; afterwards it is as the user leaves it."""
        self._was_opened = True
        parent = self.parent()
        while parent is not None and not isinstance(parent, FoldedMenu):
            parent = parent.parent()
        if parent is not None:
            parent.expand(animate=False)

    def _show_selected(self, ids: tuple[int, ...]) -> None:
        self.link.enabled = len(ids) == 2
        self.unlink.enabled = len(ids) > 0
