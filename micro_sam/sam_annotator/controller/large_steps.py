"""Steps that change very many pixels hold nothing up: they are found in a thread and written a few rows at a time."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QTimer

from micro_sam.sam_annotator.runtime.jobs import Progress
from micro_sam.session.large_commits import CommitRequest, PlannedCommit, apply_commit, plan_commit, run_commit
from micro_sam.session.session import Session

if TYPE_CHECKING:
    from micro_sam.sam_annotator.controller.annotator import Annotator

COMMITTING = "Committing objects"


class LargeSteps:
    """Large commits of a window, and the pixels of large steps of its session (commit, undo, redo)."""

    def __init__(self, annotator: Annotator) -> None:
        self._annotator = annotator
        self._session: Session | None = None
        self._timer = QTimer()
        self._timer.setSingleShot(True)
        self._timer.setInterval(0)  # when the events that wait are done
        self._timer.timeout.connect(self._write)
        annotator.session_changed.connect(self._follow)

    def commit(self) -> None:
        """Commit the automatic segmentation, as the settings of the window say."""
        annotator = self._annotator
        request = plan_commit(annotator.session, annotator.preserve, int(annotator.automatic.values["min_size"]))
        annotator.jobs.start(COMMITTING, lambda job: self._steps(request), on_done=self._done)
        annotator.status.say("Committing the objects. You can go on looking and clicking.")

    def close(self) -> None:
        """Write no more; the window is closing."""
        self._timer.stop()

    @staticmethod
    def _steps(request: CommitRequest) -> Generator[Any, None, PlannedCommit]:
        yield Progress(COMMITTING)
        return run_commit(request)

    def _done(self, planned: PlannedCommit) -> None:
        annotator = self._annotator
        if planned.request.session is not annotator.session:
            return
        if apply_commit(planned) is None:
            self.commit()  # objects changed meanwhile: what is free now is another matter
            return
        annotator.set_source("current")
        annotator._go_on()

    def _follow(self, session: Session) -> None:
        self._session = session
        session.steps.writes_later = session.rules.can_write_later
        session.events.history_changed.connect(self._begin)

    def _begin(self) -> None:
        if self._session.steps.is_writing:
            self._timer.start()

    def _write(self) -> None:
        if self._session.steps.write_some():
            self._timer.start()
