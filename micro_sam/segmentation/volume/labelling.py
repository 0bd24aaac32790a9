"""All objects of a volume from its maps, block by block: memory stays the same however large the volume is.

Each block is labelled with a halo; what neighbouring blocks take for an object in the band around their seam is
compared, and joined as in large 2D images.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from itertools import product

import numpy as np
from scipy import ndimage

from micro_sam.io.label_arrays import LARGEST_RESULT, new_labels, release
from micro_sam.segmentation.automatic.dense_joining import groups_of, same_objects
from micro_sam.segmentation.automatic.outlines import paint_part
from micro_sam.segmentation.label_runs import LabelRuns
from micro_sam.segmentation.volume.maps import VolumeMaps, Window
from micro_sam.segmentation.volume.regions import Regions

THRESHOLDS = {"foreground_threshold": 0.5, "distance_threshold": 0.65, "prominence": 0.15, "min_size": 0}
"""Of :func:`segment_volume`, with their defaults, by the names that the segmenter of 2D images has for them."""
# As in 2D, but for the depth of a middle, which is less in the mean of three directions. On seven stacks of nuclei,
# cells and chloroplasts the mean mSA is 0.28 with them, 0.26 with the values that suit one click (0.4, 0, 0.1).
BLOCK = 8_000_000  # voxels of the maps that are labelled at once, at about 70 bytes each
HALO = (8, 16, 16)  # slices, rows and columns of the maps that a block sees of its neighbours
# With it, nuclei and cells of stacks cut into twelve blocks are those of the whole stack; with 4 slices some join.


def segment_volume(maps: VolumeMaps, **thresholds: float) -> np.ndarray:
    """Label all objects of a volume.

    Parameters
    ----------
    maps : VolumeMaps
        Complete; what is not known is background.
    foreground_threshold : float
        Voxels of an object have a higher probability.
    distance_threshold : float
        Between 0 and 1: objects whose middle is less deep are left out.
    prominence : float
        How much deeper than the pass to its neighbour the middle of an object must be, to count as one of its own.
        Raise it when objects are cut, lower it when neighbours are merged.
    min_size : int
        Voxels; smaller objects are left out.

    Returns
    -------
    (Z, H, W) uint32
        0 is background, objects are numbered from 1. Large ones lie in a temporary file (``io/label_arrays.py``).
    """
    labelling = iter_labels(maps, **thresholds)
    while True:
        try:
            next(labelling)
        except StopIteration as stop:
            labels: np.ndarray = stop.value
            return labels


def iter_labels(
    maps: VolumeMaps,
    foreground_threshold: float = THRESHOLDS["foreground_threshold"],
    distance_threshold: float = THRESHOLDS["distance_threshold"],
    prominence: float = THRESHOLDS["prominence"],
    min_size: float = THRESHOLDS["min_size"],
) -> Generator[int, None, np.ndarray]:
    """As :func:`segment_volume`; yields the number of slices done, as a share of the work."""
    work = maps.geometry.work
    blocks = plan_blocks(work)
    labels = new_labels(maps.shape, largest=LARGEST_RESULT)
    seams = _Seams(work)
    painted, to_paint = 0, sum(z.stop - z.start for z, _, _ in blocks)
    for inner in blocks:
        outer = _widened(inner, work)
        coarse, foreground, deepest = _labels_of(maps, outer, foreground_threshold, prominence)
        seams.add(coarse, inner, outer, deepest)
        for _ in _paint(labels, coarse, foreground, foreground_threshold, inner, outer, work):
            painted += 1
            yield maps.shape[0] * painted // to_paint
        maps.release()
        release(labels)
    keep_large(labels, int(min_size), table=seams.table(distance_threshold))
    return labels


def plan_blocks(work: tuple[int, int, int]) -> list[Window]:
    """Blocks of a grid (Z, h, w), in reading order, none with more than ``BLOCK`` voxels unless it is thin."""
    pieces = [1, 1, 1]

    def sides() -> list[int]:
        return [math.ceil(size / n) for size, n in zip(work, pieces, strict=True)]

    while math.prod(sides()) > BLOCK:
        excess = [side / (4 * halo) for side, halo in zip(sides(), HALO, strict=True)]
        if max(excess) <= 1:  # smaller blocks would mostly be halo
            break
        pieces[int(np.argmax(excess))] += 1
    cuts = [
        [slice(start, min(start + side, size)) for start in range(0, size, side)]
        for size, side in zip(work, sides(), strict=True)
    ]
    return [(z, y, x) for z, y, x in product(*cuts)]


def keep_large(labels: np.ndarray, min_size: int = 0, min_z_extent: int = 1, table: np.ndarray | None = None) -> None:
    """Make labels (Z, H, W) consecutive without the objects of fewer voxels or slices, in place.

    With a ``table`` (n,), labels are first given the numbers that it has for them.
    """
    if table is None:
        table = np.arange(max((int(plane.max(initial=0)) for plane in _planes(labels)), default=0) + 1)
    n = int(table.max(initial=0)) + 1
    size, extent = np.zeros(n, np.int64), np.zeros(n, np.int64)
    for plane in _planes(labels):
        ids, _, counts = LabelRuns(plane).labels()
        here = np.bincount(table[ids], counts, n).astype(np.int64)
        size += here
        extent += here > 0
    keep = (size >= max(min_size, 1)) & (extent >= min_z_extent)
    keep[0] = False
    final = (np.cumsum(keep) * keep)[table].astype("uint32")
    for plane in _planes(labels):
        plane[:] = final[plane]


def _planes(labels: np.ndarray) -> Iterator[np.ndarray]:
    """The slices of labels, each of which may leave the memory afterwards."""
    for plane in labels:
        yield plane
        release(labels)


@dataclass
class _Seams:
    """Which objects of which blocks are one; blocks come in reading order."""

    work: tuple[int, int, int]
    _coarse: np.ndarray = field(init=False)  # labels of the blocks so far, of those that come next their halo
    _deepest: list[np.ndarray] = field(default_factory=lambda: [np.zeros(1, "float32")])  # by number
    _pairs: list[np.ndarray] = field(default_factory=list)
    _last: int = 0

    def __post_init__(self) -> None:
        self._coarse = new_labels(self.work, largest=LARGEST_RESULT)

    def add(self, coarse: np.ndarray, inner: Window, outer: Window, deepest: np.ndarray) -> None:
        """Number the objects of a block, in place, on from those before, and compare them along the seams to these."""
        coarse[coarse > 0] += self._last
        self._last += len(deepest)
        self._deepest.append(deepest)
        for axis, halo in enumerate(HALO):
            seam = inner[axis].start
            if seam == 0:
                continue
            band = list(inner)
            band[axis] = slice(outer[axis].start, min(seam + halo, outer[axis].stop))
            before = self._coarse[tuple(band)]
            if before.any():
                here = coarse[_within(band, outer)]
                self._pairs.append(same_objects(before, here, axis, seam - outer[axis].start))
        onward = tuple(slice(i.start, o.stop) for i, o in zip(inner, outer, strict=True))
        self._coarse[onward] = coarse[_within(onward, outer)]
        release(self._coarse)

    def table(self, least_depth: float) -> np.ndarray:
        """Object of each number, (n + 1,), 0 for those that are nowhere as deep; 0 stays 0."""
        groups = groups_of(self._pairs, self._last)
        deepest = np.zeros(int(groups.max()) + 1, "float32")
        np.maximum.at(deepest, groups, np.concatenate(self._deepest))
        return np.where(deepest[groups] < least_depth, 0, groups) if least_depth > 0 else groups


def _labels_of(
    maps: VolumeMaps, window: Window, threshold: float, prominence: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels (z, h, w) uint32 of a block of the maps, from 1, its foreground, smoothed, and the depth of each label."""
    foreground, depth = maps.read(window)
    regions = Regions(foreground, depth, threshold, maps.geometry.spacing)
    runs = LabelRuns(regions.labels(prominence))
    names, which, _ = runs.labels()
    labels = runs.image((which + (0 if names[0] == 0 else 1)).astype("uint32"))
    deepest = ndimage.maximum(depth, labels, np.arange(1, int(labels.max()) + 1))
    return labels, regions.foreground, np.asarray(deepest, "float32")


