"""Images to features: what is missing in a store is computed, what the user waits for first."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from tqdm import tqdm

from micro_sam.embeddings.embeddings import Embeddings, as_embeddings
from micro_sam.embeddings.opening import infer_ndim, open_embeddings
from micro_sam.embeddings.order import Focus, Queue
from micro_sam.embeddings.store import EmbeddingStore, Item, MemoryStore
from micro_sam.embeddings.tiles import TileGrid
from micro_sam.errors import InputError, ModelError, OutputError
from micro_sam.io.checks import check_network_input
from micro_sam.io.inputs import as_array, source_and_path
from micro_sam.io.normalization import REACH, estimate_normalization, smooth, to_rgb_uint8

if TYPE_CHECKING:
    from micro_sam.models.predictor import ImageFeatures, Predictor

__all__ = [
    "infer_ndim",
    "iter_embeddings",
    "network_image",
    "open_embeddings",
    "precompute_image_embeddings",
    "read_tile",
    "set_precomputed",
    "suggest_batch_size",
]

logger = logging.getLogger(__name__)

MAX_BATCH = 8  # more does not make a GPU faster at 4096 tokens per image, and delays the slice in view
GIGABYTES_PER_IMAGE = {"vit_h": 2.0, "vit_l": 1.5, "vit_b": 1.0, "vit_t": 0.5, "nano": 0.25}


def iter_embeddings(
    predictor: Predictor,
    image: Any,
    store: EmbeddingStore,
    *,
    focus: Callable[[], Focus | int | None] | None = None,
    batch_size: int | None = None,
    mask: np.ndarray | None = None,
    items: Iterable[Item] | None = None,
) -> Iterator[Item]:
    """Compute what a store misses; every item is yielded when it is stored.

    Closing the generator ends the job; what was yielded stays.

    Parameters
    ----------
    predictor
        Encodes images.
    image
        (H, W[, C]) or (Z, H, W[, C]) array; lazy arrays (zarr, dask, memory-mapped) are read tile by tile.
    store
        Where the features go.
    focus
        Tells where the user works, or only the slice in view; what is missing there comes next (see
        `micro_sam.embeddings.order`). It is asked before every batch (on a GPU with a store on disc, where reading,
        computing and writing overlap, one batch ahead and in another thread). The run ends early when the focus wants
        nothing more (``Focus.only``). None: in the order of the image.
    batch_size
        Images per network pass; None: 1 on a CPU, on a GPU as many as its free memory holds.
    mask
        Array of the image's spatial shape (or of one slice); items without any non-zero pixel are left out.
    items
        The share of this process where others work on the same image: nothing else is looked at, and whoever comes
        last calls `EmbeddingStore.finish`. None: all.

    Yields
    ------
    (i, tile)
        The slice (None for 2D) and tile number, in the order in which they were computed.

    Raises
    ------
    InputError
        When the image or the mask does not have the shape of the store.
    OutputError
        When the store cannot be written.
    ModelError
        When not even one image fits into the memory of the GPU.
    """
    image = as_array(image)
    _check_shape("image", image, store)
    waiting = Queue(_wanted(store, mask) if items is None else _missing_of(store, items), store.grid, store.n_slices)
    if not len(waiting):
        if items is None:
            store.finish()
        return
    if not store.writable:
        raise OutputError(
            f"{len(waiting)} of the embeddings are missing and their folder cannot be written. Choose another "
            "embedding path, or copy the folder to where you may write."
        )
    if store.normalization is None:
        store.normalization = estimate_normalization(image, 2 if store.n_slices is None else 3)
    size = batch_size or suggest_batch_size(predictor)

    def read() -> tuple[list[Item], list[np.ndarray]]:
        while batch := waiting.take(None if focus is None else focus(), size):
            # another process may have been quicker
            if batch := [item for item in batch if not store.is_complete(*item)]:
                return batch, [network_image(image, i, store.grid[tile].outer, store) for i, tile in batch]
        return [], []

    def encode(tiles: list[np.ndarray]) -> list[ImageFeatures]:
        nonlocal size
        encoded, size = _encode(predictor, tiles, size)
        return encoded

    def write(batch: list[Item], encoded: list[ImageFeatures]) -> Iterator[Item]:
        for item, features in zip(batch, encoded, strict=True):
            store.write(*item, features)
            yield item

    if torch.device(predictor.device).type == "cpu" or isinstance(store, MemoryStore):
        # On a CPU, reading and writing would compete with the network for the same cores, and the slice in view would
        # wait. A store in memory takes no time, and may keep features on the GPU.
        while (work := read())[0]:
            batch, tiles = work
            yield from write(batch, encode(tiles))
    else:
        yield from _overlapped(read, encode, write)
    if items is None:
        store.finish()


def _overlapped(
    read: Callable[[], tuple[list[Item], list[np.ndarray]]],
    encode: Callable[[list[np.ndarray]], list[ImageFeatures]],
    write: Callable[[list[Item], list[ImageFeatures]], Iterator[Item]],
) -> Iterator[Item]:
    """Read the next batch and write the last one while the GPU computes; three batches are held at most.

    Every item is yielded when it is stored. Closing the generator stores what is computed already. An error in reading,
    computing or writing is raised here, after what was stored before it; one in writing, one batch later at most.
    """
    with ThreadPoolExecutor(2, "micro_sam embeddings") as pool:
        reading, writing = pool.submit(read), None
        while True:
            try:
                batch, tiles = reading.result()
                if not batch:
                    break
                reading = pool.submit(read)
                # copied here: in the writer's thread the copy would wait for the network's next pass
                encoded = [_on_host(features) for features in encode(tiles)]
            except Exception:
                if writing is not None:  # the batch before this one: if it cannot be written, that error came first
                    yield from writing.result()
                raise
            stored: list[Item] = writing.result() if writing is not None else []
            writing = pool.submit(lambda *work: list(write(*work)), batch, encoded)
            yield from stored
        if writing is not None:
            yield from writing.result()


def _on_host(image: ImageFeatures) -> ImageFeatures:
    return replace(image, features=image.features.cpu(), dense=None if image.dense is None else image.dense.cpu())


def precompute_image_embeddings(
    predictor: Predictor,
    input_: Any,
    save_path: str | Path | None = None,
    lazy_loading: bool = False,
    ndim: int | None = None,
    tile_shape: tuple[int, int] | None = None,
    halo: tuple[int, int] | None = None,
    verbose: bool = True,
    batch_size: int | None = None,
    mask: np.ndarray | None = None,
    pbar_init: Callable[[int, str], None] | None = None,
    pbar_update: Callable[[int], None] | None = None,
) -> Embeddings:
    """Compute the embeddings of an image, or load them if they are stored already; an interrupted job goes on.

    Parameters
    ----------
    predictor
        From `get_sam_model`.
    input_
        (H, W[, C]) or (Z, H, W[, C]): any array (numpy, zarr, hdf5, dask, ...), or a path.
    save_path
        Folder of the cache; None: the features are kept in memory.
    lazy_loading
        Kept for scripts; features on disc are always read when they are used.
    ndim
        2 or 3; None: from the shape.
    tile_shape, halo
        Tiles in pixels (y, x); None: the image is embedded as a whole.
    verbose
        Show a progress bar with a time estimate.
    batch_size, mask
        See `iter_embeddings`.
    pbar_init, pbar_update
        Called with (number of steps, description), and with the steps done, instead of the progress bar.

    Returns
    -------
    Embeddings
        Mapping with the keys `features`, `input_size` and `original_size`. It keeps a reference to the image, so that
        models that can look closer at small objects do; slices of noisy stacks are smoothed first, as in the window.

    Raises
    ------
    CacheError, InputError, OutputError, ModelError
        See `open_embeddings` and `iter_embeddings`.
    """
    source, path = source_and_path(input_)
    checked = check_network_input(source, ndim)
    image, ndim = checked.data, checked.ndim
    embeddings, store = open_embeddings(
        predictor, image, save_path, ndim, tile_shape or "whole", halo, image_path=path, smooth_noise=True
    )
    total = len(_wanted(store, mask))
    description = "Compute image embeddings"
    if pbar_init is not None:
        pbar_init(total, description)
    quiet = not verbose or pbar_update is not None or total == 0
    with tqdm(total=total, desc=description, unit="tile" if store.grid.is_tiled else "slice", disable=quiet) as bar:
        for _ in iter_embeddings(predictor, image, store, batch_size=batch_size, mask=mask):
            bar.update(1)
            if pbar_update is not None:
                pbar_update(1)
    return embeddings


def set_precomputed(
    predictor: Predictor, image_embeddings: Any, i: int | None = None, tile_id: int | None = None
) -> Predictor:
    """Give a predictor the features of one image, slice or tile.

    Parameters
    ----------
    predictor
        Gets the features; its `predict` then works on that slice or tile, and so do the functions of
        `prompt_based_segmentation` without ``image_embeddings``.
    image_embeddings
        From `precompute_image_embeddings`, or a dict or zarr group of the same layout.
    i
        Slice or frame; None for a 2D image.
    tile_id
        Tile number for tiled embeddings.

    Raises
    ------
    InputError
        For a stack without `i`, a 2D image with one, tiled embeddings without `tile_id`, or a number out of range.
    """
    embeddings = as_embeddings(image_embeddings)
    if tile_id is None:
        if embeddings.grid.is_tiled:
            raise InputError(f"The embeddings have {len(embeddings.grid)} tiles: say which one with tile_id.")
        tile_id = 0
    source = None if embeddings.grid.is_tiled else (embeddings, i)  # a tile is set as an image of its own
    predictor.set_features(embeddings.load(i, int(tile_id), device=predictor.device), source)
    return predictor


def read_tile(image: Any, i: int | None, tile: int, grid: TileGrid) -> np.ndarray:
    """The pixels of a tile with its halo, (h, w) or (h, w, C); only these are read from a lazy array."""
    return _read(image, i, grid[tile].outer)


def network_image(image: Any, i: int | None, area: tuple[slice, slice], store: EmbeddingStore) -> np.ndarray:
    """What the network sees of an area of a slice, (h, w, 3) uint8.

    Smoothing looks beyond the border of the area, so that neighbours agree.
    """
    normalization = store.normalization
    assert normalization is not None  # known before anything is computed
    if not normalization.smoothing:
        return to_rgb_uint8(_read(image, i, area), normalization)
    margin = int(np.ceil(REACH * normalization.smoothing))
    sides = zip(area, store.grid.shape, strict=True)
    wide = tuple(slice(max(0, s.start - margin), min(n, s.stop + margin)) for s, n in sides)
    block = smooth(_read(image, i, wide), normalization)
    inner = tuple(slice(s.start - w.start, s.stop - w.start) for s, w in zip(area, wide, strict=True))
    return to_rgb_uint8(block[inner], normalization)


def _read(image: Any, i: int | None, area: tuple[slice, ...]) -> np.ndarray:
    return np.asarray(image[area] if i is None else image[(i, *area)])


def suggest_batch_size(predictor: Predictor) -> int:
    """Images per network pass: 1 on a CPU (larger is slower there), on a GPU what 60 % of its free memory holds."""
    device = torch.device(predictor.device)
    if device.type != "cuda":
        return 1
    free, _ = torch.cuda.mem_get_info(device)
    per_image = GIGABYTES_PER_IMAGE.get(str(predictor.model_type), 2.0) * 2**30
    return int(min(MAX_BATCH, max(1, 0.6 * free // per_image)))


def _encode(predictor: Predictor, tiles: list[np.ndarray], size: int) -> tuple[list[ImageFeatures], int]:
    """Encode images in batches of `size`, halved whenever the GPU's memory is full; returns the size that worked."""
    done: list[ImageFeatures] = []
    while len(done) < len(tiles):
        try:
            done.extend(predictor.encode_batch(tiles[len(done) : len(done) + size]))
        except torch.cuda.OutOfMemoryError as error:
            if size == 1:
                raise ModelError(
                    "The memory of the GPU does not hold the model and one image. Use a smaller model (vit_b, vit_t, "
                    "nano_lm), precision bf16, or the CPU (--device cpu)."
                ) from error
            torch.cuda.empty_cache()
            size = max(1, size // 2)
            logger.info("The memory of the GPU is full; going on with batches of %i.", size)
    return done, size


def _missing_of(store: EmbeddingStore, items: Iterable[Item]) -> list[Item]:
    return [item for item in items if not (store.is_complete(*item) or store.is_skipped(*item))]


def _wanted(store: EmbeddingStore, mask: np.ndarray | None) -> list[Item]:
    """The items to compute. A mask decides anew; without one, what an earlier mask left out stays left out."""
    if mask is None:
        return store.missing()
    mask = as_array(mask, "A mask")
    _check_shape("mask", mask, store)
    wanted = []
    for i, tile in store.items():
        if store.is_complete(i, tile):
            continue
        plane = mask if i is None or len(mask.shape) == 2 else mask[i]
        if np.any(np.asarray(plane[store.grid[tile].inner])):
            wanted.append((i, tile))
        elif not store.is_skipped(i, tile) and store.writable:
            store.skip(i, tile)
    return wanted


def _check_shape(what: str, image: Any, store: EmbeddingStore) -> None:
    plane, n_slices = store.grid.shape, store.n_slices
    expected = plane if n_slices is None else (n_slices, *plane)
    shape = tuple(image.shape)
    fits = shape[: len(expected)] == expected or (what == "mask" and shape == plane)
    if not fits:
        raise InputError(f"The {what} has the shape {shape}, but the embeddings are of an image of shape {expected}.")
