"""What just happened, what to do next, and what is running."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import QHBoxLayout, QLabel, QProgressBar, QPushButton, QSizePolicy, QVBoxLayout, QWidget

if TYPE_CHECKING:
    from micro_sam.sam_annotator.controller.annotator import Annotator

REFRESH_MS = 100
"""Between two looks at a run: it reports many times a second, and a progress bar repaints the whole window at once."""
LINES = 6
"""Of text that are in sight; the longest sentences (why a run stopped on both sides) need them all."""
COLOURS = {"info": "#4c9be8", "good": "#3ecf6b", "warning": "#f0b429", "error": "#ff5b52"}


class StatusBar(QWidget):
    """The sentence and the progress bar at the top of the dock."""

    def __init__(self, annotator: Annotator) -> None:
        super().__init__()
        self._annotator = annotator
        self.text = QLabel()
        self.text.setWordWrap(True)
        # a fixed height: the menus below must not jump under the mouse
        self._height = LINES * self.text.fontMetrics().lineSpacing() + 8
        self.text.setFixedHeight(self._height)
        self.text.setAlignment(Qt.AlignmentFlag.AlignTop | Qt.AlignmentFlag.AlignLeft)
        self.text.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.text.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.progress = QProgressBar()
        self.progress.setTextVisible(True)
        self.cancel = QPushButton("Cancel")
        self.cancel.setToolTip("Stop what is running. What is finished stays.")
        self.cancel.clicked.connect(lambda: annotator.cancel())
        self._running = QWidget()
        layout = QHBoxLayout(self._running)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.progress, 1)
        layout.addWidget(self.cancel)
        policy = self._running.sizePolicy()
        policy.setRetainSizeWhenHidden(True)
        self._running.setSizePolicy(policy)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.addWidget(self.text)
        outer.addWidget(self._running)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)
        annotator.status.changed.connect(self._say)
        self._shown = None
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(REFRESH_MS)
        self._timer.timeout.connect(self._progress)
        annotator.jobs.changed.connect(self._changed)
        self._say(annotator.status.text, annotator.status.kind)
        self._progress()

    def _say(self, text: str, kind: str) -> None:
        self.text.setText(text)
        self.text.setToolTip(text)
        colour = COLOURS.get(kind, COLOURS["info"])
        self.text.setStyleSheet(f"QLabel {{ border-left: 4px solid {colour}; padding: 2px 0px 2px 7px; }}")
        # Only an error may take more room: it says what to do, and must be read to its end.
        needed = self.text.heightForWidth(self.text.width()) if kind == "error" else 0
        self.text.setFixedHeight(max(self._height, needed))

    def _changed(self) -> None:
        """Show the begin and the end of a run at once, what lies between now and then."""
        if self._annotator.jobs.running() is not self._shown:
            self._progress()
        elif not self._timer.isActive():
            self._timer.start()

    def _progress(self) -> None:
        job = self._shown = self._annotator.jobs.running()
        self._running.setVisible(job is not None)
        if job is None:
            return
        progress = job.progress
        text = f"Stopping: {job.name}" if job.cancelled else progress.text
        self.progress.setRange(0, progress.total)
        self.progress.setValue(progress.done)
        self.progress.setFormat(text)
        self.progress.setToolTip(f"{text} (since {time.monotonic() - job.started:.0f} s)")
        self.cancel.setEnabled(not job.cancelled or self._annotator.engine.at_work)
