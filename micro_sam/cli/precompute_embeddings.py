"""``micro_sam.precompute_embeddings``: image embeddings on a machine without a display."""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, model_validator

from micro_sam.cli._cluster import SHARING, Sharing, report, run_tasks, started
from micro_sam.cli._common import ALL_IMAGES, ModelOptions, RequiredImage, TilingOptions, make_parser, run
from micro_sam.cli._fields import Options, option, read_options
from micro_sam.errors import InputError, MicroSamError

if TYPE_CHECKING:
    from micro_sam.distributed.options import ClusterOptions, Part
    from micro_sam.embeddings.embeddings import Embeddings
    from micro_sam.embeddings.jobs import EmbeddingJob
    from micro_sam.embeddings.store import Item
    from micro_sam.embeddings.tasks import EmbeddingSettings
    from micro_sam.io.checks import CheckedImage
    from micro_sam.models.predictor import Predictor

EPILOG = """examples:
  micro_sam.precompute_embeddings -i image.tif -o image_embeddings.zarr -m vit_b
  micro_sam.precompute_embeddings -i folder --pattern "*.tif" -o embeddings -m nano_lm
  micro_sam.precompute_embeddings -i stack.tif -o stack.zarr -m vit_b --scheduler slurm --workers 8 --gpus 1

A job that was interrupted goes on where it stopped; one that was complete computes nothing.
The folder that is written can be copied to another machine and given to the tools with --embedding_path."""


class PrecomputeOptions(Options):
    """Which images are embedded, how, and where the embeddings go."""

    image: RequiredImage
    output_path: str = option(
        ...,
        "the folder for the embeddings; with --pattern the folder that gets one cache per image",
        *("-o", "--output_path", "-e", "--embedding_path"),
        metavar="PATH",
    )
    pattern: str | None = option(None, ALL_IMAGES)
    ndim: Literal[2, 3] | None = option(None, "2: image; 3: stack or time series", "-n")
    model: ModelOptions
    precision: Literal["auto", "fp32", "bf16", "fp16"] = option(
        "auto", "arithmetic of the network (default: auto: fp32 on a CPU, bf16 or fp16 where the GPU has it)"
    )
    tiling: TilingOptions
    precompute_amg_state: bool = option(
        False,
        "also prepare the automatic segmentation and, for stacks, the maps from which a click gives a whole object, so "
        "that both answer at once in the tools",
        "-p",
    )
    batch_size: int | None = option(None, "images per network pass (default: what the memory holds)", low=1)
    shard: int | None = option(
        None,
        "slices or tiles in one file of a new cache, where a file system wants few files (default: 1, which every "
        "version of micro_sam reads)",
        metavar="N",
        low=1,
    )
    half: bool = option(
        False, "store the features of a new cache in half precision: half the room, differences of 0.05 %%"
    )
    sharing: Sharing = Field(title="on a cluster", description=SHARING)

    @model_validator(mode="after")
    def _files_are_slices(self) -> Self:
        if self.image.is_stack and self.ndim is None:
            self.ndim = 3
        return self

    def settings(self, workers: int) -> EmbeddingSettings:
        """For tasks that so many workers do."""
        from micro_sam.embeddings.tasks import EmbeddingSettings

        tiling = (self.tiling.tile_shape, self.tiling.halo)
        return EmbeddingSettings(self.ndim, *tiling, self.batch_size, self.shard, workers, half=self.half)


def build_parser() -> argparse.ArgumentParser:
    """The options of the command."""
    return make_parser(
        "precompute_embeddings",
        "Compute the image embeddings of an image, a stack, a time series or a folder of images, and store them.",
        PrecomputeOptions,
        EPILOG,
    )


@run
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    options = read_options(build_parser(), PrecomputeOptions, arguments)
    try:
        if options.sharing.cluster is not None:
            return _run_on_cluster(options, options.sharing.cluster)
        return _run(options)
    except KeyboardInterrupt:
        print("\nWhat was computed is stored; start again to go on from there.", file=sys.stderr)
        raise


def _plan(options: PrecomputeOptions) -> list[EmbeddingJob]:
    """The images; paths are checked before the first second of work."""
    from micro_sam.embeddings.jobs import check_caches, plan_jobs
    from micro_sam.io.results import check_not_input

    image = options.image
    jobs = plan_jobs(image.input, options.output_path, options.pattern, image.key, image.axes)
    check_caches(jobs, image.input, options.pattern, only_read=not options.precompute_amg_state)
    check_not_input(options.output_path, options.model.checkpoint)
    return jobs


