"""Where an automatic mask generator clicks, and the crops on which it repeats the search.

The geometry is that of ``segment_anything.utils.amg`` (Kirillov et al. 2023), in (y, x).
"""

from __future__ import annotations

import math

import numpy as np

from micro_sam.models.sizes import Box

CROP_OVERLAP_RATIO = 512 / 1500
_EDGE = 20  # pixels: masks that come nearer to the edge of their crop are taken as cut by it


def point_grid(side: int) -> np.ndarray:
    """Evenly spaced points (x, y) between 0 and 1, row by row; (side * side, 2) float64."""
    positions = (np.arange(side) + 0.5) / side
    x, y = np.meshgrid(positions, positions)
    return np.stack([x.ravel(), y.ravel()], 1)


def crop_boxes(shape: tuple[int, int], n_layers: int, overlap_ratio: float) -> list[tuple[int, Box]]:
    """Layer and box (y0, x0, y1, x1) of each crop of an image (H, W); layer k has (2^k)^2 of them."""
    crops = []
    for layer in range(1, n_layers + 1):
        count = 2**layer
        overlap = int(overlap_ratio * min(shape) * (2 / count))
        size = [math.ceil((overlap * (count - 1) + length) / count) for length in shape]
        for x in range(count):
            for y in range(count):
                y0, x0 = (size[0] - overlap) * y, (size[1] - overlap) * x
                crops.append((layer, (y0, x0, min(y0 + size[0], shape[0]), min(x0 + size[1], shape[1]))))
    return crops


def near_crop_edge(boxes: np.ndarray, crop: Box, shape: tuple[int, int]) -> np.ndarray:
    """Which masks (half-open boxes (n, 4)) come near an edge of the crop that is not an edge of the image."""
    edges = np.asarray(boxes).reshape(-1, 4) - (0, 0, 1, 1)  # the last pixels, as segment-anything measures
    near_crop = np.abs(edges - np.array(crop)) <= _EDGE
    near_image = np.abs(edges - np.array((0, 0, *shape))) <= _EDGE
    return np.asarray((near_crop & ~near_image).any(1))
