"""``micro_sam.automatic_segmentation``: segment all objects of images without a display."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, model_validator

from micro_sam.cli._cluster import SHARING, Sharing, report, run_tasks, started
from micro_sam.cli._common import (
    ALL_IMAGES,
    EMBEDDING_PATH,
    ModelOptions,
    RequiredImage,
    TilingOptions,
    make_parser,
    run,
)
from micro_sam.cli._fields import Options, option, read_options
from micro_sam.cli._window import check_screen
from micro_sam.errors import InputError, MicroSamError

if TYPE_CHECKING:
    from micro_sam.cli._segment import SegmentationSettings, SegmentationTask
    from micro_sam.distributed.options import ClusterOptions
    from micro_sam.embeddings.jobs import EmbeddingJob

EPILOG = """examples:
  micro_sam.automatic_segmentation -i image.tif -o labels.tif -m nano_lm
  micro_sam.automatic_segmentation -i slide.tif -o labels.tif -m nano_lm --region 4000 6000 5000 7500
  micro_sam.automatic_segmentation -i folder --pattern "*.tif" -o labels -m nano_lm --threshold min_size 50

With --pattern the output is a folder that gets one label image per image; those that are there already are skipped."""

_NAMED = option(None, "", metavar="N")


class GeneratorOptions(Options):
    """Parameters of the generator of masks, by their own names; none: those of the model."""

    points_per_side: int | None = _NAMED
    points_per_batch: int | None = _NAMED
    crop_n_layers: int | None = _NAMED
    stability_score_offset: float | None = _NAMED


class Thresholds(Options):
    """Thresholds, by their own names; none: those of the model."""

    pred_iou_thresh: float | None = _NAMED
    stability_score_thresh: float | None = _NAMED
    box_nms_thresh: float | None = _NAMED
    crop_nms_thresh: float | None = _NAMED
    center_distance_threshold: float | None = _NAMED
    boundary_distance_threshold: float | None = _NAMED
    foreground_threshold: float | None = _NAMED
    foreground_smoothing: float | None = _NAMED
    distance_smoothing: float | None = _NAMED
    nms_threshold: float | None = _NAMED
    min_size: int | None = _NAMED
    min_mask_region_area: int | None = _NAMED


class Parameters(Options):
    """What is known by its own name."""

    generator: GeneratorOptions
    thresholds: Thresholds


class SegmentationOptions(Options):
    """Which images are segmented, how, and where their labels go."""

    image: RequiredImage
    output_path: str = option(
        ...,
        "label image (NAME.zarr/labels/NEW adds a group to an OME-Zarr), or with --pattern a folder",
        "-o",
        metavar="PATH",
    )
    embedding_path: str | None = option(None, EMBEDDING_PATH, "-e", metavar="PATH")
    pattern: str | None = option(None, ALL_IMAGES)
    ndim: Literal[2, 3] | None = option(None, "2: image; 3: stack, objects linked over slices", "-n")
    model: ModelOptions
    tiling: TilingOptions
    threshold: tuple[tuple[str, str], ...] = option(
        (),
        "a threshold of the segmenter, such as min_size 50, foreground_threshold 0.5 or pred_iou_thresh 0.8",
        metavar=("NAME", "VALUE"),
        several="repeated",
    )
    mode: Literal["auto", "amg", "ais", "apg"] = option(
        "auto",
        "amg: a grid of clicks; ais: the decoder of the model; apg: clicks where the decoder shows objects; auto "
        "(default): the decoder where the model has one",
    )
    volume_method: Literal["auto", "maps", "slices"] = option(
        "auto",
        "of stacks: by the maps of the whole volume, or slice by slice, then merged; auto (default): maps where the "
        "model has a decoder",
    )
    scale: tuple[float, float, float] | None = option(
        None,
        "size of a voxel of a stack (default: what the file says), with which maps look along y and x, too",
        metavar=("Z", "Y", "X"),
    )
    look_closer: bool | None = option(
        None,
        "look again, enlarged, where objects are small (default: in images of up to 64 tiles, about 3,500 pixels "
        "square); finds more of them, and takes up to eight times as long as embedding the image",
    )
    region: tuple[int, ...] | None = option(
        None,
        "only the objects whose centre lies in this box, in pixels: Y0 X0 Y1 X1, in a stack also Z0 Y0 X0 Z1 Y1 "
        "X1; only the tiles and slices that see it are embedded",
        metavar="N",
    )
    tracking: bool = option(False, "link the objects of a movie; the output is a folder")
    annotate: bool = option(False, "open the result in the window")
    batch_size: int | None = option(None, "images per pass of the network", metavar="N", low=1)
    verbose: bool = option(True, "show progress (default)", "-v")
    sharing: Sharing = Field(title="on a cluster", description=SHARING)
    parameters: Parameters = Field(
        title="parameters of the mask generator (mode amg) and thresholds, by their own names",
        description=", ".join(f"--{name}" for name in (*GeneratorOptions.model_fields, *Thresholds.model_fields)),
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.image.is_stack and self.ndim is None:
            self.ndim = 3
        if self.tracking and self.pattern:
            raise InputError("--tracking is for one movie; leave --pattern out.")
        if self.annotate and (self.sharing.cluster is not None or self.sharing.part is not None):
            raise InputError("--annotate opens a window here; leave it out on a cluster.")
        if self.region is not None:
            if self.tracking or self.sharing.cluster is not None:
                raise InputError(
                    "--region is for images and stacks on this machine: leave --tracking and --scheduler out."
                )
            if len(self.region) not in (4, 6):
                raise InputError("--region needs 4 numbers, Y0 X0 Y1 X1, or 6 in a stack, Z0 Y0 X0 Z1 Y1 X1.")
        if self.sharing.part is not None and not self.pattern:
            raise InputError(
                "--part shares out the images of a folder: give --pattern, too. A large image by itself is shared out "
                "with micro_sam.precompute_embeddings -p --part; afterwards this command only joins what is there."
            )
        return self

    @property
    def opened_as(self) -> Literal[2, 3] | None:
        """Number of axes that images are read with."""
        return 3 if self.tracking else self.ndim

    def settings(self) -> SegmentationSettings:
        """For `segment_one`."""
        from micro_sam.cli._segment import SegmentationSettings

        named = self.parameters.thresholds.model_dump(exclude_none=True)
        return SegmentationSettings(
            self.mode,
            self.ndim,
            self.tiling.tile_shape,
            self.tiling.halo,
            self.batch_size,
            self.embedding_path is not None,
            self.tracking,
            self.annotate,
            self.verbose and self.sharing.cluster is None,
            (*self.threshold, *((name, str(value)) for name, value in named.items())),
            tuple(self.parameters.generator.model_dump(exclude_none=True).items()),
            self.volume_method,
            self.scale,
            self.look_closer,
            self.region,
        )


def build_parser() -> argparse.ArgumentParser:
    """The options of the command."""
    return make_parser(
        "automatic_segmentation",
        "Segment all objects of an image, a stack, or a folder of images.",
        SegmentationOptions,
        EPILOG,
    )


@run
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    options = read_options(build_parser(), SegmentationOptions, arguments)
    wanted, part = options.sharing.cluster, options.sharing.part
    if options.annotate:
        check_screen()
    jobs = plan(options)
    if part is not None:
        jobs = part.of(jobs)

    from micro_sam.cli._segment import SegmentationTask, check_thresholds, make_segmenter, segment_one

    settings = options.settings()
    tasks = []
    for job, output in jobs:
        if options.pattern and output.exists():
            print(f"{output} is there already: skipped.")
        else:
            tasks.append(SegmentationTask(job, output, settings))
    if wanted is not None:
        return _run_on_cluster(options, wanted, tasks)
    predictor, segmenter = make_segmenter(settings, **options.model.model_dump())
    check_thresholds(settings.thresholds, segmenter)
    failed = []
    for task in tasks:
        try:
            done = segment_one(predictor, segmenter, task)
        except MicroSamError as error:
            if len(jobs) == 1:
                raise
            failed.append(task.output)
            print(f"{task.job.image_path}: {error}", file=sys.stderr)
        else:
            print(f"{done.objects} objects: {task.output}")
    if part is not None:
        return report(failed, len(jobs), "segmented")
    if failed:
        raise InputError(f"{len(failed)} of {len(jobs)} images could not be segmented; the others are written.")
    return 0


def _run_on_cluster(options: SegmentationOptions, wanted: ClusterOptions, tasks: list[SegmentationTask]) -> int:
    from tqdm import tqdm

    from micro_sam.cli._segment import Segmentation, segment
    from micro_sam.distributed.worker import ModelSource
    from micro_sam.embeddings.jobs import absolute
    from micro_sam.embeddings.tasks import EmbeddingSettings

    for name, _ in options.threshold:
        if name not in Thresholds.model_fields:
            raise InputError(f"There is no threshold {name!r}; there are {', '.join(Thresholds.model_fields)}.")
    if not tasks:
        return 0
    if len(tasks) == 1:
        tasks[0].job.open(options.opened_as)  # what is wrong shows before workers are started
    tasks = [replace(task, job=absolute(task.job), output=task.output.absolute()) for task in tasks]
    source = ModelSource.prepare(**options.model.model_dump())
    with started(wanted) as cluster, tqdm(total=len(tasks), unit="item", desc="Segment") as bar:
        embedding = None
        if options.embedding_path is not None:
            embedding = EmbeddingSettings(
                options.opened_as,
                options.tiling.tile_shape,
                options.tiling.halo,
                options.batch_size,
                workers=cluster.wanted or max(1, cluster.workers),
                smooth_noise=False,  # as without workers
            )
        run = Segmentation(tasks, embedding, bar)
        failed = run_tasks(cluster, segment, source, run.tasks(), run.follow, bar)
    return report(failed, len(tasks), "segmented")


def plan(options: SegmentationOptions) -> list[tuple[EmbeddingJob, Path]]:
    """Each image (an `EmbeddingJob`) with the path of its labels; paths are checked before the first second of work.

    Raises
    ------
    InputError
        When no image matches.
    OutputError
        When the output is an input, or something is there that is no earlier result of the same kind.
    """
    from micro_sam.embeddings.jobs import check_caches, plan_jobs
    from micro_sam.io.label_groups import is_label_group
    from micro_sam.io.labels import check_labels_path
    from micro_sam.io.results import Inputs, check_not_input, check_result, recover

    image, output = options.image, Path(options.output_path).expanduser()
    jobs = plan_jobs(image.input, options.embedding_path or output.parent, options.pattern, image.key, image.axes)
    if options.embedding_path:
        check_caches(jobs, image.input, options.pattern, only_read=True)
    others = (options.embedding_path, options.model.checkpoint)
    if options.tracking:
        check_not_input(options.output_path, image.input, *others)
        check_result(output, "tracks")
        jobs[0].open(3)
        return [(jobs[0], output)]
    if options.pattern is None:
        check_not_input(options.output_path, image.input, *others)
        if output.is_dir() and output.suffix != ".zarr":
            raise InputError(f"{output} is a folder; give the name of a label image, such as {output / 'labels.tif'}.")
        if not output.absolute().parent.is_dir() and not is_label_group(output):
            raise InputError(f"The folder of {output} does not exist: make it first, or choose another output.")
        check_labels_path(output, ndim=jobs[0].open(options.ndim).ndim)
        return [(jobs[0], output)]
    if output.is_file():
        raise InputError(f"{output} is a file; with --pattern the output is a folder.")
    recover(output / "inside")
    planned = [(job, output / f"{job.cache_path.stem}.tif") for job in jobs]
    inputs, more = Inputs(image.input, pattern=options.pattern), Inputs(*others)
    for _, path in planned:
        inputs.check(path)
        more.check(path)
    return planned


if __name__ == "__main__":
    sys.exit(main())
