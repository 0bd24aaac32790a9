"""Objects that tiles have cut are put together again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from micro_sam.segmentation.prompted.objects import crop, union
from micro_sam.segmentation.values import ObjectMask

if TYPE_CHECKING:
    from micro_sam.segmentation.automatic.candidates import Frame

_AGREEMENT = 0.5  # overlap (IoU) in the area both tiles see, above which two parts are one object
_INSIDE = 0.7  # share of a cut part that lies in a whole object, above which it adds nothing


def touches_inner_border(boxes: ArrayLike, outer: Sequence[int], shape: tuple[int, int]) -> np.ndarray:
    """Which masks (half-open boxes (n, 4)) reach a border of what their tile sees, inside the image."""
    corners = np.asarray(boxes).reshape(-1, 4)
    inside = np.array([outer[0] > 0, outer[1] > 0, outer[2] < shape[0], outer[3] < shape[1]])
    return np.asarray(((corners == np.array(outer)) & inside).any(1))


def link_cut_objects(parts: Sequence[tuple[Frame, ObjectMask]], shape: tuple[int, int]) -> list[ObjectMask]:
    """Join the parts of objects that reach over the border of what their tile sees.

    Parameters
    ----------
    parts : sequence of (Frame, ObjectMask)
    shape : (H, W)

    Returns
    -------
    list of ObjectMask
        Cut parts that agree with a part of another tile, where both tiles look, are joined; those that lie in a whole
        object are dropped.
    """
    if not any(frame.tiled for frame, _ in parts):
        return [mask for _, mask in parts]
    cut = [frame.tiled and bool(touches_inner_border([mask.box], frame.outer, shape)[0]) for frame, mask in parts]
    group = list(range(len(parts)))
    dropped = np.zeros(len(parts), bool)

    def root(k: int) -> int:
        while group[k] != k:
            k = group[k]
        return k

    boxes = np.array([mask.box for _, mask in parts]).reshape(-1, 4)
    for a in np.flatnonzero(cut).tolist():
        frame, mask = parts[a]
        meets = (boxes[:, :2] < mask.box[2:]).all(1) & (boxes[:, 2:] > mask.box[:2]).all(1)
        for b in np.flatnonzero(meets).tolist():
            other_frame, other = parts[b]
            if other_frame.outer == frame.outer:
                continue
            if not cut[b]:
                dropped[a] |= mask.intersection(other) > _INSIDE * mask.area
                continue
            low = np.maximum(frame.outer[:2], other_frame.outer[:2])
            high = np.minimum(frame.outer[2:], other_frame.outer[2:])
            area = slice(low[0], max(high[0], low[0])), slice(low[1], max(high[1], low[1]))
            mine, theirs = crop(mask, *area), crop(other, *area)
            if (mine & theirs).sum() > _AGREEMENT * (mine | theirs).sum():
                group[root(b)] = root(a)
    joined: dict[int, list[ObjectMask]] = {}
    for k, (_, mask) in enumerate(parts):
        if not dropped[k]:
            joined.setdefault(root(k), []).append(mask)
    return [union(masks) if len(masks) > 1 else masks[0] for masks in joined.values()]
