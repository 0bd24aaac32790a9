"""``micro_sam.precompute_embeddings``: image embeddings on a machine without a display."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence

from micro_sam.errors import InputError, MicroSamError

EPILOG = """examples:
  micro_sam.precompute_embeddings -i image.tif -o image_embeddings.zarr -m vit_b
  micro_sam.precompute_embeddings -i folder --pattern "*.tif" -o embeddings -m nano_lm

A run that was interrupted goes on where it stopped; a run that was complete computes nothing.
The folder that is written can be copied to another machine and given to the tools with --embedding_path."""


def make_parser() -> argparse.ArgumentParser:
    """The options of the command."""
    parser = argparse.ArgumentParser(
        prog="micro_sam.precompute_embeddings",
        description="Compute the image embeddings of an image, stack, time series or folder of images and store them.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    data = parser.add_argument_group("data")
    data.add_argument(
        "-i",
        "--input_path",
        required=True,
        help="image: tif, OME-TIFF, png, jpg, mrc, hdf5, n5, zarr, OME-Zarr, a folder of slices, a glob, sample:NAME",
    )
    data.add_argument(
        "-o",
        "--output_path",
        "-e",
        "--embedding_path",
        dest="output_path",
        required=True,
        help="folder for the embeddings; with --pattern the folder for one cache per image",
    )
    data.add_argument("-k", "--key", help="dataset inside hdf5, n5 or zarr")
    data.add_argument("--pattern", help='take every image of the input folder that matches, for instance "*.tif"')
    data.add_argument("-n", "--ndim", type=int, choices=(2, 3), help="2: image, 3: stack or time series")
    model = parser.add_argument_group("model")
    model.add_argument("-m", "--model_type", default="vit_h", help="name of the model (default: %(default)s)")
    model.add_argument("-c", "--checkpoint", help="weights of your own for that model")
    model.add_argument("-d", "--device", help="cuda, cuda:1, mps or cpu (default: the best there is)")
    model.add_argument(
        "--precision", choices=("auto", "fp32", "bf16", "fp16"), default="auto", help="(default: %(default)s)"
    )
    tiles = parser.add_argument_group("tiles and batches")
    tiles.add_argument("--tile_shape", type=int, nargs=2, metavar=("Y", "X"), help="default: tiles for large images")
    tiles.add_argument("--halo", type=int, nargs=2, metavar=("Y", "X"), help="overlap (default: a quarter of a tile)")
    tiles.add_argument("--batch_size", type=int, help="images per network pass (default: what the memory holds)")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code: 0 done, 2 a problem with the input, 130 interrupted."""
    arguments = make_parser().parse_args(argv)
    try:
        _check_arguments(arguments)
        _run(arguments)
    except MicroSamError as error:
        print(f"micro_sam.precompute_embeddings: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nInterrupted. What was computed is stored; start again to go on from there.", file=sys.stderr)
        return 130
    return 0


def _check_arguments(arguments: argparse.Namespace) -> None:
    if arguments.batch_size is not None and arguments.batch_size < 1:
        raise InputError(f"--batch_size must be 1 or more, not {arguments.batch_size}.")
    if arguments.tile_shape is None and arguments.halo is not None:
        raise InputError("--halo was given without --tile_shape. Give both, or neither.")
    if arguments.tile_shape is not None and min(arguments.tile_shape) < 1:
        raise InputError("--tile_shape must be two positive numbers of pixels, for instance 1024 1024.")
    if arguments.halo is not None and min(arguments.halo) < 0:
        raise InputError("--halo must be two numbers of pixels, for instance 256 256.")


def _run(arguments: argparse.Namespace) -> None:
    from micro_sam.embeddings.jobs import plan_jobs

    jobs = plan_jobs(arguments.input_path, arguments.output_path, arguments.pattern, arguments.key)
    image = jobs[0].open(arguments.ndim)  # what is wrong with the image shows before the model is loaded

    from micro_sam.models.build import get_sam_model

    predictor = get_sam_model(
        arguments.model_type,
        device=arguments.device,
        checkpoint_path=arguments.checkpoint,
        precision=arguments.precision,
    )
    failed = []
    for number, job in enumerate(jobs):
        try:
            _embed(predictor, job, image if number == 0 else job.open(arguments.ndim), arguments)
        except MicroSamError as error:
            if len(jobs) == 1:
                raise
            failed.append(job.image_path)
            print(f"{job.image_path}: {error}", file=sys.stderr)
    if failed:
        raise InputError(f"{len(failed)} of {len(jobs)} images could not be embedded; the others are stored.")


def _embed(predictor, job, image, arguments: argparse.Namespace) -> None:
    from tqdm import tqdm

    from micro_sam.embeddings.compute import iter_embeddings, open_embeddings

    if image.note:
        print(f"{job.image_path}: {image.note}")
    _, store = open_embeddings(
        predictor,
        image.data,
        job.cache_path,
        ndim=image.ndim,
        tile_shape=arguments.tile_shape and tuple(arguments.tile_shape),
        halo=arguments.halo and tuple(arguments.halo),
        image_path=job.image_path,
    )
    total, missing = sum(1 for _ in store.items()), len(store.missing())
    unit = "tile" if store.grid.is_tiled else "slice"
    if missing == 0:
        print(
            f"All embeddings ({total} {unit}{'s' * (total > 1)}) are in {job.cache_path} already: nothing to compute."
        )
        return
    if missing < total:
        print(f"{total - missing} of {total} {unit}s are in {job.cache_path} already.")
    start = time.monotonic()
    bar = tqdm(total=total, initial=total - missing, unit=unit, desc="Compute image embeddings")
    with bar:
        for _ in iter_embeddings(predictor, image.data, store, batch_size=arguments.batch_size):
            bar.update(1)
    print(f"{missing} {unit}{'s' * (missing > 1)} embedded in {time.monotonic() - start:.1f} s: {job.cache_path}")


if __name__ == "__main__":
    sys.exit(main())
