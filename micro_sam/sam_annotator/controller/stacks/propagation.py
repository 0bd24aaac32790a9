"""Propagation over many slices or frames, as a window needs it, and a view that follows it.

It is planned in the window's thread, works in one of its own, and is shown step by step while it grows. It can be
cancelled at any time, waits for slices that are still being embedded, and is one step of undo (the session sees to
that).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from psygnal import Signal

from micro_sam.embeddings.embeddings import Embeddings
from micro_sam.embeddings.store import Item
from micro_sam.errors import Cancelled, InputError, NotComputedYet
from micro_sam.sam_annotator.controller.embedding.engine import Engine
from micro_sam.sam_annotator.controller.embedding.looking import Looking
from micro_sam.sam_annotator.controller.embedding.preparation import Preparation
from micro_sam.sam_annotator.controller.preview import Preview
from micro_sam.sam_annotator.runtime.jobs import WORK, Job, Jobs, Progress
from micro_sam.sam_annotator.runtime.timers import once
from micro_sam.sam_annotator.state.window import WindowState
from micro_sam.sam_annotator.view.layers.session_layers import SessionLayers
from micro_sam.sam_annotator.view.sight import Sight
from micro_sam.session.propagation.shared import PropagationStep
from micro_sam.session.session import Session

if TYPE_CHECKING:
    import torch

    from micro_sam.models.predictor import ImageFeatures

PAUSE = 0.03  # seconds between two looks into the store
PAUSE_MS = 80
"""Between two frames that are shown: drawing all layers takes longer than finding an object."""


class WaitingEmbeddings(Embeddings):
    """The same embeddings, for a propagation in the background that may reach slices which are still being computed.

    Parameters
    ----------
    embeddings
        Where the features are, or will be.
    wait
        Called with the tile again and again while it is missing. It raises what ends the waiting: cancelled, or
        nobody computes it.
    """

    def __init__(self, embeddings: Embeddings, wait: Callable[[Item], None]) -> None:
        super().__init__(embeddings.store)
        self._embeddings = embeddings
        self._wait = wait

    def load(self, i: int | None = None, tile: int = 0, device: str | torch.device | None = None) -> ImageFeatures:
        """As :meth:`Embeddings.load`, but a missing slice is an error only when `wait` gives up."""
        while True:
            try:
                return self._embeddings.load(i, tile, device)
            except NotComputedYet:
                self._wait((i, tile))
                time.sleep(PAUSE)


class Propagation:
    """Extends the current objects of one window through a volume or a movie.

    Parameters
    ----------
    name
        Shown beside the progress bar, for example ``"Segmenting the volume"``.
    state, layers
        Whose prompts it begins with.
    jobs, engine
        Run it, and compute the slices that it waits for.
    preview, preparation, looking
        Have no question of their own meanwhile; start again what was stopped; are told what is waited for.

    Attributes
    ----------
    wanted
        Tiles whose features it needs next; none when it has what it needs.

    Signals
    -------
    stepped
        A step was shown.
    ended
        It is over, however it ended.
    """

    stepped = Signal(PropagationStep)
    ended = Signal()

    def __init__(
        self,
        name: str,
        state: WindowState,
        layers: SessionLayers,
        jobs: Jobs,
        engine: Engine,
        preview: Preview,
        preparation: Preparation,
        looking: Looking,
    ) -> None:
        self.name = name
        self.wanted: tuple[Item, ...] = ()
        self._state, self._layers, self._jobs, self._engine = state, layers, jobs, engine
        self._preview, self._preparation, self._looking = preview, preparation, looking
        self._job: Job | None = None
        self._request: Any = None
        self._kept: tuple[Session, dict[str, Any]] | None = None
        engine.progressed.connect(self._retry)
        preparation.attached.connect(self._retry)
        looking.serve_first(self)

    @property
    def busy(self) -> bool:
        """Whether it is running, or waits for its first slice."""
        return self._job is not None or self._kept is not None

    @property
    def is_stepwise(self) -> bool:
        """Whether what is running goes from slice to slice, so that its result grows."""
        return self._request is not None and getattr(self._request, "question", None) is None

    def start(self, **options: Any) -> None:
        """Plan and start with the prompts as they are now.

        Before the model or the prompted slices are ready, the wish is kept and comes true when they are. When an
        older propagation is still running on prompts that have changed since, it makes room.

        Raises
        ------
        InputError
            When there is nothing to extend, or another job is running.
        """
        session = self._state.needed()
        self._layers.read_prompts()
        if self._job is not None and self._request.prompts != session.prompts.drawn:
            self._kept = session, options
            self._job.cancel()
            return
        if (running := self._jobs.running(WORK)) is not None:
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
        # It answers all prompts itself; a preview that came later would be a step between its own.
        self._preview.drop()
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
        self._looking.tell()
        self._state.status.say(f"{self.name} begins as soon as the prompted slices are embedded.")
        self._preparation.needed()

    def _retry(self) -> None:
        """More features are there: start what was kept, if anything."""
        if self._kept is None or self._job is not None:
            return
        (session, options), self._kept, self.wanted = self._kept, None, ()
        if not self._state.shows(session) or not len(session.prompts.drawn):
            return
        try:
            self.start(**options)
        except Exception as error:
            self._state.status.report(error)

    # ------------------------------------------------------------------ in the window's thread

    def _start(self, session: Session, request: Any) -> None:
        self._request = request
        self._job = self._jobs.start(
            self.name,
            lambda job: self._work(job, session, request),
            on_item=lambda step: self._show(session, step),
            on_done=lambda _: self._end(session, request),
            on_error=lambda error: self._end(session, request, error=error),
            on_cancel=lambda: self._end(session, request, cancelled=True),
        )

    def _show(self, session: Session, step: PropagationStep) -> None:
        if not self._state.shows(session) or not session.propagation.apply_step(step):
            if self._job is not None:
                self._job.cancel()
        else:
            self.stepped.emit(step)

    def _end(self, session: Session, request: Any, cancelled: bool = False, error: Exception | None = None) -> None:
        self._job, self._request, self.wanted = None, None, ()
        if self._state.shows(session):
            session.propagation.finish(request, cancelled or error is not None)
        if error is not None:
            self._state.status.report(error)
        self.ended.emit()
        self._retry()

    # ------------------------------------------------------------------ in the thread of the job

    def _work(self, job: Job, session: Session, request: Any) -> Generator[Any, None, None]:
        embeddings = WaitingEmbeddings(request.embeddings, partial(self._wait, job))
        yield Progress(self.name, 0, request.total)
        for done, step in enumerate(session.propagation.compute(replace(request, embeddings=embeddings)), start=1):
            self.wanted = ()
            yield replace(step, request=request)  # the session knows its own request only
            yield Progress(self.name, min(done, request.total), request.total)

    def _wait(self, job: Job, item: Item) -> None:
        """It needs a tile that is not there; raises when there is no use in waiting for it."""
        z = item[0]
        if job.cancelled:
            raise Cancelled(f"'{self.name}' was cancelled.")
        if not self._engine.serves:
            raise NotComputedYet(
                f"Slice {z} is not embedded, and nothing computes it. What was found before stays. Press 'Start again' "
                "to go on with the embedding."
            )
        if self.wanted != (item,):
            self.wanted = (item,)
            job.report(Progress(f"Waiting for the embedding of slice {z}", job.progress.done, job.progress.total))


class FollowingView:
    """Shows each frame as it is finished, until the user moves to another one.

    Parameters
    ----------
    state
        Of the window.
    sight
        Goes to the frame.
    propagation
        What is followed.

    Attributes
    ----------
    on
        Whether the view follows at all.
    """

    def __init__(self, state: WindowState, sight: Sight, propagation: Propagation) -> None:
        self.on = True
        self._state, self._sight = state, sight
        self._start: int | None = None
        self._shown: int | None = None
        self._latest: int | None = None
        self._stopped_early = False
        self._timer = once(self._show, PAUSE_MS)
        propagation.stepped.connect(self._step)
        propagation.ended.connect(self._end)

    def begin(self, z: int) -> None:
        """A propagation begins while frame `z` is in view; there the view returns when all went well."""
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
        if self._state.z != self._shown:  # the user looks at something else
            self._shown = None
            return
        self._sight.go_to_slice(self._latest)
        self._shown = self._latest

    def _end(self) -> None:
        """Stay where a track was lost, which is where the user is needed; else go back."""
        self._timer.stop()
        self._latest = self._latest if self._stopped_early else self._start
        self._show()
        self._shown = self._latest = None
