"""Cellpose's ``_seg.npy``: a pickled dict, of which the masks are read. No code of the file is ever run.

The unpickler knows three callables, all ours, that describe arrays; every other name in the file becomes an inert
placeholder.
"""

from __future__ import annotations

import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from micro_sam.errors import InputError
from micro_sam.io.lazy import reading

LARGEST = 2**33  # bytes of the file


def is_cellpose(path: Path) -> bool:
    """Whether a file is a numpy file with Python objects, as Cellpose writes it."""
    try:
        with open(path, "rb") as file:
            if np.lib.format.read_magic(file)[0] != 1:
                return False
            return np.lib.format.read_array_header_1_0(file)[2].hasobject
    except Exception:  # numpy raises many kinds for a header that is damaged
        return False


def read_cellpose(path: Path) -> np.ndarray:
    """The masks (Y, X) or (Z, Y, X) of a ``_seg.npy``.

    Raises
    ------
    InputError
        When it holds no masks, or is damaged.
    """
    hint = " In Cellpose, save the masks as png or tif (File > Save masks), and use that file."
    if path.stat().st_size > LARGEST:
        raise InputError(f"{path} is too large to be read.{hint}")
    with reading(path, "a segmentation of Cellpose", hint), open(path, "rb") as file:
        np.lib.format.read_magic(file)
        np.lib.format.read_array_header_1_0(file)
        found = _Arrays(file, encoding="latin1").load()
        found = _plain(found)
        while isinstance(found, list) and len(found) == 1:
            found = found[0]
        masks = _plain(found.get("masks")) if isinstance(found, dict) else None
        if not isinstance(masks, np.ndarray) or masks.ndim < 2:
            raise InputError(f"{path} holds no masks.{hint}")
        return masks


class _DType:
    """A dtype as numpy pickles it; only numbers become one."""

    def __init__(self, text: Any = "", *_: Any) -> None:
        self.text, self.order = str(text), "="

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, tuple) and len(state) > 1 and state[1] in ("<", ">", "|", "="):
            self.order = state[1]

    def dtype(self) -> np.dtype | None:
        """None for objects and whatever is no number."""
        if self.text[:1] not in ("i", "u", "f", "b"):
            return None
        return np.dtype(self.text).newbyteorder(self.order if self.order != "|" else "=")


class _Array:
    """An array as numpy pickles it."""

    def __init__(self, *_: Any) -> None:
        self.found: Any = None

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) < 5:
            return
        _, shape, described, is_fortran, data = state[:5]
        dtype = described.dtype() if isinstance(described, _DType) else None
        if dtype is None:
            self.found = list(data) if isinstance(data, list) else None
        elif isinstance(data, (bytes, bytearray, str)) and all(isinstance(n, int) and n >= 0 for n in shape):
            raw = data.encode("latin1") if isinstance(data, str) else data
            if len(raw) != math.prod(shape) * dtype.itemsize:
                raise ValueError("an array of the file is not complete")
            self.found = np.frombuffer(raw, dtype).reshape(shape, order="F" if is_fortran else "C")


class _Ignored:
    """Stands for everything that is no array. It does nothing."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __call__(self, *_: Any, **__: Any) -> _Ignored:
        return self

    def __setstate__(self, _: Any) -> None:
        pass

    def __setitem__(self, *_: Any) -> None:
        pass

    def append(self, _: Any) -> None:
        pass

    def extend(self, _: Any) -> None:
        pass


class _Arrays(pickle.Unpickler):
    """Reads dicts, lists, numbers, texts and arrays."""

    def find_class(self, module: str, name: str) -> Any:
        """Ours instead of what the file names."""
        if module in ("numpy.core.multiarray", "numpy._core.multiarray", "numpy._core.numeric", "numpy.core.numeric"):
            if name in ("_reconstruct", "_frombuffer"):
                return _Array if name == "_reconstruct" else _frombuffer
        if (module, name) == ("numpy", "dtype"):
            return _DType
        if (module, name) == ("_codecs", "encode"):
            return _encode
        return _Ignored

    def persistent_load(self, pid: Any) -> Any:
        """Nothing is loaded from elsewhere."""
        return None


def _frombuffer(data: Any, described: Any, shape: Any, order: Any) -> _Array:
    """Arrays of pickle protocol 5."""
    array = _Array()
    raw = bytes(data) if isinstance(data, (bytes, bytearray)) else b""
    array.__setstate__((1, shape, described, order == "F", raw))
    return array


def _encode(text: Any, encoding: Any = "latin1") -> bytes:
    return text.encode("latin1") if isinstance(text, str) else b""


def _plain(value: Any) -> Any:
    return value.found if isinstance(value, _Array) else value
