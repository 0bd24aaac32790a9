"""``micro_sam.precompute_embeddings``: image embeddings on a machine without a display."""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from micro_sam.cli._cluster import add_cluster, cluster_options, report, run_tasks, started
from micro_sam.cli._common import add_input, add_model, add_tiling, make_parser, parse, run
from micro_sam.errors import InputError, MicroSamError

if TYPE_CHECKING:
    from micro_sam.distributed.options import ClusterOptions, Part
    from micro_sam.embeddings.embeddings import Embeddings
    from micro_sam.embeddings.jobs import EmbeddingJob
    from micro_sam.embeddings.store import Item
    from micro_sam.io.checks import CheckedImage
    from micro_sam.models.predictor import Predictor

EPILOG = """examples:
  micro_sam.precompute_embeddings -i image.tif -o image_embeddings.zarr -m vit_b
  micro_sam.precompute_embeddings -i folder --pattern "*.tif" -o embeddings -m nano_lm
  micro_sam.precompute_embeddings -i stack.tif -o stack.zarr -m vit_b --scheduler slurm --workers 8 --gpus 1

A job that was interrupted goes on where it stopped; one that was complete computes nothing.
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
    parser.add_argument(
        "--shard",
        type=int,
        metavar="N",
        help="slices or tiles in one file of a new cache, where a file system wants few files (default: 1, which "
        "every version of micro_sam reads)",
    )
    parser.add_argument(
        "--half",
        action="store_true",
        help="store the features of a new cache in half precision: half the room, differences of 0.05 %%",
    )
    add_cluster(parser)
    return parser


@run
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    options = parse(build_parser(), arguments)
    for name in ("batch_size", "shard"):
        if getattr(options, name) is not None and getattr(options, name) < 1:
            raise InputError(f"--{name} must be 1 or more, not {getattr(options, name)}.")
    wanted = cluster_options(options)
    try:
        if wanted is not None:
            return _run_on_cluster(options, wanted)
        return _run(options)
    except KeyboardInterrupt:
        print("\nWhat was computed is stored; start again to go on from there.", file=sys.stderr)
        raise


def _plan(options: argparse.Namespace) -> list[EmbeddingJob]:
    """The images; paths are checked before the first second of work."""
    from micro_sam.embeddings.jobs import check_caches, plan_jobs
    from micro_sam.io.results import check_not_input

    jobs = plan_jobs(options.input, options.output_path, options.pattern, options.key, options.axes)
    check_caches(jobs, options.input, options.pattern)
    check_not_input(options.output_path, options.checkpoint)
    return jobs


def _run_on_cluster(options: argparse.Namespace, wanted: ClusterOptions) -> int:
    from tqdm import tqdm

    from micro_sam.cli._tasks import Precompute, precompute
    from micro_sam.distributed.worker import ModelSource
    from micro_sam.embeddings.jobs import absolute
    from micro_sam.embeddings.tasks import EmbeddingSettings

    jobs = [absolute(job) for job in _plan(options)]
    random.shuffle(jobs)  # another client on the same folder shall not do the same at the same time
    if len(jobs) == 1:
        jobs[0].open(options.ndim)  # what is wrong with the image shows before workers are started
    source = ModelSource.prepare(options.model_type, options.checkpoint, options.device, options.precision)
    start = time.monotonic()
    with started(wanted) as cluster, tqdm(total=len(jobs), unit="item", desc="Compute image embeddings") as bar:
        settings = EmbeddingSettings(
            options.ndim,
            options.tile_shape,
            options.halo,
            options.batch_size,
            options.shard,
            cluster.wanted or max(1, cluster.workers),
            half=options.half,
        )
        run = Precompute(jobs, settings, options.precompute_amg_state, bar)
        failed = run_tasks(cluster, precompute, source, run.tasks(), run.follow, bar)
    print(
        f"{run.computed} slices and tiles of {len(jobs)} image{'s' * (len(jobs) > 1)} embedded in "
        f"{time.monotonic() - start:.1f} s: {options.output_path}"
    )
    return report(failed, len(jobs), "embedded")


def _run(options: argparse.Namespace) -> int:
    jobs = _plan(options)
    part = options.part
    if part is not None and len(jobs) >= part.count:
        jobs, part = part.of(jobs), None  # whole images
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
            _embed(predictor, job, image if number == 0 else job.open(options.ndim), options, part)
        except MicroSamError as error:
            if len(jobs) == 1:
                raise
            failed.append(job.image_path)
            print(f"{job.image_path}: {error}", file=sys.stderr)
    if options.part is not None:
        return report(failed, len(jobs), "embedded")
    if failed:
        raise InputError(f"{len(failed)} of {len(jobs)} images could not be embedded; the others are stored.")
    return 0


def _embed(
    predictor: Predictor, job: EmbeddingJob, image: CheckedImage, options: argparse.Namespace, part: Part | None = None
) -> None:
    from tqdm import tqdm

    from micro_sam.embeddings.compute import iter_embeddings, open_embeddings
    from micro_sam.embeddings.tasks import items_of_part

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
        shard=options.shard,
        half=options.half,
    )
    left = set(store.missing())
    items = None
    if part is not None:
        items = items_of_part(store, part, whole_slices=options.precompute_amg_state)
        left &= set(items)
    total, missing = len(list(store.items()) if items is None else items), len(left)
    unit = "tile" if store.grid.is_tiled else "slice"
    share = "" if part is None else f" of part {part}"
    if missing == 0:
        print(
            f"All embeddings{share} ({total} {unit}{'s' * (total != 1)}) are in {job.cache_path} already: nothing to "
            "compute."
        )
    else:
        if missing < total:
            print(f"{total - missing} of {total} {unit}s{share} are in {job.cache_path} already.")
        start = time.monotonic()
        with tqdm(total=total, initial=total - missing, unit=unit, desc="Compute image embeddings") as bar:
            for _ in iter_embeddings(predictor, image.data, store, batch_size=options.batch_size, items=items):
                bar.update(1)
        print(f"{missing} {unit}{'s' * (missing > 1)} embedded in {time.monotonic() - start:.1f} s: {job.cache_path}")
    if items is not None:
        _end_part(predictor, job, image, embeddings, items, options)
    elif options.precompute_amg_state:
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


def _end_part(
    predictor: Predictor,
    job: EmbeddingJob,
    image: CheckedImage,
    embeddings: Embeddings,
    items: list[Item],
    options: argparse.Namespace,
) -> None:
    """What a part prepares, and what whoever is last does for all."""
    from tqdm import tqdm

    store, scale = embeddings.store, job.voxel_size(image)
    if options.precompute_amg_state and embeddings.n_slices is not None:
        from micro_sam.segmentation.volume.keeping import automatic_parts, keep_parts, share_of_parts

        own = share_of_parts(automatic_parts(predictor, embeddings, scale), {i for i, _ in items}, options.part)
        with tqdm(total=len(own), desc="Prepare automatic segmentation", unit="slice") as bar:
            for _ in keep_parts(predictor, embeddings, scale, own):
                bar.update(1)
    if options.precompute_amg_state:
        from micro_sam.segmentation.automatic.dense_parts import blocks_of_part, is_in_blocks, keep_blocks

        if is_in_blocks(predictor, embeddings):
            squares = blocks_of_part(predictor, embeddings, {tile for _, tile in items})
            with tqdm(total=len(squares), desc="Prepare automatic segmentation", unit="block") as bar:
                for _ in keep_blocks(predictor, embeddings, squares):
                    bar.update(1)
    if not store.finish():
        print(f"Part {options.part} is done; {len(store.missing())} are left to the other parts.")
        return
    print(f"Part {options.part} is done, and so are all embeddings of {job.cache_path}.")
    if options.precompute_amg_state:
        from micro_sam.compat.states import keep_maps
        from micro_sam.segmentation.volume.keeping import is_kept, keep_automatic

        if embeddings.n_slices is None:
            for _ in keep_automatic(predictor, embeddings, scale):
                pass
        if is_kept(predictor, embeddings, scale):
            keep_maps(predictor, embeddings)


if __name__ == "__main__":
    sys.exit(main())
