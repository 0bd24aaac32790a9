"""Label arrays that may be larger than memory: above a size they lie in a sparse file.

Such an array is a numpy array like any other. Its file takes room only where labels were written, has no name (it is
gone with the program, however that ends), and its pages leave the memory when :func:`release` is called: they are read
again where somebody looks.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import math
import mmap
import os
import shutil
import tempfile
import weakref
from collections.abc import Iterator, Sequence
from typing import IO, Any

import numpy as np

from micro_sam.errors import OutputError

log = logging.getLogger(__name__)

LARGEST_IN_MEMORY = 2**30  # bytes of one array
LARGEST_RESULT = 2**28  # bytes of labels that are made and written in one go
SPARE = 2**28  # bytes that must stay free on the disc
PIECE = 2**26  # bytes that are looked at in one go
_FILES: weakref.WeakKeyDictionary[mmap.mmap, IO[bytes]] = weakref.WeakKeyDictionary()  # open as long as its array lives


def new_labels(shape: Sequence[int], dtype: type | np.dtype = np.uint32, largest: int | None = None) -> np.ndarray:
    """An array of zeros: in memory, or above a size in a sparse file in the temporary folder.

    Parameters
    ----------
    shape, dtype
        Of the array.
    largest
        Bytes that are kept in memory; None: ``LARGEST_IN_MEMORY``.
    """
    nbytes = math.prod(shape) * np.dtype(dtype).itemsize
    if nbytes <= (LARGEST_IN_MEMORY if largest is None else largest):
        return np.zeros(tuple(shape), dtype)
    try:
        if shutil.disk_usage(tempfile.gettempdir()).free < nbytes // 8 + SPARE:
            raise OSError("little room is left there")
        file = tempfile.TemporaryFile(prefix="micro_sam_labels_")
        array = np.memmap(file, dtype, "w+", shape=tuple(shape))
    except OSError as error:
        log.warning(
            "%s has no room for labels (%s); they stay in memory. Set TMPDIR to a folder with more room.",
            tempfile.gettempdir(),
            error,
        )
        return np.zeros(tuple(shape), dtype)
    pages: mmap.mmap = array._mmap  # type: ignore[attr-defined]  # numpy's types leave it out
    _FILES[pages] = file
    if hasattr(mmap, "MADV_RANDOM"):
        pages.madvise(mmap.MADV_RANDOM)  # otherwise a look at every 64th row reads all of them
    return array


def is_on_disc(array: np.ndarray) -> bool:
    """Whether an array lies in a file."""
    return _pages(array) is not None


def release(*arrays: np.ndarray | Cast) -> None:
    """Let the memory go that pages of arrays in files take; nothing is lost."""
    for array in arrays:
        pages = _pages(array.whole if isinstance(array, Cast) else array)
        if pages is not None and hasattr(pages, "madvise") and hasattr(mmap, "MADV_DONTNEED"):
            pages.madvise(mmap.MADV_DONTNEED)


def check_room(array: np.ndarray) -> None:
    """Raise OutputError when the disc is nearly full: who then writes into a sparse file is killed by the system."""
    if is_on_disc(array) and hasattr(os, "statvfs") and shutil.disk_usage(tempfile.gettempdir()).free < SPARE:
        raise OutputError(
            f"{tempfile.gettempdir()}, where the labels of this large image lie, is nearly full. Save your objects on "
            "another disc, make room, then try again. Nothing was changed."
        )


class Cast:
    """A label array that is given another type where it is cut, so that there is no second one of it.

    Parameters
    ----------
    whole
        (H, W) or (Z, H, W).
    dtype
        Holds all its values.
    """

    def __init__(self, whole: np.ndarray, dtype: type | np.dtype) -> None:
        self.whole, self.dtype, self.shape = whole, np.dtype(dtype), whole.shape
        self.ndim, self.size = whole.ndim, whole.size
        self.nbytes = self.size * self.dtype.itemsize

    def __len__(self) -> int:
        return len(self.whole)

    def __getitem__(self, key: Any) -> np.ndarray:
        return np.asarray(self.whole[key], self.dtype)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self.whole.astype(self.dtype if dtype is None else dtype)


def written_pieces(
    labels: np.ndarray | Cast, height: int | None = None
) -> Iterator[tuple[tuple[slice, ...], np.ndarray]]:
    """An array (H, W) or (Z, H, W) in blocks of rows: where each lies, and its values.

    Blocks have `height` rows (None: at most ``PIECE`` bytes). Those of a sparse file into which nothing was written
    are left out, where the system tells which they are: they are zero.
    """
    array = labels.whole if isinstance(labels, Cast) else labels
    row, rows = array.itemsize * array.shape[-1], array.shape[-2]
    height = height or max(1, PIECE // max(row, 1))
    for z in range(array.shape[0]) if array.ndim == 3 else (None,):
        for y in range(0, rows, height):
            end = min(y + height, rows)
            first = (0 if z is None else z) * rows
            if _is_hole(array, (first + y) * row, (first + end) * row):
                continue
            where: tuple[slice, ...] = (slice(y, end), slice(0, array.shape[-1]))
            where = where if z is None else (slice(z, z + 1), *where)
            with released(array):
                yield where, labels[where]


def consecutive_ids(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Labels numbered 1, 2, ... without gaps (int32), and the ids (n,) that they had.

    Ids of other programs may be of any size, and many functions need memory for each number up to the largest.
    """
    ids = np.unique(labels[labels > 0])
    return np.where(labels > 0, np.searchsorted(ids, labels) + 1, 0).astype(np.int32), ids


def any_label(array: np.ndarray) -> bool:
    """Whether any pixel is set."""
    return any(part.any() for _, part in written_pieces(array)) if is_on_disc(array) else bool(array.any())


def _is_hole(array: np.ndarray, start: int, stop: int) -> bool:
    """Whether nothing was ever written between two bytes of an array; False where that is not known."""
    pages = _pages(array)
    file = None if pages is None or not isinstance(array, np.memmap) else _FILES.get(pages)
    if pages is None or file is None or not hasattr(os, "SEEK_DATA") or array.size * array.itemsize != len(pages):
        return False
    try:
        return os.lseek(file.fileno(), start, os.SEEK_DATA) >= stop
    except OSError as error:  # ENXIO: nothing up to the end of the file
        return error.errno == errno.ENXIO


def _pages(array: np.ndarray) -> mmap.mmap | None:
    """The mapped file below an array or a view of it; files that others have mapped are theirs, and left alone."""
    seen: Any = array
    while seen is not None and not isinstance(seen, mmap.mmap):
        seen = seen.obj if isinstance(seen, memoryview) else getattr(seen, "base", None)
    return seen if seen in _FILES else None


@contextlib.contextmanager
def released(*arrays: np.ndarray | Cast) -> Iterator[None]:
    """Let go, at the end, what the work inside has brought into memory."""
    try:
        yield
    finally:
        release(*arrays)
