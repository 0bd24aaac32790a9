"""What workers do for ``micro_sam.precompute_embeddings``, and the order in which it is done."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from micro_sam.embeddings.jobs import EmbeddingJob
from micro_sam.embeddings.tasks import Embedded, EmbeddingSettings, EmbeddingTask, Progress, embed, open_image

if TYPE_CHECKING:
    from micro_sam.models.predictor import Predictor

FEW_PARTS = 8  # parts of an automatic segmentation in one task


@dataclass(frozen=True)
class FinishTask:
    """The rest of an image whose embeddings are stored.

    ``prepare`` "large": only of images that are prepared in blocks. ``parts`` None: note that it is complete, and with
    ``prepare`` find out what an automatic segmentation needs; then these parts; ``last``: keep its maps in the file
    that micro-sam 1.x reads, too.
    """

    job: EmbeddingJob
    settings: EmbeddingSettings
    prepare: bool | Literal["large"]
    parts: tuple[Any, ...] | None = None
    last: bool = False


@dataclass(frozen=True)
class Finished:
    """What a `FinishTask` did, and tasks for the rest."""

    done: int = 0
    more: tuple[FinishTask, ...] = ()
    note: str = ""


def precompute(predictor: Predictor, task: EmbeddingTask | FinishTask) -> Embedded | Finished:
    """Do a task of either kind with a worker's model."""
    return embed(predictor, task) if isinstance(task, EmbeddingTask) else _finish(predictor, task)


def _finish(predictor: Predictor, task: FinishTask) -> Finished:
    from micro_sam.segmentation.automatic.dense_parts import is_in_blocks
    from micro_sam.segmentation.volume.keeping import automatic_parts, keep_parts

    image = open_image(predictor, task.job, task.settings)
    derived = image.embeddings.derived
    if ("voxel size",) not in derived:
        derived["voxel size",] = task.job.voxel_size(image.checked)
    scale = derived["voxel size",]
    if task.last and task.prepare != "large":
        from micro_sam.compat.states import keep_maps

        keep_maps(predictor, image.embeddings)
        return Finished()
    if task.last:
        return Finished()
    if task.parts is None:
        image.store.finish()
        if not task.prepare or (task.prepare == "large" and not is_in_blocks(predictor, image.embeddings)):
            return Finished()
        parts = automatic_parts(predictor, image.embeddings, scale)
        groups = [tuple(parts[k : k + FEW_PARTS]) for k in range(0, len(parts), FEW_PARTS)]
        more = tuple(replace(task, parts=group) for group in groups) or (replace(task, last=True),)
        maps = derived.get(("maps", scale))
        return Finished(more=more, note="" if maps is None else maps.note)
    return Finished(done=sum(1 for _ in keep_parts(predictor, image.embeddings, scale, task.parts)))


class Precompute:
    """The course of many images: each is opened, embedded in parts, completed, and prepared if asked for.

    Parameters
    ----------
    jobs
        The images; only a few are looked at at a time.
    settings
        How they are embedded.
    prepare
        Whether automatic segmentation is prepared; "large": that of images that are prepared in blocks.
    bar
        A progress bar (tqdm). It counts slices and tiles; an image that was not opened yet counts as one.

    Attributes
    ----------
    computed : int
        Items that were computed.
    """

    def __init__(
        self,
        jobs: Iterable[EmbeddingJob],
        settings: EmbeddingSettings,
        prepare: bool | Literal["large"],
        bar: Any,
    ) -> None:
        self._jobs, self._settings, self._prepare, self._bar = jobs, settings, prepare, bar
        self._progress = Progress()
        self.computed = 0

    def tasks(self) -> Iterator[EmbeddingTask]:
        """The first task of each image."""
        return (EmbeddingTask(job, self._settings) for job in self._jobs)

    def is_embedded(self, job: EmbeddingJob) -> bool:
        """Whether an image that was begun has all its embeddings."""
        return job not in self._progress.failed and not self._progress.left.get(job, 0)

    def follow(self, task: EmbeddingTask | FinishTask, answer: Any) -> list[EmbeddingTask | FinishTask]:
        """Take notice of an answer; returns the tasks that come next."""
        embeds = isinstance(task, EmbeddingTask)
        is_last = isinstance(task, FinishTask) and task.last
        if isinstance(task, EmbeddingTask):
            is_first = task.items is None
        else:
            is_first = task.parts is None and not task.last
        job, value = task.job, answer.value
        if answer.error is not None:
            self._progress.failed.setdefault(job, answer.error)
            if is_first:
                self._bar.update(1 if embeds else 0)
            else:
                self._progress.end(job)
            return []
        if value.note:
            self._bar.clear()
            print(f"{job.image_path}: {value.note}", file=sys.stderr)
        if embeds:
            self.computed += value.computed
            self._bar.total += value.total - 1 if is_first else 0
        else:
            self._bar.total += sum(len(one.parts or ()) for one in value.more)
        self._bar.update(value.done)
        if value.more:
            self._progress.begin(job, len(value.more))
            return list(value.more)
        is_over = is_first or self._progress.end(job)
        if not is_over or job in self._progress.failed:
            return []
        finish = FinishTask(job, self._settings, self._prepare)
        if embeds:
            # what one task did by itself is complete already
            return [finish] if self._prepare or not is_first else []
        if is_first or is_last:
            return []
        self._progress.begin(job, 1)
        return [replace(finish, last=True)]
