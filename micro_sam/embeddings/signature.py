"""How a cache knows its image, without reading gigabytes on every start.

Three ways of looking, from cheap to thorough:

- `samples`: hash of shape, dtype and small blocks at fixed places. A few megabytes are read, whatever the size. It
  is the same for an array in memory, a memory-mapped file and a lazy array, and does not depend on the path.
- `file`: size and time of last change. Unchanged file plus equal samples: the same image, nothing more is read.
- `content`: hash of every byte. Decides when the file was copied, moved or touched, and for arrays in memory (where
  it costs 0.1 s per gigabyte).

`sha1` is the hash of the bytes alone that micro_sam 1.x stores and compares as ``data_signature``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

from micro_sam.io.addresses import is_address
from micro_sam.io.inputs import as_array, image_and_path, is_path

LARGEST_FULL_HASH = 2**28  # bytes; larger arrays on disc, and remote ones, are known by their samples alone
SAMPLED_SLICES = 16
SAMPLED_BLOCKS = 8  # per axis
BLOCK_ROWS, BLOCK_COLUMNS = 16, 256
CHUNK_BYTES = 64 * 2**20


@dataclass(frozen=True)
class ImageSignature:
    """What a cache remembers of its image. Hashes are hexadecimal; None: not computed."""

    shape: tuple[int, ...]
    dtype: str
    samples: str
    content: str | None = None
    sha1: str | None = None
    file: tuple[int, int] | None = None  # size in bytes, time of last change in nanoseconds

    @property
    def data_signature(self) -> str:
        """The value that micro_sam 1.x compares; for huge lazy arrays, which it cannot hash, the samples."""
        return self.sha1 or self.samples

    def to_json(self) -> dict[str, Any]:
        """As a dict that can be written as zarr attributes."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> ImageSignature:
        """From what `to_json` gave."""
        known: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in values.items() if k in cls.__dataclass_fields__
        }
        return cls(**known)


def compute_signature(image: Any, path: str | Path | None = None) -> ImageSignature:
    """The whole signature, for a cache that is about to be made.

    Parameters
    ----------
    image
        Array, or the path of an image.
    path
        The file or address the array comes from, if it does.
    """
    if is_path(image):
        image, path = image_and_path(image)
    image = as_array(image)
    content, sha1 = hash_content(image) if _affordable(image, path) else (None, None)
    return ImageSignature(
        _shape(image), dtype_name(image), hash_samples(image), content, sha1, file_state(path or _path_of(image))
    )


def is_same_image(stored: ImageSignature, image: Any, path: str | Path | None = None) -> bool:
    """Whether an image is the one that a cache was made for; reads as little as it can."""
    if stored.shape != _shape(image) or stored.dtype != dtype_name(image):
        return False
    if hash_samples(image) != stored.samples:
        return False
    if stored.content is None or not _affordable(image, path):
        return True
    state = file_state(path or _path_of(image))
    if not _in_memory(image) and state is not None and state == stored.file:
        return True
    return hash_content(image, with_sha1=False)[0] == stored.content


def hash_samples(image: Any) -> str:
    """xxh128 of shape, dtype and blocks at fixed places, 32 hexadecimal digits."""
    shape = _shape(image)
    hasher = xxhash.xxh3_128(repr((shape, dtype_name(image))).encode())
    stack = len(shape) >= 3 and shape[-1] not in (3, 4) or len(shape) >= 4
    slices: list[tuple[int, ...]] = [(int(z),) for z in _places(shape[0], SAMPLED_SLICES, 1)] if stack else [()]
    for where in slices:
        height, width = shape[len(where) : len(where) + 2] if len(shape) >= len(where) + 2 else (shape[-1], 1)
        plane = image
        itemsize = np.dtype(image.dtype).itemsize
        if not isinstance(image, np.ndarray) and height * width * itemsize <= _most_at_once(image, height, width):
            plane, where = np.asarray(image[where] if where else image[...]), ()  # decode each chunk once
        for y in _places(height, SAMPLED_BLOCKS, BLOCK_ROWS):
            for x in _places(width, SAMPLED_BLOCKS, BLOCK_COLUMNS):
                block = plane[(*where, slice(y, y + BLOCK_ROWS), slice(x, x + BLOCK_COLUMNS))]
                hasher.update(_bytes(np.asarray(block)))
    return hasher.hexdigest()


