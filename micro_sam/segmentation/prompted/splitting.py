"""All prompts of a slice, taken apart into objects and checked against the image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from micro_sam.errors import InputError
from micro_sam.models.sizes import Box
from micro_sam.segmentation.prompted.objects import ObjectPrompt
from micro_sam.segmentation.values import ObjectMask, Prompts


def split_prompts(
    prompts: Prompts,
    shape: tuple[int, int],
    batched: bool = False,
    previous: Sequence[ObjectMask] | None = None,
) -> list[ObjectPrompt]:
    """The prompts of each object of a slice (H, W); see :func:`prompted.segment_objects` for rules and parameters."""
    points, labels = check_points(prompts.points, shape), prompts.labels
    boxes = [check_box(box, shape) for box in prompts.boxes]
    if not boxes and not (labels == 1).any():
        what = "There are only negative points" if len(points) else "There are no prompts"
        raise InputError(f"{what}: place a positive point or draw a box on the object.")
    masks = prompts.masks or (None,) * len(boxes)
    negative = points[labels == 0]
    positive = points[labels == 1]

    objects, taken = [], np.zeros(len(positive), bool)
    for box, mask in zip(boxes, masks, strict=True):
        inside = ((positive >= box[:2] - 0.5) & (positive <= box[2:])).all(1)
        if len(boxes) == 1 and not batched:
            inside[:] = True
        taken |= inside
        objects.append(_prompt(positive[inside], negative, box, mask))
    free = positive[~taken]
    if batched:
        objects += [_prompt(point[None], negative) for point in free]
    elif len(free):
        objects.append(_prompt(free, negative))
    known = list(previous or ())
    if len(known) != len(objects):
        return objects
    return [_with_previous(prompt, mask) for prompt, mask in zip(objects, known, strict=True)]


def check_points(points: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """The points (n, 2) as they are; InputError when one lies outside the image (H, W)."""
    outside = ((points < -0.5) | (points > np.array(shape) - 0.5)).any(1)
    if outside.any():
        y, x = points[outside][0]
        raise InputError(
            f"The point (y={y:g}, x={x:g}) lies outside the image, which has {shape[0]} x {shape[1]} pixels (y, x). "
            "Move it onto the image or remove it."
        )
    return points


def check_box(box: np.ndarray | Box, shape: tuple[int, int], extension: float = 0.0) -> np.ndarray:
    """A box (y0, x0, y1, x1) with sorted corners, grown, and cut at the border of the image.

    Parameters
    ----------
    box : (4,)
        Corners in any order.
    shape : (H, W)
    extension : float
        Growth on every side: 1 or more are pixels, less than 1 is a fraction of the box.

    Raises
    ------
    InputError
        When the box has no area or lies outside the image.
    """
    box = np.asarray(box, "float64").reshape(-1)
    if box.shape != (4,) or not np.isfinite(box).all():
        raise InputError(f"A box must be four finite numbers (y0, x0, y1, x1), got {box.tolist()}.")
    if extension < 0:
        raise InputError(f"The box extension must not be negative, got {extension:g}.")
    low, high = np.minimum(box[:2], box[2:]), np.maximum(box[:2], box[2:])
    name = "({:g}, {:g}, {:g}, {:g})".format(*low, *high)
    if (high - low <= 0).any():
        raise InputError(f"The box {name} has no area: draw it around the object.")
    grow = extension if extension >= 1 else extension * (high - low)
    low, high = np.maximum(low - grow, 0), np.minimum(high + grow, shape)
    if (high - low <= 0).any():
        raise InputError(f"The box {name} lies outside the image, which has {shape[0]} x {shape[1]} pixels (y, x).")
    return np.concatenate([low, high])


def _prompt(
    positive: np.ndarray, negative: np.ndarray, box: np.ndarray | None = None, mask: ObjectMask | None = None
) -> ObjectPrompt:
    labels = np.array([1] * len(positive) + [0] * len(negative), "int64")
    return ObjectPrompt(np.concatenate([positive, negative]), labels, box=box, mask=mask)


def _with_previous(prompt: ObjectPrompt, previous: ObjectMask | None) -> ObjectPrompt:
    if previous is None or previous.is_empty or prompt.is_single_click or len(prompt.points) == 0:
        return prompt
    return ObjectPrompt(prompt.points, prompt.labels, prompt.box, prompt.mask, previous)
