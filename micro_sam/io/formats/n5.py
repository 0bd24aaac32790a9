"""Reading N5 datasets (https://github.com/saalfeldlab/n5), which zarr 3 no longer does.

The axes are reversed, as all readers in Python do it: an N5 dataset (x, y, z) is an array (z, y, x).
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from micro_sam.errors import InputError
from micro_sam.io.axes import axes_from_names
from micro_sam.io.formats import bdv
from micro_sam.io.formats.hdf5 import choices_of, choose_dataset
from micro_sam.io.lazy import LazyArray, reading
from micro_sam.io.source import ImageSource
from micro_sam.io.units import scale_for, size_of

MOST_COUNTED = 20_000  # blocks of which the missing ones are counted


def open_n5(path: Path, key: str | None = None) -> ImageSource:
    """One dataset of a container; of a pyramid (s0, s1, ...) the full resolution.

    Raises
    ------
    InputError
        When the key is missing or wrong (the message lists the datasets), or it cannot be read.
    """
    with reading(path, "an n5 container"):
        if "dimensions" in read_attributes(path) and key is None:
            return _described(N5Array(path), path, None, path)
        shapes = find_datasets(path)
        pyramids = {name.removesuffix("/s0"): name for name in shapes if name == "s0" or name.endswith("/s0")}
        tops = {name for name in shapes if not _is_lower_level(name, shapes)}
        if key is None and len(tops) == 1:
            key = next(iter(tops))
        elif key is not None and key.strip("/") in pyramids:
            key = pyramids[key.strip("/")]
        key = choose_dataset(path, key, shapes)
        return _described(N5Array(path / key), path, key, path, choices_of({k: shapes[k] for k in tops}))


def _is_lower_level(name: str, shapes: dict[str, tuple[int, ...]]) -> bool:
    parent, _, last = name.rpartition("/")
    top = f"{parent}/s0".strip("/")
    return last[:1] == "s" and last[1:].isdigit() and last != "s0" and top in shapes


def _described(
    array: N5Array, path: Path, key: str | None, root: Path, choices: dict[str, str] | None = None
) -> ImageSource:
    """A dataset with the axes and sizes that it, its group or the XML beside the container names."""
    own = read_attributes(array.path)
    attributes = {**(read_attributes(array.path.parent) if array.path != root else {}), **own}
    names = attributes.get("axes")
    axes = axes_from_names(names[::-1]) if isinstance(names, list) and len(names) == array.ndim else None
    if axes is None and key is not None and bdv.is_cells_n5(key) and array.ndim == 3:
        axes = "ZYX"
    letters = axes or {2: "YX", 3: "ZYX"}.get(array.ndim, "")
    of_group = not any(name in own for name in ("pixelResolution", "resolution"))
    sizes = _sizes(attributes, letters, own.get("downsamplingFactors") if of_group else None)
    if key is not None:
        sizes |= bdv.voxel_sizes(path, key)
    scale, named = scale_for(letters, sizes)
    note = ""
    missing, total = array.missing_blocks()
    if missing:
        note = f"{missing} of {total} blocks of {path.name} are not there; they are read as zeros."
    return ImageSource(LazyArray(array, path), axes, scale, named, path, key, note, choices or {})


def _sizes(attributes: Mapping[str, Any], letters: str, factors: Any) -> dict[str, float | None]:
    """Letter of an axis -> size, as COSEM, Paintera and BigDataViewer write it.

    Parameters
    ----------
    attributes
        Of a dataset and its group.
    letters
        Of the axes.
    factors
        How much coarser the dataset is than the full resolution, whose sizes the group names.
    """
    resolution = attributes.get("pixelResolution") or {}
    values = resolution.get("dimensions") if isinstance(resolution, dict) else resolution
    unit = resolution.get("unit") if isinstance(resolution, dict) else None
    values = values or attributes.get("resolution")
    units = attributes.get("units") or ([unit] * len(letters) if unit else None)
    if not isinstance(values, list) or len(values) != len(letters) or (units is None and all(v == 1 for v in values)):
        return {}  # ones without a unit are pixels
    units = units or ["µm"] * len(letters)
    if len(units) != len(letters):
        return {}
    sizes = [size_of(letter, *of) for letter, *of in zip(letters, values[::-1], units[::-1], strict=True)]
    numbers = [n for n in factors if isinstance(n, (int, float))] if isinstance(factors, list) else []
    times = numbers[::-1] if len(numbers) == len(letters) else [1] * len(letters)
    return {letter: size and size * n for letter, size, n in zip(letters, sizes, times, strict=True)}


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
        if not self.shape or min(self.shape) < 0 or len(self.chunks) != len(self.shape) or min(self.chunks) < 1:
            raise InputError(f"{path} is damaged: it has the shape {self.shape} and blocks of {self.chunks}.")
        compression = attributes.get("compression", attributes.get("compressionType", "raw"))
        self._compression = compression if isinstance(compression, dict) else {"type": compression}

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def missing_blocks(self) -> tuple[int, int]:
        """How many blocks were never written, and how many there are; (0, total) when there are too many to count."""
        counts = [-(-size // chunk) for size, chunk in zip(self.shape, self.chunks, strict=True)]
        total = int(np.prod(counts, dtype=object))
        if total > MOST_COUNTED:
            return 0, total
        places = itertools.product(*(range(n) for n in counts))
        return sum(not self._path_of(place).is_file() for place in places), total

    def __getitem__(self, index: Any) -> np.ndarray:
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
        try:
            raw = self._path_of(position).read_bytes()
        except FileNotFoundError:
            return None
        mode, ndim = np.frombuffer(raw, ">u2", 2).tolist()
        if mode not in (0, 1) or ndim != self.ndim:
            raise ValueError(f"block {position} has no valid header")
        shape = tuple(np.frombuffer(raw, ">u4", ndim, offset=4).tolist()[::-1])
        wanted = [min(c, n - p * c) for p, c, n in zip(position, self.chunks, self.shape, strict=True)]
        if any(n > c or n < w for n, c, w in zip(shape, self.chunks, wanted, strict=True)):
            raise ValueError(f"block {position} has the shape {shape}")
        begin = 4 + 4 * ndim + (4 if mode == 1 else 0)
        data = self._decode(raw[begin:])
        return np.frombuffer(data, self.dtype.newbyteorder(">"), int(np.prod(shape))).reshape(shape)

    def _path_of(self, position: tuple[int, ...]) -> Path:
        return self.path.joinpath(*(str(p) for p in reversed(position)))

    def _decode(self, data: bytes) -> bytes:
        kind = self._compression.get("type", "raw")
        if kind == "raw":
            return data
        import numcodecs

        codecs = {
            "gzip": numcodecs.Zlib() if self._compression.get("useZlib") else numcodecs.GZip(),
            "bzip2": numcodecs.BZ2(),
            "xz": numcodecs.LZMA(),
            "blosc": _CheckedBlosc(),
            "zstd": numcodecs.Zstd(),
        }
        if kind not in codecs:
            raise InputError(
                f"{self.path} is compressed with {kind!r}, which cannot be read. Convert it to zarr or gzip."
            )
        return bytes(codecs[kind].decode(data))


class _CheckedBlosc:
    """numcodecs does not notice that a block is cut off."""

    def decode(self, data: bytes) -> bytes:
        from numcodecs import Blosc

        from micro_sam.io.formats.blosc import check_blosc

        check_blosc(data)
        return bytes(Blosc().decode(data))


def read_attributes(path: Path) -> dict[str, Any]:
    """The attributes of a group or dataset; empty if there are none."""
    try:
        attributes: dict[str, Any] = json.loads((path / "attributes.json").read_text())
    except FileNotFoundError:
        return {}
    return attributes


def find_datasets(root: Path) -> dict[str, tuple[int, ...]]:
    """Names and shapes of all datasets below a folder."""
    found = {}
    for file in sorted(root.rglob("attributes.json")):
        attributes = read_attributes(file.parent)
        if "dimensions" in attributes:
            found[file.parent.relative_to(root).as_posix()] = tuple(reversed(attributes["dimensions"]))
    return found
