"""Model and features, made ready in the background.

The heavy libraries (torch, scikit-image) are imported in the thread that first needs them, so that the window is there
before them.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

from psygnal import Signal

from micro_sam.embeddings.order import Focus, nearby
from micro_sam.sam_annotator.controller.embedding.loading import (
    Attached,
    Computed,
    Found,
    Opened,
    Prepared,
    Start,
    download_weights,
    embedding_steps,
    embedding_text,
    load_model,
    open_image_embeddings,
    there_text,
)
from micro_sam.sam_annotator.runtime.jobs import AHEAD, PREPARE, Job, Jobs, Progress
from micro_sam.sam_annotator.state.images import OpenImage
from micro_sam.sam_annotator.state.settings import ModelOffer, Settings, missing_weights

log = logging.getLogger(__name__)


class Engine:
    """Loads models and computes embeddings for one window.

    Parameters
    ----------
    jobs
        Where it runs.
    start
        When a preparation may begin; None: at once.

    Attributes
    ----------
    predictor, embeddings
        None until they are there.
    computed
        How many slices or tiles were computed (not read from the cache) for the present image.
    there, total
        Slices or tiles that are embedded, and that the image has.
    on_demand
        Whether the image is so large that only what is wanted is computed, unless `wants_all`.
    wants_all
        Whether all of such an image is computed.

    Signals
    -------
    attached
        (predictor, embeddings): prompts of what is complete can be segmented from now on.
    progressed
        Another slice or tile is complete.
    ready
        (seconds it took, whether all came from the cache): all is complete, or all that is wanted.
    wants_changed
        Another value of `on_demand` or `wants_all`.
    offered
        :class:`ModelOffer`: the user must choose a model.
    failed
        The exception; the user must change something.
    stopped
        The preparation was cancelled: nothing goes on until the next one.
    """

    attached = Signal(object, object)
    progressed = Signal()
    ready = Signal(float, bool)
    offered = Signal(ModelOffer)
    failed = Signal(Exception)
    stopped = Signal()
    wants_changed = Signal()

    def __init__(self, jobs: Jobs, start: Start | None = None) -> None:
        self.predictor: Any = None
        self.embeddings: Any = None
        self.computed = 0
        self.there = self.total = 0
        self.on_demand = self.wants_all = False
        self._focus = Focus()
        self._slices: tuple[int | None, ...] = ()
        self._rests = False
        self._jobs = jobs
        self._began = 0.0
        self._key: tuple[str | None, ...] | None = None
        self._waiting: Callable[[], None] | None = None
        self._opened: Opened | None = None
        self._shown: Opened | None = None  # what the window has; the other may be the next image
        self._before: Opened | None = None  # what it had before: the user may go back in a series
        self._start = Start() if start is None else start

    @property
    def busy(self) -> bool:
        """Whether a model is being loaded or features are being computed."""
        return self._jobs.running(PREPARE) is not None

    @property
    def active(self) -> bool:
        """Whether a preparation goes on, or begins when what is still at work has ended."""
        job = self._jobs.running(PREPARE)
        return self._waiting is not None or (job is not None and not job.cancelled)

    @property
    def serves(self) -> bool:
        """Whether what is missing is computed: now, or as soon as it is wanted."""
        return self.busy or self._rests

    def there_text(self) -> str:
        """How much is embedded: "12 of 1,600 tiles"."""
        return there_text(self.there, self._shown) if self._shown is not None else ""

    @property
    def focus(self) -> Focus:
        """Where the user works: what is missing there is computed next. A value that the window replaces."""
        return self._focus

    @focus.setter
    def focus(self, focus: Focus) -> None:
        self._focus = focus
        self._go_on()

    def want(self, index: int | None) -> None:
        """Compute all tiles of a slice (None: of the image) from now on."""
        self._slices = tuple(dict.fromkeys((*self._slices, index)))
        self._go_on()

    def want_all(self, on: bool = True) -> None:
        """Compute all slices and tiles of a large image from now on, or (not `on`) only what is wanted again."""
        if on != self.wants_all:
            self.wants_all, self._slices = on, ()
            self.wants_changed.emit()
        self._go_on()

    def cancel(self) -> None:
        """Stop what is being prepared, and what was to come after it."""
        waiting, self._waiting = self._waiting, None
        self._rests, self._slices = False, ()
        if self.on_demand:
            self.want_all(False)
        if self.busy:
            self._jobs.cancel(PREPARE)
        elif waiting is not None:
            self._jobs.cancel(AHEAD)
            self.stopped.emit()

    def prepare(
        self,
        image: OpenImage,
        ndim: int,
        settings: Settings,
        *,
        download: bool = False,
    ) -> None:
        """Load the model (unless it is loaded) and compute the features of an image (unless they are in the cache).

        Parameters
        ----------
        image
            Its pixels are embedded.
        ndim
            2, or 3 for a stack.
        download
            Whether missing weights may be fetched; otherwise :attr:`offered` is emitted.

        Notes
        -----
        A preparation that is still at work is cancelled, and this one starts when it has ended.
        """

        def start() -> None:
            self.embeddings = None
            self.computed = self.there = self.total = 0
            self._began = time.monotonic()
            self._jobs.start(
                f"Preparing {settings.model_type or 'the model'}",
                lambda job: self._steps(job, image, ndim, settings, download),
                lane=PREPARE,
                on_item=self._receive,
                on_done=self._done,
                on_error=self._fail,
                on_cancel=self._cancelled,
            )

        self._waiting, self._rests, self._slices, self.on_demand = None, False, (), False
        self.wants_all = settings.show_embeddings or settings.precompute_amg_state
        self.wants_changed.emit()
        if self.busy:
            self._waiting = start
            self._jobs.cancel(PREPARE)
        elif (ahead := self._jobs.running(AHEAD)) is not None:
            self._waiting = start  # what is computed ahead may be this very image
            ahead.is_awaited = True
        else:
            start()

    def prepare_ahead(self, load: Callable[[], OpenImage], ndim: int, settings: Settings) -> None:
        """Load and embed an image that will be wanted next, as long as nothing else is to do.

        Parameters
        ----------
        load
            Opens the image; called in the thread of the job.
        ndim, settings
            As in :meth:`prepare`.
        """
        if self.predictor is None or self.busy or self._jobs.running(AHEAD) is not None:
            return
        if self._key != settings.model_key:
            return
        predictor = self.predictor
        self._jobs.start(
            "Embedding the next image",
            lambda job: self._steps_ahead(load, ndim, settings, predictor),
            lane=AHEAD,
            on_done=self._keep_ahead,
            on_error=self._ahead_failed,
            on_cancel=self._ahead_cancelled,
        )

    def take_ahead(self, name: str, path: Path | None = None) -> OpenImage | None:
        """The image of this name (from this file), if it was loaded ahead, or shown before the present one."""
        known = [opened.image for opened in (self._opened, self._before) if opened is not None]
        return next((one for one in known if one.name == name and (path is None or one.path == path)), None)

    # In the thread of the job.

    def _steps(
        self, job: Job, image: OpenImage, ndim: int, settings: Settings, download: bool
    ) -> Generator[Any, None, Prepared | None]:
        yield Progress("Starting")
        self._start.wait()
        started = time.monotonic()
        predictor = self.predictor if self._key == settings.model_key else None
        if predictor is None:
            offer = None if download or settings.checkpoint_path else missing_weights(settings)
            if offer is not None:
                yield offer
                return None
            if download:
                download_weights(job, settings)
            yield Progress(f"Loading the model {settings.model_type or settings.checkpoint_path}")
            predictor = load_model(settings)
        yield Progress("Looking for embeddings in the cache" if settings.embedding_path else "Preparing the image")
        known = (self._opened, self._before)
        opened = next((one for one in known if one is not None and one.fits(image, settings, predictor)), None)
        if opened is None:
            opened = Opened(image, settings, predictor, *open_image_embeddings(predictor, image, ndim, settings))
        missing = len(opened.store.missing())
        yield Attached(opened, settings.model_key)
        yield Found(opened.total - missing)
        if missing == 0:
            return Prepared(time.monotonic() - started, True)
        if not opened.is_large:
            yield Progress(embedding_text(settings, predictor, missing), 0, missing)
        yield from embedding_steps(opened, lambda: self._focus_on(opened.is_large))
        return Prepared(time.monotonic() - started, False)

    def _steps_more(self, opened: Opened) -> Generator[Any, None, Prepared | None]:
        """Compute what is wanted of a large image by now; others may have stored some of it meanwhile."""
        yield Found(opened.total - len(opened.store.missing()))
        yield from embedding_steps(opened, lambda: self._focus_on(opened.is_large))
        return Prepared(0.0, False) if not opened.store.missing() else None

    def _focus_on(self, is_large: bool) -> Focus:
        return replace(self._focus, slices=self._slices, only=is_large and not self.wants_all)

    @staticmethod
    def _steps_ahead(
        load: Callable[[], OpenImage], ndim: int, settings: Settings, predictor: Any
    ) -> Generator[Any, None, Opened]:
        from micro_sam.embeddings.compute import iter_embeddings

        image = load()
        yield Progress("Embedding the next image")
        opened = Opened(image, settings, predictor, *open_image_embeddings(predictor, image, ndim, settings))
        for _ in () if opened.is_large else iter_embeddings(predictor, image.pixels, opened.store):
            yield Progress("Embedding the next image")
        return opened

    # In the window's thread.

    def _receive(self, item: Any) -> None:
        if isinstance(item, ModelOffer):
            self.offered.emit(item)
        elif isinstance(item, Attached):
            if self._shown is not None and self._shown is not item.opened:
                self._before = self._shown if self._shown.is_cheap_beside(item.opened) else None
            self._opened = self._shown = item.opened
            self._key = item.key
            self.predictor, self.embeddings = item.opened.predictor, item.opened.embeddings
            self.on_demand, self.total = item.opened.is_large, item.opened.total
            self.wants_changed.emit()
            self.attached.emit(self.predictor, self.embeddings)
        elif isinstance(item, Found):
            self.there = item.number
        elif isinstance(item, Computed):
            self.computed += 1
            self.there += 1
            self.progressed.emit()

    def _done(self, result: Prepared | None) -> None:
        if self._start_waiting() or self.embeddings is None:
            return
        self._rests = self.on_demand and self.there < self.total
        self.progressed.emit()
        if result is not None:
            self.ready.emit(result.seconds, result.from_cache)
        self._go_on()  # the user may have moved while the last tile was computed

    def _go_on(self) -> None:
        """Compute what has come to be wanted of a large image after all that was wanted before was there."""
        if not self._rests or self.busy or self._shown is None:
            return
        opened, store = self._shown, self._shown.store
        focus = self._focus_on(True)
        items = nearby(focus, store.grid, store.n_slices) if focus.only else iter(store.missing())
        if all(store.is_complete(*item) or store.is_skipped(*item) for item in items):
            return
        self._rests = False
        self._jobs.start(
            "Embedding",
            lambda job: self._steps_more(opened),
            lane=PREPARE,
            on_item=self._receive,
            on_done=self._done,
            on_error=self._fail,
            on_cancel=self._cancelled,
        )

    def _fail(self, error: Exception) -> None:
        if not self._start_waiting():
            self.failed.emit(error)

    def _cancelled(self) -> None:
        if self._start_waiting():
            return
        if self.embeddings is not None and self.embeddings.is_complete():  # the active step was the last one
            self.progressed.emit()
            self.ready.emit(time.monotonic() - self._began, False)
        else:
            self.stopped.emit()

    def _keep_ahead(self, ahead: Opened) -> None:
        self._opened = ahead
        self._start_waiting()

    def _ahead_failed(self, error: Exception) -> None:
        # It will be told when the user goes to that image.
        log.info("The next image could not be prepared: %s", error)
        self._start_waiting()

    def _ahead_cancelled(self) -> None:
        self._start_waiting()

    def _start_waiting(self) -> bool:
        """Start what was asked for meanwhile."""
        start, self._waiting = self._waiting, None
        if start is not None:
            start()
        return start is not None
