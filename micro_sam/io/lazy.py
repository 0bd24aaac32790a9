"""Arrays that stay on disc, and whose faults come out as one sentence when they are read late."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from micro_sam.errors import InputError, MicroSamError
from micro_sam.io.addresses import is_address


class OnDemand:
    """An array whose pixels are read where it is indexed; what follows from ``shape`` and ``dtype``."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Of the whole, if it were in memory."""
        return self.size * int(self.dtype.itemsize)

    def __len__(self) -> int:
        return self.shape[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self[...].astype(dtype or self.dtype, copy=False)

    def __getitem__(self, index: Any) -> np.ndarray:
        raise NotImplementedError


class LazyArray(OnDemand):
    """Any array on disc (zarr, hdf5, n5, the pages of a tif), read where it is indexed.

    Parameters
    ----------
    array
        Has `shape`, `dtype`, and is indexed by whole numbers and slices.
    path
        The file, for messages.
    convert
        Applied to what was read; keeps its shape.
    fixed
        Index along some axes, which are then left out: axis of `array` -> index.
    dtype
        What `convert` gives; None: the type of `array`.
    """

    def __init__(
        self,
        array: Any,
        path: Path,
        convert: Callable[[np.ndarray], np.ndarray] | None = None,
        fixed: dict[int, int] | None = None,
        dtype: np.dtype[Any] | None = None,
    ) -> None:
        self._array, self.path, self._convert, self._fixed = array, path, convert, fixed or {}
        free = [k for k in range(len(array.shape)) if k not in self._fixed]
        self.shape = tuple(int(array.shape[k]) for k in free)
        self.dtype = np.dtype(array.dtype if dtype is None else dtype)
        chunks = getattr(array, "chunks", None)
        if isinstance(chunks, tuple) and len(chunks) == len(array.shape) and all(isinstance(c, int) for c in chunks):
            self.chunks: tuple[int, ...] | None = tuple(chunks[k] for k in free)
        else:
            self.chunks = None

    def __getitem__(self, index: Any) -> np.ndarray:
        index = _full_index(index, self.ndim)
        free = iter(index)
        whole = tuple(self._fixed[k] if k in self._fixed else next(free) for k in range(self.ndim + len(self._fixed)))
        with reading(self.path):
            check_memory(index, self.shape, self.dtype)
            found = np.asarray(self._array[whole])
        return found if self._convert is None else self._convert(found)


class FileStack(OnDemand):
    """Images of equal shape in files, as one lazy array with the files along the first axis.

    Parameters
    ----------
    paths
        One file per slice.
    read
        Gives the pixels of a file.
    """

    def __init__(self, paths: Sequence[Path], read: Callable[[Path], np.ndarray]) -> None:
        first = read(paths[0])
        self._paths, self._read = list(paths), read
        self.shape = (len(paths), *first.shape)
        self.dtype = first.dtype
        self._last: tuple[int, np.ndarray] = (0, first)

    def __getitem__(self, index: Any) -> np.ndarray:
        first, *rest = _full_index(index, self.ndim)
        if isinstance(first, (int, np.integer)):
            one: np.ndarray = self._slice(int(first))[tuple(rest)]
            return one
        return np.stack([self._slice(z)[tuple(rest)] for z in range(*first.indices(len(self)))])

    def whole(self) -> np.ndarray:
        """All slices in memory. Where the files have several types, the one that holds the values of all."""
        slices = [self._checked(path) for path in self._paths]
        return np.stack(slices).astype(np.result_type(*{one.dtype for one in slices}), copy=False)

    def _slice(self, z: int) -> np.ndarray:
        z = range(len(self))[z]
        known, data = self._last
        if known != z:
            data = self._checked(self._paths[z])
            if not np.can_cast(data.dtype, self.dtype):
                raise InputError(
                    f"{self._paths[z].name} holds {data.dtype} values but {self._paths[0].name} {self.dtype}: not all "
                    "of them fit. Save all images of the stack with the same type."
                )
            data = data.astype(self.dtype, copy=False)
            self._last = (z, data)
        return data

    def _checked(self, path: Path) -> np.ndarray:
        data = self._read(path)
        if data.shape != self.shape[1:]:
            raise InputError(
                f"All images of a stack must have the same shape, but {path.name} has {data.shape} and "
                f"{self._paths[0].name} has {self.shape[1:]}."
            )
        return data


class reading:
    """Whatever goes wrong while a file is read becomes an InputError: ``with reading(path): ...``

    Parameters
    ----------
    path
        The file.
    what
        What it should be, as in "a tif".
    hint
        Ends the message.
    """

    def __init__(self, path: Path, what: str = "an image", hint: str = "") -> None:
        self._path, self._what, self._hint = path, what, hint

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if error is None or not isinstance(error, Exception) or isinstance(error, MicroSamError):
            return
        if isinstance(error, PermissionError):
            raise InputError(
                f"{self._path} cannot be read: permission denied. Ask its owner for read access."
            ) from error
        if isinstance(error, MemoryError):
            raise InputError(
                f"{self._path} does not fit into the memory of this machine ({error}). Open a part of it, or convert "
                "it to OME-Zarr, which is read piece by piece."
            ) from error
        said = " ".join(str(error).split())[:200]
        if is_address(self._path):
            raise InputError(
                f"{self._path} cannot be read over the network ({type(error).__name__}: {said}). Check the address and "
                "the connection, and try again; the server must let you read it, and it may be damaged there."
            ) from error
        raise InputError(
            f"{self._path} cannot be read as {self._what} ({type(error).__name__}: {said}). It may be damaged or "
            f"copied incompletely.{self._hint}"
        ) from error


def in_memory(data: Any, path: Path | None = None) -> np.ndarray:
    """An array of any kind as numpy array.

    Raises
    ------
    InputError
        When it does not fit into the memory of this machine, or cannot be read.
    """
    if isinstance(data, np.ndarray):
        return data
    with reading(path or Path("the image")):
        check_memory((), tuple(data.shape), np.dtype(data.dtype))
        return np.asarray(data[...])


def check_memory(index: tuple[Any, ...], shape: tuple[int, ...], dtype: np.dtype) -> None:
    """Raise MemoryError for what this machine cannot hold, before anything is read."""
    sizes = [1 if not isinstance(i, slice) else len(range(*i.indices(n))) for i, n in zip(index, shape, strict=False)]
    needed = math.prod([*sizes, *shape[len(index) :]]) * dtype.itemsize
    if needed > 2**28 and needed > _free_memory():
        raise MemoryError(f"{needed / 2**30:.1f} GB are needed")


def _free_memory() -> float:
    """Bytes that can be had without swapping; infinite where the system does not say."""
    try:
        text = Path("/proc/meminfo").read_text()
        return int(text.partition("MemAvailable:")[2].split()[0]) * 1024.0
    except (OSError, IndexError, ValueError):
        return math.inf


def _full_index(index: Any, ndim: int) -> tuple[Any, ...]:
    """One whole number or slice per axis."""
    index = index if isinstance(index, tuple) else (index,)
    if any(one is Ellipsis for one in index):
        place = next(k for k, one in enumerate(index) if one is Ellipsis)
        index = (*index[:place], *(slice(None),) * (ndim - len(index) + 1), *index[place + 1 :])
    return (*index, *(slice(None),) * (ndim - len(index)))
