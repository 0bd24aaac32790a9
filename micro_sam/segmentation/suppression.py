"""Non-maximum suppression of boxes and of masks: of objects that show the same thing the best stays.

Only boxes that lie near each other are compared. Boxes with a large IoU have sides of similar length and middles that
are near for their size, and are found in classes of height and width (:func:`_alike`). Boxes that meet at all are found
in the cells of a square grid that are as large as themselves (:func:`_meeting`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import pairwise, product

import numpy as np

from micro_sam.segmentation.values import ObjectMask

__all__ = ["nms", "suppress"]

_FIRST_BLOCK = 1024  # boxes that are decided at once; doubled from block to block, since those that stay get fewer
_PAIRS_AT_ONCE = 2**20  # bounds the memory

_LEAST_ALIKE = 0.1  # IoU below which boxes that are the same may look too different for classes of size

Pairs = Iterator[tuple[np.ndarray, np.ndarray]]
Neighbours = Callable[[np.ndarray, np.ndarray], Pairs]


def nms(boxes: np.ndarray, scores: np.ndarray, threshold: float) -> np.ndarray:
    """Greedy non-maximum suppression of boxes, with the results of ``torchvision.ops.nms``.

    Parameters
    ----------
    boxes : (n, 4)
        (y0, x0, y1, x1); the order of the axes does not matter.
    scores : (n,)
        The better ones suppress the others.
    threshold : float
        Boxes that overlap a better one with a higher IoU are removed.

    Returns
    -------
    indices : (k,) int64, the kept boxes by falling score
    """
    boxes = np.asarray(boxes, "float32").reshape(-1, 4)
    order = np.argsort(-np.asarray(scores), kind="stable")
    boxes = boxes[order]
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])

    def is_same(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        low = np.maximum(boxes[a, :2], boxes[b, :2])
        high = np.minimum(boxes[a, 2:], boxes[b, 2:])
        shared = np.prod(np.maximum(high - low, 0), 1)
        union = area[a] + area[b] - shared
        overlap = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
        return np.asarray(overlap.astype("float64") > threshold)

    near = partial(_alike, threshold=threshold) if threshold > _LEAST_ALIKE else _meeting
    kept: np.ndarray = order[_greedy(boxes, is_same, threshold, near)]
    return kept


def suppress(objects: Sequence[ObjectMask], threshold: float, over_min: bool = False) -> list[ObjectMask]:
    """Non-maximum suppression of masks: by falling score, without those that overlap a better one more.

    Parameters
    ----------
    objects : sequence of ObjectMask
    threshold : float
        Overlap (IoU) above which the mask with the lower score is left out.
    over_min : bool
        Measure the overlap relative to the smaller mask, so that parts of objects are left out too.
    """
    ordered = sorted(objects, key=lambda one: -one.score)
    area = np.array([one.area for one in ordered], float)
    boxes = np.array([one.box for one in ordered], float).reshape(-1, 4)

    def overlap(shared: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        size = np.minimum(area[a], area[b]) if over_min else area[a] + area[b] - shared
        return np.asarray(shared / np.maximum(size, 1))

    def is_same(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        # Masks share no more pixels than their boxes, or than the smaller one has.
        sides = np.minimum(boxes[a, 2:], boxes[b, 2:]) - np.maximum(boxes[a, :2], boxes[b, :2])
        most = np.minimum(np.prod(np.maximum(sides, 0), 1), np.minimum(area[a], area[b]))
        same = overlap(most, a, b) > threshold
        i, j = a[same], b[same]
        shared = [ordered[k].intersection(ordered[m]) for k, m in zip(i.tolist(), j.tolist(), strict=True)]
        same[same] = overlap(np.array(shared, float), i, j) > threshold
        return same

    return [ordered[k] for k in _greedy(boxes, is_same, threshold, _meeting)]


def _greedy(
    boxes: np.ndarray, is_same: Callable[[np.ndarray, np.ndarray], np.ndarray], threshold: float, near: Neighbours
) -> np.ndarray:
    """Places (k,) int64 of the boxes (n, 4), best first, that are not the same as a better one that stays."""
    if threshold < 0:  # what does not overlap at all is the same, too
        return np.arange(min(1, len(boxes)))
    kept: list[np.ndarray] = []
    rest, block = np.arange(len(boxes)), _FIRST_BLOCK
    while len(rest):
        best, rest, block = rest[:block], rest[block:], 2 * block
        better, worse = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
        for a, b in near(boxes[best], boxes[best]):
            ahead = a < b
            a, b = a[ahead], b[ahead]
            same = is_same(best[a], best[b])
            better.append(a[same])
            worse.append(b[same])
        stays = _by_rank(np.concatenate(better), np.concatenate(worse), len(best))
        kept.append(best[stays])
        stays = np.ones(len(rest), bool)
        for a, b in near(boxes[kept[-1]], boxes[rest]):
            open_ = stays[b]
            a, b = a[open_], b[open_]
            stays[b[is_same(kept[-1][a], rest[b])]] = False
        rest = rest[stays]
    return np.concatenate([np.zeros(0, np.int64), *kept])


def _by_rank(better: np.ndarray, worse: np.ndarray, number: int) -> np.ndarray:
    """Which of so many stay (bool), when each one that stays removes its worse ones."""
    by_better = np.argsort(better, kind="stable")
    better, worse = better[by_better], worse[by_better]
    borders = [*np.flatnonzero(np.diff(better, prepend=-1)).tolist(), len(better)]
    stays = np.ones(number, bool)
    for begin, end in pairwise(borders):
        if stays[better[begin]]:
            stays[worse[begin:end]] = False
    return stays


def _alike(a: np.ndarray, b: np.ndarray, threshold: float) -> Pairs:
    """Pairs (place in a, place in b) of boxes (n, 4), among which are all with an IoU above ``threshold``.

    With an IoU of t, both along y and along x the shorter side is at least t times the longer one, and the middles
    are apart by (1 - t) / 2t of the shorter one at most. Sides are sorted into classes that grow by 1 / t, and middles
    into cells of twice that distance; each box of a asks the few classes and cells of b that may be meant.
    """
    t = 0.999 * min(threshold, 1)  # rounding must not lose any
    (places_a, low_a, high_a), (places_b, low_b, high_b) = _corners(a), _corners(b)
    sides_a, sides_b, middles_a, middles_b = high_a - low_a, high_b - low_b, (low_a + high_a) / 2, (low_b + high_b) / 2
    classes_a, classes_b = (np.floor(np.log(sides) / -np.log(t)) for sides in (sides_a, sides_b))
    longest = t ** -(classes_b + 1)  # side in a class
    table = _Table(_number(classes_b, np.floor(middles_b / ((1 / t - 1) * longest))), places_b)
    for step in product((-1, 0, 1), repeat=2):
        classes = classes_a + step
        longest = t ** -(classes + 1)
        cell, apart = (1 / t - 1) * longest, (1 / t - 1) / 2 * np.minimum(longest, sides_a)
        first, last = np.floor((middles_a - apart) / cell), np.floor((middles_a + apart) / cell)
        for corner in product((0, 1), repeat=2):
            there = _both(first + corner <= last)
            yield from table.join(_number(classes, first + corner)[there], places_a[there])


def _corners(boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Places (n,) of the boxes that have an area, and their lower and upper corners (n, 2)."""
    boxes = np.asarray(boxes, "float64")
    low, high = boxes[:, :2], boxes[:, 2:]
    places = np.flatnonzero(np.isfinite(boxes).all(1) & _both(high > low))
    return places, low[places], high[places]


