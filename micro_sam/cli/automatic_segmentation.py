"""``micro_sam.automatic_segmentation``: segment all objects of images without a display."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from micro_sam.cli._cluster import add_cluster, cluster_options, report, run_tasks, started
from micro_sam.cli._common import add_embedding_path, add_input, add_model, add_tiling, make_parser, parse, run
from micro_sam.cli._window import check_screen
from micro_sam.errors import InputError, MicroSamError

if TYPE_CHECKING:
    from micro_sam.cli._segment import SegmentationTask
    from micro_sam.distributed.options import ClusterOptions
    from micro_sam.embeddings.jobs import EmbeddingJob

EPILOG = """examples:
  micro_sam.automatic_segmentation -i image.tif -o labels.tif -m nano_lm
  micro_sam.automatic_segmentation -i slide.tif -o labels.tif -m nano_lm --region 4000 6000 5000 7500
  micro_sam.automatic_segmentation -i folder --pattern "*.tif" -o labels -m nano_lm --threshold min_size 50

With --pattern the output is a folder that gets one label image per image; those that are there already are skipped."""


GENERATOR = {"points_per_side": int, "points_per_batch": int, "crop_n_layers": int, "stability_score_offset": float}
THRESHOLDS = dict.fromkeys(
    "pred_iou_thresh stability_score_thresh box_nms_thresh crop_nms_thresh center_distance_threshold "
    "boundary_distance_threshold foreground_threshold foreground_smoothing distance_smoothing nms_threshold".split(),
    float,
) | {"min_size": int, "min_mask_region_area": int}


def build_parser() -> argparse.ArgumentParser:
    """The options of the command."""
    parser = make_parser("automatic_segmentation", "Segment all objects of an image, a stack, or a folder of images.")
    parser.epilog, parser.formatter_class = EPILOG, argparse.RawDescriptionHelpFormatter
    add_input(parser, "--input_path", required=True, more="; sample:NAME for a sample")
    parser.add_argument(
        "-o",
        "--output_path",
        required=True,
        metavar="PATH",
        help="label image (NAME.zarr/labels/NEW adds a group to an OME-Zarr), or with --pattern a folder",
    )
    add_embedding_path(parser)
    parser.add_argument("--pattern", help='take every image of the input folder that matches, for instance "*.tif"')
    parser.add_argument("-n", "--ndim", type=int, choices=(2, 3), help="2: image; 3: stack, objects linked over slices")
    add_model(parser)
    add_tiling(parser)
    parser.add_argument(
        "--threshold",
        nargs=2,
        action="append",
        default=[],
        metavar=("NAME", "VALUE"),
        help="a threshold of the segmenter, such as min_size 50, foreground_threshold 0.5 or pred_iou_thresh 0.8",
    )
    parser.add_argument(
        "--mode",
        choices=("auto", "amg", "ais", "apg"),
        default="auto",
        help="amg: a grid of clicks; ais: the decoder of the model; apg: clicks where the decoder shows objects; auto "
        "(default): the decoder where the model has one",
    )
    parser.add_argument(
        "--volume_method",
        choices=("auto", "maps", "slices"),
        default="auto",
        help="of stacks: by the maps of the whole volume, or slice by slice, then merged; auto (default): maps where "
        "the model has a decoder",
    )
    parser.add_argument(
        "--scale",
        nargs=3,
        type=float,
        metavar=("Z", "Y", "X"),
        help="size of a voxel of a stack (default: what the file says), with which maps look along y and x, too",
    )
    parser.add_argument(
        "--look_closer",
        action=argparse.BooleanOptionalAction,
        help="look again, enlarged, where objects are small (default: in images of up to 64 tiles, about 3,500 pixels "
        "square); finds more of them, and takes up to eight times as long as embedding the image",
    )
    parser.add_argument(
        "--region",
        nargs="+",
        type=int,
        metavar="N",
        help="only the objects whose centre lies in this box, in pixels: Y0 X0 Y1 X1, in a stack also Z0 Y0 X0 Z1 Y1 "
        "X1; only the tiles and slices that see it are embedded",
    )
    parser.add_argument("--tracking", action="store_true", help="link the objects of a movie; the output is a folder")
    parser.add_argument("--annotate", action="store_true", help="open the result in the window")
    parser.add_argument("--batch_size", type=int, metavar="N", help="images per pass of the network")
    parser.add_argument(
        "-v", "--verbose", action=argparse.BooleanOptionalAction, default=True, help="show progress (default)"
    )
    add_cluster(parser)
    more = parser.add_argument_group("parameters of the mask generator (mode amg) and thresholds, by their own names")
    for name, kind in GENERATOR.items() | THRESHOLDS.items():
        more.add_argument(f"--{name}", type=kind, metavar="N", help=argparse.SUPPRESS)
    more.description = ", ".join(f"--{name}" for name in (*GENERATOR, *THRESHOLDS))
    return parser


@run
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    options = parse(build_parser(), arguments)
    if options.tracking and options.pattern:
        raise InputError("--tracking is for one movie; leave --pattern out.")
    wanted = cluster_options(options)
    if options.region is not None:
        if options.tracking or wanted is not None:
            raise InputError("--region is for images and stacks on this machine: leave --tracking and --scheduler out.")
        if len(options.region) not in (4, 6):
            raise InputError("--region needs 4 numbers, Y0 X0 Y1 X1, or 6 in a stack, Z0 Y0 X0 Z1 Y1 X1.")
    if options.annotate:
        if wanted is not None or options.part is not None:
            raise InputError("--annotate opens a window here; leave it out on a cluster.")
        check_screen()
    if options.part is not None and not options.pattern:
        raise InputError(
            "--part shares out the images of a folder: give --pattern, too. A large image by itself is shared out with "
            "micro_sam.precompute_embeddings -p --part; afterwards this command only joins what is there."
        )
    jobs = plan(options)
    if options.part is not None:
        jobs = options.part.of(jobs)

    from micro_sam.cli._segment import (
        SegmentationSettings,
        SegmentationTask,
        check_thresholds,
        make_segmenter,
        segment_one,
    )

    named = [(name, str(getattr(options, name))) for name in THRESHOLDS if getattr(options, name) is not None]
    settings = SegmentationSettings(
        options.mode,
        options.ndim,
        options.tile_shape,
        options.halo,
        options.batch_size,
        options.embedding_path is not None,
        options.tracking,
        options.annotate,
        options.verbose and wanted is None,
        tuple((name, value) for name, value in [*options.threshold, *named]),
        tuple((name, getattr(options, name)) for name in GENERATOR if getattr(options, name) is not None),
        options.volume_method,
        None if options.scale is None else tuple(options.scale),
        options.look_closer,
        None if options.region is None else tuple(options.region),
    )
    tasks = []
    for job, output in jobs:
        if options.pattern and output.exists():
            print(f"{output} is there already: skipped.")
        else:
            tasks.append(SegmentationTask(job, output, settings))
    if wanted is not None:
        return _run_on_cluster(options, wanted, tasks)
    predictor, segmenter = make_segmenter(
        settings, model_type=options.model_type, checkpoint=options.checkpoint, device=options.device
    )
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
    if options.part is not None:
        return report(failed, len(jobs), "segmented")
    if failed:
        raise InputError(f"{len(failed)} of {len(jobs)} images could not be segmented; the others are written.")
    return 0


def _run_on_cluster(options: argparse.Namespace, wanted: ClusterOptions, tasks: list[SegmentationTask]) -> int:
    from tqdm import tqdm

    from micro_sam.cli._segment import Segmentation, segment
    from micro_sam.distributed.worker import ModelSource
    from micro_sam.embeddings.jobs import absolute
    from micro_sam.embeddings.tasks import EmbeddingSettings

    for name, _ in options.threshold:
        if name not in THRESHOLDS:
            raise InputError(f"There is no threshold {name!r}; there are {', '.join(THRESHOLDS)}.")
    if not tasks:
        return 0
    if len(tasks) == 1:
        tasks[0].job.open(3 if options.tracking else options.ndim)  # what is wrong shows before workers are started
    tasks = [replace(task, job=absolute(task.job), output=task.output.absolute()) for task in tasks]
    source = ModelSource.prepare(options.model_type, options.checkpoint, options.device)
    with started(wanted) as cluster, tqdm(total=len(tasks), unit="item", desc="Segment") as bar:
        embedding = None
        if options.embedding_path is not None:
            embedding = EmbeddingSettings(
                3 if options.tracking else options.ndim,
                options.tile_shape,
                options.halo,
                options.batch_size,
                workers=cluster.wanted or max(1, cluster.workers),
                smooth_noise=False,  # as without workers
            )
        run = Segmentation(tasks, embedding, bar)
        failed = run_tasks(cluster, segment, source, run.tasks(), run.follow, bar)
    return report(failed, len(tasks), "segmented")


def plan(options: argparse.Namespace) -> list[tuple[EmbeddingJob, Path]]:
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

    output = Path(options.output_path).expanduser()
    jobs = plan_jobs(options.input, options.embedding_path or output.parent, options.pattern, options.key, options.axes)
    if options.embedding_path:
        check_caches(jobs, options.input, options.pattern)
    others = (options.embedding_path, options.checkpoint)
    if options.tracking:
        check_not_input(options.output_path, options.input, *others)
        check_result(output, "tracks")
        jobs[0].open(3)
        return [(jobs[0], output)]
    if options.pattern is None:
        check_not_input(options.output_path, options.input, *others)
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
    inputs, more = Inputs(options.input, pattern=options.pattern), Inputs(*others)
    for _, path in planned:
        inputs.check(path)
        more.check(path)
    return planned


if __name__ == "__main__":
    sys.exit(main())
