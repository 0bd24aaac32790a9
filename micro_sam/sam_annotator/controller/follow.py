"""The view follows a run: the frame that was finished last is the one in view."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QTimer

from micro_sam.sam_annotator.controller.session_run import SessionRun
from micro_sam.session.propagation.shared import PropagationStep

if TYPE_CHECKING:
    from micro_sam.sam_annotator.controller.annotator import Annotator

PAUSE_MS = 80
"""Between two frames that are shown: drawing all layers takes longer than finding an object."""


class FollowRun:
    """Shows each frame as it is finished, until the person moves to another one.

    Parameters
    ----------
    annotator
        A tool with :class:`~micro_sam.sam_annotator.controller.slices.SliceActs`.
    run
        What is followed.

    Attributes
    ----------
    on
        Whether the view follows at all.
    """

    def __init__(self, annotator: Annotator, run: SessionRun) -> None:
        self.on = True
        self._annotator = annotator
        self._start: int | None = None
        self._shown: int | None = None
        self._latest: int | None = None
        self._stopped_early = False
        self._timer = QTimer()
        self._timer.setSingleShot(True)
        self._timer.setInterval(PAUSE_MS)
        self._timer.timeout.connect(self._show)
        run.stepped.connect(self._step)
        run.ended.connect(self._end)

    def begin(self, z: int) -> None:
        """A run begins while frame `z` is in view; there the view returns when all went well."""
        self._start = self._shown = z
        self._stopped_early = False

    def _step(self, step: PropagationStep) -> None:
        self._stopped_early |= bool(step.reason)
        if self.on and self._shown is not None and step.mask is not None:
            self._latest = step.z
            if not self._timer.isActive():
                self._timer.start()

    def _show(self) -> None:
        if self._shown is None or self._latest is None:
            return
        if self._annotator.z != self._shown:  # the person looks at something else
            self._shown = None
            return
        self._annotator.go_to_slice(self._latest)
        self._shown = self._latest

    def _end(self) -> None:
        """Stay where a track was lost, which is where the person is needed; else go back."""
        self._timer.stop()
        self._latest = self._latest if self._stopped_early else self._start
        self._show()
        self._shown = self._latest = None