def _paint(
    labels: np.ndarray,
    coarse: np.ndarray,
    foreground: np.ndarray,
    threshold: float,
    inner: Window,
    outer: Window,
    work: tuple[int, int, int],
) -> Iterator[int]:
    """Write the labels of a block at the resolution of the volume, slice by slice; yields which are written.

    Outlines follow the interpolated foreground.
    """
    shape = (labels.shape[1], labels.shape[2])
    rows, columns = (
        slice(round(one.start * size / length), round(one.stop * size / length))
        for one, size, length in zip(inner[1:], shape, work[1:], strict=True)
    )
    for z in range(inner[0].start, inner[0].stop):
        k = z - outer[0].start
        part = paint_part(coarse[k], foreground[k], threshold, shape, (rows, columns), outer[1:], work[1:])
        labels[z, rows, columns] = part
        yield z


def _widened(inner: Window, work: tuple[int, int, int]) -> Window:
    """A block with its halo."""
    z, y, x = (
        slice(max(one.start - halo, 0), min(one.stop + halo, size))
        for one, halo, size in zip(inner, HALO, work, strict=True)
    )
    return z, y, x


def _within(window: list[slice] | tuple[slice, ...], outer: Window) -> Window:
    """A window, seen from a block that holds it."""
    z, y, x = (slice(w.start - o.start, w.stop - o.start) for w, o in zip(window, outer, strict=True))
    return z, y, x