def _both(is_so: np.ndarray) -> np.ndarray:
    """Where (n, 2) is true in both columns; several times as fast as ``all(1)``."""
    return np.asarray(is_so[:, 0] & is_so[:, 1])


def _number(*pairs: np.ndarray) -> np.ndarray:
    """A number for each cell, whose coordinates are pairs (n, 2): two cells of one number cost time, not truth."""
    key = np.zeros(len(pairs[0]), np.int64)
    for pair in pairs:
        for column in (0, 1):
            key = key * 0x1E3779B97F4A7C15 + pair[:, column].astype(np.int64)
    return key


def _meeting(a: np.ndarray, b: np.ndarray) -> Pairs:
    """Pairs (place in a, place in b) of boxes (n, 4), among which are all that share area; some come repeatedly.

    Every box is entered in the cells that it meets of a grid whose cells are as large as itself (rounded up to a power
    of 2), at most four; two boxes that meet have a cell of the larger one in common.
    """
    grid_a, grid_b = _Grid(a), _Grid(b)
    for level in np.union1d(grid_a.level, grid_b.level).tolist():
        yield from _Table(*grid_b.cells(level, level, level)).join(*grid_a.cells(level, -np.inf, level))
        yield from _Table(*grid_b.cells(level, -np.inf, level - 1)).join(*grid_a.cells(level, level, level))


class _Grid:
    """Boxes that have an area, by the size of their cells."""

    def __init__(self, boxes: np.ndarray) -> None:
        self.places, self.low, self.high = _corners(boxes)
        self.level = np.ceil(np.log2((self.high - self.low).max(1))).astype(int)

    def cells(self, level: int, smallest: float, largest: float) -> tuple[np.ndarray, np.ndarray]:
        """Numbers of the cells of that level in which boxes of some levels lie, and the places of these."""
        which = (self.level >= smallest) & (self.level <= largest)
        low, high = (np.floor(corner[which] / 2.0**level) for corner in (self.low, self.high))
        keys, places = [], []
        for corner in product((0, 1), repeat=2):
            there = _both(low + corner <= high)
            keys.append(_number(low + corner)[there])
            places.append(self.places[which][there])
        return np.concatenate(keys), np.concatenate(places)


class _Table:
    """Places (n,) by the number of their cell."""

    def __init__(self, keys: np.ndarray, places: np.ndarray) -> None:
        self._shift = 64 - max(len(keys), 1).bit_length() - 2  # four slots for a place at least
        slots = self._slots(keys)
        order = np.argsort(slots, kind="stable")
        self._keys, self._places = keys[order], places[order]
        self._first = np.searchsorted(slots[order], np.arange(2 ** (64 - self._shift) + 1))

    def join(self, keys: np.ndarray, places: np.ndarray) -> Pairs:
        """Pairs of places in cells of the same number, so many at once that they fit into memory."""
        slots = self._slots(keys)
        first, number = self._first[slots], self._first[slots + 1] - self._first[slots]
        full = number > 0
        keys, places, first, number = keys[full], places[full], first[full], number[full]
        ends = np.cumsum(number)
        begin = 0
        while begin < len(number):
            done = ends[begin - 1] if begin else 0
            end = max(int(np.searchsorted(ends, done + _PAIRS_AT_ONCE, side="right")), begin + 1)
            some = number[begin:end]
            theirs = np.arange(int(some.sum())) + np.repeat(first[begin:end] - np.cumsum(some) + some, some)
            ours = np.repeat(np.arange(begin, end), some)
            same = keys[ours] == self._keys[theirs]
            yield places[ours[same]], self._places[theirs[same]]
            begin = end

    def _slots(self, keys: np.ndarray) -> np.ndarray:
        return ((keys.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(self._shift)).astype(np.int64)
