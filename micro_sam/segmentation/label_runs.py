"""Label images as runs of equal pixels: a slice has a million pixels, a few ten thousand runs and fewer labels.

What is counted or renumbered is found from the runs, several times faster than by sorting all pixels.
"""

from __future__ import annotations

import numpy as np

__all__ = ["LabelRuns", "values_and_places"]

_TABLE = 2**22  # largest value for which a table is shorter work than sorting


def values_and_places(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sorted values of an array (n,) of integers from 0, and the place of each one among them (n,).

    As ``np.unique(values, return_inverse=True)``; labels are seldom large, and a table of them needs no sorting.
    """
    if not len(values) or values.dtype.kind not in "iu" or int(values.min()) < 0 or int(values.max()) > _TABLE:
        return np.unique(values, return_inverse=True)
    is_there = np.zeros(int(values.max()) + 1, bool)
    is_there[values] = True
    return np.flatnonzero(is_there).astype(values.dtype), (np.cumsum(is_there) - 1)[values]


class LabelRuns:
    """The runs of pixels, in reading order, in which none of some label arrays of the same shape changes.

    Parameters
    ----------
    *arrays : arrays of any one shape
        Integer labels.

    Attributes
    ----------
    shape : tuple of int
        Of the arrays.
    lengths : (n,) int64
        Pixels of each run. A run may go on in the next row.
    values : tuple of (n,) arrays
        Per array: its value in each run.
    """

    def __init__(self, *arrays: np.ndarray) -> None:
        self.shape = arrays[0].shape
        flat = [np.ascontiguousarray(array).ravel() for array in arrays]
        changes = flat[0][1:] != flat[0][:-1]
        for one in flat[1:]:
            changes |= one[1:] != one[:-1]
        starts = np.concatenate([np.zeros(min(1, flat[0].size), np.int64), np.flatnonzero(changes) + 1])
        self.lengths = np.diff(starts, append=flat[0].size)
        self.values = tuple(one[starts] for one in flat)

    def labels(self, k: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Sorted values of array ``k``, the place of each run's value among them, and the pixels of each value."""
        found, which = values_and_places(self.values[k])
        return found, which, np.bincount(which, self.lengths, len(found)).astype(np.int64)

    def image(self, values: np.ndarray) -> np.ndarray:
        """An array in which each run has another value, from ``values`` (n,)."""
        return np.repeat(values, self.lengths).reshape(self.shape)

    def shared(self) -> tuple[np.ndarray, np.ndarray]:
        """Pairs (m, 2) int64 of labels of the first and the second array that share pixels, sorted, and how many (m,).

        0 is background.
        """
        a, b = self.values
        both = (a > 0) & (b > 0)
        ids = [values_and_places(one[both]) for one in (a, b)]
        (ids_a, at_a), (ids_b, at_b) = ids
        keys, which = values_and_places(at_a * np.int64(max(len(ids_b), 1)) + at_b)
        pairs = np.stack([ids_a[keys // max(len(ids_b), 1)], ids_b[keys % max(len(ids_b), 1)]], 1).astype(np.int64)
        return pairs, np.bincount(which, self.lengths[both], len(keys)).astype(np.int64)
