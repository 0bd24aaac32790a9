"""Edits of label images: small, compressed, exact.

A label layer of the session is one uint32 array that lives as long as the session. It is only ever changed in place,
one rectangle of one slice at a time, and each change is kept as a :class:`LabelEdit` that can be taken back.
All arrays are seen here as (Z, H, W); a 2D image is one slice.
"""

from __future__ import annotations

import base64
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np

Box = tuple[int, int, int, int]
"""Half-open rectangle (y0, x0, y1, x1) of a slice."""


def compress(labels: np.ndarray) -> bytes:
    """Run-length encode and deflate a uint32 array. Label images shrink some hundredfold."""
    flat = np.ascontiguousarray(labels, dtype=np.uint32).ravel()
    starts = _run_starts(flat)
    lengths = np.diff(np.append(starts, flat.size)).astype("<u4")
    values = flat[starts].astype("<u4")
    return zlib.compress(lengths.tobytes() + values.tobytes(), level=1)


def decompress(data: bytes, shape: tuple[int, ...]) -> np.ndarray:
    """Inverse of :func:`compress`: a uint32 array of `shape`."""
    runs = np.frombuffer(zlib.decompress(data), dtype="<u4").reshape(2, -1)
    return np.repeat(runs[1], runs[0]).astype(np.uint32).reshape(shape)


def present(labels: np.ndarray) -> np.ndarray:
    """Sorted values of a label array. Looks at one pixel per run, so it is much faster than np.unique."""
    flat = np.ascontiguousarray(labels).ravel()
    return np.unique(flat[_run_starts(flat)])


def areas(labels: np.ndarray) -> dict[int, int]:
    """Pixels per non-zero label of an array of any shape, from its runs."""
    flat = np.ascontiguousarray(labels).ravel()
    starts = _run_starts(flat)
    values, which = np.unique(flat[starts], return_inverse=True)
    numbers = np.bincount(which, weights=np.diff(np.append(starts, flat.size)), minlength=len(values))
    return {int(value): int(number) for value, number in zip(values, numbers, strict=True) if value}


def measure(labels: np.ndarray) -> list[tuple[int, Box, int]]:
    """(label, bounding box, area) of every non-zero label of a (h, w) array, from its runs; any label values."""
    labels = np.ascontiguousarray(labels)
    height, width = labels.shape
    flat = labels.ravel()
    starts = _run_starts(flat, width)  # a run ends with its row
    ends = np.append(starts[1:], flat.size)
    values = flat[starts]
    inside = values > 0
    starts, ends, values = starts[inside], ends[inside], values[inside]
    found, which = np.unique(values, return_inverse=True)
    areas = np.bincount(which, weights=ends - starts, minlength=len(found)).astype(np.int64)
    box = np.tile(np.array([height, width, 0, 0], dtype=np.int64), (len(found), 1))
    rows, columns = np.divmod(starts, max(width, 1))
    np.minimum.at(box[:, 0], which, rows)
    np.minimum.at(box[:, 1], which, columns)
    np.maximum.at(box[:, 2], which, rows + 1)
    np.maximum.at(box[:, 3], which, columns + (ends - starts))
    return [
        (value, tuple(bounds), area)
        for value, bounds, area in zip(found.tolist(), box.tolist(), areas.tolist(), strict=True)
    ]


def _run_starts(flat: np.ndarray, width: int = 0) -> np.ndarray:
    """Index of the first pixel of every run; with `width`, also of every row."""
    if not flat.size:
        return np.zeros(0, dtype=np.int64)
    differs = flat[1:] != flat[:-1]
    if width:
        differs[width - 1 :: width] = True
    return np.concatenate([[0], np.flatnonzero(differs) + 1])


def changed_box(before: np.ndarray, after: np.ndarray) -> Box | None:
    """Smallest rectangle in which two (h, w) arrays differ; None when they do not."""
    return bounding_box(before != after)


def bounding_box(mask: np.ndarray) -> Box | None:
    """Smallest half-open rectangle around the true pixels of a (h, w) array; None when there are none."""
    rows = np.flatnonzero(mask.any(axis=1))
    if rows.size == 0:
        return None
    columns = np.flatnonzero(mask[rows[0] : rows[-1] + 1].any(axis=0))
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1


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


@dataclass(frozen=True)
class LabelEdit:
    """The content of a rectangle of slice `z` of layer `name`, before and after (compressed uint32)."""

    name: str
    z: int
    box: Box
    before: bytes
    after: bytes

    @classmethod
    def between(cls, name: str, z: int, box: Box, before: np.ndarray, after: np.ndarray) -> LabelEdit | None:
        """The edit that leads from `before` to `after`, trimmed to what differs; None when nothing does."""
        inner = changed_box(before, after)
        if inner is None:
            return None
        window = crop(inner)
        return cls(name, z, shift(inner, box[0], box[1]), compress(before[window]), compress(after[window]))

    @property
    def shape(self) -> tuple[int, int]:
        """(h, w) of the rectangle."""
        return self.box[2] - self.box[0], self.box[3] - self.box[1]

    @property
    def nbytes(self) -> int:
        """Memory the edit takes."""
        return len(self.before) + len(self.after) + 200

    def write(self, plane: np.ndarray, forward: bool) -> None:
        """Write the content after (or before) the edit into the slice it belongs to."""
        plane[crop(self.box)] = decompress(self.after if forward else self.before, self.shape)

    def record(self) -> dict[str, Any]:
        """The edit as a JSON-able dict; enough to do it again on the array it was done on."""
        after = base64.b64encode(self.after).decode("ascii")
        return {"layer": self.name, "z": self.z, "box": list(self.box), "after": after}
