"""Stores shown in the layout of the public library: what ``embeddings["features"]`` gives.

Scripts of micro_sam 1.x hold embeddings as ``{"features": array, "input_size": ..., "original_size": ...}``; with
tiles, `features` is a group of arrays "0", "1", ... that carry their sizes as attributes. `mapping_store` goes the
other way.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch

from micro_sam.embeddings.tiles import TileGrid
from micro_sam.errors import InputError

if TYPE_CHECKING:
    from micro_sam.models.predictor import ImageFeatures


class Readable(Protocol):
    """What is needed of a store here."""

    grid: TileGrid
    n_slices: int | None

    def is_skipped(self, i: int | None, tile: int) -> bool: ...

    def load(self, i: int | None = None, tile: int = 0) -> ImageFeatures: ...


class ArrayWithAttributes(np.ndarray):
    """A numpy array with the dict `attrs`, as arrays of a zarr group have."""

    attrs: dict[str, Any]

    def __new__(cls, array: np.ndarray, attrs: dict[str, Any]) -> ArrayWithAttributes:
        result = np.asarray(array).view(cls)
        result.attrs = attrs
        return result

    def __array_finalize__(self, parent: np.ndarray | None) -> None:
        self.attrs = getattr(parent, "attrs", {})


class TiledFeatures(Mapping[str, ArrayWithAttributes]):
    """The features of all tiles, read when they are asked for; `attrs` has shape, tile_shape and halo."""

    def __init__(self, store: Readable) -> None:
        self._store = store
        grid = store.grid
        self.attrs: dict[str, Any] = {
            "shape": list(grid.shape),
            "tile_shape": list(grid.tile_shape or grid.shape),
            "halo": list(grid.halo or (0, 0)),
        }

    def __getitem__(self, tile: str | int) -> ArrayWithAttributes:
        number = int(tile)
        array, features = _stack(self._store, number)
        return ArrayWithAttributes(
            array, {"original_size": list(features.original_size), "input_size": list(features.input_size)}
        )

    def __iter__(self) -> Iterator[str]:
        store = self._store
        return (
            str(t) for t in range(len(store.grid)) if not store.is_skipped(None if store.n_slices is None else 0, t)
        )

    def __len__(self) -> int:
        return sum(1 for _ in self)


def stacked_features(store: Readable) -> np.ndarray | TiledFeatures:
    """The features of a store as one array (1, C, g, g) or (Z, 1, C, g, g), or as `TiledFeatures`."""
    return TiledFeatures(store) if store.grid.is_tiled else _stack(store, 0)[0]


def _stack(store: Readable, tile: int) -> tuple[np.ndarray, ImageFeatures]:
    slices = [None] if store.n_slices is None else list(range(store.n_slices))
    items = [None if store.is_skipped(i, tile) else store.load(i, tile) for i in slices]
    known = next((item for item in items if item is not None), None)
    if known is None:
        raise InputError(f"Tile {tile} lies outside the mask in all slices and has no features.")
    arrays = [np.zeros(known.features.shape, "float32") if f is None else as_numpy(f.features) for f in items]
    return (arrays[0] if store.n_slices is None else np.stack(arrays)), known


def as_numpy(tensor: torch.Tensor, dtype: torch.dtype = torch.float32) -> np.ndarray:
    """A tensor as numpy array on the CPU."""
    return tensor.detach().to("cpu", dtype).numpy()
