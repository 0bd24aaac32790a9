"""What just happened, what to do next, and what is running."""

from __future__ import annotations

import time
from collections.abc import Callable

from qtpy.QtCore import Qt
from qtpy.QtGui import QResizeEvent
from qtpy.QtWidgets import QHBoxLayout, QLabel, QProgressBar, QPushButton, QSizePolicy, QVBoxLayout, QWidget

from micro_sam.sam_annotator.actions import Actions
from micro_sam.sam_annotator.runtime.jobs import Job, Jobs
from micro_sam.sam_annotator.runtime.timers import once
from micro_sam.sam_annotator.state.status import Status

REFRESH_MS = 100
"""Between two looks at a job: it reports many times a second, and a progress bar repaints the whole window at once."""
LINES = 4
"""Of text that there is always room for."""
COLOURS = {"info": "#4c9be8", "good": "#3ecf6b", "warning": "#f0b429", "error": "#ff5b52"}


class StatusBar(QWidget):
    """The sentence and the progress bar at the top of the dock.

    Parameters
    ----------
    is_prepared
        Whether a preparation goes on, or begins when what is being stopped has ended.
    """

    def __init__(self, status: Status, actions: Actions, jobs: Jobs, is_prepared: Callable[[], bool]) -> None:
        super().__init__()
        self._jobs, self._is_prepared = jobs, is_prepared
        self.text = QLabel()
        self.text.setWordWrap(True)
        self.text.setAlignment(Qt.AlignmentFlag.AlignTop | Qt.AlignmentFlag.AlignLeft)
        self.text.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.text.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.progress = QProgressBar()
        self.progress.setTextVisible(True)
        self.cancel = QPushButton(actions["cancel"].caption)
        self.cancel.setToolTip(actions["cancel"].tip)
        self.cancel.clicked.connect(lambda: actions.cancel())
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
        status.changed.connect(self._say)
        self._shown: Job | None = None
        self._timer = once(self._progress, REFRESH_MS, parent=self)
        jobs.changed.connect(self._changed)
        self._say(status.text, status.kind)
        self._progress()

    def _say(self, text: str, kind: str) -> None:
        self.text.setText(text)
        self.text.setToolTip(text)
        colour = COLOURS.get(kind, COLOURS["info"])
        self.text.setStyleSheet(f"QLabel {{ border-left: 4px solid {colour}; padding: 2px 0px 2px 7px; }}")
        self._fit()

    def resizeEvent(self, event: QResizeEvent | None) -> None:
        """Follow the width of the dock, which is known after the first texts, as is the font."""
        super().resizeEvent(event)
        self._fit()

    def _fit(self) -> None:
        """A fixed height: the menus below must not jump under the mouse. What to do stands at the end of a text."""
        usual = LINES * self.text.fontMetrics().lineSpacing() + 8
        self.text.setFixedHeight(max(usual, self.text.heightForWidth(self.text.width())))

    def _changed(self) -> None:
        """Show the begin and the end of a job at once, what lies between now and then."""
        if self._jobs.running() is not self._shown:
            self._progress()
        elif not self._timer.isActive():
            self._timer.start()

    def _progress(self) -> None:
        job = self._shown = self._jobs.running()
        self._running.setVisible(job is not None)
        if job is None:
            return
        progress = job.progress
        text = f"Stopping: {job.name}" if job.cancelled else progress.text
        self.progress.setRange(0, progress.total)
        self.progress.setValue(progress.done)
        self.progress.setFormat(text)
        self.progress.setToolTip(f"{text} (since {time.monotonic() - job.started:.0f} s)")
        self.cancel.setEnabled(not job.cancelled or self._is_prepared())
