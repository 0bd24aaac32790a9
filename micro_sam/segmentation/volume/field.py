"""Slices in which the object is known exactly, spread to their neighbours through signed distances.

The difference between the signed distance to the outline of the exact slice and to that of the object in the maps is
added to the signed distances of the neighbouring slices, fading to zero over half of the object's thickness. Between
two exact slices it goes over from one to the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import bioimage_cpp as bic
import numpy as np

from micro_sam.segmentation.values import ObjectMask
from micro_sam.segmentation.volume.regions import depth_inside

if TYPE_CHECKING:
    from micro_sam.segmentation.volume.maps import Window
    from micro_sam.segmentation.volume.view import WindowView

FAR = 1e4  # pixels: the distance to an outline that is not there


def plane_of(mask: ObjectMask, work: WindowView) -> np.ndarray:
    """Signed distance (y, x), in pixels of the volume, positive inside, of a slice's mask in the window of the maps."""
    return signed_plane(mask, work.maps.geometry.pixel, work.window)


def signed_plane(mask: ObjectMask, pixel: np.ndarray, window: Window) -> np.ndarray:
    """As :func:`plane_of`, for maps with so many voxels of the volume per voxel (z, y, x)."""
    low = [int(np.floor(s.start * p)) for s, p in zip(window[1:], pixel[1:], strict=True)]
    size = [int(np.ceil(s.stop * p)) - a for s, p, a in zip(window[1:], pixel[1:], low, strict=True)]
    inside = np.zeros(size, bool)
    y0, x0, y1, x1 = mask.box
    rows, columns = (
        slice(max(a, o) - o, max(min(b, o + n) - o, 0))
        for a, b, o, n in zip((y0, x0), (y1, x1), low, size, strict=True)
    )
    inside[rows, columns] = mask.mask[
        rows.start + low[0] - y0 : rows.stop + low[0] - y0, columns.start + low[1] - x0 : columns.stop + low[1] - x0
    ]
    signed = signed_distance(inside, (1.0, 1.0))
    at = [
        np.clip(np.floor((np.arange(s.start, s.stop) + 0.5) * p).astype(int) - o, 0, n - 1)
        for s, p, o, n in zip(window[1:], pixel[1:], low, size, strict=True)
    ]
    plane: np.ndarray = signed[np.ix_(*at)]
    return plane


def signed_distance(mask: np.ndarray, spacing: tuple[float, ...]) -> np.ndarray:
    """Distance to the outline, half a voxel from the nearest ones: positive inside; far from an empty mask."""
    if not mask.any():
        return np.full(mask.shape, -FAR, "float32")
    if mask.all():
        return np.full(mask.shape, FAR, "float32")
    transform = bic.distance.distance_transform
    half = 0.5 * min(spacing)
    inside, outside = transform(mask, sampling=spacing) - half, half - transform(~mask, sampling=spacing)
    return np.where(mask, np.asarray(inside), np.asarray(outside))


def impose(
    mask: np.ndarray, planes: Mapping[int, np.ndarray], spacing: tuple[float, float, float], fade: float | None = None
) -> np.ndarray:
    """The mask (z, y, x) with slices as the planes say.

    Parameters
    ----------
    mask : (z, y, x) bool
        Not empty.
    planes : mapping
        Slice -> signed distance (y, x).
    spacing : (z, y, x)
        Size of a voxel.
    fade : float, optional
        Slices over which a plane loses its influence; None: half of the object's thickness.
    """
    there = np.flatnonzero(mask.any((1, 2)))
    reach = fade if fade is not None else max(1.0, (there[-1] - there[0] + 1) / 2)
    known = sorted(k for k in planes if 0 <= k < len(mask))
    outside = None
    distances: dict[int, np.ndarray] = {}

    def signed(k: int) -> np.ndarray:
        nonlocal outside
        if k not in distances:
            if mask[k].any():
                distances[k] = signed_distance(mask[k], spacing[1:])
            else:
                outside = depth_inside(~mask, spacing) if outside is None else outside
                distances[k] = -outside[k]
        return distances[k]

    differences = {k: planes[k] - signed(k) for k in known}
    result = mask.copy()
    for k in range(len(mask)):
        if k in planes:
            result[k] = planes[k] > 0
            continue
        change = 0.0
        below, above = max((j for j in known if j < k), default=None), min((j for j in known if j > k), default=None)
        gap = above - below if below is not None and above is not None else 0
        for j in (below, above):
            if j is None:
                continue
            weight = 1 - abs(k - j) / max(reach, gap if fade is None else 0)
            if weight > 0:
                change = change + weight * differences[j]
        if np.ndim(change) and (mask[k].any() or np.max(change) > 0):
            result[k] = signed(k) + change > 0
    return result


def rounded(
    planes: Mapping[int, np.ndarray], shape: tuple[int, ...], spacing: tuple[float, float, float]
) -> np.ndarray:
    """An object of which only slices are known: rounded off above and below them, as thick as it is wide."""
    result = np.zeros(shape, bool)
    for j, plane in planes.items():
        radius = float(plane.max())
        for k in range(shape[0]):
            height = abs(k - j) * spacing[0]
            if height < radius:
                result[k] |= plane > radius - np.sqrt(radius**2 - height**2)
    return result
