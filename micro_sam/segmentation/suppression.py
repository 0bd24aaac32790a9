"""Non-maximum suppression of boxes and of masks: of objects that show the same thing the best stays.

Only boxes that lie near each other are compared. Every box is entered in the cells that it meets of a square grid
whose cells are as large as itself (rounded up to a power of 2), at most four; two boxes that meet have a cell of the
larger one in common.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import numpy as np

from micro_sam.segmentation.values import ObjectMask

__all__ = ["nms", "suppress"]

_FIRST_BLOCK = 1024  # boxes that are decided at once; doubled from block to block, since those that stay get fewer
_PAIRS_AT_ONCE = 2**20  # bounds the memory

Pairs = Iterator[tuple[np.ndarray, np.ndarray]]


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

    kept: np.ndarray = order[_greedy(boxes, is_same, threshold, _reach(threshold))]
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

    def is_same(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        shared = np.array([ordered[i].intersection(ordered[j]) for i, j in zip(a.tolist(), b.tolist(), strict=True)])
        size = np.minimum(area[a], area[b]) if over_min else area[a] + area[b] - shared
        return np.asarray(shared / np.maximum(size, 1) > threshold)

    boxes = np.array([one.box for one in ordered], float).reshape(-1, 4)
    return [ordered[k] for k in _greedy(boxes, is_same, threshold, np.inf if over_min else _reach(threshold))]


def _reach(threshold: float) -> float:
    """How many powers of 2 the longer sides of boxes with a larger IoU may differ by: their ratio is no smaller."""
    return np.ceil(-np.log2(0.999 * threshold)) if threshold > 0 else np.inf


def _greedy(
    boxes: np.ndarray, is_same: Callable[[np.ndarray, np.ndarray], np.ndarray], threshold: float, reach: float
) -> np.ndarray:
    """Places (k,) int64 of the boxes (n, 4), best first, that are not the same as a better one that stays."""
    if threshold < 0:  # what does not overlap at all is the same, too
        return np.arange(min(1, len(boxes)))
    kept: list[np.ndarray] = []
    rest, block = np.arange(len(boxes)), _FIRST_BLOCK
    while len(rest):
        best, rest, block = rest[:block], rest[block:], 2 * block
        better, worse = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
        for a, b in _neighbours(boxes[best], boxes[best], reach):
            ahead = a < b
            a, b = a[ahead], b[ahead]
            same = is_same(best[a], best[b])
            better.append(a[same])
            worse.append(b[same])
        stays = _by_rank(np.concatenate(better), np.concatenate(worse), len(best))
        kept.append(best[stays])
        stays = np.ones(len(rest), bool)
        for a, b in _neighbours(boxes[kept[-1]], boxes[rest], reach):
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


def _neighbours(a: np.ndarray, b: np.ndarray, reach: float) -> Pairs:
    """Pairs (place in a, place in b) of boxes (n, 4), among which are all that share area; some come repeatedly.

    Sizes differ by ``reach`` powers of 2 at most.
    """
    grid_a, grid_b = _Grid(a), _Grid(b)
    for level in np.union1d(grid_a.level, grid_b.level).tolist():
        # Each pair is looked for in the cells of its larger box.
        yield from _join(grid_a.cells(level, level - reach, level), grid_b.cells(level, level, level))
        yield from _join(grid_a.cells(level, level, level), grid_b.cells(level, level - reach, level - 1))


class _Grid:
    """Boxes that have an area, by the size of their cells."""

    def __init__(self, boxes: np.ndarray) -> None:
        boxes = np.asarray(boxes, "float64")
        side = np.maximum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1])
        has_area = np.isfinite(boxes).all(1) & (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
        self.places = np.flatnonzero(has_area)
        self.boxes = boxes[self.places]
        self.level = np.ceil(np.log2(side[self.places])).astype(int)

    def cells(self, level: int, smallest: float, largest: float) -> tuple[np.ndarray, np.ndarray]:
        """Keys of the cells of that level, sorted, in which boxes of some levels lie, and the places of these."""
        which = (self.level >= smallest) & (self.level <= largest)
        low = np.floor(self.boxes[which, :2] / 2.0**level).astype(np.int64)
        high = np.floor(self.boxes[which, 2:] / 2.0**level).astype(np.int64)
        keys, places = [], []
        for y in (0, 1):
            for x in (0, 1):
                # where the box ends in the cell it begins in, the second cell is the first one again
                there = np.ones(len(low), bool)
                there &= (y == 0) | (high[:, 0] > low[:, 0])
                there &= (x == 0) | (high[:, 1] > low[:, 1])
                # a number for each cell: two cells of one number cost time, not truth
                keys.append(((low[:, 0] + y) * 0x9E3779B1 + low[:, 1] + x)[there])
                places.append(self.places[which][there])
        key, place = np.concatenate(keys), np.concatenate(places)
        order = np.argsort(key, kind="stable")
        return key[order], place[order]


def _join(a: tuple[np.ndarray, np.ndarray], b: tuple[np.ndarray, np.ndarray]) -> Pairs:
    """Pairs of places in the same cell, so many at once that they fit into memory."""
    (keys_a, places_a), (keys_b, places_b) = a, b
    if not len(keys_a) or not len(keys_b):
        return
    first = np.searchsorted(keys_b, keys_a, side="left")
    number = np.searchsorted(keys_b, keys_a, side="right") - first
    full = number > 0
    places_a, first, number = places_a[full], first[full], number[full]
    ends = np.cumsum(number)
    begin = 0
    while begin < len(number):
        done = ends[begin - 1] if begin else 0
        end = max(int(np.searchsorted(ends, done + _PAIRS_AT_ONCE, side="right")), begin + 1)
        some = number[begin:end]
        offset = np.arange(int(some.sum())) - np.repeat(np.cumsum(some) - some, some)
        yield np.repeat(places_a[begin:end], some), places_b[np.repeat(first[begin:end], some) + offset]
        begin = end
