"""Edits of label images: small, compressed, exact.

A label layer of the session is one uint32 array that lives as long as the session. It is only ever changed in place,
one rectangle of one slice at a time, and each change is kept as a :class:`LabelEdit` that can be taken back.
All arrays are seen here as (Z, H, W); a 2D image is one slice.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, overload

import numpy as np

from micro_sam.io.label_arrays import release, written_pieces
from micro_sam.models.sizes import Box
from micro_sam.segmentation.label_runs import values_and_places

BOX_PIXELS = 2**22
"""Larger rectangles are edited in bands of rows, so that each edit takes a moment only."""

"""Half-open rectangle (y0, x0, y1, x1) of a slice."""


@dataclass(frozen=True, eq=False)
class Runs:
    """One or several (h, w) label arrays of the same shape as runs of pixels in which none of them changes.

    A slice of a large object has a million pixels and a few thousand runs: what is counted, compared and kept for undo
    is found from the runs, after the pixels were read once.

    Attributes
    ----------
    shape
        (h, w) of the arrays.
    starts, lengths
        (n,) int64: first pixel of each run, counted row by row, and its number of pixels. A run ends with its row.
    values
        Per array: (n,) its value in each run.
    """

    shape: tuple[int, int]
    starts: np.ndarray
    lengths: np.ndarray
    values: tuple[np.ndarray, ...]

    @classmethod
    def of(cls, *arrays: np.ndarray) -> Runs:
        """The runs of some (h, w) arrays."""
        shape = arrays[0].shape
        if arrays[0].size > BOX_PIXELS and shape[0] > 1:
            return cls._of_large(arrays)
        begins = np.ones(shape, bool)
        np.not_equal(arrays[0][:, 1:], arrays[0][:, :-1], out=begins[:, 1:])
        for array in arrays[1:]:
            begins[:, 1:] |= array[:, 1:] != array[:, :-1]
        starts = np.flatnonzero(begins)
        lengths = np.diff(starts, append=begins.size)
        if all(array.flags.c_contiguous for array in arrays):
            return cls(shape, starts, lengths, tuple(array.reshape(-1)[starts] for array in arrays))
        pixels = np.divmod(starts, max(shape[1], 1))
        return cls(shape, starts, lengths, tuple(array[pixels] for array in arrays))

    @classmethod
    def _of_large(cls, arrays: tuple[np.ndarray, ...]) -> Runs:
        """As :meth:`of`, in bands of rows, so that only the runs take memory."""
        shape = arrays[0].shape
        rows = max(1, BOX_PIXELS // shape[1])
        parts = []
        for y in range(0, shape[0], rows):
            part = cls.of(*(array[y : y + rows] for array in arrays))
            parts.append(Runs(part.shape, part.starts + y * shape[1], part.lengths, part.values))
            release(*arrays)
        starts, lengths = (np.concatenate([getattr(part, name) for part in parts]) for name in ("starts", "lengths"))
        values = tuple(np.concatenate(some) for some in zip(*(part.values for part in parts), strict=True))
        return cls(shape, starts, lengths, values)

    def with_values(self, *values: np.ndarray) -> Runs:
        """The same runs of arrays with other values."""
        return Runs(self.shape, self.starts, self.lengths, values)

    def array(self, k: int = 0) -> np.ndarray:
        """The (h, w) array number `k`."""
        return np.repeat(self.values[k], self.lengths).reshape(self.shape)

    def box(self, where: np.ndarray) -> Box | None:
        """Smallest rectangle around the runs for which `where` (n,) is true; None when there are none."""
        if not where.any():
            return None
        rows, columns = np.divmod(self.starts[where], self.shape[1])
        right = (columns + self.lengths[where]).max()
        return int(rows[0]), int(columns.min()), int(rows[-1]) + 1, int(right)

    def crop(self, box: Box) -> Runs:
        """The runs inside a rectangle of the arrays."""
        y0, x0, y1, x1 = box
        if box == (0, 0, *self.shape):
            return self
        rows, columns = np.divmod(self.starts, self.shape[1])
        left, right = np.maximum(columns, x0), np.minimum(columns + self.lengths, x1)
        inside = (rows >= y0) & (rows < y1) & (left < right)
        left, right, rows = left[inside], right[inside], rows[inside]
        starts = (rows - y0) * (x1 - x0) + left - x0
        return Runs((y1 - y0, x1 - x0), starts, right - left, tuple(value[inside] for value in self.values))

    def bands(self) -> Iterator[tuple[Box, Runs]]:
        """The arrays in bands of rows of at most ``BOX_PIXELS``: rectangle and runs of each."""
        height, width = self.shape
        rows = max(1, BOX_PIXELS // max(width, 1))
        if rows >= height:
            yield (0, 0, height, width), self
            return
        for y in range(0, height, rows):
            end = min(y + rows, height)
            first, last = np.searchsorted(self.starts, (y * width, end * width))
            values = tuple(value[first:last] for value in self.values)
            part = Runs((end - y, width), self.starts[first:last] - y * width, self.lengths[first:last], values)
            yield (y, 0, end, width), part

    def areas(self, k: int = 0, where: np.ndarray | None = None) -> dict[int, int]:
        """Pixels per non-zero label of array `k`, in the runs for which `where` is true."""
        values, lengths = self.values[k], self.lengths
        if where is not None:
            values, lengths = values[where], lengths[where]
        found, which = values_and_places(values)
        numbers = np.bincount(which, weights=lengths, minlength=len(found))
        return {int(value): int(number) for value, number in zip(found, numbers, strict=True) if value}

    def measure(self, k: int = 0, where: np.ndarray | None = None) -> list[Measured]:
        """Every non-zero label of array `k`, in the runs for which `where` is true."""
        inside = self.values[k] > 0
        if where is not None:
            inside &= where
        lengths = self.lengths[inside]
        rows, left = np.divmod(self.starts[inside], max(self.shape[1], 1))
        found, which = values_and_places(self.values[k][inside])
        areas = np.bincount(which, weights=lengths, minlength=len(found))
        box = np.tile(np.array([*self.shape, 0, 0], dtype=np.int64), (len(found), 1))
        np.minimum.at(box[:, 0], which, rows)
        np.minimum.at(box[:, 1], which, left)
        np.maximum.at(box[:, 2], which, rows + 1)
        np.maximum.at(box[:, 3], which, left + lengths)
        middles = np.stack([rows, left + (lengths - 1) / 2])
        centres = [np.bincount(which, weights=middle * lengths, minlength=len(found)) / areas for middle in middles]
        columns = (found.tolist(), box.tolist(), areas.tolist(), np.transpose(centres).tolist())
        return [
            Measured(value, tuple(bounds), int(area), tuple(centre))
            for value, bounds, area, centre in zip(*columns, strict=True)
        ]

    def compress(self) -> bytes:
        """As bytes; label images shrink some hundredfold."""
        rows = [self.lengths, *self.values]
        return zlib.compress(np.stack([row.astype("<u4") for row in rows]).tobytes(), level=1)

    @classmethod
    def decompress(cls, data: bytes, shape: tuple[int, int], n_arrays: int) -> Runs:
        """Inverse of :meth:`compress`."""
        lengths, *values = np.frombuffer(zlib.decompress(data), dtype="<u4").reshape(1 + n_arrays, -1)
        lengths = lengths.astype(np.int64)
        return cls(shape, np.cumsum(lengths) - lengths, lengths, tuple(value.astype(np.uint32) for value in values))


class Measured(NamedTuple):
    """A label of a slice: its rectangle, number of pixels and centre of mass (y, x)."""

    label: int
    box: Box
    area: int
    centre: tuple[float, float]


def present(labels: np.ndarray) -> np.ndarray:
    """Sorted values of a label array of any shape, of large ones with 0 in any case.

    Looks at one pixel per run: much faster than np.unique.
    """
    if labels.size > BOX_PIXELS and labels.ndim in (2, 3):
        found = [np.zeros(1, labels.dtype), *(_present(part) for _, part in written_pieces(labels))]
        return np.unique(np.concatenate(found))
    return _present(labels)


def _present(labels: np.ndarray) -> np.ndarray:
    flat = np.ascontiguousarray(labels).ravel()
    if not flat.size:
        return flat
    return np.unique(flat[np.concatenate([[0], np.flatnonzero(flat[1:] != flat[:-1]) + 1])])


def bounding_box(labels: np.ndarray) -> Box | None:
    """Smallest half-open rectangle around the non-zero pixels of a (h, w) array; None when there are none."""
    if not labels.size:
        return None
    if labels.size > BOX_PIXELS:
        found = None
        for (rows, _), part in written_pieces(labels):
            inner = _bounding_box(part)
            found = union(found, None if inner is None else shift(inner, rows.start, 0))
        return found
    return _bounding_box(labels)


def _bounding_box(labels: np.ndarray) -> Box | None:
    """As :func:`bounding_box`, of an array that is looked at in one go."""
    rows = np.flatnonzero(labels.max(axis=1))
    if rows.size == 0:
        return None
    columns = np.flatnonzero(labels[rows[0] : rows[-1] + 1].max(axis=0))
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1


@overload
def union(a: Box, b: Box | None) -> Box: ...
@overload
def union(a: Box | None, b: Box) -> Box: ...
@overload
def union(a: Box | None, b: Box | None) -> Box | None: ...
def union(a: Box | None, b: Box | None) -> Box | None:
    """Smallest rectangle around two; None stands for an empty one."""
    if a is None or b is None:
        return a or b
    return min(a[0], b[0]), min(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3])


def shift(box: Box, y: int, x: int) -> Box:
    """The rectangle moved by (y, x)."""
    return box[0] + y, box[1] + x, box[2] + y, box[3] + x


def crop(box: Box) -> tuple[slice, slice]:
    """The rectangle as an index."""
    return slice(box[0], box[2]), slice(box[1], box[3])


def fill(plane: np.ndarray, box: Box, values: np.ndarray | int) -> None:
    """Write into a rectangle of a slice."""
    plane[crop(box)] = values
    if (box[2] - box[0]) * (box[3] - box[1]) > BOX_PIXELS // 4:  # of smaller ones the whole step is let go at its end
        release(plane)


@dataclass(frozen=True)
class LabelEdit:
    """The content of a rectangle of slice `z` of layer `name`, before and after (compressed runs of both)."""

    name: str
    z: int
    box: Box
    data: bytes

    @classmethod
    def between(cls, name: str, z: int, box: Box, runs: Runs) -> LabelEdit | None:
        """The edit that leads from the first to the second array of `runs`, which fill `box`.

        It is trimmed to what differs; None when nothing does.
        """
        inner = runs.box(runs.values[0] != runs.values[1])
        if inner is None:
            return None
        return cls(name, z, shift(inner, box[0], box[1]), runs.crop(inner).compress())

    @property
    def shape(self) -> tuple[int, int]:
        """(h, w) of the rectangle."""
        return self.box[2] - self.box[0], self.box[3] - self.box[1]

    @property
    def n_pixels(self) -> int:
        """Pixels of the rectangle."""
        return self.shape[0] * self.shape[1]

    @property
    def nbytes(self) -> int:
        """Memory the edit takes."""
        return len(self.data) + 200

    @property
    def runs(self) -> Runs:
        """What was there before (array 0) and after (array 1)."""
        return Runs.decompress(self.data, self.shape, 2)

    def write(self, plane: np.ndarray, forward: bool) -> None:
        """Write the content after (or before) the edit into the slice it belongs to."""
        fill(plane, self.box, self.runs.array(1 if forward else 0))
