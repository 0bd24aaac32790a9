"""Propagation over many slices or frames, as a window needs it.

It is planned in the window's thread, works in one of its own, and is shown step by step while it grows. It can be
cancelled at any time, waits for slices that are still being embedded, and is one step of undo (the session sees to
that).
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from psygnal import Signal

from micro_sam.errors import Cancelled, InputError, NotComputedYet
from micro_sam.sam_annotator.controller.waiting import WaitingEmbeddings
from micro_sam.sam_annotator.runtime.jobs import WORK, Job, Progress
from micro_sam.session.propagation.shared import PropagationStep
from micro_sam.session.session import Session

if TYPE_CHECKING:
    from micro_sam.embeddings.store import Item
    from micro_sam.sam_annotator.controller.annotator import Annotator


class SessionRun:
    """One kind of run, for one window.

    Parameters
    ----------
    annotator
        The tool.
    name
        Shown beside the progress bar, for example ``"Segmenting the volume"``.

    Attributes
    ----------
    wanted
        Tiles whose features the run needs next; none when it has what it needs.

    Signals
    -------
    stepped
        A step was shown.
    ended
        The run is over, however it ended.
    """

    stepped = Signal(PropagationStep)
    ended = Signal()

    def __init__(self, annotator: Annotator, name: str) -> None:
        self.name = name
        self.wanted: tuple[Item, ...] = ()
        self._annotator = annotator
        self._job: Job | None = None
        self._request: Any = None
        self._kept: tuple[Session, dict[str, Any]] | None = None
        annotator.engine.progressed.connect(self._retry)
        annotator.engine.attached.connect(lambda *_: self._retry())

    @property
    def busy(self) -> bool:
        """Whether the run is at work, or waits for its first slice."""
        return self._job is not None or self._kept is not None

    @property
    def is_stepwise(self) -> bool:
        """Whether the run at work goes from slice to slice, so that its result grows."""
        return self._request is not None and getattr(self._request, "question", None) is None

    def start(self, **options: Any) -> None:
        """Plan and start a run with the prompts as they are now.

        Before the model or the prompted slices are ready, the wish is kept and comes true when they are. When an
        older run is still at work on prompts that have changed since, it makes room.

        Raises
        ------
        InputError
            When there is nothing to run on, or another run is at work.
        """
        annotator = self._annotator
        session = annotator.session
        if session is None or annotator.layers is None:
            raise InputError("There is no image yet. Drop a file onto the window, or open one with the menu above.")
        annotator.layers.read_prompts()
        if self._job is not None and self._request.prompts != session.prompts.drawn:
            self._kept = session, options
            self._job.cancel()
            return
        if (running := annotator.jobs.running(WORK)) is not None:
            raise InputError(f"'{running.name}' is still running. Wait until it is done, or cancel it first.")
        if session.model.predictor is None or session.model.embeddings is None:
            self._keep(session, options)
            return
        try:
            request = session.propagation.plan(**options)
        except NotComputedYet as error:
            self._keep(session, options, error.items)
            return
        self._kept = None
        # The run answers all prompts itself; a preview that came later would be a step between its own.
        annotator.preview.drop()
        self._start(session, request)

    def forget(self) -> None:
        """Do not start what waits for its features."""
        self._kept = None
        if self._job is None:
            self.wanted = ()

    # ------------------------------------------------------------------ before the features are there

    def _keep(self, session: Session, options: dict[str, Any], items: tuple[Item, ...] = ()) -> None:
        if not any(session.prompts.drawn.in_slice(z).has_positive for z in session.prompts.drawn.slices):
            raise InputError("There is nothing to segment yet. Click an object, or draw a box around one.")
        self._kept = session, options
        self.wanted = items
        self._annotator.looking.tell()
        self._annotator.status.say(f"{self.name} begins as soon as the prompted slices are embedded.")
        self._annotator.preparation.needed()

    def _retry(self) -> None:
        """More features are there: start what was kept, if anything."""
        if self._kept is None or self._job is not None:
            return
        (session, options), self._kept, self.wanted = self._kept, None, ()
        if session is not self._annotator.session or not len(session.prompts.drawn):
            return
        try:
            self.start(**options)
        except Exception as error:
            self._annotator.status.report(error)

    # ------------------------------------------------------------------ in the window's thread

    def _start(self, session: Session, request: Any) -> None:
        self._request = request
        self._job = self._annotator.jobs.start(
            self.name,
            lambda job: self._work(job, session, request),
            on_item=lambda step: self._show(session, step),
            on_done=lambda _: self._end(session, request),
            on_error=lambda error: self._end(session, request, error=error),
            on_cancel=lambda: self._end(session, request, cancelled=True),
        )

    def _show(self, session: Session, step: PropagationStep) -> None:
        if session is not self._annotator.session or not session.propagation.apply_step(step):
            self._job.cancel()
        else:
            self.stepped.emit(step)

    def _end(self, session: Session, request: Any, cancelled: bool = False, error: Exception | None = None) -> None:
        self._job, self._request, self.wanted = None, None, ()
        if session is self._annotator.session:
            session.propagation.finish(request, cancelled or error is not None)
        if error is not None:
            self._annotator.status.report(error)
        self.ended.emit()
        self._retry()

    # ------------------------------------------------------------------ in the thread of the run

    def _work(self, job: Job, session: Session, request: Any) -> Generator[Any, None, None]:
        embeddings = WaitingEmbeddings(request.embeddings, partial(self._wait, job))
        yield Progress(self.name, 0, request.total)
        for done, step in enumerate(session.propagation.run(replace(request, embeddings=embeddings)), start=1):
            self.wanted = ()
            yield replace(step, request=request)  # the session knows its own request only
            yield Progress(self.name, min(done, request.total), request.total)

    def _wait(self, job: Job, item: Item) -> None:
        """The run needs a tile that is not there; raises when there is no use in waiting for it."""
        z = item[0]
        if job.cancelled:
            raise Cancelled(f"'{self.name}' was cancelled.")
        if not self._annotator.engine.serves:
            raise NotComputedYet(
                f"Slice {z} is not embedded, and nothing computes it. What was found before stays. Press 'Start again' "
                "to go on with the embedding."
            )
        if self.wanted != (item,):
            self.wanted = (item,)
            job.report(Progress(f"Waiting for the embedding of slice {z}", job.progress.done, job.progress.total))
