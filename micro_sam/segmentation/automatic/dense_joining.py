"""Objects of large images from maps in blocks: each block is labelled on its own, then the objects are joined.

Neighbouring blocks both see the band around their seam. What they take for an object there is one when it is mostly
the same; an object that only one of them cuts in two is joined, too, so that no seam is left. Blocks may be labelled
in any order, by several workers; joining is a table.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from micro_sam.embeddings.tiles import Tile, TileGrid
from micro_sam.segmentation.automatic.dense_blocks import HALO, DenseBlocks, times, within
from micro_sam.segmentation.automatic.dense_maps import DenseMaps
from micro_sam.segmentation.label_runs import LabelRuns

SAME = 0.5  # overlap (IoU) in the band around a seam, above which two blocks show the same object
PART = 0.7  # share of an object on a seam that lies in one of the neighbour's, of which it then is a part

Grow = Callable[[DenseMaps], tuple[np.ndarray, np.ndarray, np.ndarray]]


@dataclass(frozen=True, eq=False)
class BlockLabels:
    """The objects of one block.

    Attributes
    ----------
    block : Tile
    labels : (H, W) uint32
        Of the block, at the resolution of the image; numbered from 1.
    number : int
        Of objects, including those that only lie in the halo.
    bands : dict
        Place of a neighbour ((0, 1) right, (1, 0) below, ...) -> labels (h, w) in the band around the seam to it, at
        the resolution of the maps.
    deepest : (float, float)
        The highest foreground, and the highest depth in the foreground; what to say when nothing is found.
    """

    block: Tile
    labels: np.ndarray
    number: int
    bands: dict[tuple[int, int], np.ndarray]
    deepest: tuple[float, float]


def label_block(
    maps: DenseBlocks, block: Tile, grow: Grow, paint: Callable[..., np.ndarray], threshold: float
) -> BlockLabels:
    """Find the objects of one block; nothing but its maps and those around it is read.

    Parameters
    ----------
    maps : DenseBlocks
        Complete.
    block : Tile
    grow : callable
        Maps -> objects (h, w), foreground, depth.
    paint : callable
        Objects and foreground of an area of the maps -> labels of a part of the image; see ``outlines.to_image``.
    threshold : float
        Of the foreground.
    """
    inner, outer, fineness = maps.area(block), maps.area(block, HALO), maps.fineness(block)
    coarse, foreground, depth = grow(maps.read(outer, fineness))
    coarse, number = coarse.astype("uint32"), int(coarse.max(initial=0))
    inside = foreground > threshold
    deepest = (float(foreground.max()), float(depth[inside].max()) if inside.any() else -np.inf)
    fine = times(outer, fineness)
    work = (fineness * maps.work[0], fineness * maps.work[1])
    labels = paint(coarse, foreground, threshold, maps.shape, block.inner, fine, work)
    bands, coarse = {}, coarse[fineness // 2 :: fineness, fineness // 2 :: fineness]
    for axis, side in ((0, 1), (0, -1), (1, 1), (1, -1)):
        seam = inner[axis].stop if side > 0 else inner[axis].start
        if 0 < seam < maps.work[axis]:
            band = slice(max(seam - HALO, outer[axis].start), min(seam + HALO, outer[axis].stop))
            area = (band, inner[1]) if axis == 0 else (inner[0], band)
            place = (side, 0) if axis == 0 else (0, side)
            bands[place] = coarse[within(area, outer)].copy()
    return BlockLabels(block, labels, number, bands, deepest)


@dataclass(eq=False)
class Joining:
    """Which objects of which blocks are one.

    Attributes
    ----------
    blocks : TileGrid
    """

    blocks: TileGrid
    _first: dict[int, int] = field(default_factory=dict)
    _sizes: dict[int, np.ndarray] = field(default_factory=dict)
    _bands: dict[tuple[int, tuple[int, int]], np.ndarray] = field(default_factory=dict)
    _pairs: list[np.ndarray] = field(default_factory=list)
    _last: int = 0

    def add(self, found: BlockLabels) -> None:
        """Take up a block; what it shares with neighbours that are there is compared."""
        index, columns = found.block.index, self.blocks.counts[1]
        self._first[index] = self._last
        self._last += found.number
        self._sizes[index] = np.bincount(found.labels.ravel(), minlength=found.number + 1)
        for (down, right), band in found.bands.items():
            other = index + down * columns + right
            theirs = self._bands.pop((other, (-down, -right)), None)
            if theirs is None:
                self._bands[index, (down, right)] = band
            else:
                here, there = (band, theirs) if down + right > 0 else (theirs, band)
                axis = 0 if down else 1
                pairs = same_objects(here, there, axis, min(HALO, here.shape[axis] // 2))
                first, second = (index, other) if down + right > 0 else (other, index)
                self._pairs.append(pairs + [self._first[first], self._first[second]])

    @property
    def diameter(self) -> float:
        """Of a circle as large as the median object, in pixels of the image; 0 without objects."""
        areas = np.concatenate([np.zeros(0, np.int64), *(sizes[1:][sizes[1:] > 0] for sizes in self._sizes.values())])
        return float(2 * np.sqrt(np.median(areas) / np.pi)) if len(areas) else 0.0

    def tables(self, min_size: int = 0) -> tuple[dict[int, np.ndarray], int, int]:
        """Block -> final number of each of its labels, numbered from 1 without those of fewer pixels.

        Returns
        -------
        tables : dict of (n + 1,) uint32
        found, kept : int
            Objects before and after small ones were left out.
        """
        name = groups_of(self._pairs, self._last)
        sizes = np.zeros(int(name.max()) + 1, np.int64)
        for index, some in self._sizes.items():
            first = self._first[index]
            np.add.at(sizes, name[first + 1 : first + len(some)], some[1:])
        keep = sizes >= max(min_size, 1)
        number = (np.cumsum(keep) * keep).astype("uint32")
        tables = {}
        for index, some in self._sizes.items():
            first = self._first[index]
            tables[index] = np.concatenate([[0], number[name[first + 1 : first + len(some)]]]).astype("uint32")
        return tables, int((sizes > 0).sum()), int(keep.sum())


def same_objects(here: np.ndarray, there: np.ndarray, axis: int, seam: int) -> np.ndarray:
    """Pairs (n, 2) of labels that are one object, of two blocks in the band around their seam.

    Parameters
    ----------
    here, there : arrays of one shape
        Labels of the band, in the block before the seam and in that behind it.
    axis, seam : int
        The seam lies before this row (column, slice) of the band.
    """
    runs = LabelRuns(here, there)
    pairs, shared = runs.shared()
    if not len(pairs):
        return pairs
    sizes = np.zeros((len(pairs), 2))
    for k in (0, 1):
        ids, _, areas = runs.labels(k)
        sizes[:, k] = areas[np.searchsorted(ids, pairs[:, k])]
    is_same = shared > SAME * (sizes.sum(1) - shared)
    # Objects that meet at the seam, of which one is a part of what the other block shows.
    meet, _ = LabelRuns(*(np.take(one, seam + step, axis) for one, step in ((here, -1), (there, 0)))).shared()
    meeting = {tuple(pair) for pair in meet.tolist()}
    is_part = shared > PART * sizes.min(1)
    at_seam = np.array([tuple(pair) in meeting for pair in pairs.tolist()])
    joined: np.ndarray = pairs[is_same | (is_part & at_seam)]
    return joined


def groups_of(pairs: list[np.ndarray], last: int) -> np.ndarray:
    """Object of each label from 0 to ``last``, numbered from 0, which stays 0; labels of a pair are one object."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    both = np.concatenate([np.zeros((0, 2), np.int64), *pairs])
    links = coo_matrix((np.ones(len(both), bool), (both[:, 0], both[:, 1])), (last + 1, last + 1))
    groups: np.ndarray = connected_components(links, directed=False)[1]
    return groups
