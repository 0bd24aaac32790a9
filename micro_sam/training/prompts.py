"""The user in the training loop: where a first click or box falls (corrections: ``corrections``).

Positions are (x, y) in pixels of the crop, as the prompt encoder reads them once the crop's origin is added.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage as ndi

from micro_sam.training.crops import MIN_AREA


def draw_targets(rng: np.random.Generator, labels: np.ndarray, n: int) -> np.ndarray:
    """Ids of up to ``n`` different objects of a label image, even over the logarithm of their size."""
    counts = np.bincount(labels.ravel())
    ids = np.flatnonzero(counts[1:] >= MIN_AREA) + 1
    if not len(ids):
        return ids
    bins = np.floor(np.log2(counts[ids]) / 1.5).astype(int)
    _, inverse, sizes = np.unique(bins, return_inverse=True, return_counts=True)
    weight = 1 / np.sqrt(sizes[inverse])
    return rng.choice(ids, min(n, len(ids)), replace=False, p=weight / weight.sum())


def first_click(rng: np.random.Generator, mask: np.ndarray) -> np.ndarray:
    """A click into a mask (H, W): mostly near its middle, as users click, sometimes anywhere in it."""
    distance = inner_distance(mask)
    choice = rng.random()
    if choice < 0.4:
        candidates = np.argwhere(distance >= distance.max() * 0.9)
    elif choice < 0.85:
        candidates = np.argwhere(distance >= distance.max() * 0.4)
    else:
        candidates = np.argwhere(mask)
    place: np.ndarray = candidates[rng.integers(len(candidates))]
    return place[::-1].astype(np.float32)


def background_click(rng: np.random.Generator, labels: np.ndarray, valid: np.ndarray) -> np.ndarray | None:
    """A click on the background of a label image (H, W), or None where there is hardly any."""
    free = np.argwhere((labels == 0) & valid)
    return free[rng.integers(len(free))][::-1].astype(np.float32) if len(free) > 50 else None


def jittered_box(rng: np.random.Generator, mask: np.ndarray, jitter: float = 0.08) -> np.ndarray:
    """Box (x0, y0, x1, y1) around a mask, its sides off by a few per cent of its size, as drawn by hand."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    box = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], np.float32)
    size = np.tile(box[2:] - box[:2], 2)
    noise = np.clip(rng.normal(0, jitter * rng.uniform(0, 1), 4), -0.15, 0.15) * size
    return np.clip(box + noise, 0, max(mask.shape)).astype(np.float32)


def inner_distance(mask: np.ndarray) -> np.ndarray:
    """Distance of every pixel of a mask (H, W) to its outside; the image's border is outside. Zero off the mask."""
    distance = np.zeros(mask.shape, np.float32)
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if len(rows):
        box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
        distance[box] = ndi.distance_transform_edt(np.pad(mask[box], 1))[1:-1, 1:-1]
    return distance
