"""From labels at the resolution of dense maps to labels at that of the image, and their records."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import ndimage

from micro_sam.segmentation.labels import label_sizes

_ROWS_AT_ONCE = 1024  # of the image, when labels are brought to its resolution: bounds the memory of large images


def to_image(coarse: np.ndarray, foreground: np.ndarray, threshold: float, shape: tuple[int, int]) -> np.ndarray:
    """Labels (h, w) at the resolution of the image (H, W).

    Outlines follow the interpolated foreground, not the steps of the coarse grid; between touching objects the nearest
    coarse label decides.
    """
    whole = (slice(0, shape[0]), slice(0, shape[1]))
    return paint_part(coarse, foreground, threshold, shape, whole, None, coarse.shape)


def paint_part(
    coarse: np.ndarray,
    foreground: np.ndarray,
    threshold: float,
    shape: tuple[int, int],
    part: tuple[slice, slice],
    area: tuple[slice, slice] | None,
    work: tuple[int, int],
) -> np.ndarray:
    """As :func:`to_image`, for a part of the image (H, W), from coarse labels of an ``area`` of its maps (h, w)."""
    if tuple(shape) == tuple(work):
        first = (0, 0) if area is None else (area[0].start, area[1].start)
        inside = tuple(slice(p.start - b, p.stop - b) for p, b in zip(part, first, strict=True))
        return np.where(foreground[inside] > threshold, coarse[inside], 0).astype("uint32")
    # Where the image is finer, its foreground may reach half a coarse pixel beyond the coarse labels.
    grown = coarse
    if any(size > length for size, length in zip(shape, work, strict=True)):
        nearest = ndimage.distance_transform_cdt(coarse == 0, return_distances=False, return_indices=True)
        grown = coarse[tuple(nearest)]
        grown = np.where(ndimage.binary_dilation(coarse > 0, np.ones((3, 3))), grown, 0)
    labels = np.zeros(tuple(s.stop - s.start for s in part), "uint32")
    all_rows, columns = (_centres(size, length)[s] for size, length, s in zip(shape, work, part, strict=True))
    if area is not None:
        all_rows, columns = all_rows - area[0].start, columns - area[1].start
    for begin in range(0, len(all_rows), _ROWS_AT_ONCE):
        rows = all_rows[begin : begin + _ROWS_AT_ONCE]
        found = grown[np.ix_(_nearest(rows, coarse.shape[0]), _nearest(columns, coarse.shape[1]))]
        found = np.where(bilinear(foreground, rows, columns) > threshold, found, 0)
        labels[begin : begin + len(rows)] = found
    return labels


def _centres(size: int, coarse_size: int) -> np.ndarray:
    """Positions of an image's pixel centres in the index frame of a coarse grid that covers the same area."""
    return (np.arange(size) + 0.5) * coarse_size / size - 0.5


def _nearest(positions: np.ndarray, size: int) -> np.ndarray:
    nearest: np.ndarray = np.clip(np.rint(positions).astype(int), 0, size - 1)
    return nearest


def bilinear(values: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Values (h, w) interpolated at rows x columns, one axis after the other."""
    for axis, positions in ((0, rows), (1, columns)):
        low = np.clip(np.floor(positions).astype(int), 0, values.shape[axis] - 1)
        high = np.minimum(low + 1, values.shape[axis] - 1)
        weight = np.clip(positions - low, 0, 1).astype("float32")
        weight = weight[:, None] if axis == 0 else weight
        values = values.take(low, axis) * (1 - weight) + values.take(high, axis) * weight
    return values


def without_small_objects(labels: np.ndarray, min_size: int) -> tuple[np.ndarray, int]:
    """Labels made consecutive without the objects of fewer pixels, and how many objects there were."""
    sizes = label_sizes(labels)
    sizes[0] = 0
    keep = sizes >= max(min_size, 1)
    table = (np.cumsum(keep) * keep).astype("uint32")
    result = np.empty(labels.shape, "uint32")
    for row, values in zip(result, labels, strict=True):
        row[:] = table[values]
    return result, int((sizes > 0).sum())


def label_records(labels: np.ndarray) -> list[dict[str, Any]]:
    """Objects of a label image as dicts with segmentation, area and bbox (x y w h)."""
    records = []
    for value, (rows, columns) in enumerate(ndimage.find_objects(labels.astype("int32")), 1):
        mask = labels == value
        box = [columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start]
        records.append({"segmentation": mask, "area": int(mask.sum()), "bbox": box})
    return records
