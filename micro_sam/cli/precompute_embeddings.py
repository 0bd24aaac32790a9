"""``micro_sam.precompute_embeddings``: image embeddings on a machine without a display."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence

from micro_sam.cli._common import add_input, add_model, add_tiling, make_parser, parse, run
from micro_sam.errors import InputError, MicroSamError

EPILOG = """examples:
  micro_sam.precompute_embeddings -i image.tif -o image_embeddings.zarr -m vit_b
  micro_sam.precompute_embeddings -i folder --pattern "*.tif" -o embeddings -m nano_lm

A run that was interrupted goes on where it stopped; a run that was complete computes nothing.
The folder that is written can be copied to another machine and given to the tools with --embedding_path."""


def build_parser() -> argparse.ArgumentParser:
    """The options of the command."""
    parser = make_parser(
        "precompute_embeddings",
        "Compute the image embeddings of an image, a stack, a time series or a folder of images, and store them.",
    )
    parser.epilog, parser.formatter_class = EPILOG, argparse.RawDescriptionHelpFormatter
    add_input(parser, "--input_path", required=True, more="; sample:NAME for a sample")
    parser.add_argument(
        "-o",
        "--output_path",
        "-e",
        "--embedding_path",
        dest="output_path",
        metavar="PATH",
        required=True,
        help="the folder for the embeddings; with --pattern the folder that gets one cache per image",
    )
    parser.add_argument("--pattern", help='take every image of the input folder that matches, for instance "*.tif"')
    parser.add_argument("-n", "--ndim", type=int, choices=(2, 3), help="2: image; 3: stack or time series")
    add_model(parser)
    parser.add_argument(
        "--precision",
        choices=("auto", "fp32", "bf16", "fp16"),
        default="auto",
        help="arithmetic of the network (default: auto: fp32 on a CPU, bf16 or fp16 where the GPU has it)",
    )
    add_tiling(parser)
    parser.add_argument(
        "-p",
        "--precompute_amg_state",
        action="store_true",
        help="also prepare the automatic segmentation and, for stacks, the maps from which a click gives a whole "
        "object, so that both answer at once in the tools",
    )
    parser.add_argument("--batch_size", type=int, help="images per network pass (default: what the memory holds)")
    return parser


@run
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    options = parse(build_parser(), arguments)
    if options.batch_size is not None and options.batch_size < 1:
        raise InputError(f"--batch_size must be 1 or more, not {options.batch_size}.")
    try:
        _run(options)
    except KeyboardInterrupt:
        print("\nWhat was computed is stored; start again to go on from there.", file=sys.stderr)
        raise
    return 0


def _run(options: argparse.Namespace) -> None:
    from micro_sam.embeddings.jobs import check_caches, plan_jobs
    from micro_sam.io.results import check_not_input

    jobs = plan_jobs(options.input, options.output_path, options.pattern, options.key, options.axes)
    check_caches(jobs, options.input, options.pattern)
    check_not_input(options.output_path, options.checkpoint)
    image = jobs[0].open(options.ndim)  # what is wrong with the image shows before the model is loaded

    from micro_sam.models.build import get_sam_model

    predictor = get_sam_model(
        options.model_type,
        device=options.device,
        checkpoint_path=options.checkpoint,
        precision=options.precision,
    )
    failed = []
    for number, job in enumerate(jobs):
        try:
            _embed(predictor, job, image if number == 0 else job.open(options.ndim), options)
        except MicroSamError as error:
            if len(jobs) == 1:
                raise
            failed.append(job.image_path)
            print(f"{job.image_path}: {error}", file=sys.stderr)
    if failed:
        raise InputError(f"{len(failed)} of {len(jobs)} images could not be embedded; the others are stored.")


def _embed(predictor, job, image, options: argparse.Namespace) -> None:
    from tqdm import tqdm

    from micro_sam.embeddings.compute import iter_embeddings, open_embeddings

    if image.note:
        print(f"{job.image_path}: {image.note}")
    embeddings, store = open_embeddings(
        predictor,
        image.data,
        job.cache_path,
        ndim=image.ndim,
        tile_shape=options.tile_shape,
        halo=options.halo,
        image_path=job.image_path,
        smooth_noise=True,
    )
    total, missing = sum(1 for _ in store.items()), len(store.missing())
    unit = "tile" if store.grid.is_tiled else "slice"
    if missing == 0:
        print(
            f"All embeddings ({total} {unit}{'s' * (total > 1)}) are in {job.cache_path} already: nothing to compute."
        )
    else:
        if missing < total:
            print(f"{total - missing} of {total} {unit}s are in {job.cache_path} already.")
        start = time.monotonic()
        with tqdm(total=total, initial=total - missing, unit=unit, desc="Compute image embeddings") as bar:
            for _ in iter_embeddings(predictor, image.data, store, batch_size=options.batch_size):
                bar.update(1)
        print(f"{missing} {unit}{'s' * (missing > 1)} embedded in {time.monotonic() - start:.1f} s: {job.cache_path}")
    if options.precompute_amg_state:
        from micro_sam.compat.states import keep_maps
        from micro_sam.segmentation.volume.keeping import keep_automatic

        with tqdm(desc="Prepare automatic segmentation", unit="slice") as bar:
            left_out = ""
            for done, total, note in keep_automatic(predictor, embeddings, job.voxel_size(image)):
                bar.n, bar.total, left_out = done, total, note
                bar.refresh()
        if left_out:
            print(f"{job.image_path}: {left_out}")
        keep_maps(predictor, embeddings)


if __name__ == "__main__":
    sys.exit(main())