def _run_on_cluster(options: PrecomputeOptions, wanted: ClusterOptions) -> int:
    from tqdm import tqdm

    from micro_sam.cli._tasks import Precompute, precompute
    from micro_sam.distributed.worker import ModelSource
    from micro_sam.embeddings.jobs import absolute

    jobs = [absolute(job) for job in _plan(options)]
    random.shuffle(jobs)  # another client on the same folder shall not do the same at the same time
    if len(jobs) == 1:
        jobs[0].open(options.ndim)  # what is wrong with the image shows before workers are started
    model = options.model
    source = ModelSource.prepare(model.model_type, model.checkpoint, model.device, options.precision)
    start = time.monotonic()
    with started(wanted) as cluster, tqdm(total=len(jobs), unit="item", desc="Compute image embeddings") as bar:
        settings = options.settings(cluster.wanted or max(1, cluster.workers))
        run = Precompute(jobs, settings, options.precompute_amg_state, bar)
        failed = run_tasks(cluster, precompute, source, run.tasks(), run.follow, bar)
    print(
        f"{run.computed} slices and tiles of {len(jobs)} image{'s' * (len(jobs) > 1)} embedded in "
        f"{time.monotonic() - start:.1f} s: {options.output_path}"
    )
    return report(failed, len(jobs), "embedded")


def _run(options: PrecomputeOptions) -> int:
    jobs = _plan(options)
    part = options.sharing.part
    if part is not None and len(jobs) >= part.count:
        jobs, part = part.of(jobs), None  # whole images
    image = jobs[0].open(options.ndim)  # what is wrong with the image shows before the model is loaded

    from micro_sam.models.build import get_sam_model

    predictor = get_sam_model(
        options.model.model_type,
        device=options.model.device,
        checkpoint_path=options.model.checkpoint,
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
    if options.sharing.part is not None:
        return report(failed, len(jobs), "embedded")
    if failed:
        raise InputError(f"{len(failed)} of {len(jobs)} images could not be embedded; the others are stored.")
    return 0


def _embed(
    predictor: Predictor, job: EmbeddingJob, image: CheckedImage, options: PrecomputeOptions, part: Part | None = None
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
        tile_shape=options.tiling.tile_shape,
        halo=options.tiling.halo,
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
    if part is not None and items is not None:
        _end_part(predictor, job, image, embeddings, items, options.precompute_amg_state, part)
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
    prepare: bool,
    part: Part,
) -> None:
    """What a part prepares, and what whoever is last does for all."""
    from tqdm import tqdm

    store, scale = embeddings.store, job.voxel_size(image)
    if prepare and embeddings.n_slices is not None:
        from micro_sam.segmentation.volume.keeping import automatic_parts, keep_parts, share_of_parts

        own = share_of_parts(automatic_parts(predictor, embeddings, scale), {i for i, _ in items}, part)
        with tqdm(total=len(own), desc="Prepare automatic segmentation", unit="slice") as bar:
            for _ in keep_parts(predictor, embeddings, scale, own):
                bar.update(1)
    if prepare:
        from micro_sam.segmentation.automatic.dense_parts import blocks_of_part, is_in_blocks, keep_blocks

        if is_in_blocks(predictor, embeddings):
            squares = blocks_of_part(predictor, embeddings, {tile for _, tile in items})
            with tqdm(total=len(squares), desc="Prepare automatic segmentation", unit="block") as bar:
                for _ in keep_blocks(predictor, embeddings, squares):
                    bar.update(1)
    if not store.finish():
        print(f"Part {part} is done; {len(store.missing())} are left to the other parts.")
        return
    print(f"Part {part} is done, and so are all embeddings of {job.cache_path}.")
    if prepare:
        from micro_sam.compat.states import keep_maps
        from micro_sam.segmentation.volume.keeping import is_kept, keep_automatic

        if embeddings.n_slices is None:
            for _ in keep_automatic(predictor, embeddings, scale):
                pass
        if is_kept(predictor, embeddings, scale):
            keep_maps(predictor, embeddings)


if __name__ == "__main__":
    sys.exit(main())
