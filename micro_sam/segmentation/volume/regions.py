"""Regions of a window of the maps: the hilltops of the depth, and how they belong together.

Every voxel that may be object belongs to the hilltop that the steepest way up leads to. Two hilltops are one region
where the way between them loses less than a *prominence*: the same regions as those of a watershed seeded with
h-maxima (Soille, Morphological Image Analysis, 2003), but all prominences come from one graph, at a tenth of the cost.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import bioimage_cpp as bic
import numpy as np
from scipy import ndimage

FOREGROUND = 0.4  # above which a voxel may be object
PROMINENCE = 0.1
LEVELS = (0.0, 0.02, 0.05, PROMINENCE, 0.15, 0.2, 0.3, 0.5)
COARSEST = 0.1  # prominence of the regions that a correcting click may be meant for
FLAT = 0.02  # how much the distance to the border of the foreground adds to the depth
SMOOTH_FOREGROUND = (1.0, 0.7, 0.7)
SMOOTH_DEPTH = 1.0
REACH = 2.0  # sigmas after which a Gaussian is cut


class Regions:
    """Hilltops of a window, and their regions at any prominence.

    Parameters
    ----------
    foreground, depth : (z, y, x) float32
        From :meth:`VolumeMaps.read`.
    threshold : float
        Of the foreground, above which voxels may be object.
    spacing : (z, y, x)
        Size of a voxel.
    factor : int
        Rows and columns of the maps that are one here: the smoothing stays the same in the maps.
    """

    def __init__(
        self,
        foreground: np.ndarray,
        depth: np.ndarray,
        threshold: float,
        spacing: tuple[float, float, float] = (1.0, 1.0, 1.0),
        factor: int = 1,
    ) -> None:
        z, y, x = SMOOTH_FOREGROUND
        self.foreground = ndimage.gaussian_filter(foreground, (z, y / factor, x / factor), truncate=REACH)
        inside = self.foreground > threshold
        # where the depth is flat, the shape of the foreground says where its middles are
        shape = depth_inside(inside, spacing)
        depth = depth + FLAT * shape / max(float(shape.max(initial=0)), 1.0)
        sigma = SMOOTH_DEPTH / factor
        depth = ndimage.gaussian_filter(depth, (SMOOTH_DEPTH, sigma, sigma), truncate=REACH)
        self.hilltops, heights = climb(depth, inside)
        self._heights = np.concatenate([[0.0], heights])
        self._pairs, self._saddles = saddles(self.hilltops, depth)
        self._tables: dict[float, np.ndarray] = {}

    def table(self, prominence: float) -> np.ndarray:
        """Region of each hilltop; 0 stays 0."""
        if prominence not in self._tables:
            self._tables[prominence] = _merged(self._heights, self._pairs, self._saddles, prominence)
        return self._tables[prominence]

    def labels(self, prominence: float = PROMINENCE) -> np.ndarray:
        """Region of each voxel (z, y, x); 0 where nothing may be object."""
        labels: np.ndarray = self.table(prominence)[self.hilltops]
        return labels

    def around(self, place: tuple[int, int, int], allowed: np.ndarray) -> Iterator[np.ndarray]:
        """The regions (bool) that hold a place, within what is allowed, from the finest to the coarsest."""
        hilltop, size = self.hilltops[place], 0
        if hilltop == 0 or not allowed[place]:
            return
        hilltops = np.where(allowed, self.hilltops, 0)
        for prominence in LEVELS:
            if prominence > COARSEST:
                return
            table = self.table(prominence)
            members = table == table[hilltop]
            members[0] = False
            if members.sum() == size:
                continue
            size = int(members.sum())
            yield part_at(members[hilltops], place)

    def apart(
        self, place: tuple[int, int, int], others: Sequence[tuple[int, int, int]], allowed: np.ndarray
    ) -> np.ndarray | None:
        """What of the allowed voxels belongs to a place rather than to others (bool): a watershed with markers.

        Each hilltop goes where the highest way leads. None where nothing tells the places apart.
        """
        hilltops = np.where(allowed, self.hilltops, 0)
        own, theirs = int(hilltops[place]), {int(hilltops[other]) for other in others} - {0}
        if not own or not theirs or own in theirs:
            return None
        there = np.bincount(hilltops.ravel(), minlength=len(self._heights)) > 0
        pairs = self._pairs[there[self._pairs].all(1)]
        table = _joined(len(self._heights), pairs, own, theirs)
        members = table == table[own]
        members[0] = False
        return part_at(members[hilltops], place)


def climb(depth: np.ndarray, inside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The hilltop that the steepest way up leads to from each voxel inside; 0 outside.

    Returns
    -------
    hilltops : (z, y, x) int32
        From 1.
    heights : (n,) float32
        Of the hilltops.
    """
    height = np.where(inside, depth, -1).astype("float32")
    best = height.copy()
    place = np.arange(depth.size, dtype=np.int64).reshape(depth.shape)
    way = place.copy()
    for axis in range(depth.ndim):
        low = (slice(None),) * axis + (slice(0, -1),)
        high = (slice(None),) * axis + (slice(1, None),)
        for here, there in ((low, high), (high, low)):
            up = height[there] > best[here]
            np.copyto(best[here], height[there], where=up)
            np.copyto(way[here], place[there], where=up)
    ways: np.ndarray = way.ravel()
    del place, best, height  # a window may be large
    voxels = np.flatnonzero(inside)
    ends = ways[voxels]
    while True:
        further = ways[ends]
        if np.array_equal(further, ends):
            break
        ways[voxels] = further
        ends = further
    tops = voxels[ends == voxels]
    number = np.zeros(depth.size, np.int32)
    number[tops] = np.arange(1, len(tops) + 1, dtype=np.int32)
    hilltops = np.zeros(depth.size, np.int32)
    hilltops[voxels] = number[ends]
    return hilltops.reshape(depth.shape), depth.ravel()[tops]