def hash_content(image: Any, with_sha1: bool = True) -> tuple[str, str | None]:
    """Hashes of every byte, read in chunks: (xxh128 with shape and dtype, sha1 of the bytes alone)."""
    fast = xxhash.xxh3_128(repr((_shape(image), dtype_name(image))).encode())
    sha1 = hashlib.sha1(usedforsecurity=False) if with_sha1 else None
    for chunk in _chunks(image):
        fast.update(_bytes(chunk))
        if sha1 is not None:
            sha1.update(_as_buffer(np.ascontiguousarray(chunk)))
    return fast.hexdigest(), None if sha1 is None else sha1.hexdigest()


def file_state(path: str | Path | None) -> tuple[int, int] | None:
    """Size and time of last change of a file; None for folders (zarr, slices) and for what cannot be looked at."""
    if path is None:
        return None
    try:
        path = Path(path)
        status = path.stat()
    except (OSError, ValueError):
        return None
    return (status.st_size, status.st_mtime_ns) if path.is_file() else None


def dtype_name(image: Any) -> str:
    """The dtype without its byte order, e.g. "uint16"."""
    return str(np.dtype(image.dtype).name)


def _most_at_once(image: Any, height: int, width: int) -> int:
    """Bytes of a plane that is read as a whole; over the network only where the samples would touch most of it."""
    chunks = getattr(image, "chunks", None)
    if not is_address(getattr(image, "path", None)) or chunks is None or len(chunks) < 2:
        return CHUNK_BYTES
    rows, columns = chunks[-2:] if len(image.shape) < 4 and image.shape[-1] not in (3, 4) else chunks[-3:-1]
    return CHUNK_BYTES if -(-height // rows) * -(-width // columns) <= SAMPLED_BLOCKS**2 else 0


def _shape(image: Any) -> tuple[int, ...]:
    return tuple(int(s) for s in image.shape)


def _affordable(image: Any, path: str | Path | None) -> bool:
    if is_address(path):
        return False  # all of it would come over the network, at each start
    nbytes = int(np.prod(_shape(image), dtype=object)) * np.dtype(image.dtype).itemsize
    return _in_memory(image) or nbytes <= LARGEST_FULL_HASH


def _in_memory(image: Any) -> bool:
    while isinstance(image, np.ndarray):  # a view of a memory-mapped file is not in memory
        if isinstance(image, np.memmap):
            return False
        if image.base is None or not isinstance(image.base, np.ndarray):
            return True
        image = image.base
    return False


def _path_of(image: Any) -> Path | None:
    filename = getattr(image, "filename", None) if isinstance(image, np.memmap) else None
    return None if filename is None else Path(filename)


def _places(size: int, count: int, block: int) -> list[int]:
    return sorted({int(v) for v in np.linspace(0, max(size - block, 0), count)})


def _chunks(image: Any) -> Iterator[np.ndarray]:
    """The array in C order, in pieces along the first axis of about `CHUNK_BYTES`."""
    shape = _shape(image)
    if not shape or 0 in shape:
        return
    row_bytes = int(np.prod(shape[1:], dtype=object)) * np.dtype(image.dtype).itemsize
    step = max(1, CHUNK_BYTES // max(row_bytes, 1))
    for begin in range(0, shape[0], step):
        yield np.asarray(image[begin : begin + step])


def _bytes(array: np.ndarray) -> memoryview:
    """Little-endian bytes: the same pixels from another file format are the same image."""
    return _as_buffer(np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")))


def _as_buffer(array: np.ndarray) -> memoryview:
    return array.reshape(-1).view(np.uint8).data
