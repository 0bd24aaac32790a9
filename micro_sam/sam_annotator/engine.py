"""Model and features, made ready in the background.

The heavy libraries (torch, scikit-image) are imported in the thread that first needs them, so that the window is there
before them.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

from psygnal import Signal

from micro_sam.embeddings.order import Focus
from micro_sam.sam_annotator.images import OpenImage
from micro_sam.sam_annotator.jobs import AHEAD, PREPARE, Job, Jobs, Progress
from micro_sam.sam_annotator.offers import ModelOffer, missing_weights
from micro_sam.sam_annotator.settings import Settings

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Attached:
    """The model is loaded and the cache is open; features follow."""

    opened: _Opened
    key: tuple


class Engine:
    """Loads models and computes embeddings for one window.

    Parameters
    ----------
    jobs
        Where it runs.

    Attributes
    ----------
    predictor, embeddings
        None until they are there.
    focus
        Where the user is at work: what is missing there is computed next. A value that the window replaces.

    Signals
    -------
    attached
        (predictor, embeddings): prompts of what is complete can be segmented from now on.
    progressed
        Another slice or tile is complete.
    ready
        Seconds it took: all is complete.
    offered
        :class:`ModelOffer`: the person must choose a model.
    failed
        The exception; the person must change something.
    stopped
        The preparation was cancelled: nothing goes on until the next one.
    """

    attached = Signal(object, object)
    progressed = Signal()
    ready = Signal(float, bool)
    offered = Signal(ModelOffer)
    failed = Signal(Exception)
    stopped = Signal()

    def __init__(self, jobs: Jobs) -> None:
        self.predictor: Any = None
        self.embeddings: Any = None
        self.focus = Focus()
        self.computed = 0
        """How many slices or tiles were computed (not read from the cache) for the present image."""
        self._jobs = jobs
        self._began = 0.0
        self._key: tuple | None = None
        self._waiting: Callable[[], None] | None = None
        self._opened: _Opened | None = None
        threading.Thread(target=_import_torch, name="micro_sam imports").start()  # while the layers are made

    @property
    def busy(self) -> bool:
        """Whether a model is being loaded or features are being computed."""
        return self._jobs.running(PREPARE) is not None

    @property
    def at_work(self) -> bool:
        """Whether a preparation goes on, or begins when what is still at work has ended."""
        job = self._jobs.running(PREPARE)
        return self._waiting is not None or (job is not None and not job.cancelled)

    def cancel(self) -> None:
        """Stop what is being prepared, and what was to come after it."""
        waiting, self._waiting = self._waiting, None
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
            self.computed = 0
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

        self._waiting = None
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
            Opens the image; called in the thread of the run.
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
            on_cancel=lambda: self._start_waiting() and None,
        )

    def take_ahead(self, name: str) -> OpenImage | None:
        """The image of this name, if it was loaded ahead."""
        return self._opened.image if self._opened is not None and self._opened.image.name == name else None

    # In the thread of the run.

    def _steps(
        self, job: Job, image: OpenImage, ndim: int, settings: Settings, download: bool
    ) -> Generator[Any, None, tuple[float, bool] | None]:
        started = time.monotonic()
        yield Progress("Starting")
        from micro_sam.embeddings.compute import iter_embeddings

        predictor = self.predictor if self._key == settings.model_key else None
        if predictor is None:
            offer = None if download or settings.checkpoint_path else missing_weights(settings)
            if offer is not None:
                yield offer
                return None
            if download:
                _download(job, settings)
            yield Progress(f"Loading the model {settings.model_type or settings.checkpoint_path}")
            predictor = _load(settings)
        yield Progress("Looking for embeddings in the cache" if settings.embedding_path else "Preparing the image")
        opened = self._opened
        if opened is None or not opened.fits(image, settings, predictor):
            opened = _Opened(image, settings, predictor, *_open(predictor, image, ndim, settings))
        store = opened.store
        yield _Attached(opened, settings.model_key)
        missing = len(store.missing())
        if missing == 0:
            return time.monotonic() - started, True
        yield Progress(_embedding_text(settings, predictor, missing), 0, missing)
        embedding_started = time.monotonic()
        run = iter_embeddings(predictor, image.pixels, store, focus=lambda: self.focus)
        for done, _ in enumerate(run, start=1):
            left = (time.monotonic() - embedding_started) / done * (missing - done)
            yield _Computed()
            yield Progress(f"Embedding: {done} of {missing}, {duration(left)} left", done, missing)
        return time.monotonic() - started, False

    @staticmethod
    def _steps_ahead(load: Callable[[], OpenImage], ndim: int, settings: Settings, predictor) -> Generator:
        from micro_sam.embeddings.compute import iter_embeddings

        image = load()
        yield Progress("Embedding the next image")
        embeddings, store = _open(predictor, image, ndim, settings)
        for _ in iter_embeddings(predictor, image.pixels, store):
            yield Progress("Embedding the next image")
        return _Opened(image, settings, predictor, embeddings, store)

    # In the window's thread.

    def _receive(self, item: Any) -> None:
        if isinstance(item, ModelOffer):
            self.offered.emit(item)
        elif isinstance(item, _Attached):
            self._opened, self._key = item.opened, item.key
            self.predictor, self.embeddings = item.opened.predictor, item.opened.embeddings
            self.attached.emit(self.predictor, self.embeddings)
        elif isinstance(item, _Computed):
            self.computed += 1
            self.progressed.emit()

    def _done(self, result: tuple[float, bool] | None) -> None:
        if self._start_waiting() or result is None:
            return
        self.progressed.emit()
        self.ready.emit(*result)

    def _fail(self, error: Exception) -> None:
        if not self._start_waiting():
            self.failed.emit(error)

    def _cancelled(self) -> None:
        if self._start_waiting():
            return
        if self.embeddings is not None and self.embeddings.is_complete():  # the step at work was the last one
            self.progressed.emit()
            self.ready.emit(time.monotonic() - self._began, False)
        else:
            self.stopped.emit()

    def _keep_ahead(self, ahead: _Opened) -> None:
        self._opened = ahead
        self._start_waiting()

    def _ahead_failed(self, error: Exception) -> None:
        # It will be told when the person goes to that image.
        log.info("The next image could not be prepared: %s", error)
        self._start_waiting()

    def _start_waiting(self) -> bool:
        """Start what was asked for meanwhile."""
        start, self._waiting = self._waiting, None
        if start is not None:
            start()
        return start is not None


@dataclass(frozen=True)
class _Opened:
    """An image whose features are there, or partly: the one of the last preparation, or one that was embedded ahead."""

    image: OpenImage
    settings: Settings
    predictor: Any
    embeddings: Any
    store: Any

    def fits(self, image: OpenImage, settings: Settings, predictor: Any) -> bool:
        """Whether it is what is asked for now."""
        return self.image is image and self.settings == settings and self.predictor is predictor


class _Computed:
    """One more slice or tile is stored."""


def _import_torch() -> None:
    with contextlib.suppress(Exception):  # the preparation will say what is wrong
        import torch  # noqa: F401


def _load(settings: Settings) -> Any:
    from micro_sam.models.build import get_sam_model

    return get_sam_model(
        settings.model_type,
        device=settings.device,
        checkpoint_path=settings.checkpoint_path,
        decoder_path=settings.decoder_path,
    )


def _open(predictor: Any, image: OpenImage, ndim: int, settings: Settings) -> tuple[Any, Any]:
    from micro_sam.embeddings.compute import open_embeddings

    return open_embeddings(
        predictor,
        image.pixels,
        save_path=settings.embedding_path,
        ndim=ndim,
        tile_shape=settings.tile_shape,
        halo=settings.halo,
        image_path=image.path if image.is_whole_file else None,
        smooth_noise=True,
    )


def _download(job: Job, settings: Settings) -> None:
    """Fetch the weights of the model, with progress, until somebody cancels."""
    from micro_sam.models.download import fetch
    from micro_sam.models.registry import get_spec

    spec = get_spec(settings.model_type)
    last = 0.0

    def progress(done: int, total: int | None) -> None:
        nonlocal last
        if time.monotonic() - last > 0.2:
            last = time.monotonic()
            text = f"Downloading {spec.name}: {done / 1e6:,.0f} MB" + (f" of {total / 1e6:,.0f} MB" if total else "")
            job.report(Progress(text, int(done / 1e6), int((total or 0) / 1e6)))

    for weights in (spec.weights, spec.decoder):
        if weights is not None:
            fetch(weights, progress=progress)


def _embedding_text(settings: Settings, predictor: Any, number: int) -> str:
    from micro_sam.models.build import estimate_cost
    from micro_sam.models.registry import MODELS, SHIPPED_MODEL

    spec = MODELS.get(settings.model_type)
    if spec is None or spec.name == SHIPPED_MODEL:  # its first tile is there before the estimate would be
        return "Embedding"
    return f"Embedding: {duration(estimate_cost(spec, predictor.device)[0] * number)}"


def duration(seconds: float) -> str:
    """A time as people say it: ``"about 2 s"``, ``"about 3 min"``."""
    if seconds < 0.95:
        return "less than 1 s"
    if seconds < 90:
        return f"about {seconds:.0f} s"
    if seconds < 5400:
        return f"about {seconds / 60:.0f} min"
    return f"about {seconds / 3600:.1f} h"
