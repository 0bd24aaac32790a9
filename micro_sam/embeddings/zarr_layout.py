"""How the embedding cache lies on disc.

Layout (zarr, format 2 so that micro_sam 1.x opens it too)::

    attributes   input_size, original_size, data_signature, tile_shape, halo, model_type, model_name, model_hash,
                 micro_sam_version, and `cache`: what is needed to be safe (image, precision, normalisation)
    features     untiled: array float32 (1, C, g, g) or (Z, 1, C, g, g), one chunk per slice
                 tiled: group of such arrays "0", "1", ..., with attributes input_size, original_size; each is made
                 when its first item is written, so one outside the mask is not there
    state/checksum       uint64 (slices, tiles), one chunk per item: 0 missing, 1 outside the mask, otherwise the
                         hash of the item's bytes, written after them
    state/dense/<tile>   float16 dense maps of models that have them, one chunk per slice

The channel number C and the grid g come from the model. Every file is written beside its place and then renamed, by
zarr, so a file is there wholly or not at all.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
import uuid
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xxhash
import zarr

from micro_sam import __version__
from micro_sam.embeddings.cache_key import CacheKey
from micro_sam.embeddings.signature import ImageSignature
from micro_sam.errors import CacheError
from micro_sam.io.marks import KEY, mark, read_kind
from micro_sam.io.normalization import Normalization

ITEMS = "items"  # the array that holds all tiles, in caches with several items in a file
MISSING = 0  # the mark of an item that is yet to be computed
SKIPPED = 1  # the mark of an item that lies outside the mask
ZARR_FORMAT: Literal[2] = 2
_PARTIAL = re.compile(r"\.[0-9a-f]{32}\.partial$")  # as zarr and `is_writable` name them
PARTIAL_AGE = 3600  # seconds after which a partial file is not one that a process is writing now


def key_of(group: zarr.Group, attrs: dict[str, Any]) -> CacheKey:
    """What a cache on disc belongs to; also for a cache of micro_sam 1.x."""
    features = group["features"] if "features" in group else None
    notes = attrs.get("cache")
    pair: dict[str, Any] = {
        name: None if attrs.get(name) is None else tuple(attrs[name]) for name in ("tile_shape", "halo")
    }
    names: dict[str, Any] = {name: attrs.get(name) for name in ("model_type", "model_name", "model_hash")}
    if notes is not None:
        fixed = notes.get("normalization")
        return CacheKey(
            ImageSignature.from_json(notes["image"]),
            tuple(notes["image"]["shape"]),
            int(notes["ndim"]),
            **names,
            precision=notes.get("precision"),
            normalization=None if fixed is None else Normalization(*fixed),
            **pair,
        )
    if features is None:
        raise CacheError("The folder holds a zarr group, but no embeddings.")
    if isinstance(features, zarr.Group):
        of_tiles: dict[str, Any] = dict(features.attrs)
        shape = tuple(of_tiles["shape"])
        array = array_in(features, next(iter(sorted(features.array_keys()))))
        pair = {name: tuple(of_tiles[name]) for name in ("tile_shape", "halo")}
    else:
        array = features
        shape = tuple(attrs.get("original_size") or ())
        if len(shape) != 2:
            raise CacheError(
                "The embeddings were left incomplete by another version of micro_sam and do not say of which image "
                "they are. Delete the folder or choose another embedding path."
            )
    ndim = 2 if array.ndim == 4 else 3
    return CacheKey(None, shape[-2:] if ndim == 2 else (array.shape[0], *shape[-2:]), ndim, **names, **pair)


def make_group(
    path: Path,
    key: CacheKey,
    feature_shape: tuple[int, ...],
    normalization: Normalization,
    image_size: int,
    shard: int = 1,
    half: bool = False,
) -> None:
    dtype = "float16" if half else "float32"
    group = zarr.open_group(str(path), mode="w", zarr_format=ZARR_FORMAT)
    grid = key.grid
    if grid.tile_shape is not None and grid.halo is not None:
        features = group.create_group("features")
        features.update_attributes(
            {"shape": list(grid.shape), "tile_shape": list(grid.tile_shape), "halo": list(grid.halo)}
        )
    elif shard == 1:
        make_stack(group, "features", key.n_slices, feature_shape, dtype)
    if shard == 1:
        make_marks(group, key.n_slices or 1, len(grid))
    else:
        n_items = len(grid) * (key.n_slices or 1)
        name = f"features/{ITEMS}" if grid.is_tiled else "features"
        make_array(group, name, (n_items, *feature_shape), (shard, *feature_shape), dtype)
        make_array(group, "state/checksum", (n_items,), (shard,), "uint64")
    values, signature = key.normalization, key.signature
    assert signature is not None  # a new cache knows its image
    group.update_attributes(
        {
            "input_size": None,
            "original_size": None,
            "data_signature": signature.data_signature,
            "tile_shape": None if grid.tile_shape is None else list(grid.tile_shape),
            "halo": None if grid.halo is None else list(grid.halo),
            "model_type": key.model_type,
            "model_name": key.model_name,
            "model_hash": key.model_hash,
            "micro_sam_version": __version__,
            KEY: mark("embeddings"),
            "cache": {
                "format": 1,
                "image": signature.to_json(),
                "ndim": key.ndim,
                "precision": key.precision,
                "normalization": None if values is None else [list(values.lower), list(values.upper)],
                "normalization_values": [list(normalization.lower), list(normalization.upper), normalization.smoothing],
                "image_size": image_size,
                "feature_shape": list(feature_shape),
                **({} if shard == 1 else {"shard": shard}),
                **({"dtype": dtype} if half else {}),
            },
        }
    )


def array_in(group: zarr.Group, name: str) -> zarr.Array[Any]:
    """An array of a group; KeyError when it is not there or is a group."""
    found = group[name]
    if not isinstance(found, zarr.Array):
        raise KeyError(f"{name} is a group, not an array")
    return found


def make_marks(group: zarr.Group, n_slices: int, n_tiles: int) -> zarr.Array[Any]:
    return make_array(group, "state/checksum", (n_slices, n_tiles), (1, 1), "uint64")


def make_stack(
    group: zarr.Group, name: str, n_slices: int | None, shape: tuple[int, ...], dtype: str
) -> zarr.Array[Any]:
    """An array of one item of `shape`, or of one per slice; one chunk per item."""
    return make_array(group, name, *stack_shape(n_slices, shape), dtype)


def stack_shape(n_slices: int | None, shape: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Shape and chunks of an array of one item of `shape`, or of one per slice."""
    return (shape, shape) if n_slices is None else ((n_slices, *shape), (1, *shape))


