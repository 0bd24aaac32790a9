"""Committing objects, and taking steps back; steps that change very many pixels hold nothing up."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

from micro_sam.errors import InputError
from micro_sam.sam_annotator.controller.embedding.engine import Engine
from micro_sam.sam_annotator.controller.preview import Preview
from micro_sam.sam_annotator.runtime.jobs import WORK, Jobs, Progress
from micro_sam.sam_annotator.runtime.timers import once
from micro_sam.sam_annotator.state.window import Preserve, Source, WindowState
from micro_sam.sam_annotator.view.layers.mouse import Mouse
from micro_sam.session.large_commits import (
    CommitRequest,
    PlannedCommit,
    apply_commit,
    is_large,
    plan_commit,
    run_commit,
)
from micro_sam.session.session import Session
from micro_sam.session.values import CommitReport

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
        self._timer = once(self._write)  # when the events that wait are done
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


class CommitActions:
    """Moves objects into the committed ones, and takes steps back.

    Parameters
    ----------
    state, jobs
        Of the window.
    mouse
        Gets back to prompts afterwards.
    preview, engine
        May be about to answer, or to embed, what is committed.
    min_size
        Pixels that an object has at least.
    follows_up
        Does something when the whole object that is on its way has come, and returns True; returns False when none is.
    """

    def __init__(
        self,
        state: WindowState,
        jobs: Jobs,
        mouse: Mouse,
        preview: Preview,
        engine: Engine,
        min_size: Callable[[], int],
        follows_up: Callable[[Callable[[], object]], bool],
    ) -> None:
        self._state, self._jobs, self._mouse = state, jobs, mouse
        self._preview, self._engine = preview, engine
        self._min_size, self._follows_up = min_size, follows_up
        self._large = LargeSteps(state, jobs, self._committed)
        state.events.session.connect(self._follow)

    def commit(self, wait: bool = False) -> CommitReport | None:
        """Move the current object, or the automatic segmentation, into the committed objects.

        A large segmentation is committed in the background, unless `wait`.
        """
        session, source, preview = self._state.needed(), self._state.source, self._preview
        running = self._jobs.running(WORK)
        if source == "current" and running is None and self._follows_up(self._commit_later):
            return None
        if running is not None:
            raise InputError(f"'{running.name}' is still running. Commit when it is done.")
        if source == "current" and preview.busy:
            preview.then(self._commit_later)  # somebody was quicker than the network
            return None
        if source == "current" and preview.waits and not session.has_current:
            raise InputError("Your prompt is kept, but the embedding is not ready yet. Commit when its mask is there.")
        if source == "current" and preview.completes and self._engine.busy:
            raise InputError("A part of the object is not embedded yet. Commit it when the rest has appeared.")
        if not wait and is_large(session, source):
            self._large.commit(self._min_size())
            return None
        report = session.objects.commit(source, self._state.preserve, min_size=self._min_size())
        self._committed()
        return report

    def clear(self) -> None:
        """Remove the prompts and the current object."""
        self._state.needed().prompts.clear()
        self._mouse.use_prompts()

    def undo(self) -> None:
        """Take the last step back."""
        self._state.needed().undo()

    def redo(self) -> None:
        """Do the step again that was undone last."""
        self._state.needed().redo()

    def set_source(self, source: Source) -> None:
        """Say what the next commit takes."""
        self._state.source = source

    def set_preserve(self, preserve: Preserve) -> None:
        """Say what becomes of committed objects that the next commit meets."""
        self._state.preserve = preserve

    def close(self) -> None:
        """Write no more; the window is closing."""
        self._large.close()

    def _commit_later(self) -> None:
        try:
            self.commit()
        except Exception as error:
            self._state.status.report(error)

    def _committed(self) -> None:
        self._state.source = "current"
        self._mouse.use_prompts()

    def _follow(self, session: Session) -> None:
        session.events.labels_changed.connect(self._labels_changed)

    def _labels_changed(self, name: str, _region: tuple[slice, ...]) -> None:
        session = self._state.session
        if name == "current" and session is not None and session.has_current:
            self._state.source = "current"
