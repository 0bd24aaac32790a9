"""Shape-based interpolation: an object between two slices where it is known.

Raya and Udupa, Shape-based interpolation of multidimensional objects, IEEE TMI 1990: the signed distances to the two
outlines are averaged. Here both masks are first moved onto their common line of centres, so that an object which
drifts by more than its own size still interpolates to one object.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from micro_sam.errors import InputError
from micro_sam.segmentation.values import ObjectMask

__all__ = ["centre_of", "interpolate_masks", "shifted"]


def centre_of(mask: ObjectMask) -> np.ndarray:
    """Centre of mass (y, x) in pixels of the slice.

    Raises
    ------
    InputError
        If the mask is empty.
    """
    if mask.is_empty:
        raise InputError("An empty mask has no centre.")
    centre: np.ndarray = np.array(ndimage.center_of_mass(mask.mask)) + mask.box[:2]
    return centre


def shifted(mask: ObjectMask, shift: tuple[float, float], shape: tuple[int, int]) -> ObjectMask:
    """The mask moved by ``shift`` (dy, dx), rounded to pixels, and cut at the border of a slice of ``shape`` (H, W).

    The low-resolution logits are kept only if nothing moves: they are bound to their place in the tile.
    """
    dy, dx = (int(np.rint(s)) for s in shift)
    y0, x0, y1, x1 = mask.box
    if dy == dx == 0 and y0 >= 0 and x0 >= 0 and y1 <= shape[0] and x1 <= shape[1]:
        return mask
    top, left = max(0, -(y0 + dy)), max(0, -(x0 + dx))
    inside = mask.mask[top : max(top, shape[0] - y0 - dy), left : max(left, shape[1] - x0 - dx)]
    return ObjectMask.from_array(inside, mask.score, offset=(y0 + dy + top, x0 + dx + left))


def interpolate_masks(a: ObjectMask, b: ObjectMask, weight: float, shape: tuple[int, int]) -> ObjectMask:
    """The outline between two outlines.

    Parameters
    ----------
    a, b : ObjectMask
        Masks in two slices; neither may be empty.
    weight : float
        Position between the slices: 0 gives ``a``, 1 gives ``b``.
    shape : (H, W)
        Shape of the slice.

    Returns
    -------
    ObjectMask
    """
    centre_a, centre_b = centre_of(a), centre_of(b)
    target = (1 - weight) * centre_a + weight * centre_b
    unlimited = (1 << 30, 1 << 30)
    moved = [_moved(mask, np.rint(target - centre)) for mask, centre in ((a, centre_a), (b, centre_b))]
    canvas, offset = _on_common_canvas(moved, margin=1)
    distance = (1 - weight) * _signed_distance(canvas[0]) + weight * _signed_distance(canvas[1])
    result = ObjectMask.from_array(distance > 0, min(a.score, b.score), offset=offset)
    return shifted(result, (0, 0), shape) if not result.is_empty else shifted(moved[0], (0, 0), shape or unlimited)


def _moved(mask: ObjectMask, shift: np.ndarray) -> ObjectMask:
    dy, dx = (int(s) for s in shift)
    y0, x0, y1, x1 = mask.box
    return ObjectMask((y0 + dy, x0 + dx, y1 + dy, x1 + dx), mask.mask, mask.score)


def _on_common_canvas(masks: list[ObjectMask], margin: int = 0) -> tuple[list[np.ndarray], tuple[int, int]]:
    """Bool arrays of one shape that hold all masks, and the (y, x) of their first pixel."""
    boxes = np.array([mask.box for mask in masks if not mask.is_empty])
    if len(boxes) == 0:
        return [np.zeros((0, 0), bool) for _ in masks], (0, 0)
    low, high = boxes[:, :2].min(0) - margin, boxes[:, 2:].max(0) + margin
    arrays = []
    for mask in masks:
        array = np.zeros(tuple(high - low), bool)
        if not mask.is_empty:
            y0, x0, y1, x1 = mask.box - np.tile(low, 2)
            array[y0:y1, x0:x1] = mask.mask
        arrays.append(array)
    return arrays, (int(low[0]), int(low[1]))


def _signed_distance(mask: np.ndarray) -> np.ndarray:
    """Distance to the outline in pixels, positive inside."""
    distance: np.ndarray = ndimage.distance_transform_edt(mask) - ndimage.distance_transform_edt(~mask)
    return distance
