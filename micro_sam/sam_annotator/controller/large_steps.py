"""Steps that change very many pixels hold nothing up: they are found in a thread and written a few rows at a time."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

from qtpy.QtCore import QTimer

from micro_sam.sam_annotator.runtime.jobs import Jobs, Progress
from micro_sam.sam_annotator.state.window import WindowState
from micro_sam.session.large_commits import CommitRequest, PlannedCommit, apply_commit, plan_commit, run_commit
from micro_sam.session.session import Session

COMMITTING = "Committing objects"


class LargeSteps:
    """Large commits of a window, and the pixels of large steps of its session (commit, undo, redo).

    Parameters
    ----------
    state, jobs
        Of the window.
    on_committed
        Called when a commit is done.
    """

    def __init__(self, state: WindowState, jobs: Jobs, on_committed: Callable[[], object]) -> None:
        self._state, self._jobs, self._on_committed = state, jobs, on_committed
        self._session: Session | None = None
        self._timer = QTimer()
        self._timer.setSingleShot(True)
        self._timer.setInterval(0)  # when the events that wait are done
        self._timer.timeout.connect(self._write)
        state.events.session.connect(self._follow)

    def commit(self, min_size: int) -> None:
        """Commit the automatic segmentation: objects of `min_size` pixels and more."""
        request = plan_commit(self._state.needed(), self._state.preserve, min_size)
        self._jobs.start(COMMITTING, lambda job: self._steps(request), on_done=self._done)
        self._state.status.say("Committing the objects. You can go on looking and clicking.")

    def close(self) -> None:
        """Write no more; the window is closing."""
        self._timer.stop()

    @staticmethod
    def _steps(request: CommitRequest) -> Generator[Any, None, PlannedCommit]:
        yield Progress(COMMITTING)
        return run_commit(request)

    def _done(self, planned: PlannedCommit) -> None:
        if not self._state.shows(planned.request.session):
            return
        if apply_commit(planned) is None:
            self.commit(planned.request.rules.min_size)  # objects changed meanwhile: what is free now is another matter
            return
        self._on_committed()

    def _follow(self, session: Session) -> None:
        self._session = session
        session.steps.writes_later = session.rules.can_write_later
        session.events.history_changed.connect(self._begin)

    def _begin(self) -> None:
        if self._session is not None and self._session.steps.is_writing:
            self._timer.start()

    def _write(self) -> None:
        if self._session is not None and self._session.steps.write_some():
            self._timer.start()
