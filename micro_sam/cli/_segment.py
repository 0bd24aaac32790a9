"""One image through ``micro_sam.automatic_segmentation``, here or in a worker."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from micro_sam.cli._tasks import FinishTask, Precompute, precompute
from micro_sam.embeddings.jobs import EmbeddingJob
from micro_sam.embeddings.tasks import EmbeddingSettings, EmbeddingTask, close_images
from micro_sam.errors import InputError

if TYPE_CHECKING:
    import numpy as np

    from micro_sam.models.predictor import Predictor
    from micro_sam.segmentation.automatic.dense import DenseInstanceSegmenter
    from micro_sam.segmentation.automatic.segmenter import Segmenter


@dataclass(frozen=True)
class SegmentationSettings:
    """How images are segmented; ``thresholds`` are names and numbers as they were written."""

    mode: str = "auto"
    ndim: int | None = None
    tile_shape: tuple[int, int] | None = None
    halo: tuple[int, int] | None = None
    batch_size: int | None = None
    keep_embeddings: bool = False
    tracking: bool = False
    annotate: bool = False
    verbose: bool = False
    thresholds: tuple[tuple[str, str], ...] = ()
    generator: tuple[tuple[str, Any], ...] = ()
    volume_method: str = "auto"
    scale: tuple[float, float, float] | None = None
    look_closer: bool | None = None
    region: tuple[int, ...] | None = None


@dataclass(frozen=True)
class SegmentationTask:
    """An image and where its labels go."""

    job: EmbeddingJob
    output: Path
    settings: SegmentationSettings


@dataclass(frozen=True)
class Segmented:
    """What came of it: the number of objects."""

    objects: int


def make_segmenter(
    settings: SegmentationSettings, predictor: Predictor | None = None, **model: Any
) -> tuple[Predictor, Any]:
    """Predictor and segmenter; ``model``: arguments of `get_predictor_and_segmenter` where there is no predictor yet.

    Raises
    ------
    ModelError, InputError
        When the model cannot be had, or has no decoder though the mode needs one.
    """
    from micro_sam.compat.automatic import get_predictor_and_segmenter

    predictor, segmenter = get_predictor_and_segmenter(
        model.get("model_type"),
        model.get("checkpoint"),
        model.get("device"),
        None if settings.mode == "auto" else settings.mode,
        is_tiled=settings.tile_shape is not None,
        predictor=predictor,
        **dict(settings.generator),
    )
    if settings.look_closer is not None:
        cast("DenseInstanceSegmenter", segmenter).look_closer = settings.look_closer
    return predictor, segmenter


def segment(predictor: Predictor, task: SegmentationTask | EmbeddingTask | FinishTask) -> Any:
    """Do a task of any kind with a worker's model."""
    if not isinstance(task, SegmentationTask):
        return precompute(predictor, task)
    close_images()  # the whole image is read now
    own, segmenter = make_segmenter(task.settings, predictor)
    return segment_one(own, segmenter, task)


def segment_one(predictor: Predictor, segmenter: Segmenter, task: SegmentationTask) -> Segmented:
    """Segment an image and write its labels, or the tracks of a movie.

    Raises
    ------
    MicroSamError
        With a sentence.
    """
    from micro_sam.compat.automatic import automatic_instance_segmentation, automatic_tracking
    from micro_sam.io.labels import save_labels, small_ids
    from micro_sam.segmentation.labels import count_labels

    settings, job = task.settings, task.job
    common: dict[str, Any] = {
        "embedding_path": job.cache_path if settings.keep_embeddings else None,
        "tile_shape": settings.tile_shape,
        "halo": settings.halo,
        "verbose": settings.verbose,
        "annotate": settings.annotate,
        "batch_size": settings.batch_size,
        **check_thresholds(settings.thresholds, segmenter),
    }
    image = job.open(3 if settings.tracking else settings.ndim)
    if settings.tracking:
        labels, _ = automatic_tracking(predictor, segmenter, image.data, task.output, **common)
    else:
        stack: dict[str, Any] = {"method": settings.volume_method, "scale": settings.scale or job.voxel_size(image)}
        stack["region"] = settings.region
        labels = automatic_instance_segmentation(
            predictor, segmenter, image.data, None, ndim=settings.ndim, **stack, **common
        )
        labels = small_ids(labels)  # the larger ones go before the file is made
        save_labels(task.output, cast("np.ndarray", labels), image.scale)
    return Segmented(count_labels(labels))


def check_thresholds(pairs: Sequence[tuple[str, str]], segmenter: Segmenter) -> dict[str, float]:
    """Names and numbers for ``segmenter.generate``.

    Raises
    ------
    InputError
        For a name that the segmenter does not know, or a value that is no number.
    """
    known = [
        name
        for name, parameter in inspect.signature(segmenter.generate).parameters.items()
        if "float" in str(parameter.annotation) or "int" in str(parameter.annotation)
    ]
    thresholds = {}
    for name, text in pairs:
        if name not in known:
            raise InputError(f"There is no threshold {name!r} for this model; there are {', '.join(known)}.")
        try:
            thresholds[name] = float(text)
        except ValueError:
            raise InputError(f"The threshold {name} needs a number, not {text!r}.") from None
    return thresholds


class Segmentation:
    """The course of many images on a cluster: embedded in parts where the embeddings are kept, then segmented.

    What the network says of large images is prepared in blocks by all workers, too; one then joins them.

    Parameters
    ----------
    tasks
        One for each image.
    settings
        Of the embeddings; None: they are not kept, and an image is done in one task.
    bar
        A progress bar (tqdm) of images, slices and tiles.
    """

    def __init__(self, tasks: Iterable[SegmentationTask], settings: EmbeddingSettings | None, bar: Any) -> None:
        self._tasks = {task.job: task for task in tasks}
        by_maps = all(
            task.settings.mode != "amg" and task.settings.look_closer is None for task in self._tasks.values()
        )
        large: bool | Literal["large"] = "large" if by_maps else False
        self._settings, self._bar = settings, bar
        self._embedding: Precompute | None = None
        if settings is not None:
            self._embedding = Precompute(self._tasks, settings, prepare=large, bar=bar)

    def tasks(self) -> Iterator[SegmentationTask | EmbeddingTask]:
        """The first task of each image."""
        return iter(self._tasks.values()) if self._embedding is None else self._embedding.tasks()

    def follow(self, task: SegmentationTask | EmbeddingTask | FinishTask, answer: Any) -> list[Any]:
        """Take notice of an answer; returns the tasks that come next."""
        if isinstance(task, SegmentationTask):
            self._bar.update(1)
            if answer.error is None:
                self._bar.clear()
                print(f"{answer.value.objects} objects: {task.output}", file=sys.stdout)
            return []
        assert self._embedding is not None  # other tasks are those of the embeddings
        more = self._embedding.follow(task, answer)
        if any(isinstance(one, EmbeddingTask) or one.prepare for one in more):
            return more
        if not self._embedding.is_embedded(task.job):
            return []
        self._bar.total += 1
        return [self._tasks[task.job]]  # which notes that the cache is complete
