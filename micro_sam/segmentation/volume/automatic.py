"""All objects of a volume at once, by the regions of its maps; thresholds act without the network."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import ndimage

from micro_sam.segmentation.dense import bilinear
from micro_sam.segmentation.volume.maps import VolumeMaps, Window
from micro_sam.segmentation.volume.object import FOREGROUND
from micro_sam.segmentation.volume.regions import PROMINENCE, Regions

__all__ = ["segment_volume"]

SLAB = 16_000_000  # voxels of the maps that are segmented at once
OVERLAP = 8  # slices that two slabs share


def segment_volume(
    maps: VolumeMaps,
    foreground_threshold: float = FOREGROUND,
    prominence: float = PROMINENCE,
    min_size: int = 0,
    min_z_extent: int | None = None,
    distance_threshold: float = 0.0,
    pbar_update: Callable[[int], None] | None = None,
) -> np.ndarray:
    """Label all objects of a volume.

    Parameters
    ----------
    maps : VolumeMaps
        Complete; what is not known is background.
    foreground_threshold : float
        Voxels of an object have a higher probability.
    prominence : float
        How much deeper than the pass to its neighbour the middle of an object must be, to count as one of its own.
        Raise it when objects are cut, lower it when neighbours are merged.
    min_size : int
        Voxels; smaller objects are left out.
    min_z_extent : int, optional
        Objects in fewer slices are left out.
    distance_threshold : float
        Between 0 and 1: objects whose middle is less deep are left out.
    pbar_update : callable, optional
        Called with the number of slices just done.

    Returns
    -------
    (Z, H, W) uint32
        0 is background, objects are numbered from 1.
    """
    work = maps.geometry.work
    thickness = max(2 * OVERLAP, int(SLAB // max(work[1] * work[2], 1)))
    labels = np.zeros(maps.shape, "uint32")
    last, before, start = 0, None, 0
    while start < work[0]:
        stop = min(start + thickness, work[0])
        coarse, soft = _labels_of(
            maps,
            (slice(start, stop), slice(0, work[1]), slice(0, work[2])),
            (foreground_threshold, prominence, distance_threshold),
        )
        coarse[coarse > 0] += last
        last = max(last, int(coarse.max(initial=0)))
        if before is not None:
            _continue(coarse, before)
        shared = start + OVERLAP // 2 if before is not None else start
        for z in range(shared, stop):
            labels[z] = _fine(coarse[z - start], soft[z - start], maps.shape[1:])
        if pbar_update is not None:
            pbar_update(stop - start)
        before = coarse[-OVERLAP:]
        start = stop if stop == work[0] else stop - OVERLAP
    return _kept(labels, min_size, min_z_extent or 1)


def _labels_of(maps: VolumeMaps, window: Window, thresholds) -> tuple[np.ndarray, np.ndarray]:
    """Labels of a slab of the maps, and how far the foreground lies above the threshold."""
    threshold, prominence, least_depth = thresholds
    foreground, depth = maps.read(window)
    regions = Regions(foreground, depth, threshold, maps.geometry.spacing)
    labels = regions.labels(prominence)
    names, compact = np.unique(labels, return_inverse=True)
    compact = (compact.reshape(labels.shape) + (0 if names[0] == 0 else 1)).astype("int64")
    if least_depth > 0:
        deepest = ndimage.maximum(depth, compact, np.arange(compact.max(initial=0) + 1))
        compact[np.asarray(deepest)[compact] < least_depth] = 0
    return compact, regions.foreground - threshold


def _continue(labels: np.ndarray, before: np.ndarray) -> None:
    """Give the objects of a slab the numbers that most of their voxels have in the slab before, in place."""
    here = labels[: len(before)]
    both = (here > 0) & (before > 0)
    pairs, shared = np.unique(np.stack([here[both], before[both]], 1), axis=0, return_counts=True)
    table = np.arange(int(labels.max(initial=0)) + 1)
    for k in np.argsort(shared):  # the largest overlap has the last word
        table[pairs[k, 0]] = pairs[k, 1]
    labels[:] = table[labels]


def _fine(labels: np.ndarray, soft: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Labels of a slice at the resolution of the image; outlines follow the interpolated foreground."""
    if labels.shape == tuple(shape):
        return labels
    places = [(np.arange(n) + 0.5) * m / n - 0.5 for n, m in zip(shape, labels.shape, strict=True)]
    nearest = ndimage.distance_transform_cdt(labels == 0, return_distances=False, return_indices=True)
    grown = np.where(ndimage.binary_dilation(labels > 0, np.ones((3, 3))), labels[tuple(nearest)], 0)
    at = [np.clip(np.rint(p).astype(int), 0, m - 1) for p, m in zip(places, labels.shape, strict=True)]
    return np.where(bilinear(soft, *places) > 0, grown[np.ix_(*at)], 0)


def _kept(labels: np.ndarray, min_size: int, min_z_extent: int) -> np.ndarray:
    """Labels made consecutive without the objects that are too small."""
    n = int(labels.max(initial=0)) + 1
    size, extent = np.zeros(n, np.int64), np.zeros(n, np.int64)
    for plane in labels:
        counts = np.bincount(plane.ravel(), minlength=n)
        size += counts
        extent += counts > 0
    keep = (size >= max(min_size, 1)) & (extent >= min_z_extent)
    keep[0] = False
    table = (np.cumsum(keep) * keep).astype("uint32")
    for z in range(len(labels)):
        labels[z] = table[labels[z]]
    return labels
