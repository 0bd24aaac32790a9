"""The features of an image as the segmentation functions and scripts see them."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from micro_sam.embeddings.store import EmbeddingStore, to_device
from micro_sam.embeddings.tiles import TileGrid
from micro_sam.errors import InputError, NotComputedYet

if TYPE_CHECKING:
    import torch

    from micro_sam.models.predictor import ImageFeatures

EmbeddingsLike: TypeAlias = (
    "Embeddings | Mapping[str, Any] | EmbeddingStore | str | os.PathLike[str]"  # what `as_embeddings` takes
)
KEPT_ITEMS = 16  # slices, tiles and close-ups that stay in memory: 4 MB each for SAM's 256 channels


class Embeddings(Mapping[str, Any]):
    """The features of one image, one slice or tile at a time.

    As a mapping it has the keys ``features``, ``input_size`` and ``original_size`` in the layout of the cache on
    disc: `features` is an array (1, C, g, g) or (Z, 1, C, g, g), for a tiled image a mapping of tile ids "0", "1", ...
    to such arrays with attributes; the sizes are (height, width), None when tiled.

    Parameters
    ----------
    store
        Holds the features; others may go on writing to it, and new items appear here at once.
    image
        The image that the features are of, (H, W[, C]) or (Z, H, W[, C]), where it is at hand: models that can take
        close-ups of it (see ``close_ups``). Only the parts that are looked at are read.
    """

    KEYS = ("features", "input_size", "original_size")

    def __init__(self, store: EmbeddingStore, image: Any = None) -> None:
        self.store = store
        self.image = image
        self.derived: dict[tuple[Any, ...], Any] = {}  # what others made from these features and want to find again
        self._recent: OrderedDict[tuple[Any, ...], ImageFeatures] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def grid(self) -> TileGrid:
        """The tiles of each slice."""
        return self.store.grid

    @property
    def n_slices(self) -> int | None:
        """Number of slices or frames; None for a 2D image."""
        return self.store.n_slices

    @property
    def model_name(self) -> str | None:
        """The model that the features come from, as far as known."""
        return self.store.model_name

    @property
    def model_hash(self) -> str | None:
        """Hash of that model's weights, as far as known."""
        return self.store.model_hash

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the image: (H, W) or (Z, H, W)."""
        return self.grid.shape if self.n_slices is None else (self.n_slices, *self.grid.shape)

    def load(self, i: int | None = None, tile: int = 0, device: str | torch.device | None = None) -> ImageFeatures:
        """The features of one slice or tile.

        The same object is returned as long as it is kept in memory, so that what a predictor derives from it once
        can be kept beside it.

        Parameters
        ----------
        i
            Slice or frame; must be None for a 2D image.
        tile
            Tile number, 0 when untiled.
        device
            Where the tensors shall be; None: where the store has them.

        Raises
        ------
        InputError
            For slices without `i`, 2D with `i`, or an item outside the image.
        NotComputedYet
            When the item is not complete.
        """
        self.store.check_item(i, tile)
        key = ((i, tile), None if device is None else str(device))
        found = self.recent(key)
        return found if found is not None else self.remember(key, to_device(self.store.load(i, tile), device))

    def recent(self, key: tuple[Any, ...]) -> ImageFeatures | None:
        """Features that were used lately and are kept in memory."""
        with self._lock:
            if key in self._recent:
                self._recent.move_to_end(key)
            return self._recent.get(key)

    def remember(self, key: tuple[Any, ...], features: ImageFeatures) -> ImageFeatures:
        """Keep features in memory for a while, and return them.

        Two threads may have made the same: the first one wins, so that there is one object.
        """
        with self._lock:
            features = self._recent.setdefault(key, features)
            while len(self._recent) > KEPT_ITEMS:
                self._recent.popitem(last=False)
        return features

    def is_complete(self, i: int | None = None, tile: int | None = None) -> bool:
        """Whether a tile, all tiles of a slice (`tile` None), or everything (`i` None too, for a stack) is stored.

        Tiles that were left out because they lie outside the mask do not count as missing.
        """
        slices = [i] if i is not None or self.n_slices is None else range(self.n_slices)
        tiles = range(len(self.grid)) if tile is None else [tile]
        store = self.store
        return all(store.is_complete(k, t) or (tile is None and store.is_skipped(k, t)) for k in slices for t in tiles)

    def is_skipped(self, i: int | None, tile: int) -> bool:
        """Whether a tile was left out because it lies outside the mask: it will not be there later either."""
        return self.store.is_skipped(i, tile)

    def forget(self) -> None:
        """Release the slices kept in memory; those in the store stay."""
        with self._lock:
            self._recent.clear()

    # the mapping of the public library

    def __getitem__(self, key: str) -> Any:
        if key == "features":
            return self.store.features()
        if key in ("input_size", "original_size"):
            if self.grid.is_tiled:
                return None
            return self.grid.shape if key == "original_size" else self._input_size()
        raise KeyError(key)

    def __iter__(self) -> Iterator[str]:
        return iter(self.KEYS)

    def __len__(self) -> int:
        return len(self.KEYS)

    def _input_size(self) -> tuple[int, int]:
        for i, tile in self.store.items():
            if self.store.is_complete(i, tile):
                return self.load(i, tile).input_size
        raise NotComputedYet("No slice is embedded yet, so the size of the network's input is not known.")


def as_embeddings(mapping: EmbeddingsLike, image: Any = None) -> Embeddings:
    """Whatever holds embeddings, as `Embeddings`.

    Parameters
    ----------
    mapping
        `Embeddings` (returned as they are), a store, the path of a cache, or what scripts of micro_sam 1.x hold: a
        dict or zarr group with the keys `features`, `input_size` and `original_size`.
    image
        The image that they are of: an array, or the path of a file, of which only the parts that are needed are read.
        None: what the embeddings know of it.

    Raises
    ------
    InputError
        When it does not hold embeddings.
    CacheError
        When it is the path of something that is no cache.
    """
    if image is not None:
        return _with_image(as_embeddings(mapping), image)
    if isinstance(mapping, Embeddings):
        return mapping
    if isinstance(mapping, EmbeddingStore):
        return Embeddings(mapping)
    if isinstance(mapping, (str, os.PathLike)):
        from micro_sam.embeddings.zarr_store import ZarrStore

        return Embeddings(ZarrStore.open(Path(mapping)))
    try:
        has_features = "features" in mapping
    except TypeError:
        has_features = False
    if not has_features:
        raise InputError(
            "Image embeddings must be a mapping with the keys 'features', 'input_size' and 'original_size', as "
            f"precompute_image_embeddings returns it, not {type(mapping).__name__}."
        )
    from micro_sam.embeddings.mapping_store import MappingStore

    return Embeddings(MappingStore(mapping))


def _with_image(embeddings: Embeddings, image: Any) -> Embeddings:
    if isinstance(image, (str, Path)):
        from micro_sam.io.images import open_image

        image = open_image(image).data
    shape = tuple(int(n) for n in image.shape)
    if shape[: len(embeddings.shape)] != tuple(embeddings.shape):
        raise InputError(f"The image has the shape {shape}, but the embeddings are of one of {embeddings.shape}.")
    embeddings.image = image
    return embeddings
