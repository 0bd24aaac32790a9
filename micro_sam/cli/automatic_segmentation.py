"""``micro_sam.automatic_segmentation``: segment all objects of images without a display."""

from __future__ import annotations

import argparse
import inspect
import sys
from collections.abc import Sequence
from pathlib import Path

from micro_sam.cli._common import add_embedding_path, add_input, add_model, add_tiling, make_parser, parse, run
from micro_sam.errors import InputError, MicroSamError

EPILOG = """examples:
  micro_sam.automatic_segmentation -i image.tif -o labels.tif -m nano_lm
  micro_sam.automatic_segmentation -i folder --pattern "*.tif" -o labels -m nano_lm --threshold min_size 50

With --pattern the output is a folder that gets one label image per image; those that are there already are skipped."""


def build_parser() -> argparse.ArgumentParser:
    """The options of the command."""
    parser = make_parser("automatic_segmentation", "Segment all objects of an image, a stack, or a folder of images.")
    parser.epilog, parser.formatter_class = EPILOG, argparse.RawDescriptionHelpFormatter
    add_input(parser, required=True, more="; sample:NAME for a sample")
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
    return parser


@run
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    options = parse(build_parser(), arguments)
    jobs = plan(options)

    from micro_sam.io.labels import save_labels
    from micro_sam.segmentation.automatic import automatic_instance_segmentation, get_predictor_and_segmenter

    predictor, segmenter = get_predictor_and_segmenter(
        options.model_type, options.checkpoint, options.device, is_tiled=options.tile_shape is not None
    )
    thresholds = check_thresholds(options.threshold, segmenter)
    failed = []
    for job, output in jobs:
        if options.pattern and output.exists():
            print(f"{output} is there already: skipped.")
            continue
        try:
            image = job.open(options.ndim)
            labels = automatic_instance_segmentation(
                predictor,
                segmenter,
                image.data,
                None,
                job.cache_path if options.embedding_path else None,
                ndim=options.ndim,
                tile_shape=options.tile_shape,
                halo=options.halo,
                **thresholds,
            )
            save_labels(output, labels, image.scale)
        except MicroSamError as error:
            if len(jobs) == 1:
                raise
            failed.append(output)
            print(f"{job.image_path}: {error}", file=sys.stderr)
        else:
            print(f"{len(set(labels.ravel().tolist()) - {0})} objects: {output}")
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
    from micro_sam.io.results import Inputs, check_not_input, recover

    output = Path(options.output_path).expanduser()
    jobs = plan_jobs(options.input, options.embedding_path or output.parent, options.pattern, options.key, options.axes)
    if options.embedding_path:
        check_caches(jobs, options.input, options.pattern)
    others = (options.embedding_path, options.checkpoint)
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
