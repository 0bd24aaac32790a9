"""Model and features, made ready in the background.

The heavy libraries (torch, scikit-image) are imported in the thread that first needs them, so that the window is there
before them.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

from psygnal import Signal

from micro_sam.sam_annotator.images import OpenImage
from micro_sam.sam_annotator.jobs import AHEAD, PREPARE, Job, Jobs, Progress
from micro_sam.sam_annotator.settings import Settings

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ModelOffer:
    """The weights of the wanted model are not on this machine: what can be done about it.

    Attributes
    ----------
    wanted
        Name of the model.
    gigabytes
        What there is to download; None when it cannot be downloaded.
    seconds
        Time that one image takes with it on this machine, estimated.
    memory
        Gigabytes of memory it needs.
    instead
        Name of the model that comes with the program.
    instead_seconds
        Time that one image takes with that.
    """

    wanted: str
    gigabytes: float | None
    seconds: float
    memory: float
    instead: str
    instead_seconds: float


@dataclass(frozen=True)
class _Attached:
    """The model is loaded and the cache is open; features follow."""

    predictor: Any
    embeddings: Any
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
    """

    attached = Signal(object, object)
    progressed = Signal()
    ready = Signal(float, bool)
    offered = Signal(ModelOffer)
    failed = Signal(Exception)

    def __init__(self, jobs: Jobs) -> None:
        self.predictor: Any = None
        self.embeddings: Any = None
        self.computed = 0
        """How many slices or tiles were computed (not read from the cache) for the present image."""
        self._jobs = jobs
        self._key: tuple | None = None
        self._waiting: Callable[[], None] | None = None
        self._ahead: _Ahead | None = None

    @property
    def busy(self) -> bool:
        """Whether a model is being loaded or features are being computed."""
        return self._jobs.running(PREPARE) is not None

    def prepare(
        self,
        image: OpenImage,
        ndim: int,
        settings: Settings,
        *,
        focus: Callable[[], int | None] | None = None,
        download: bool = False,
    ) -> None:
        """Load the model (unless it is loaded) and compute the features of an image (unless they are in the cache).

        Parameters
        ----------
        image
            Its pixels are embedded.
        ndim
            2, or 3 for a stack.
        focus
            Gives the slice in view, which is computed first. Called in the thread of the run.
        download
            Whether missing weights may be fetched; otherwise :attr:`offered` is emitted.

        Notes
        -----
        A preparation that is still at work is cancelled, and this one starts when it has ended.
        """

        def start() -> None:
            self.embeddings = None
            self.computed = 0
            self._jobs.start(
                f"Preparing {settings.model_type or 'the model'}",
                lambda job: self._steps(job, image, ndim, settings, focus, download),
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
        elif self._jobs.running(AHEAD) is not None:
            self._waiting = start  # what is computed ahead may be this very image
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
        return self._ahead.image if self._ahead is not None and self._ahead.image.name == name else None

    # In the thread of the run.

    def _steps(
        self, job: Job, image: OpenImage, ndim: int, settings: Settings, focus, download: bool
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
        ahead = self._ahead
        if ahead is not None and ahead.fits(image, settings, predictor):
            embeddings, store = ahead.embeddings, ahead.store
        else:
            embeddings, store = _open(predictor, image, ndim, settings)
        yield _Attached(predictor, embeddings, settings.model_key)
        missing = len(store.missing())
        if missing == 0:
            return time.monotonic() - started, True
        yield Progress(_embedding_text(settings, predictor, missing), 0, missing)
        embedding_started = time.monotonic()
        for done, _ in enumerate(iter_embeddings(predictor, image.pixels, store, focus=focus), start=1):
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
        return _Ahead(image, settings, predictor, embeddings, store)

    # In the window's thread.

    def _receive(self, item: Any) -> None:
        if isinstance(item, ModelOffer):
            self.offered.emit(item)
        elif isinstance(item, _Attached):
            self.predictor, self.embeddings, self._key = item.predictor, item.embeddings, item.key
            self.attached.emit(item.predictor, item.embeddings)
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
        self._start_waiting()

    def _keep_ahead(self, ahead: _Ahead) -> None:
        self._ahead = ahead
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
class _Ahead:
    """An image that was loaded and embedded before anybody asked for it."""

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


def missing_weights(settings: Settings) -> ModelOffer | None:
    """What to offer when the weights of the wanted model are not here; None when they are."""
    from micro_sam.models.build import estimate_cost
    from micro_sam.models.device import get_device
    from micro_sam.models.download import find_local
    from micro_sam.models.registry import SHIPPED_MODEL, get_spec

    spec = get_spec(settings.model_type)
    if find_local(spec) is not None:
        return None
    shipped = get_spec(SHIPPED_MODEL)
    device = get_device(settings.device)
    seconds, memory = estimate_cost(spec, device)
    return ModelOffer(
        wanted=spec.name,
        gigabytes=spec.weights.size / 1e9 if spec.weights.size and spec.weights.url else None,
        seconds=seconds,
        memory=memory,
        instead=shipped.name,
        instead_seconds=estimate_cost(shipped, device)[0],
    )


def no_model(settings: Settings) -> ModelOffer:
    """What to offer when the wanted model could not be loaded or downloaded."""
    from micro_sam.models.registry import SHIPPED_MODEL

    return ModelOffer(str(settings.model_type or "the model"), None, 0, 0, SHIPPED_MODEL, 0)


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
    from micro_sam.models.registry import MODELS

    spec = MODELS.get(settings.model_type)
    if spec is None:
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
