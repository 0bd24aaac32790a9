"""What is known about an image besides its pixels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class ImageSource:
    """An image as it lies in its file, before a tool interprets its axes.

    Attributes
    ----------
    data
        Numpy or lazy array (memory-mapped, zarr, hdf5), axes as in the file.
    axes
        One letter per axis where the file says: T time, Z, C channel, Y, X, S colour samples; None: not known.
    scale
        Size of a pixel along each axis of `data` (1 where the file does not say); None: not known.
    unit
        Unit of `scale`, e.g. "µm".
    path, key
        Where it comes from.
    """

    data: Any
    axes: str | None = None
    scale: tuple[float, ...] | None = None
    unit: str | None = None
    path: Path | None = None
    key: str | None = None

    @property
    def name(self) -> str:
        """A short name for windows and messages."""
        if self.path is None:
            return "image"
        return self.path.name.split(".")[0] or self.path.name

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(int(s) for s in self.data.shape)


class FileStack:
    """Images of equal shape in files, as one lazy array with the files along the first axis."""

    def __init__(self, paths: list[Path], read: Any) -> None:
        first = read(paths[0])
        self._paths, self._read = paths, read
        self.shape, self.dtype = (len(paths), *first.shape), first.dtype
        self._last: tuple[int, np.ndarray] = (0, first)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        return int(np.prod(self.shape, dtype=object)) * self.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self[:].astype(dtype or self.dtype, copy=False)

    def __getitem__(self, index: Any) -> np.ndarray:
        index = index if isinstance(index, tuple) else (index,)
        first, rest = (slice(None), ()) if index[0] is Ellipsis else (index[0], index[1:])
        if isinstance(first, (int, np.integer)):
            return self._slice(int(first))[rest]
        return np.stack([self._slice(z)[rest] for z in range(*first.indices(len(self)))])

    def _slice(self, z: int) -> np.ndarray:
        z = range(len(self))[z]
        known, data = self._last
        if known != z:
            data = self._read(self._paths[z])
            self._check(self._paths[z], data)
            self._last = (z, data)
        return data

    def _check(self, path: Path, data: np.ndarray) -> None:
        from micro_sam.errors import InputError

        if data.shape != self.shape[1:]:
            raise InputError(
                f"All images of a stack must have the same shape, but {path.name} has {data.shape} and "
                f"{self._paths[0].name} has {self.shape[1:]}."
            )
