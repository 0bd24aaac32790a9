"""Embeddings of images in files, for scripts. The work is done in `micro_sam.embeddings`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from micro_sam.embeddings.compute import iter_embeddings, open_embeddings
from micro_sam.embeddings.jobs import check_caches, plan_jobs

if TYPE_CHECKING:
    from micro_sam.compat.states import cache_amg_state, cache_is_state

__all__ = ["cache_amg_state", "cache_is_state", "precompute_state"]


def precompute_state(
    input_path: str | Path,
    output_path: str | Path,
    pattern: str | None = None,
    model_type: str = "vit_h",
    checkpoint_path: str | Path | None = None,
    key: str | None = None,
    ndim: int | None = None,
    tile_shape: tuple[int, int] | None = None,
    halo: tuple[int, int] | None = None,
    precompute_amg_state: bool = False,
) -> None:
    """Compute and store the embeddings of an image, or of all images of a folder that match `pattern`.

    Parameters
    ----------
    input_path, output_path, pattern, key
        See `micro_sam.embeddings.jobs.plan_jobs`.
    model_type, checkpoint_path
        See `micro_sam.util.get_sam_model`.
    ndim
        2 or 3; None: from the shape of each image.
    tile_shape, halo
        Tiles in pixels (y, x); None: chosen for large images.
    precompute_amg_state
        Also prepare the automatic segmentation and keep it beside the embeddings.

    Raises
    ------
    InputError, CacheError, ModelError, OutputError
        With a sentence that says what to do.
    """
    from tqdm import tqdm

    from micro_sam.compat.states import keep_maps
    from micro_sam.models.build import get_sam_model
    from micro_sam.segmentation.volume.keeping import keep_automatic

    jobs = plan_jobs(input_path, output_path, pattern, key)
    check_caches(jobs, input_path, pattern)
    image = jobs[0].open(ndim)
    predictor = get_sam_model(model_type, checkpoint_path=checkpoint_path)
    for number, job in enumerate(jobs):
        image = image if number == 0 else job.open(ndim)
        embeddings, store = open_embeddings(
            predictor,
            image.data,
            job.cache_path,
            image.ndim,
            tile_shape,
            halo,
            image_path=job.image_path,
            smooth_noise=True,
        )
        missing = len(store.missing())
        run = iter_embeddings(predictor, image.data, store)
        for _ in tqdm(run, total=missing, desc=f"Embed {Path(job.image_path).name}", disable=missing == 0):
            pass
        if precompute_amg_state:
            with tqdm(desc="Prepare automatic segmentation") as bar:
                for done, total, _ in keep_automatic(predictor, embeddings, job.voxel_size(image)):
                    bar.n, bar.total = done, total
                    bar.refresh()
            keep_maps(predictor, embeddings)


def __getattr__(name: str) -> Any:
    """Import on first use: what they need takes a second that the rest need not pay."""
    if name in ("cache_amg_state", "cache_is_state"):
        from micro_sam.compat import states

        return getattr(states, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
