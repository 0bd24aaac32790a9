"""A cache with several items in one file, for file systems that want few files (``precompute_embeddings --shard``).

Layout (zarr, format 2; the attributes are those of ``zarr_layout.py``, and `cache` has `shard`, the items of a file)::

    features             untiled: array float32 (Z, 1, C, g, g), one chunk for `shard` slices
    features/items       tiled: array float32 (slices * tiles, 1, C, g, g), one chunk for `shard` items
    state/checksum       uint64 (slices * tiles,), one chunk for `shard` items; 0 missing, 1 outside the mask, otherwise
                         the hash of the item's bytes, written after them
    state/dense/items    float16 (slices * tiles, K, h, w)

Features of a cache in half precision (``cache["dtype"]`` is "float16") have that type.

Items are numbered slice by slice. Chunks are not compressed, so an item is a range of bytes of its file: it is read and
written by itself, and another item of the same file is not touched. Whatever reads zarr reads these arrays, too; older
versions of micro_sam, however, look for one array for each tile.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from micro_sam.embeddings.item_files import ItemFiles
from micro_sam.embeddings.tiles import TileGrid
from micro_sam.embeddings.zarr_layout import ITEMS, bytes_of

DENSE = f"state/dense/{ITEMS}"


class ShardFiles(ItemFiles):
    """Several items in a file.

    Several processes may write into one file, each an item of its own. On network file systems, where a page may be
    written back as a whole, one process at a time should write a file; if not, an item may come to be missing, never
    wrong.
    """

    def __init__(self, path: Path, group: zarr.Group, grid: TileGrid, n_slices: int | None) -> None:
        super().__init__(path, group, grid, n_slices)
        self.items_per_file = int(self._notes["shard"])
        self._name = f"features/{ITEMS}" if grid.is_tiled else "features"

    def check(self) -> None:
        self._check_present(self._name, "state/checksum")

    def read(self, i: int | None, tile: int) -> tuple[np.ndarray, np.ndarray | None]:
        index = self._index(i, tile)
        data = self._read_bytes(self._array(self._name), index).astype("float32", copy=False)
        if DENSE not in self._arrays and DENSE not in self._group:
            return data, None
        dense = self._array(DENSE)
        return data, self._read_bytes(dense, index) if self._file_of(dense, index)[0].exists() else None

    def write(
        self, i: int | None, tile: int, data: np.ndarray, dense: np.ndarray | None, sizes: dict[str, Any]
    ) -> None:
        index = self._index(i, tile)
        if dense is not None:
            shape = (len(self._grid) * (self._n_slices or 1), *dense.shape)
            array = self._for_writing(DENSE, shape, (self.items_per_file, *dense.shape), "float16")
            self._write_bytes(array, index, dense)
        self._write_bytes(self._array(self._name), index, data)

    def read_mark(self, i: int | None, tile: int) -> int:
        try:
            return int(self._read_bytes(self._array("state/checksum"), self._index(i, tile)))
        except (OSError, ValueError):  # no item of the file is there yet, or it was copied half
            return 0

    def write_mark(self, i: int | None, tile: int, value: int) -> None:
        self._write_bytes(self._array("state/checksum"), self._index(i, tile), np.array(value, np.uint64))

    def is_whole(self, i: int | None, tile: int) -> bool:
        array = self._array(self._name)
        try:
            size = self._file_of(array, self._index(i, tile))[0].stat().st_size
        except OSError:
            return False
        return size == int(np.prod(array.chunks)) * array.dtype.itemsize

    def features(self) -> zarr.Array[Any] | None:
        return None if self._grid.is_tiled else self._array("features")

    def _index(self, i: int | None, tile: int) -> int:
        return (i or 0) * len(self._grid) + tile

    def _file_of(self, array: zarr.Array[Any], index: int) -> tuple[Path, int, int]:
        """The file of an item, where in it the item begins, and how many bytes it has."""
        chunk, inside = divmod(index, array.chunks[0])
        size = int(np.prod(array.shape[1:], dtype=int)) * array.dtype.itemsize
        key = array.metadata.encode_chunk_key((chunk, *(0,) * (array.ndim - 1)))
        return self._path / array.path / key, inside * size, size

    def _read_bytes(self, array: zarr.Array[Any], index: int) -> np.ndarray:
        path, start, size = self._file_of(array, index)
        with open(path, "rb") as file:
            file.seek(start)
            content = bytearray(file.read(size))
        return np.frombuffer(content, array.dtype).reshape(array.shape[1:])

    def _write_bytes(self, array: zarr.Array[Any], index: int, data: np.ndarray) -> None:
        path, start, _ = self._file_of(array, index)
        whole = int(np.prod(array.chunks)) * array.dtype.itemsize
        content = bytes_of(data.astype(array.dtype, copy=False))
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
        with open(descriptor, "r+b", buffering=0) as file:
            # several processes may do this at once: the file only grows, to the same size
            if os.fstat(descriptor).st_size < whole:
                file.truncate(whole)
            file.seek(start)
            while content:
                content = content[file.write(content) :]
