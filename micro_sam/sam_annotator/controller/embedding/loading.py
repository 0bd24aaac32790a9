"""What the preparation of a window does in its thread: the model, its weights, the cache."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

from micro_sam.embeddings.order import Focus, is_large
from micro_sam.models.registry import SHIPPED_MODEL
from micro_sam.sam_annotator.runtime.jobs import Job, Progress
from micro_sam.sam_annotator.state.images import OpenImage
from micro_sam.sam_annotator.state.settings import Settings
from micro_sam.sam_annotator.state.status import duration
from micro_sam.session.first_answers import FirstAnswers, Order, can_begin

PATIENCE = 10.0  # seconds that a preparation waits to begin, at most


@dataclass(frozen=True)
class Opened:
    """An image whose features are there, or partly: the one of the last preparation, or one that was embedded ahead."""

    image: OpenImage
    settings: Settings
    predictor: Any
    embeddings: Any
    store: Any

    def fits(self, image: OpenImage, settings: Settings, predictor: Any) -> bool:
        """Whether it is what is asked for now."""
        return self.image.data is image.data and self.settings == settings and self.predictor is predictor

    def is_cheap_beside(self, other: Opened) -> bool:
        """Whether it can be kept in memory when another image is shown: one plane, and no model of its own."""
        return self.predictor is other.predictor and self.store.n_slices is None and not self.is_large

    @property
    def total(self) -> int:
        """Slices or tiles of the image."""
        return len(self.store.grid) * (self.store.n_slices or 1)

    @property
    def is_large(self) -> bool:
        """Whether only what is wanted is computed."""
        from micro_sam.embeddings.temporary_store import feature_bytes

        grid, n_slices = self.store.grid, self.store.n_slices
        return is_large(grid, n_slices, feature_bytes(self.predictor.model, grid, n_slices))


class Start:
    """When a preparation begins, and with it the import of PyTorch.

    Parameters
    ----------
    waits
        Whether the processor is left to the window until somebody calls :meth:`now`; else at once.
    """

    def __init__(self, waits: bool = False) -> None:
        self._event = threading.Event()
        if not waits:
            self.now()

    def now(self) -> None:
        """Import what is needed, and prepare what is asked for from now on."""
        if not self._event.is_set():
            self._event.set()
            threading.Thread(target=_import_torch, name="micro_sam imports").start()

    def never(self) -> None:
        """Let go who waits, to find itself cancelled; nothing is imported for it."""
        self._event.set()

    def wait(self) -> None:
        """Wait for it."""
        self._event.wait(PATIENCE)


def _import_torch() -> None:
    with contextlib.suppress(Exception):  # the preparation will say what is wrong
        import torch  # noqa: F401


class Computed:
    """One more slice or tile is stored."""


@dataclass(frozen=True)
class Found:
    """So many slices or tiles are stored already."""

    number: int


@dataclass(frozen=True)
class Attached:
    """The model is loaded and the cache is open; features follow."""

    opened: Opened
    key: tuple[str | None, ...]


@dataclass(frozen=True)
class Prepared:
    """A preparation has come to its end.

    Attributes
    ----------
    seconds
        It took.
    from_cache
        Whether nothing had to be computed.
    """

    seconds: float
    from_cache: bool


def load_model(settings: Settings) -> Any:
    """The model that the settings name."""
    from micro_sam.models.build import get_sam_model

    return get_sam_model(**_model_arguments(settings))


def open_image_embeddings(predictor: Any, image: OpenImage, ndim: int, settings: Settings) -> tuple[Any, Any]:
    """Embeddings and store of an image, as far as they exist."""
    from micro_sam.embeddings.compute import open_embeddings

    arguments = _embedding_arguments(ndim, settings)
    return open_embeddings(
        predictor, image.pixels, save_path=settings.embedding_path, image_path=image.whole_file, **arguments
    )


def first_answers(image: OpenImage, ndim: int, settings: Settings) -> FirstAnswers | None:
    """A process that answers the first prompts of an image; None where it would not be ready before the window is."""
    is_quick = settings.model_type == SHIPPED_MODEL and settings.checkpoint_path is None
    if not is_quick or not can_begin(image.pixels):
        return None
    # not on the GPU: two processes may not use it where it is set so, and a small model needs none
    model = {**_model_arguments(settings), "device": "cpu", "precision": "auto"}
    try:
        return FirstAnswers(Order(image.pixels, model, _embedding_arguments(ndim, settings)))
    except OSError:  # there may be no more processes: the model answers when it is there
        return None


def _model_arguments(settings: Settings) -> dict[str, Any]:
    return {
        "model_type": settings.model_type,
        "device": settings.device,
        "checkpoint_path": settings.checkpoint_path,
        "decoder_path": settings.decoder_path,
        "precision": settings.precision,
    }


def _embedding_arguments(ndim: int, settings: Settings) -> dict[str, Any]:
    return {"ndim": ndim, "tile_shape": settings.tile_shape, "halo": settings.halo, "smooth_noise": True}


def download_weights(job: Job, settings: Settings) -> None:
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


def embedding_text(settings: Settings, predictor: Any, number: int) -> str:
    """What is said before the first of a number of slices or tiles is embedded."""
    from micro_sam.models.build import estimate_cost
    from micro_sam.models.registry import MODELS, SHIPPED_MODEL

    spec = MODELS.get(settings.model_type or "")
    if spec is None or spec.name == SHIPPED_MODEL:  # its first tile is there before the estimate would be
        return "Embedding"
    return f"Embedding: {duration(estimate_cost(spec, predictor.device)[0] * number)}"


def there_text(there: int, opened: Opened) -> str:
    """How much of an image is embedded: "12 of 1,600 tiles"."""
    return f"{there:,} of {opened.total:,} {'tiles' if len(opened.store.grid) > 1 else 'slices'}"


def embedding_steps(opened: Opened, focus: Callable[[], Focus]) -> Generator[Computed | Progress, None, None]:
    """Compute what is missing, or of a large image what the focus wants; yields after every slice or tile."""
    from micro_sam.embeddings.compute import iter_embeddings

    began, missing = time.monotonic(), len(opened.store.missing())
    there = opened.total - missing
    steps = iter_embeddings(opened.predictor, opened.image.pixels, opened.store, focus=focus)
    for done, _ in enumerate(steps, start=1):
        yield Computed()
        left = duration((time.monotonic() - began) / done * (missing - done))
        if not opened.is_large:
            yield Progress(f"Embedding: {done} of {missing}, {left} left", done, missing)
            continue
        text = f"Embedding: {there_text(there + done, opened)}"
        yield Progress(text if focus().only else f"{text}, {left} left", there + done, opened.total)