def saddles(labels: np.ndarray, depth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Labels that touch, (n, 2), and the highest pass between them, (n,), highest first."""
    pairs, heights = [np.zeros((0, 2), np.int64)], [np.zeros(0, depth.dtype)]
    for axis in range(labels.ndim):
        low = (slice(None),) * axis + (slice(0, -1),)
        high = (slice(None),) * axis + (slice(1, None),)
        meet = (labels[low] != labels[high]) & (labels[low] > 0) & (labels[high] > 0)
        a, b = labels[low][meet], labels[high][meet]
        pairs.append(np.stack([np.minimum(a, b), np.maximum(a, b)], 1).astype(np.int64))
        heights.append(np.minimum(depth[low][meet], depth[high][meet]))
    both, height = np.concatenate(pairs), np.concatenate(heights)
    if not len(both):
        return both, height
    pair = both[:, 0] * (int(labels.max()) + 1) + both[:, 1]
    order = np.argsort(pair, kind="stable")
    first = np.flatnonzero(np.diff(pair[order], prepend=-1))
    both, height = both[order[first]], np.maximum.reduceat(height[order], first)
    order = np.argsort(-height, kind="stable")
    return both[order], height[order]


def _merged(heights: np.ndarray, pairs: np.ndarray, passes: np.ndarray, prominence: float) -> np.ndarray:
    parent = list(range(len(heights)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for (a, b), height in zip(pairs.tolist(), passes.tolist(), strict=True):
        a, b = root(a), root(b)
        if a == b:
            continue
        low, high = (a, b) if heights[a] < heights[b] else (b, a)
        if heights[low] - height < prominence:
            parent[low] = high
    return np.array([root(i) for i in range(len(parent))])


def _joined(n: int, pairs: np.ndarray, own: int, theirs: Collection[int]) -> np.ndarray:
    """Group of each of n hilltops, joined over the highest passes first, one of which never meets certain others."""
    parent = list(range(n))
    side = [0] * n  # 1: its group has the one, 2: another

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    side[own] = 1
    for other in theirs:
        side[other] = 2
    for a, b in pairs.tolist():
        a, b = root(a), root(b)
        if a != b and side[a] | side[b] != 3:
            parent[b] = a
            side[a] |= side[b]
    return np.array([root(i) for i in range(n)])


def part_at(mask: np.ndarray, place: tuple[int, int, int]) -> np.ndarray:
    """The connected part of a mask that holds a place; the mask itself when none does."""
    parts, n = ndimage.label(mask)
    return mask if n <= 1 or not parts[place] else parts == parts[place]


def places_in(mask: np.ndarray, k: int) -> list[tuple[int, int, int]]:
    """A voxel of each connected part of a plane."""
    if not 0 <= k < len(mask):
        return []
    parts, n = ndimage.label(mask[k])
    first = (np.argwhere(parts == i)[0].tolist() for i in range(1, n + 1))
    return [(k, y, x) for y, x in first]


def largest_part(mask: np.ndarray) -> np.ndarray:
    """The largest connected part of a mask."""
    parts, n = ndimage.label(mask)
    return mask if n <= 1 else parts == 1 + np.bincount(parts.ravel())[1:].argmax()


def depth_inside(mask: np.ndarray, spacing: tuple[float, ...]) -> np.ndarray:
    """Distance of each voxel of a mask to the next one outside, 0 outside; what lies beyond the window is unknown."""
    box = bounds(mask, 1)
    distance = np.zeros(mask.shape, "float32")
    if box is not None:
        part = mask[box]
        distance[box] = (
            bic.distance.distance_transform(part, sampling=tuple(spacing)) if not part.all() else max(part.shape)
        )
    return distance


def bounds(mask: np.ndarray, margin: int = 0) -> tuple[slice, ...] | None:
    """The box of a mask's content; None when it is empty."""
    box = []
    for axis, size in enumerate(mask.shape):
        others = tuple(a for a in range(mask.ndim) if a != axis)
        places = np.flatnonzero(mask.any(others))
        if len(places) == 0:
            return None
        box.append(slice(max(int(places[0]) - margin, 0), min(int(places[-1]) + 1 + margin, size)))
    return tuple(box)
