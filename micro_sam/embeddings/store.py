"""Where features are kept: the interface of all stores, and the store in memory.

A store is a table of items. An item is a pair ``(i, tile)``: the slice (or frame) number, None for a 2D image, and
the tile number, 0 for an untiled image. The store is the truth: it alone knows which items are complete.
The store on disc is in ``zarr_store.py``.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from micro_sam.embeddings.tiles import TileGrid
from micro_sam.errors import InputError, NotComputedYet

if TYPE_CHECKING:
    import torch

    from micro_sam.io.normalization import Normalization
    from micro_sam.models.predictor import ImageFeatures

Item = tuple[int | None, int]
MAX_ON_DEVICE = 16


class EmbeddingStore(ABC):
    """The features of all slices and tiles of one image.

    Parameters
    ----------
    grid
        The tiles of a slice.
    n_slices
        Number of slices or frames; None for a 2D image.
    model_name, model_hash
        The model that the features come from; None when a cache does not say.

    Attributes
    ----------
    normalization
        Grey values that become 0 and 255 for the network; None until they are known.
    found_damage
        Whether something that counted as complete has turned out to be damaged since `missing` was asked last.
    """

    def __init__(
        self, grid: TileGrid, n_slices: int | None, model_name: str | None = None, model_hash: str | None = None
    ) -> None:
        self.grid = grid
        self.n_slices = n_slices
        self.model_name = model_name
        self.model_hash = model_hash
        self.normalization: Normalization | None = None
        self.found_damage = False

    @abstractmethod
    def is_complete(self, i: int | None, tile: int) -> bool:
        """Whether the item is stored wholly."""

    @abstractmethod
    def _read(self, i: int | None, tile: int) -> ImageFeatures:
        """The features of an item that is complete."""

    @abstractmethod
    def write(self, i: int | None, tile: int, features: ImageFeatures) -> None:
        """Store an item, wholly or not at all.

        Raises
        ------
        OutputError
            When it cannot be written; what was stored before is untouched.
        """

    @abstractmethod
    def skip(self, i: int | None, tile: int) -> None:
        """Note that an item holds nothing of interest (it lies outside the mask) and need not be computed."""

    @abstractmethod
    def is_skipped(self, i: int | None, tile: int) -> bool:
        """Whether the item was left out because it lies outside the mask."""

    @property
    def writable(self) -> bool:
        """Whether items can be added."""
        return True

    @property
    def items_per_file(self) -> int:
        """How many items, in the order of `items`, share a file and should have one writer."""
        return 1

    def finish(self) -> bool:
        """Called at the end of a job; returns whether nothing is missing."""
        return not self.missing()

    def features(self) -> Any:
        """All features in the layout of the cache on disc (see `Embeddings`).

        Raises
        ------
        NotComputedYet
            When something is missing.
        """
        from micro_sam.embeddings.views import stacked_features

        return stacked_features(self)

    def load(self, i: int | None = None, tile: int = 0) -> ImageFeatures:
        """The features of one item.

        Raises
        ------
        InputError
            For an item that the image does not have.
        NotComputedYet
            When the item is not complete.
        """
        self.check_item(i, tile)
        if self.is_skipped(i, tile):
            raise NotComputedYet(f"{describe(i, tile, self).capitalize()} lies outside the mask and was not embedded.")
        if not self.is_complete(i, tile):
            raise NotComputedYet(f"The embedding of {describe(i, tile, self)} is not computed yet.", ((i, tile),))
        return self._read(i, tile)

    def check_item(self, i: int | None, tile: int) -> None:
        """Raise InputError unless the image has this slice and tile."""
        if self.n_slices is None and i is not None:
            raise InputError(f"Slice {i} was asked for, but the embeddings are of a 2D image: leave out i.")
        if self.n_slices is not None and i is None:
            raise InputError(f"The embeddings are of {self.n_slices} slices: say which one with i.")
        if i is not None and self.n_slices is not None and not 0 <= i < self.n_slices:
            raise InputError(f"There is no slice {i}; the embeddings have slices 0 to {self.n_slices - 1}.")
        if not 0 <= tile < len(self.grid):
            raise InputError(f"There is no tile {tile}; the embeddings have tiles 0 to {len(self.grid) - 1}.")

    def items(self) -> Iterator[Item]:
        """All items of the image, slice by slice."""
        slices = [None] if self.n_slices is None else range(self.n_slices)
        return ((i, tile) for i in slices for tile in range(len(self.grid)))

    def missing(self) -> list[Item]:
        """The items that are yet to be computed."""
        return [(i, tile) for i, tile in self.items() if not (self.is_complete(i, tile) or self.is_skipped(i, tile))]


class MemoryStore(EmbeddingStore):
    """Features that live as long as the program.

    A few items stay on the device that computed them; many would fill a GPU and are kept in the main memory.
    """

    def __init__(
        self,
        grid: TileGrid,
        n_slices: int | None = None,
        model_name: str | None = None,
        model_hash: str | None = None,
    ) -> None:
        super().__init__(grid, n_slices, model_name, model_hash)
        self._features: dict[Item, ImageFeatures] = {}
        self._skipped: set[Item] = set()

    def is_complete(self, i: int | None, tile: int) -> bool:
        return (i, tile) in self._features

    def is_skipped(self, i: int | None, tile: int) -> bool:
        return (i, tile) in self._skipped

    def skip(self, i: int | None, tile: int) -> None:
        self.check_item(i, tile)
        self._skipped.add((i, tile))

    def write(self, i: int | None, tile: int, features: ImageFeatures) -> None:
        self.check_item(i, tile)
        if len(self.grid) * (self.n_slices or 1) > MAX_ON_DEVICE:
            features = to_device(features, "cpu")
        self._features[i, tile] = features

    def _read(self, i: int | None, tile: int) -> ImageFeatures:
        return self._features[i, tile]


def describe(i: int | None, tile: int, store: EmbeddingStore) -> str:
    """An item in words: "the image", "slice 3", "tile 2 of slice 3"."""
    where = "the image" if i is None else f"slice {i}"
    return f"tile {tile} of {where}" if len(store.grid) > 1 else where


def to_device(features: ImageFeatures, device: str | torch.device | None) -> ImageFeatures:
    """The features with their tensors on a device; the same object when they are there already."""
    if device is None or str(features.features.device) == str(device):
        return features
    # a copy to the CPU that is not waited for may be read before it is there
    on_the_way = not str(device).startswith("cpu")
    dense = None if features.dense is None else features.dense.to(device, non_blocking=on_the_way)
    return dataclasses.replace(features, features=features.features.to(device, non_blocking=on_the_way), dense=dense)
