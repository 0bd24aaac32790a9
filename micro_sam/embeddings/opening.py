"""Opening the embeddings of an image: all that can be checked is checked here, and nothing is computed."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from micro_sam.embeddings.cache_key import CacheKey, refuse
from micro_sam.embeddings.embeddings import Embeddings
from micro_sam.embeddings.signature import compute_signature, file_state, hash_content, is_same_image
from micro_sam.embeddings.store import EmbeddingStore
from micro_sam.embeddings.temporary_store import store_without_cache
from micro_sam.embeddings.tiles import TileGrid, suggest_tiling
from micro_sam.errors import InputError
from micro_sam.io.axes import guess_axes
from micro_sam.io.inputs import as_array
from micro_sam.io.normalization import Normalization, estimate_normalization, with_smoothing

if TYPE_CHECKING:
    from micro_sam.embeddings.zarr_store import ZarrStore
    from micro_sam.models.predictor import Predictor
    from micro_sam.models.sam import Sam

STACKS_WHOLE_UP_TO = 2.0  # times the network's input; see ``embeddings.tiles.suggest_tiling``
MOST_TILES = 40_000  # 160 GB of features
TileShape = tuple[int, int] | Literal["whole"] | None


def open_embeddings(
    predictor: Predictor,
    image: Any,
    save_path: str | Path | None = None,
    ndim: int | None = None,
    tile_shape: TileShape = None,
    halo: tuple[int, int] | None = None,
    *,
    image_path: str | Path | None = None,
    normalization: Normalization | None = None,
    smooth_noise: bool = False,
    shard: int | None = None,
    half: bool = False,
) -> tuple[Embeddings, EmbeddingStore]:
    """The embeddings of an image as far as they exist; everything is checked and nothing is computed.

    Parameters
    ----------
    predictor
        The model that the features must come from.
    image
        (H, W[, C]) or (Z, H, W[, C]); any array (numpy, zarr, hdf5, dask, ...).
    save_path
        Folder of the cache; it is made if it does not exist. None: the features are kept in memory, and
        above 2 GB in a temporary folder, in half precision.
    ndim
        2 or 3 (stack or time series); None: from the shape, where a last axis of 3 or 4 holds the colours.
    tile_shape
        Inner tiles in pixels; "whole": no tiles; None: as an existing cache has it, otherwise tiles for large images.
    halo
        Overlap of the tiles in pixels; None: a sensible one.
    image_path
        The file the image comes from, if it does; makes opening the cache of a large file quick.
    normalization
        Grey values that become 0 and 255, for instance a user's contrast limits; None: robust percentiles.
    smooth_noise
        Whether the slices of a stack are smoothed first when its noise is high. An existing cache goes on as it began.
    shard
        Slices or tiles in one file of a new cache, for file systems that want few files (``shards.py``); None: one,
        which every version of micro_sam reads. An existing cache goes on as it began.
    half
        Whether a new cache holds features in half precision: half the room, and values that differ by 5e-4 of their
        size at most. An existing cache goes on as it began.

    Returns
    -------
    (Embeddings, EmbeddingStore)
        The view of the features, and the store for `iter_embeddings`.

    Raises
    ------
    CacheError
        When the cache belongs to another image, model or setting; it says which, and what to do.
    InputError, OutputError
        When the arguments do not fit the image, or the cache cannot be made.
    """
    image = as_array(image)
    ndim = infer_ndim(image, ndim)
    shape = tuple(int(s) for s in image.shape)
    plane = (shape[ndim - 2], shape[ndim - 1])
    existing = None
    if save_path is not None and _holds_something(Path(save_path)):
        from micro_sam.embeddings.zarr_store import ZarrStore  # zarr is not needed without a cache

        existing = ZarrStore.open(save_path)
    grid = _choose_grid(plane, ndim, tile_shape, halo, existing, predictor.model)
    if len(grid) > 1 and len(grid) * (shape[0] if ndim == 3 else 1) > MOST_TILES:
        raise InputError(
            f"An image of shape {shape} makes {len(grid) * (shape[0] if ndim == 3 else 1):,} tiles, more than the "
            f"{MOST_TILES:,} that are sensible in one job. Open a lower resolution of it (--key 1, 2, ... in "
            "OME-Zarr), a part of it, or use larger tiles (--tile_shape Y X)."
        )
    key = CacheKey(
        None,
        shape,
        ndim,
        predictor.model_type,
        predictor.model_name,
        predictor.model_hash or None,
        str(predictor.precision),
        normalization,
        grid.tile_shape,
        grid.halo,
    )
    if existing is not None:
        _check_cache(existing, key, image, image_path)
        if not existing.is_finished:
            existing.finish()  # a job that stored all was killed before it could note that
        return Embeddings(existing, image), existing
    stretch = normalization
    if smooth_noise and ndim == 3:
        stretch = with_smoothing(image, normalization or estimate_normalization(image, ndim))
    if save_path is None:
        store: EmbeddingStore = store_without_cache(grid, key.n_slices, key.model_name, key.model_hash, predictor.model)
        store.normalization = stretch
        return Embeddings(store, image), store
    from micro_sam.embeddings.zarr_store import ZarrStore

    model = predictor.model
    signed = dataclasses.replace(key, signature=compute_signature(image, image_path))
    stored_stretch = stretch or estimate_normalization(image, ndim)
    feature_shape = (1, model.embed_dim, model.grid_size, model.grid_size)
    made = ZarrStore.create(save_path, signed, feature_shape, stored_stretch, model.image_size, shard or 1, half)
    if made is None:  # by another process since it was looked for: checked like any cache that was there before
        return open_embeddings(
            predictor,
            image,
            save_path,
            ndim,
            tile_shape,
            halo,
            image_path=image_path,
            normalization=normalization,
            smooth_noise=smooth_noise,
            shard=shard,
            half=half,
        )
    return Embeddings(made, image), made


def infer_ndim(image: Any, ndim: int | None = None) -> int:
    """2 for an image, 3 for a stack or time series; without `ndim` a last axis of 3 or 4 holds the colours.

    Raises
    ------
    InputError
        When the shape does not fit.
    """
    shape = tuple(image.shape)
    if ndim is None:
        axes = guess_axes(shape, wants_stack=False)
        if axes == "CYX" and shape[0] == 3:
            raise InputError(
                f"An image of shape {shape} looks like one with {shape[0]} channels, which must be the last axis here. "
                "If its first axis is slices or time, say ndim=3."
            )
        ndim = 3 if axes == "CYX" else len(axes.replace("S", "").replace("C", "")) or len(shape)
    has_colours = len(shape) == ndim + 1 and shape[-1] in (1, 3, 4)
    if ndim not in (2, 3) or not (len(shape) == ndim or has_colours) or 0 in shape:
        raise InputError(
            f"An image of shape {shape} cannot be embedded in {ndim}D: it must be (H, W) or (Z, H, W), with a last "
            "axis of 3 channels if it is in colour."
        )
    return ndim


def _choose_grid(
    plane: tuple[int, int],
    ndim: int,
    tile_shape: TileShape,
    halo: tuple[int, int] | None,
    existing: ZarrStore | None,
    model: Sam,
) -> TileGrid:
    """The tiles that were asked for, or those of the cache, or those that suit the size of the image."""
    if tile_shape == "whole":
        return TileGrid(plane, None, halo)
    if tile_shape is None and existing is not None:
        tile_shape, halo = existing.key.tile_shape, existing.key.halo if halo is None else halo
    elif tile_shape is None:
        # the slices of a stack multiply the time and the memory of tiles
        whole_up_to = model.whole_up_to if ndim == 2 else STACKS_WHOLE_UP_TO
        tile_shape, suggested_halo = suggest_tiling(plane, model.image_size, whole_up_to, model.smallest_halo)
        halo = halo if halo is not None else suggested_halo
    elif halo is None and existing is not None and existing.key.tile_shape == tuple(tile_shape):
        halo = existing.key.halo
    return TileGrid(plane, tile_shape, halo)


def _check_cache(store: ZarrStore, wanted: CacheKey, image: Any, image_path: str | Path | None) -> None:
    """Raise CacheError unless a cache belongs to this image, model and setting."""
    differences = store.key.differences(wanted)
    signature = store.key.signature
    if not differences:
        if signature is not None:
            same = is_same_image(signature, image, image_path)
        else:  # micro_sam 1.x knows its image by the sha1 of all bytes
            stored = store.data_signature
            same = stored is None or stored == hash_content(image)[1]
        if not same:
            differences.append("the image differs (same shape, other content)")
    if differences:
        raise refuse(store.path, differences)
    state = file_state(image_path)
    if signature is not None and state is not None and state != signature.file:
        store.remember_file(state)


def _holds_something(path: Path) -> bool:
    return path.exists() and (not path.is_dir() or any(path.iterdir()))
