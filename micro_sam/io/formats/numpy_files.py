"""Arrays that numpy has written: npy and npz. Nothing that a file might run is run."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from micro_sam.errors import InputError
from micro_sam.io.choices import choose
from micro_sam.io.lazy import reading
from micro_sam.io.source import ImageSource

LARGEST_EAGER_ARRAY = 2**28


def open_npy(path: Path) -> ImageSource:
    """An array, mapped into memory.

    Raises
    ------
    InputError
        When it is damaged, or holds Python objects.
    """
    with reading(path, "a numpy array"):
        version = _version(path)
        with open(path, "rb") as file:
            file.seek(6 + 2)
            read = np.lib.format.read_array_header_1_0 if version == 1 else np.lib.format.read_array_header_2_0
            shape, _, dtype = read(file)
            start = file.tell()
        if dtype.hasobject:
            raise InputError(
                f"{path} holds Python objects, not an array of numbers. If it is a segmentation that Cellpose wrote "
                "(_seg.npy), give it as the labels (-s), beside its image."
            )
        needed = start + int(np.prod(shape, dtype=object)) * dtype.itemsize
        if needed > path.stat().st_size:
            raise InputError(
                f"{path} is cut off: an array of shape {shape} needs {needed:,} bytes, but the file has "
                f"{path.stat().st_size:,}. Copy it again."
            )
        data = np.load(path, mmap_mode="r", allow_pickle=False)
        if data.dtype.names or data.ndim == 0:
            raise InputError(f"{path} holds a table or a single number, not an image.")
    return ImageSource(data, path=path)


def open_npz(path: Path, key: str | None) -> ImageSource:
    """One of the arrays in a file.

    Raises
    ------
    InputError
        When it is damaged, or there is no such array.
    """
    with reading(path, "arrays of numpy"), np.load(path, allow_pickle=False) as file:
        shapes = {}
        for name in file.files:
            with zipfile.ZipFile(path) as archive, archive.open(f"{name}.npy") as inner:
                np.lib.format.read_magic(inner)
                shape = np.lib.format.read_array_header_1_0(inner)[0]
            if len(shape) >= 2:
                shapes[name] = str(shape)
        if not shapes:
            raise InputError(f"{path} holds no array that could be an image.")
        key, note = choose(path, key, shapes)
        return ImageSource(file[key], path=path, key=key, note=note, choices=shapes if len(shapes) > 1 else {})


def _version(path: Path) -> int:
    with open(path, "rb") as file:
        return np.lib.format.read_magic(file)[0]
