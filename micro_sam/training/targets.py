"""What the dense head and the centre branch of the encoder are taught, computed from the instances of a crop."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage as ndi


@dataclass(frozen=True)
class DenseTargets:
    """Targets at half the crop's resolution (one value per 2 x 2 pixels; upper left pixel's label).

    Attributes
    ----------
    labels : numpy.ndarray
        (h, w) int32.
    distance : numpy.ndarray
        (h, w) float32, distance to the object's boundary, 1 at its innermost pixel.
    offset : numpy.ndarray
        (2, h, w) float32, (y, x) from the position to the centre of its object, in crop pixels.
    radius : numpy.ndarray
        (h, w) float32, radius of the circle of equal area of the position's object, in crop pixels; 1 outside.
    """

    labels: np.ndarray
    distance: np.ndarray
    offset: np.ndarray
    radius: np.ndarray


def dense_targets(labels: np.ndarray, step: int = 2) -> DenseTargets:
    """Targets of an instance label image (H, W) with ids 1..n, one per ``step`` x ``step`` pixels."""
    small = labels[step // 2 :: step, step // 2 :: step]
    n = int(labels.max())
    height, width = small.shape
    flat = small.ravel()
    counts = np.maximum(np.bincount(flat, minlength=n + 1), 1)
    yy, xx = np.mgrid[:height, :width].astype(np.float32)
    centre_y = (np.bincount(flat, yy.ravel(), n + 1) / counts).astype(np.float32)
    centre_x = (np.bincount(flat, xx.ravel(), n + 1) / counts).astype(np.float32)
    offset = np.stack([centre_y[small] - yy, centre_x[small] - xx]) * step
    radius = (np.sqrt(counts / np.pi) * step).astype(np.float32)
    radius[0] = 1
    distance = ndi.distance_transform_edt(np.pad(interior(small), 1))[1:-1, 1:-1].astype(np.float32) + 1
    distance[small == 0] = 0
    largest = np.zeros(n + 1, np.float32)
    np.maximum.at(largest, flat, distance.ravel())
    distance /= np.maximum(largest, 1)[small]
    return DenseTargets(small, distance, (offset * (small > 0)).astype(np.float32), radius[small])


def interior(labels: np.ndarray) -> np.ndarray:
    """Object pixels without a 4-neighbour of another label; the border of the image is no boundary."""
    inner = labels > 0
    vertical, horizontal = labels[1:] == labels[:-1], labels[:, 1:] == labels[:, :-1]
    inner[1:] &= vertical
    inner[:-1] &= vertical
    inner[:, 1:] &= horizontal
    inner[:, :-1] &= horizontal
    return inner
