"""Embeddings that a script holds, used as a store; see `views` for their layout."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from micro_sam.embeddings.cache_check import is_network_size
from micro_sam.embeddings.store import EmbeddingStore
from micro_sam.embeddings.tiles import TileGrid
from micro_sam.errors import InputError, OutputError

if TYPE_CHECKING:
    from micro_sam.models.predictor import ImageFeatures


class MappingStore(EmbeddingStore):
    """Embeddings that a script holds as dict or zarr group; they are complete and cannot be added to.

    Raises
    ------
    InputError
        When sizes or arrays are missing or of an unknown layout.
    """

    def __init__(self, mapping: Mapping[str, Any]) -> None:
        attrs = dict(getattr(mapping, "attrs", {}))
        self._features = mapping["features"]
        self._tiled = not hasattr(self._features, "shape")
        if self._tiled:
            tile_attrs = dict(getattr(self._features, "attrs", {}))
            missing = [name for name in ("shape", "tile_shape", "halo") if tile_attrs.get(name) is None]
            if missing:
                raise InputError(f"The tiled features have no attribute {missing[0]!r}; they cannot be used.")
            grid = TileGrid(tile_attrs["shape"], tile_attrs["tile_shape"], tile_attrs["halo"])
            array = next((self._features[tile] for tile in self._features), None)  # of tiles outside the mask is none
        else:
            self._input_size = _size(mapping, attrs, "input_size")
            grid = TileGrid(_size(mapping, attrs, "original_size"))
            array = self._features
        shape = () if array is None else tuple(array.shape)
        if len(shape) not in (4, 5) or shape[-4] != 1 or shape[-1] != shape[-2] or 0 in shape:
            raise InputError(f"Features have the shape (1, C, g, g) or (Z, 1, C, g, g), but these have {shape}.")
        if not self._tiled:
            _check_size(self._input_size, grid.shape, shape[-1])
        n_slices = None if len(shape) == 4 else int(shape[0])
        super().__init__(grid, n_slices, attrs.get("model_name"), attrs.get("model_hash"))

    def is_complete(self, i: int | None, tile: int) -> bool:
        return not self._tiled or str(tile) in self._features

    def is_skipped(self, i: int | None, tile: int) -> bool:
        return not self.is_complete(i, tile)

    def skip(self, i: int | None, tile: int) -> None:
        raise OutputError("These embeddings were handed over complete; nothing can be added to them.")

    def write(self, i: int | None, tile: int, features: ImageFeatures) -> None:
        raise OutputError("These embeddings were handed over complete; nothing can be added to them.")

    def features(self) -> Any:
        return self._features

    def _read(self, i: int | None, tile: int) -> ImageFeatures:
        from micro_sam.models.predictor import ImageFeatures

        array = self._features[str(tile)] if self._tiled else self._features
        if self._tiled:
            original_size = self.grid[tile].shape
            input_size = _size({}, dict(array.attrs), "input_size")
            _check_size(input_size, original_size, int(array.shape[-1]))
        else:
            input_size, original_size = self._input_size, self.grid.shape
        data = array[:] if i is None else array[i]
        tensor = data if isinstance(data, torch.Tensor) else torch.from_numpy(np.array(data, dtype="float32"))
        return ImageFeatures(tensor, input_size, original_size)


def _size(mapping: Mapping[str, Any], attrs: dict[str, Any], name: str) -> tuple[int, int]:
    value = attrs.get(name)
    if value is None:
        try:
            value = mapping[name]
        except KeyError:
            value = None
    try:
        height, width = (int(v) for v in (() if value is None else value))
    except (TypeError, ValueError):
        raise InputError(f"The image embeddings do not say their {name!r} (height, width).") from None
    return height, width


def _check_size(input_size: tuple[int, int], shape: tuple[int, int], positions: int) -> None:
    if not is_network_size(input_size, shape, positions):
        raise InputError(
            f"The image embeddings say that the network saw the image of {shape} pixels as {input_size}; that cannot "
            "be true. Compute them again (precompute_image_embeddings)."
        )
