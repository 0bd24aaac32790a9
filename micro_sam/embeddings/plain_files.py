"""Uncompressed zarr arrays (format 2) on a local disc, written as the files that they are.

zarr takes 24 ms of processor time to make the arrays of a tile and store it, a tenth of what a small network takes to
compute it; these functions take 1 ms and write the same files.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from micro_sam.embeddings.zarr_layout import ZARR_FORMAT, make_array


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
        write_file(group, json.dumps({"zarr_format": ZARR_FORMAT}).encode())
    description = _description(shape, chunks, dtype)
    if _content(folder / ".zarray") != json.loads(description):
        write_file(folder / ".zarray", description)
    if attributes is not None and _content(folder / ".zattrs") != attributes:
        write_file(folder / ".zattrs", json.dumps(attributes, indent=2).encode())


def write_file(path: Path, content: bytes) -> None:
    """Write a file, wholly or not at all, as zarr does.

    Raises
    ------
    OSError
        When it cannot be written; what was there before is intact.
    """
    partial = path.with_name(f"{path.name}.{uuid.uuid4().hex}.partial")
    try:
        partial.write_bytes(content)
        os.replace(partial, path)
    except BaseException:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise


def chunk_name(i: int | None, ndim: int) -> str:
    """The file of an item with `ndim` axes; `i`: its slice in an array with one more."""
    return ".".join(([] if i is None else [str(i)]) + ["0"] * ndim)


def read_number(path: Path) -> int:
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


def _content(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
