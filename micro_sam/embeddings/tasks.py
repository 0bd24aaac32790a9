"""Embedding many images, and many parts of one, as tasks that any process can do.

A task opens an image and its cache, does what is little, and says what else there is to do in tasks of their own. Items
that are stored are never computed again, so a task may be done twice. Who only hands tasks out need not import torch.
"""

from __future__ import annotations

import math
import random
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from micro_sam.distributed.options import Part
from micro_sam.embeddings.jobs import EmbeddingJob

if TYPE_CHECKING:
    from micro_sam.embeddings.embeddings import Embeddings
    from micro_sam.embeddings.store import EmbeddingStore, Item
    from micro_sam.io.checks import CheckedImage
    from micro_sam.models.predictor import Predictor

FEW = 8  # items in one task at most, unless a file holds more
KEPT_OPEN = 2  # images that a worker keeps open: the next task is most often of the same


@dataclass(frozen=True)
class EmbeddingSettings:
    """How images are embedded; see `open_embeddings` and `iter_embeddings`."""

    ndim: int | None = None
    tile_shape: tuple[int, int] | None = None
    halo: tuple[int, int] | None = None
    batch_size: int | None = None
    shard: int | None = None  # items in one file
    workers: int = 1  # that share the work
    smooth_noise: bool = True
    half: bool = False


@dataclass(frozen=True)
class EmbeddingTask:
    """Some of the items of an image; ``items`` None: open it, and do it all if that is little."""

    job: EmbeddingJob
    settings: EmbeddingSettings
    items: tuple[Item, ...] | None = None


@dataclass(frozen=True)
class Embedded:
    """What a task did.

    Attributes
    ----------
    done
        Items that are stored now: computed here, or found when the image was opened.
    total
        Items of the image.
    computed
        Items computed here.
    more
        Tasks for the rest.
    note
        What the user should know of how the image was read.
    """

    done: int
    total: int
    computed: int = 0
    more: tuple[EmbeddingTask, ...] = ()
    note: str = ""


@dataclass
class OpenImage:
    """An image with its cache."""

    checked: CheckedImage
    embeddings: Embeddings
    store: EmbeddingStore


_OPEN: OrderedDict[tuple[Any, ...], OpenImage] = OrderedDict()


def embed(predictor: Predictor, task: EmbeddingTask) -> Embedded:
    """Do a task.

    Raises
    ------
    MicroSamError
        When the image cannot be read or its cache cannot be written; what is stored stays.
    """
    image = open_image(predictor, task.job, task.settings, anew=task.items is None)
    store, settings = image.store, task.settings
    total = len(store.grid) * (store.n_slices or 1)
    if task.items is None:
        missing = store.missing()
        groups = list(item_groups(store, missing, settings))
        if len(groups) > 1:
            random.shuffle(groups)  # another client on the same cache shall not do the same at the same time,
            groups = [tuple(random.sample(group, len(group))) for group in groups]  # nor go through a group in step
            more = tuple(replace(task, items=group) for group in groups)
            return Embedded(total - len(missing), total, more=more, note=image.checked.note or "")
        computed = _compute(predictor, image, missing, settings)
        store.finish()
        return Embedded(total, total, computed, note=image.checked.note or "")
    computed = _compute(predictor, image, task.items, settings)
    return Embedded(len(task.items), total, computed)


def open_image(predictor: Predictor, job: EmbeddingJob, settings: EmbeddingSettings, anew: bool = False) -> OpenImage:
    """An image with its cache, which is made if it is not there; the last few stay open.

    Parameters
    ----------
    anew
        Look again, whatever is open.
    """
    from micro_sam.embeddings.compute import open_embeddings

    key = (job, settings, predictor.model_hash)
    if anew:
        _OPEN.pop(key, None)
    if key not in _OPEN:
        checked = job.open(settings.ndim)
        embeddings, store = open_embeddings(
            predictor,
            checked.data,
            job.cache_path,
            ndim=checked.ndim,
            tile_shape=settings.tile_shape,
            halo=settings.halo,
            image_path=job.image_path,
            smooth_noise=settings.smooth_noise,
            shard=settings.shard,
            half=settings.half,
        )
        _OPEN[key] = OpenImage(checked, embeddings, store)
        while len(_OPEN) > KEPT_OPEN:
            _OPEN.popitem(last=False)
    _OPEN.move_to_end(key)
    return _OPEN[key]


def close_images() -> None:
    """Forget the images that are open."""
    _OPEN.clear()


def item_groups(
    store: EmbeddingStore, items: Iterable[Item], settings: EmbeddingSettings
) -> Iterator[tuple[Item, ...]]:
    """Items in groups for one task each: those of one file stay together, so that it has one writer."""
    items = list(items)
    shard = store.items_per_file
    if shard == 1:
        size = max(1, min(FEW, math.ceil(len(items) / (4 * settings.workers))))
        yield from (tuple(items[k : k + size]) for k in range(0, len(items), size))
        return
    files: dict[int, list[Item]] = {}
    for i, tile in items:
        files.setdefault(((i or 0) * len(store.grid) + tile) // shard, []).append((i, tile))
    yield from (tuple(group) for group in files.values())


def items_of_part(store: EmbeddingStore, part: Part, whole_slices: bool = False) -> list[Item]:
    """The share of a job of an array, whatever is complete already; items of one file have one writer.

    Parameters
    ----------
    whole_slices
        Keep the tiles of a slice together.
    """
    tiles = len(store.grid) if whole_slices and store.n_slices is not None else 1
    return part.of(list(store.items()), math.lcm(store.items_per_file, tiles))


def _compute(predictor: Predictor, image: OpenImage, items: Iterable[Item], settings: EmbeddingSettings) -> int:
    from micro_sam.embeddings.compute import iter_embeddings
    from micro_sam.embeddings.order import Focus

    order = Focus(wanted=tuple(items))  # as they are handed out
    run = iter_embeddings(
        predictor, image.checked.data, image.store, batch_size=settings.batch_size, items=items, focus=lambda: order
    )
    return sum(1 for _ in run)


@dataclass
class Progress:
    """How far the images of many tasks are, and what is to be done when one of them is complete."""

    left: dict[Any, int] = field(default_factory=dict)  # job -> tasks that are not done
    failed: dict[Any, str] = field(default_factory=dict)  # job -> the first error

    def begin(self, job: Any, tasks: int) -> None:
        """So many more tasks belong to a job."""
        self.left[job] = self.left.get(job, 0) + tasks

    def end(self, job: Any) -> bool:
        """A task of a job is over; returns whether it was the last one."""
        self.left[job] -= 1
        return self.left[job] == 0
