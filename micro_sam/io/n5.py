"""Reading N5 datasets (https://github.com/saalfeldlab/n5), which zarr 3 no longer does.

The axes are reversed, as all readers in Python do it: an N5 dataset (x, y, z) is an array (z, y, x).
"""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np

from micro_sam.errors import InputError


class N5Array:
    """A dataset as lazy array: only the blocks that are asked for are read.

    Parameters
    ----------
    path
        Folder of the dataset, with an ``attributes.json`` that has `dimensions`.
    """

    def __init__(self, path: Path) -> None:
        attributes = read_attributes(path)
        self.path = path
        self.shape = tuple(int(d) for d in reversed(attributes["dimensions"]))
        self.chunks = tuple(int(d) for d in reversed(attributes["blockSize"]))
        self.dtype = np.dtype(attributes["dataType"])
        compression = attributes.get("compression", attributes.get("compressionType", "raw"))
        self._compression = compression if isinstance(compression, dict) else {"type": compression}

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self[...].astype(dtype or self.dtype, copy=False)

    def __getitem__(self, index: Any) -> np.ndarray:
        index = index if isinstance(index, tuple) else (index,)
        if Ellipsis in index:
            place = index.index(Ellipsis)
            missing = self.ndim - len(index) + 1
            index = (*index[:place], *(slice(None),) * missing, *index[place + 1 :])
        index = (*index, *(slice(None),) * (self.ndim - len(index)))
        index = tuple(
            i + size if isinstance(i, (int, np.integer)) and i < 0 else i
            for i, size in zip(index, self.shape, strict=True)
        )
        ranges = [
            slice(i, i + 1) if isinstance(i, (int, np.integer)) else slice(*i.indices(size)[:2])
            for i, size in zip(index, self.shape, strict=True)
        ]
        result = np.zeros([max(r.stop - r.start, 0) for r in ranges], dtype=self.dtype)
        blocks = [
            range(r.start // c, -(-r.stop // c)) if r.stop > r.start else range(0)
            for r, c in zip(ranges, self.chunks, strict=True)
        ]
        for position in itertools.product(*blocks):
            block = self._read_block(position)
            if block is None:
                continue  # a block that was never written holds zeros
            source, target = [], []
            for p, c, r, n in zip(position, self.chunks, ranges, block.shape, strict=True):
                begin, end = max(r.start, p * c), min(r.stop, p * c + n)
                source.append(slice(begin - p * c, max(end, begin) - p * c))
                target.append(slice(begin - r.start, max(end, begin) - r.start))
            result[tuple(target)] = block[tuple(source)]
        steps = tuple(0 if isinstance(i, (int, np.integer)) else slice(None, None, i.step) for i in index)
        return result[steps]

    def _read_block(self, position: tuple[int, ...]) -> np.ndarray | None:
        path = self.path.joinpath(*(str(p) for p in reversed(position)))
        try:
            raw = path.read_bytes()
        except FileNotFoundError:
            return None
        mode, ndim = np.frombuffer(raw, ">u2", 2)
        shape = np.frombuffer(raw, ">u4", ndim, offset=4)
        begin = 4 + 4 * int(ndim) + (4 if mode == 1 else 0)
        data = self._decode(raw[begin:])
        count = int(np.prod(shape))
        return np.frombuffer(data, self.dtype.newbyteorder(">"), count).reshape(tuple(reversed(shape.tolist())))

    def _decode(self, data: bytes) -> bytes:
        kind = self._compression.get("type", "raw")
        if kind == "raw":
            return data
        import numcodecs

        codecs = {
            "gzip": numcodecs.Zlib() if self._compression.get("useZlib") else numcodecs.GZip(),
            "bzip2": numcodecs.BZ2(),
            "xz": numcodecs.LZMA(),
            "blosc": numcodecs.Blosc(),
            "zstd": numcodecs.Zstd(),
        }
        if kind not in codecs:
            raise InputError(
                f"{self.path} is compressed with {kind!r}, which cannot be read. Convert it to zarr or gzip."
            )
        return codecs[kind].decode(data)


def read_attributes(path: Path) -> dict[str, Any]:
    """The attributes of a group or dataset; empty if there are none."""
    try:
        return json.loads((path / "attributes.json").read_text())
    except FileNotFoundError:
        return {}


def find_datasets(root: Path) -> dict[str, tuple[int, ...]]:
    """Names and shapes of all datasets below a folder."""
    found = {}
    for file in sorted(root.rglob("attributes.json")):
        attributes = read_attributes(file.parent)
        if "dimensions" in attributes:
            found[file.parent.relative_to(root).as_posix()] = tuple(reversed(attributes["dimensions"]))
    return found
