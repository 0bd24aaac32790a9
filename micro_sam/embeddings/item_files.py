"""How the items of a cache lie in files, and the files of caches of older versions."""

from __future__ import annotations

import contextlib
import math
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.errors import ContainsArrayError

from micro_sam.embeddings.tiles import TileGrid
from micro_sam.embeddings.zarr_layout import (
    MISSING,
    SKIPPED,
    array_in,
    is_raw,
    make_array,
    make_marks,
    read_mark,
    stack_shape,
)
from micro_sam.errors import CacheError
from micro_sam.io.atomic import remove_folder


class ItemFiles(ABC):
    """Features, dense maps and marks of items, as they are on disc; `ZarrStore` knows what they mean.

    Parameters
    ----------
    path
        Folder of the cache.
    group
        The same as a zarr group.
    grid, n_slices
        See `EmbeddingStore`.
    """

    items_per_file = 1

    def __init__(self, path: Path, group: zarr.Group, grid: TileGrid, n_slices: int | None) -> None:
        self._path, self._group, self._grid, self._n_slices = path, group, grid, n_slices
        attrs: dict[str, Any] = dict(group.attrs)
        self._notes: dict[str, Any] = attrs.get("cache", {})
        self._dtype = np.dtype(self._notes.get("dtype", "float32"))  # of the features
        self._arrays: dict[str, zarr.Array[Any]] = {}  # that were opened

    @abstractmethod
    def check(self) -> None:
        """Raise CacheError, KeyError or what zarr raises unless what was made at the start is there."""

    @abstractmethod
    def read(self, i: int | None, tile: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Features (1, C, g, g) float32 and dense maps (K, h, w) float16 of an item; any error if it is damaged."""

    @abstractmethod
    def write(
        self, i: int | None, tile: int, data: np.ndarray, dense: np.ndarray | None, sizes: dict[str, Any]
    ) -> None:
        """Store an item; ``sizes``: `original_size` and `input_size`. OSError when that cannot be."""

    @abstractmethod
    def read_mark(self, i: int | None, tile: int) -> int:
        """The checksum of an item, or 0 or 1; see ``zarr_layout.py``."""

    @abstractmethod
    def write_mark(self, i: int | None, tile: int, value: int) -> None:
        """Store the checksum of an item, after the item."""

    @abstractmethod
    def is_whole(self, i: int | None, tile: int) -> bool:
        """Whether the file of the item has its full size; nothing is read."""

    def input_size(self, tile: int) -> tuple[int, int] | None:
        """Size of a tile as the network saw it, where that is noted."""
        return None

    def item_shape(self, tile: int) -> tuple[int, ...] | None:
        """Shape of the features of an item, where an array says it."""
        return None

    def features(self) -> Any:
        """The features as zarr has them; None where they do not lie as scripts expect them."""
        return self._group["features"]

    def marks(self) -> np.ndarray | None:
        """The marks of all items, (slices, tiles) uint64; None where there are none."""
        if "state/checksum" not in self._group:
            return None
        marks = array_in(self._group, "state/checksum")
        if marks.size != (self._n_slices or 1) * len(self._grid):
            raise CacheError(
                f"The embeddings in {self._path} note {marks.size} items, but the image has "
                f"{(self._n_slices or 1) * len(self._grid)}: the folder was changed or damaged. Copy it again, or "
                "delete it and compute them anew."
            )
        return self._values_of(marks).reshape(self._n_slices or 1, len(self._grid))

    def _values_of(self, marks: zarr.Array[Any]) -> np.ndarray:
        """The marks in an array that holds as many as there are items."""
        try:
            return np.asarray(marks[:])
        except Exception:  # a mark was copied half: look at each
            values = np.zeros(marks.shape, marks.dtype)
            for index in np.ndindex(*marks.shape):
                values[index] = read_mark(marks, *index)
            return values

    def _array(self, name: str) -> zarr.Array[Any]:
        """An array; KeyError when it is not there."""
        if name not in self._arrays:
            self._arrays[name] = array_in(self._group, name)
        return self._arrays[name]

    def _check_present(self, *names: str) -> None:
        if any(name not in self._group for name in names):
            raise CacheError(
                f"The embeddings in {self._path} lack the note of what is complete (an interrupted copy?). Copy the "
                "folder again, or delete it and compute them anew."
            )

    def _for_writing(self, name: str, shape: tuple[int, ...], chunks: tuple[int, ...], dtype: str) -> zarr.Array[Any]:
        """An array, made if it is not there."""
        if name not in self._arrays:
            try:
                self._arrays[name] = array_in(self._group, name)
            except KeyError:
                self._arrays[name] = self._made(name, shape, chunks, dtype)
            except Exception:  # its description was copied half: all its items are made again
                remove_folder(self._path / name)
                self._arrays[name] = self._made(name, shape, chunks, dtype)
        return self._arrays[name]

    def _made(self, name: str, shape: tuple[int, ...], chunks: tuple[int, ...], dtype: str) -> zarr.Array[Any]:
        with contextlib.suppress(ContainsArrayError):  # another process was quicker
            make_array(self._group, name, shape, chunks, dtype)
        return array_in(self._group, name)


class OlderFiles(ItemFiles):
    """Caches of micro_sam 1.x, and of versions of this program that made the arrays of all tiles at the start."""

    def __init__(self, path: Path, group: zarr.Group, grid: TileGrid, n_slices: int | None) -> None:
        super().__init__(path, group, grid, n_slices)
        self._is_ours = "cache" in group.attrs
        # micro_sam 1.x says with these attributes that its job came to the end
        finished = grid.is_tiled or bool(group.attrs.get("input_size"))
        self._is_finished = not self._is_ours and "state/checksum" not in group and finished

    def check(self) -> None:
        if self._is_ours:
            for tile in range(len(self._grid)):
                self._array(self._name(tile))
            self._check_present("features", "state/checksum")

    def read(self, i: int | None, tile: int) -> tuple[np.ndarray, np.ndarray | None]:
        array, name = self._array(self._name(tile)), f"state/dense/{tile}"
        if not self._is_ours:  # no checksums: caches of micro_sam 1.x are compressed with Blosc
            from micro_sam.io.formats.blosc import with_checked_chunks

            array = with_checked_chunks(array)
        data = np.asarray(array[:] if i is None else array[i], dtype="float32")
        if name not in self._arrays and name not in self._group:
            return data, None
        dense = self._array(name)
        return data, np.asarray(dense[:] if i is None else dense[i])

    def write(
        self, i: int | None, tile: int, data: np.ndarray, dense: np.ndarray | None, sizes: dict[str, Any]
    ) -> None:
        array = self._for_writing(self._name(tile), *stack_shape(self._n_slices, data.shape), "float32")
        if dense is not None:
            shape = stack_shape(self._n_slices, dense.shape)
            _put(self._for_writing(f"state/dense/{tile}", *shape, "float16"), i, dense)
        if self._grid.is_tiled and not array.attrs.get("input_size"):
            array.attrs.update(sizes)
        _put(array, i, data)

    def read_mark(self, i: int | None, tile: int) -> int:
        if "state/checksum" in self._arrays or "state/checksum" in self._group:
            return read_mark(self._array("state/checksum"), i or 0, tile)
        if self._grid.is_tiled and f"features/{tile}" not in self._group:
            return SKIPPED  # micro_sam 1.x leaves out the tiles outside the mask
        return SKIPPED + 1 if self._is_finished else 0

    def write_mark(self, i: int | None, tile: int, value: int) -> None:
        if "state/checksum" not in self._group:  # a cache of 1.x goes on here: keep what it has
            slices = self._n_slices or 1
            values = np.zeros((slices, len(self._grid)), np.uint64)
            for k, t in np.ndindex(*values.shape):
                known = self.read_mark(None if self._n_slices is None else k, t)
                values[k, t] = known if known == SKIPPED or self._was_complete(k, t) else MISSING
            make_marks(self._group, *values.shape)[:] = values
        self._array("state/checksum")[i or 0, tile] = np.uint64(value)

    def is_whole(self, i: int | None, tile: int) -> bool:
        try:
            array = self._array(self._name(tile))
            chunk = array.metadata.encode_chunk_key((0,) * array.ndim if i is None else (i,) + (0,) * (array.ndim - 1))
            size = (self._path / array.path / chunk).stat().st_size
        except (OSError, KeyError):
            return False
        return size == math.prod(array.chunks) * array.dtype.itemsize if is_raw(array) else size > 0

    def input_size(self, tile: int) -> tuple[int, int] | None:
        return noted_size(self._array(self._name(tile))) if self._grid.is_tiled else None

    def item_shape(self, tile: int) -> tuple[int, ...] | None:
        try:
            return tuple(self._array(self._name(tile)).shape[-4:])
        except KeyError:  # outside the mask of micro_sam 1.x
            return None

    def _was_complete(self, k: int, tile: int) -> bool:
        i = None if self._n_slices is None else k
        return self.read_mark(i, tile) > SKIPPED and self.is_whole(i, tile)

    def _name(self, tile: int) -> str:
        return f"features/{tile}" if self._grid.is_tiled else "features"


def noted_size(array: zarr.Array[Any]) -> Any:
    """What the array of a tile notes as size of the network's input; None where it does not. It may be damaged."""
    return array.attrs.get("input_size")


def _put(array: zarr.Array[Any], i: int | None, data: np.ndarray) -> None:
    if i is None:
        array[:] = data
    else:
        array[i] = data
