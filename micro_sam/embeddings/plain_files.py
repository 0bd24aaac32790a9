"""Caches with one item in a file: uncompressed zarr arrays (format 2), written as the files that they are.

zarr takes 24 ms of processor time to make the arrays of a tile and store it, a tenth of what a small network takes to
compute it; this takes 1 ms beside what the bytes themselves take, and makes the same files.
"""

from __future__ import annotations

import contextlib
import functools
import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from micro_sam.embeddings.item_files import ItemFiles, noted_size
from micro_sam.embeddings.tiles import TileGrid
from micro_sam.embeddings.zarr_layout import ZARR_FORMAT, bytes_of, make_array, stack_shape
from micro_sam.io.atomic import write_chunk


class PlainFiles(ItemFiles):
    """Files as ``zarr_layout.py`` describes them."""

    def __init__(self, path: Path, group: zarr.Group, grid: TileGrid, n_slices: int | None) -> None:
        super().__init__(path, group, grid, n_slices)
        self._shape = tuple(self._notes["feature_shape"])
        self._described_tiles: set[int] = set()  # tiles whose array is there
        self._described: set[str] = set()  # arrays that were made or checked here

    def check(self) -> None:
        if not self._grid.is_tiled:
            self._array("features")
        self._check_present("features", "state/checksum")

    def read(self, i: int | None, tile: int) -> tuple[np.ndarray, np.ndarray | None]:
        array = self._array(f"features/{tile}" if self._grid.is_tiled else "features")
        data, name = np.asarray(array[:] if i is None else array[i], dtype="float32"), f"state/dense/{tile}"
        if name not in self._arrays and name not in self._group:
            return data, None
        dense = self._array(name)
        return data, np.asarray(dense[:] if i is None else dense[i])

    def write(
        self, i: int | None, tile: int, data: np.ndarray, dense: np.ndarray | None, sizes: dict[str, Any]
    ) -> None:
        if dense is not None:
            self._write(f"state/dense/{tile}", i, dense, None)
        if self._grid.is_tiled:
            self._write(f"features/{tile}", i, data.astype(self._dtype, copy=False), sizes)
        else:
            self._write("features", i, data.astype(self._dtype, copy=False), None)

    def read_mark(self, i: int | None, tile: int) -> int:
        return _read_number(self._mark_file(i, tile))

    def write_mark(self, i: int | None, tile: int, value: int) -> None:
        write_chunk(self._mark_file(i, tile), np.uint64(value).tobytes())

    def _values_of(self, marks: zarr.Array[Any]) -> np.ndarray:
        values = np.zeros((self._n_slices or 1, len(self._grid)), np.uint64)
        for name in os.listdir(self._path / "state" / "checksum"):  # only those that are there, unlike zarr
            index = [int(number) for number in name.split(".") if number.isdecimal()]
            if len(index) == 2 and index[0] < values.shape[0] and index[1] < values.shape[1]:
                values[index[0], index[1]] = self.read_mark(*index)
        return values

    def is_whole(self, i: int | None, tile: int) -> bool:
        folder = self._path / "features" / (str(tile) if self._grid.is_tiled else "")
        try:
            if tile not in self._described_tiles and (folder / ".zarray").stat():
                self._described_tiles.add(tile)
            size = (folder / _chunk_name(i, 4)).stat().st_size
            return bool(size == self._dtype.itemsize * math.prod(self._shape))
        except OSError:
            return False

    def input_size(self, tile: int) -> tuple[int, int] | None:
        return noted_size(self._array(f"features/{tile}")) if self._grid.is_tiled else None

    def _mark_file(self, i: int | None, tile: int) -> Path:
        return self._path / "state" / "checksum" / f"{i or 0}.{tile}"

    def _write(self, name: str, i: int | None, data: np.ndarray, attributes: dict[str, Any] | None) -> None:
        folder = self._path / name
        if name not in self._described:
            describe_array(folder, *stack_shape(self._n_slices, data.shape), str(data.dtype), attributes)
            self._described.add(name)
            self._arrays.pop(name, None)  # it may have been read with a description that was damaged
        write_chunk(folder / _chunk_name(i, data.ndim), bytes_of(data))


def describe_array(
    folder: Path, shape: tuple[int, ...], chunks: tuple[int, ...], dtype: str, attributes: dict[str, Any] | None = None
) -> None:
    """Make an array, or mend its description if it was copied half; what it holds stays.

    Raises
    ------
    OSError
        When it cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    group = folder.parent / ".zgroup"
    if not group.exists():
        write_chunk(group, json.dumps({"zarr_format": ZARR_FORMAT}).encode())
    _write_json(folder / ".zarray", _description(shape, chunks, dtype))
    if attributes is not None:
        _write_json(folder / ".zattrs", json.dumps(attributes, indent=2).encode())


def _chunk_name(i: int | None, ndim: int) -> str:
    """The file of an item with `ndim` axes; `i`: its slice in an array with one more."""
    return ".".join(([] if i is None else [str(i)]) + ["0"] * ndim)


def _read_number(path: Path) -> int:
    """A uint64 from a file of its own; 0 when it is not there or not whole."""
    try:
        return int(np.frombuffer(path.read_bytes(), "<u8")[0])
    except (OSError, ValueError, IndexError):
        return 0


@functools.lru_cache
def _description(shape: tuple[int, ...], chunks: tuple[int, ...], dtype: str) -> bytes:
    store = zarr.storage.MemoryStore()
    make_array(zarr.open_group(store, mode="w", zarr_format=ZARR_FORMAT), "array", shape, chunks, dtype)
    return store._store_dict["array/.zarray"].to_bytes()


def _write_json(path: Path, content: bytes) -> None:
    """Write a file unless it says the same already."""
    with contextlib.suppress(OSError, ValueError):
        if json.loads(path.read_bytes()) == json.loads(content):
            return
    write_chunk(path, content)
