"""``micro_sam.automatic_segmentation``: segment all objects of images without a display."""

from __future__ import annotations

import argparse
import inspect
import sys
from collections.abc import Sequence
from pathlib import Path

from micro_sam.cli._common import add_embedding_path, add_input, add_model, add_tiling, make_parser, parse, run
from micro_sam.cli._window import check_screen
from micro_sam.errors import InputError, MicroSamError

EPILOG = """examples:
  micro_sam.automatic_segmentation -i image.tif -o labels.tif -m nano_lm
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
        "--look_closer",
        action="store_true",
        help="large images (more than 64 tiles): look again, enlarged, wherever objects are small; finds more of them, "
        "and takes several times as long",
    )
    parser.add_argument("--tracking", action="store_true", help="link the objects of a movie; the output is a folder")
    parser.add_argument("--annotate", action="store_true", help="open the result in the window")
    parser.add_argument("--batch_size", type=int, metavar="N", help="images per pass of the network")
    parser.add_argument(
        "-v", "--verbose", action=argparse.BooleanOptionalAction, default=True, help="show progress (default)"
    )
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
    if options.annotate:
        check_screen()
    jobs = plan(options)

    from micro_sam.compat.automatic import (
        automatic_instance_segmentation,
        automatic_tracking,
        get_predictor_and_segmenter,
    )
    from micro_sam.io.labels import save_labels, small_ids
    from micro_sam.segmentation.labels import count_labels

    generator = {name: getattr(options, name) for name in GENERATOR if getattr(options, name) is not None}
    predictor, segmenter = get_predictor_and_segmenter(
        options.model_type,
        options.checkpoint,
        options.device,
        None if options.mode == "auto" else options.mode,
        is_tiled=options.tile_shape is not None,
        **generator,
    )
    if options.look_closer:
        segmenter.look_closer = True
    named = [(name, str(getattr(options, name))) for name in THRESHOLDS if getattr(options, name) is not None]
    thresholds = check_thresholds([*options.threshold, *named], segmenter)
    failed = []
    for job, output in jobs:
        if options.pattern and output.exists():
            print(f"{output} is there already: skipped.")
            continue
        try:
            common = {
                "embedding_path": job.cache_path if options.embedding_path else None,
                "tile_shape": options.tile_shape,
                "halo": options.halo,
                "verbose": options.verbose,
                "annotate": options.annotate,
                "batch_size": options.batch_size,
                **thresholds,
            }
            image = job.open(3 if options.tracking else options.ndim)
            if options.tracking:
                labels, _ = automatic_tracking(predictor, segmenter, image.data, output, **common)
            else:
                labels = automatic_instance_segmentation(
                    predictor, segmenter, image.data, None, ndim=options.ndim, **common
                )
                labels = small_ids(labels)  # the larger ones go before the file is made
                save_labels(output, labels, image.scale)
        except MicroSamError as error:
            if len(jobs) == 1:
                raise
            failed.append(output)
            print(f"{job.image_path}: {error}", file=sys.stderr)
        else:
            print(f"{count_labels(labels)} objects: {output}")
    if failed:
        raise InputError(f"{len(failed)} of {len(jobs)} images could not be segmented; the others are written.")
    return 0


def plan(options: argparse.Namespace) -> list[tuple]:
    """Each image (an `EmbeddingJob`) with the path of its labels; paths are checked before the first second of work.

    Raises
    ------
    InputError
        When no image matches.
    OutputError
        When the output is an input, or something is there that is no earlier result of the same kind.
    """
    from micro_sam.embeddings.jobs import check_caches, plan_jobs
    from micro_sam.io.labels import check_labels_path, is_label_group
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
    inputs, others = Inputs(options.input, pattern=options.pattern), Inputs(*others)
    for _, path in planned:
        inputs.check(path)
        others.check(path)
    return planned


def check_thresholds(pairs: Sequence[tuple[str, str]], segmenter) -> dict[str, float]:
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


if __name__ == "__main__":
    sys.exit(main())
