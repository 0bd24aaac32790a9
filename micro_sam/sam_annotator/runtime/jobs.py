"""Long jobs in the background: one at a time per lane, with progress, cancel, and errors that reach the user.

A job is a generator. It works in a thread of its own; everything it yields arrives in the window's thread, where the
callbacks may touch layers and widgets. To cancel it, its generator is closed after the step it is in.

The workers of napari and superqt are not used here for two reasons: they take every ``RuntimeError`` of a job (our
:class:`~micro_sam.errors.ModelError` is one) for a sign of a deleted worker and drop it, and they share one pool with
as many threads as the machine has cores, in which a long embedding would make a click wait.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

from qtpy.QtCore import QObject, Signal

from micro_sam.errors import Cancelled, InputError
from micro_sam.sam_annotator.runtime.threads import start_thread

log = logging.getLogger(__name__)

PREPARE = "prepare"
"""Lane for loading models and computing embeddings; work on slices that are ready goes on beside it."""
WORK = "work"
"""Lane for jobs that change results: automatic segmentation, volumes, tracking."""
AHEAD = "ahead"
"""Lane for work that nobody waits for yet: the embedding of the next image of a series. Shows no progress."""
MEASURE = "measure"
"""Lane for the table of objects: short, and shown by the table itself."""
MAPS = "maps"
"""Lane for the maps of a volume: behind all others, but shown."""


@dataclass(frozen=True)
class Progress:
    """How far a job is; a job yields these among its results.

    Attributes
    ----------
    text
        What it is doing, for the user.
    done, total
        Steps finished and steps in all; a total of 0 means that it is not known.
    """

    text: str
    done: int = 0
    total: int = 0


class Job:
    """One job in the background."""

    def __init__(self, name: str, lane: str, on_report: Callable[[Job, Progress], None]) -> None:
        self.name = name
        self.lane = lane
        self.progress = Progress(name)
        self.started = time.monotonic()
        self.is_awaited = False
        """Whether somebody waits for a job of the lane that shows no progress: then it does."""
        self._cancel = threading.Event()
        self._on_report = on_report

    def report(self, progress: Progress) -> None:
        """Say how far the job is from inside a step; where it can, a job yields its progress instead.

        Raises
        ------
        Cancelled
            When somebody asked the job to end: the step ends here.
        """
        if self.cancelled:
            raise Cancelled(f"'{self.name}' was cancelled.")
        self._on_report(self, progress)

    def cancel(self) -> None:
        """Ask the job to end after the step it is in."""
        self._cancel.set()

    @property
    def cancelled(self) -> bool:
        """Whether somebody asked the job to end."""
        return self._cancel.is_set()


@dataclass
class _Callbacks:
    on_item: Callable[[Any], None] | None
    on_done: Callable[[Any], None] | None
    on_error: Callable[[Exception], None]
    on_cancel: Callable[[], None] | None


class Jobs(QObject):
    """The jobs of one window.

    Parameters
    ----------
    on_error
        Called in the window's thread with the exception of a job (or of a callback) that nobody else handles.

    Signals
    -------
    changed
        A job has started, moved on, or ended.
    """

    changed = Signal()
    _item = Signal(object, object)
    _ended = Signal(object, object, object)

    def __init__(self, on_error: Callable[[Exception], None]) -> None:
        super().__init__()
        self._report = on_error
        self._running: dict[str, Job] = {}
        self._callbacks: dict[Job, _Callbacks] = {}
        self._threads: dict[Job, threading.Thread] = {}
        self._closed = False
        self._item.connect(self._receive)
        self._ended.connect(self._finish)

    def start(
        self,
        name: str,
        steps: Callable[[Job], Generator[Any, None, Any]],
        *,
        lane: str = WORK,
        on_item: Callable[[Any], None] | None = None,
        on_done: Callable[[Any], None] | None = None,
        on_error: Callable[[Exception], None] | None = None,
        on_cancel: Callable[[], None] | None = None,
    ) -> Job:
        """Start a job.

        Parameters
        ----------
        name
            Shown beside the progress bar.
        steps
            Called in the new thread with the :class:`Job`; returns the generator that does the work.
        lane
            Jobs of one lane exclude each other.
        on_item
            Called in the window's thread with everything the generator yields, except :class:`Progress`.
        on_done, on_error, on_cancel
            Exactly one of them is called at the end, in the window's thread: with the value the generator returned,
            with its exception, or with nothing.

        Raises
        ------
        InputError
            When another job of the lane is still running.
        """
        busy = self._running.get(lane)
        if busy is not None:
            raise InputError(f"'{busy.name}' is still running. Wait until it is done, or cancel it first.")
        job = Job(name, lane, lambda job, progress: self._emit(self._item, job, progress))
        self._running[lane] = job
        self._callbacks[job] = _Callbacks(on_item, on_done, on_error or self._report, on_cancel)
        # A daemon: a model that is being loaded must not keep the program alive after its window. What a run writes is
        # whole or not there.
        self._threads[job] = start_thread(name, self._run, (job, steps), stop=job.cancel)
        self.changed.emit()
        return job

    def running(self, lane: str | None = None) -> Job | None:
        """The job that is running in a lane; without a lane, the first that is running anywhere."""
        if lane is not None:
            return self._running.get(lane)
        found = next((self._running[name] for name in (WORK, PREPARE, MAPS) if name in self._running), None)
        ahead = self._running.get(AHEAD)
        return found if found is not None or ahead is None or not ahead.is_awaited else ahead

    def cancel(self, lane: str | None = None) -> None:
        """Ask the job of a lane (of all lanes) to end after the step it is in."""
        for job in list(self._running.values()):
            if lane in (None, job.lane):
                job.cancel()
        self.changed.emit()

    def close(self, timeout: float = 2.0) -> None:
        """Cancel everything, hear no more of it, and wait at most `timeout` seconds for the threads."""
        self._closed = True
        for job in list(self._threads):
            job.cancel()
        end = time.monotonic() + timeout
        for thread in list(self._threads.values()):
            thread.join(max(0.0, end - time.monotonic()))

    # In the thread of the job.

    def _run(self, job: Job, steps: Callable[[Job], Generator[Any, None, Any]]) -> None:
        result, error = None, None
        try:
            generator = steps(job)
            try:
                while not job.cancelled:
                    try:
                        item = next(generator)
                    except StopIteration as stop:
                        result = stop.value
                        break
                    self._emit(self._item, job, item)
            finally:
                generator.close()
        except Exception as exception:
            error = exception
        self._emit(self._ended, job, result, error)

    def _emit(self, signal: Any, *values: Any) -> None:
        if self._closed:
            return
        try:
            signal.emit(*values)
        except RuntimeError:  # Qt deleted this object while the thread was at work
            log.debug("The window closed before a job could report.")

    # In the window's thread.

    def _receive(self, job: Job, item: Any) -> None:
        if self._closed or job not in self._callbacks:
            return
        if isinstance(item, Progress):
            job.progress = item
        elif (callback := self._callbacks[job].on_item) is not None and not job.cancelled:
            self._guard(job, callback, item)
        self.changed.emit()

    def _finish(self, job: Job, result: Any, error: Exception | None) -> None:
        if self._closed:
            return
        callbacks = self._callbacks.pop(job)
        self._threads.pop(job, None)
        self._running.pop(job.lane, None)
        if job.cancelled:
            # The exception of a cancelled job is how it stopped, not news.
            if callbacks.on_cancel is not None:
                self._guard(job, callbacks.on_cancel)
        elif error is not None:
            self._guard(job, callbacks.on_error, error)
        elif callbacks.on_done is not None:
            self._guard(job, callbacks.on_done, result)
        self.changed.emit()

    def _guard(self, job: Job, callback: Callable[..., object], *args: Any) -> None:
        """An exception in a slot would end the process under PyQt6."""
        try:
            callback(*args)
        except Exception as exception:
            job.cancel()
            self._report(exception)