def make_array(
    group: zarr.Group, name: str, shape: tuple[int, ...], chunks: tuple[int, ...], dtype: str
) -> zarr.Array[Any]:
    # not compressed: features hardly shrink, and reading a slice stays at the speed of the disc
    return group.create_array(
        name,
        shape=shape,
        chunks=chunks,
        dtype=dtype,
        fill_value=0,
        compressors=None,
        config={"write_empty_chunks": True},
    )


def read_mark(marks: zarr.Array[Any], *index: int) -> int:
    try:
        return int(np.asarray(marks[index]))
    except Exception:  # copied half, or unreadable: the item counts as missing
        return 0


def checksum(data: np.ndarray, dense: np.ndarray | None) -> int:
    """The mark of an item with these features and maps."""
    hasher = xxhash.xxh3_64(bytes_of(data))
    if dense is not None:
        hasher.update(bytes_of(dense))
    return max(hasher.intdigest(), SKIPPED + 1)


def bytes_of(array: np.ndarray) -> memoryview:
    """The bytes of an array in C order; not a copy where it is in that order already."""
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def is_raw(array: zarr.Array[Any]) -> bool:
    return not getattr(array, "compressors", ()) and not getattr(array, "filters", ())


def is_cache(path: Path) -> bool:
    """Whether a folder looks like embeddings, of this program or of micro_sam 1.x; nothing in it is changed."""
    is_group = any((path / name).is_file() for name in (".zgroup", ".zattrs", "zarr.json"))
    return is_group and (read_kind(path) == "embeddings" or (path / "features").is_dir())


def is_writable(path: Path) -> bool:
    """Whether a file can be made in the folder (its permission bits say little on network file systems)."""
    probe = path / f".{uuid.uuid4().hex}.partial"
    try:
        probe.touch()
        probe.unlink()
    except OSError:
        return False
    return True


def remove_partial_files(path: Path) -> None:
    """Take away what a killed process left half written, but not what a living one is writing now."""
    for folder, _, names in os.walk(path):  # which folders that others make and remove meanwhile do not disturb
        for file in (Path(folder) / name for name in names if _PARTIAL.search(name)):
            with contextlib.suppress(OSError):
                if time.time() - file.stat().st_mtime > PARTIAL_AGE:
                    file.unlink()
