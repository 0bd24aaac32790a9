"""The card of the first start: how the loop of clicking and committing works, in five lines over the image."""

from __future__ import annotations

from napari import Viewer
from qtpy.QtCore import QEvent, QObject, Qt
from qtpy.QtWidgets import QFrame, QLabel, QPushButton, QVBoxLayout

from micro_sam.sam_annotator.actions import Actions
from micro_sam.sam_annotator.state.window import WindowState
from micro_sam.sam_annotator.view.frame import card_was_read, leave

MARGIN = 14
WIDTH = 360
WORK = {"volume": "the whole object, in all slices", "tracks": "follows the object through the movie"}
STYLE = """
QFrame#first_card { background-color: rgba(32, 35, 41, 240); border: 1px solid #7d8794; border-radius: 8px; }
QFrame#first_card QLabel { background: transparent; font-size: 13px; }
"""


class FirstCard(QFrame):
    """Lies in a corner of the canvas until it was read; the window can be used meanwhile. Then it comes never again.

    Parameters
    ----------
    state, viewer, actions
        Of the window.
    """

    def __init__(self, state: WindowState, viewer: Viewer, actions: Actions) -> None:
        self._canvas = viewer.window._qt_viewer.canvas.native
        super().__init__(self._canvas)
        self._state = state
        self.setObjectName("first_card")
        self.setStyleSheet(STYLE)
        self.text = QLabel(text_of(state, actions))
        self.text.setWordWrap(True)
        self.read = QPushButton("Got it")
        self.read.setToolTip("Do not show this again.")
        self.read.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.read.clicked.connect(self.put_away)
        self._layout = QVBoxLayout(self)
        self._layout.setContentsMargins(14, 10, 14, 10)
        self._layout.addWidget(self.text)
        self._layout.addWidget(self.read, 0, Qt.AlignmentFlag.AlignRight)
        self.setFixedWidth(WIDTH)
        self._canvas.installEventFilter(self)
        state.events.keys_shown.connect(self.put_away)  # who has found the list of keys has read it
        self.show()
        self._place()

    def put_away(self) -> None:
        """The user has read it."""
        card_was_read()
        self.end()

    def end(self) -> None:
        """Take it from the canvas; where it was not read, it comes with the next window."""
        if not self._state.closed and self.parent() is not None:
            self._state.events.keys_shown.disconnect(self.put_away)
            leave(self._canvas, self)

    def eventFilter(self, _watched: QObject, event: QEvent) -> bool:
        """See Qt."""
        if event.type() == QEvent.Type.Resize:
            self._place()
        return False

    def _place(self) -> None:
        self.ensurePolished()  # the font decides the height
        self.setFixedHeight(self._layout.totalHeightForWidth(WIDTH))
        self.move(MARGIN, max(0, self._canvas.height() - self.height() - MARGIN))


def text_of(state: WindowState, actions: Actions) -> str:
    """The card of a tool, with its keys."""
    tool, key = state.tool, {name: f"<b>{actions[name].key}</b>" for name in ("toggle_polarity", "commit", "undo")}
    lines = [
        "Click an object: its mask appears at once. More points or a box correct it; "
        f"after {key['toggle_polarity']} click what does not belong to it.",
        f"{key['commit']} commits the {tool.noun}. The next click begins the next one.",
        "<b>Save</b> writes all that is committed.",
        f"<b>{actions['toggle_keys'].key}</b> lists all keys, {key['undo']} takes back any step.",
    ]
    if tool.work:
        name = "segment_volume" if tool.work == "volume" else "track_objects"
        lines.insert(1, f"<b>{actions[name].key}</b>: {WORK[tool.work]}.")
    items = "".join(f"<li style='margin-bottom: 4px'>{line}</li>" for line in lines)
    return f"<b>How it works</b><ol style='margin-left: -22px'>{items}</ol>"
