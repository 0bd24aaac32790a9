"""Features of large images without a cache: on the disc for the time, so that the memory stays the same."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from micro_sam.embeddings.store import Item, MemoryStore
from micro_sam.embeddings.tiles import TileGrid
from micro_sam.models.predictor import ImageFeatures

if TYPE_CHECKING:
    from micro_sam.models.sam import Sam

logger = logging.getLogger(__name__)

LARGEST_IN_MEMORY = 2 * 2**30  # bytes of float32 features; more go onto the disc


class TemporaryStore(MemoryStore):
    """Features in a temporary folder, as half precision: a file per slice or tile, removed with the store.

    Half precision changes features by 5e-4 of their size at most, and they are read as float32 again. When the disc is
    full, what comes next stays in memory.
    """

    def __init__(
        self,
        grid: TileGrid,
        n_slices: int | None = None,
        model_name: str | None = None,
        model_hash: str | None = None,
    ) -> None:
        super().__init__(grid, n_slices, model_name, model_hash)
        self._folder = tempfile.TemporaryDirectory(prefix="micro_sam_features_", ignore_cleanup_errors=True)
        self._sizes: dict[Item, tuple[tuple[int, int], tuple[int, int]]] = {}

    def is_complete(self, i: int | None, tile: int) -> bool:
        return (i, tile) in self._sizes or super().is_complete(i, tile)

    def write(self, i: int | None, tile: int, features: ImageFeatures) -> None:
        self.check_item(i, tile)
        arrays = {"features": features.features} | ({} if features.dense is None else {"dense": features.dense})
        half: dict[str, Any] = {name: one.detach().to("cpu", torch.float16).numpy() for name, one in arrays.items()}
        file = self._file(i, tile)
        try:
            np.savez(file, **half)
        except OSError as error:
            file.unlink(missing_ok=True)
            if not self._features:
                logger.warning(
                    "%s has no room for features (%s); they stay in memory. Give a cache (embedding_path) on a disc "
                    "with more room, or set TMPDIR to one.",
                    self._folder.name,
                    error,
                )
            super().write(i, tile, features)
            return
        self._sizes[i, tile] = features.input_size, features.original_size

    def _read(self, i: int | None, tile: int) -> ImageFeatures:
        if (i, tile) not in self._sizes:
            return super()._read(i, tile)
        with np.load(self._file(i, tile)) as arrays:
            found = {name: torch.from_numpy(arrays[name].astype("float32")) for name in arrays.files}
        return ImageFeatures(found["features"], *self._sizes[i, tile], found.get("dense"))

    def _file(self, i: int | None, tile: int) -> Path:
        return Path(self._folder.name) / f"{0 if i is None else i}_{tile}.npz"


def store_without_cache(
    grid: TileGrid, n_slices: int | None, name: str | None, hash_: str | None, model: Sam
) -> MemoryStore:
    """The store for an image of which nothing is kept: in memory, or above a size on the disc.

    Parameters
    ----------
    grid, n_slices
        Of the image.
    name, hash_
        Of the model.
    model : Sam
        Its features tell how much room they need.
    """
    is_large = feature_bytes(model, grid, n_slices) > LARGEST_IN_MEMORY
    return (TemporaryStore if is_large else MemoryStore)(grid, n_slices, name, hash_)


def feature_bytes(model: Sam, grid: TileGrid, n_slices: int | None) -> int:
    """How much room all features of an image take as float32; parameters as in `store_without_cache`."""
    values = int(getattr(model, "embed_dim", 256))
    values += 64 if getattr(model, "dense_kind", None) == "offsets" else 0  # four maps, four times as fine
    return 4 * values * model.grid_size**2 * len(grid) * (n_slices or 1)
