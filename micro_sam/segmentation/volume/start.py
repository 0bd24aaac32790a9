"""Where an object begins: the regions of the maps under its first click, in its box, or under a painted slice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import bioimage_cpp as bic
import numpy as np

from micro_sam.segmentation.volume.field import FAR, impose, plane_of, rounded
from micro_sam.segmentation.volume.regions import LEVELS, PROMINENCE, bounds, depth_inside, largest_part, part_at

if TYPE_CHECKING:
    from micro_sam.segmentation.values import ObjectMask
    from micro_sam.segmentation.volume.values import VolumePrompts
    from micro_sam.segmentation.volume.view import WindowView

MOSTLY = 0.6  # of a region's area, or volume, that lies in a box, for the region to be meant
MARGIN = 0.1  # of a box's side by which the object may reach out of it
TIP = 0.1  # of a painted slice's area, below which a region under it does not count
LEAST = 0.6  # overlap (IoU) of regions with a painted slice, below which they say nothing of its object
LEAST_LIKE = 0.4  # the same for the model's mask of the clicked slice, which is less exact
NECK = 0.3  # depth within a neck, over that within the object, below which what lies behind the neck does not count
LARGE = 64  # voxels along an axis, from which on necks are looked for in every second one
NEAR = 2.0  # pixels: a click so near to a region is in it


def first_region(work: WindowView, prompts: VolumePrompts, closer: tuple[int, ObjectMask] | None = None) -> np.ndarray:
    """The object before its corrections (bool); empty where the maps show nothing.

    Parameters
    ----------
    work : WindowView
    prompts : VolumePrompts
    closer : (int, ObjectMask), optional
        The slice of the first click and what the object is there (:func:`closer.closer_look`).
    """
    if closer is not None:
        return _from_slice(work, closer[0] - work.window[0].start, plane_of(closer[1], work))
    mask, alone = np.zeros(work.shape, bool), {}
    for z, one in prompts.masks.items():
        k = z - work.window[0].start
        if not one.is_empty and 0 <= k < work.shape[0]:
            signed = plane_of(one, work)
            found = _under(work, k, signed > 0)
            if found is None:
                alone[k] = signed
            else:
                mask |= found
    if prompts.box is not None:
        mask |= _in_box(work, prompts.box)
    for z, (y0, x0, y1, x1) in prompts.boxes.items():
        mask |= _in_box(work, (z, y0, x0, z + 1, y1, x1))
    if not mask.any():
        for place in work.positive:
            if not mask.any():
                mask = _at_click(work, place)
    mask = _without_what_hangs_on(mask, work.positive[:1], work.spacing)
    if not mask.any():
        for k, signed in alone.items():
            mask |= _as_thick_as(work, k, signed)
    return mask


def _from_slice(work: WindowView, k: int, signed: np.ndarray) -> np.ndarray:
    """The object that one slice (signed distances) and the maps show together: of the regions under the slice, and the
    one under the click, those that are more like the slice, which they take up. Where they are not, it is rounded."""
    plane = signed > 0

    def likeness(region: np.ndarray) -> float:
        return float((region[k] & plane).sum() / max((region[k] | plane).sum(), 1))

    under = _under(work, k, plane)
    mask = max(([] if under is None else [under]) + [_at_click(work, p) for p in work.positive[:1]], key=likeness)
    if likeness(mask) < LEAST_LIKE:
        return _as_thick_as(work, k, signed)
    mask = _without_what_hangs_on(mask, work.positive[:1], work.spacing)
    return impose(mask, {k: signed}, work.spacing) if mask.any() else mask


def _at_click(work: WindowView, place: tuple[int, int, int]) -> np.ndarray:
    labels = work.regions.labels()
    if not labels[place]:
        around = tuple(slice(max(p - 2, 0), p + 3) for p in place)
        near = np.argwhere(labels[around] > 0)
        if len(near):
            near += np.array([s.start for s in around])
            distance = np.sqrt((((near - np.array(place)) * work.spacing) ** 2).sum(1))
            if distance.min() <= NEAR * work.spacing[1]:
                z, y, x = near[distance.argmin()].tolist()
                place = (z, y, x)
    found = labels[place]
    return part_at(labels == found, place) if found else np.zeros(work.shape, bool)


def _without_what_hangs_on(
    mask: np.ndarray, places: Sequence[tuple[int, int, int]], spacing: tuple[float, float, float]
) -> np.ndarray:
    """The object without what only thin necks, threads tie to its core in the slices: an opening of it.

    The core is the connected part, deeper than a share of the deepest place, that holds the click.
    """
    box = bounds(mask, 1)
    if box is None:
        return mask
    part = mask[box]
    # a large object is looked at in steps of two voxels, an eighth of the work
    step = tuple(slice(None, None, 2 if n >= LARGE else 1) for n in part.shape)
    coarse, size = part[step], np.array(spacing) * [s.step or 1 for s in step]
    inside = depth_inside(coarse, (FAR, *size[1:]))  # within slices: few and distant ones look like sheets
    neck = NECK * float(inside.max())
    core = inside > neck
    at = [tuple((p - s.start) // (d.step or 1) for p, s, d in zip(place, box, step, strict=True)) for place in places]
    at = [p for p in at if all(0 <= a < n for a, n in zip(p, coarse.shape, strict=True)) and core[p]]
    core = part_at(core, at[0]) if at else largest_part(core)
    if core.all():
        return mask
    near = bic.distance.distance_transform(~core, sampling=tuple(size)) <= neck + max(s.step or 1 for s in step)
    for axis, (s, n) in enumerate(zip(step, part.shape, strict=True)):
        if s.step:
            near = np.repeat(near, s.step, axis).take(np.arange(n), axis)
    result = np.zeros_like(mask)
    result[box] = part & near
    return result


def _under(work: WindowView, k: int, plane: np.ndarray) -> np.ndarray | None:
    """The regions that lie mostly under a painted slice, as coarse or fine as fits it best; None: none fits it."""
    best, found = 0.0, np.zeros(work.shape, bool)
    for prominence in sorted(LEVELS, key=lambda level: abs(level - PROMINENCE)):
        labels = work.regions.labels(prominence)
        size = np.bincount(labels[k].ravel(), minlength=1)
        inside = np.bincount(labels[k][plane], minlength=len(size))
        # the tip of a large neighbour may lie under it, too
        members = np.flatnonzero((inside > 0.5 * size) & (inside > TIP * plane.sum()))
        members = members[members > 0]
        if not len(members):
            continue
        fits = inside[members].sum() / (plane.sum() + (size - inside)[members].sum())
        if fits > best:
            best, found = fits, np.isin(labels, members)
    return found if best >= LEAST else None


def _as_thick_as(work: WindowView, k: int, signed: np.ndarray) -> np.ndarray:
    """What a painted slice (signed distances) that no region fits says itself, within the regions that it lies on."""
    labels = work.regions.labels()
    inside = np.bincount(labels[k][signed > 0], minlength=1)
    members = np.flatnonzero(inside > TIP * inside.sum())
    return rounded({k: signed}, work.shape, work.spacing) & np.isin(labels, members)


def _in_box(work: WindowView, box: Sequence[float]) -> np.ndarray:
    """The regions that lie mostly in a box, at least the one that fits it best, cut off where they reach out of it."""
    high: np.ndarray = np.array(work.place([v - 1 for v in box[3:]]), int) + 1
    low = np.clip(work.place(box[:3]), 0, np.array(work.shape) - 1)
    high = np.clip(high, low + 1, work.shape)
    inside = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    flat = box[3] - box[0] == 1
    labels = work.regions.labels()
    there = np.bincount(labels[inside].ravel(), minlength=1)
    size = np.bincount((labels[inside[0]] if flat else labels).ravel(), minlength=len(there))[: len(there)]
    there[0] = 0
    if not there.any():
        return np.zeros(work.shape, bool)
    members = np.flatnonzero(there > MOSTLY * np.maximum(size, 1))
    best = int((there / (np.prod(high - low) + size - there)).argmax())
    mask = np.isin(labels, np.union1d(members, [best]))
    margin = np.ceil(MARGIN * (high - low)).astype(int)
    kept = [slice(max(int(a - m), 0), int(b + m)) for a, b, m in zip(low, high, margin, strict=True)]
    cut = np.zeros_like(mask)
    cut[tuple(kept)] = True
    if flat:
        cut[np.arange(len(cut)) != inside[0].start] = True
    return mask & cut
