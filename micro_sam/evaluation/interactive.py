"""Interactive segmentation by a simulated user.

The user clicks the innermost pixel of an object, or draws its box, looks at the mask, and clicks the innermost pixel
of the largest region that is wrong; the model is given its own last answer as mask prompt. This is the protocol of
Segment Anything (Kirillov et al. 2023, appendix D) and of RITM (Sofiiuk et al. 2021).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy import ndimage
from skimage.measure import regionprops

from micro_sam.errors import InputError
from micro_sam.io.label_arrays import consecutive_ids
from micro_sam.segmentation.prompt_generators import innermost
from micro_sam.segmentation.prompted.objects import crop
from micro_sam.segmentation.prompted.segment import segment_objects
from micro_sam.segmentation.values import ObjectMask, Prompts

if TYPE_CHECKING:
    from micro_sam.embeddings.embeddings import Embeddings
    from micro_sam.models.predictor import Predictor

__all__ = ["Trial", "evaluate_image", "next_click", "simulate"]

Start = Literal["point", "box"]
Segment = Callable[..., list[ObjectMask]]


@dataclass(frozen=True)
class Trial:
    """One object, segmented step by step.

    Attributes
    ----------
    label : int
        In the truth.
    start : "point" or "box"
    ious : tuple of float
        After the first prompt, after one correcting click, after two, ...
    """

    label: int
    start: Start
    ious: tuple[float, ...]


def next_click(truth: ObjectMask, found: ObjectMask) -> tuple[tuple[int, int], int] | None:
    """Where a user would click next: the innermost pixel of the largest region that is missing or too much.

    Returns
    -------
    (y, x), label
        Label 1 where something is missing, 0 where something is too much. None when nothing is wrong.
    """
    boxes = np.array([one.box for one in (truth, found) if not one.is_empty])
    area = slice(boxes[:, 0].min(), boxes[:, 2].max()), slice(boxes[:, 1].min(), boxes[:, 3].max())
    wanted, there = crop(truth, *area), crop(found, *area)
    best, size = None, 0
    for wrong, label in ((wanted & ~there, 1), (there & ~wanted, 0)):
        regions, n = ndimage.label(wrong)
        if n == 0:
            continue
        sizes = np.bincount(regions.ravel())
        sizes[0] = 0
        largest = int(sizes.argmax())
        if sizes[largest] > size:
            y, x = innermost(regions == largest)
            best, size = ((y + area[0].start, x + area[1].start), label), int(sizes[largest])
    return best


def simulate(
    predictor: Predictor,
    embeddings: Embeddings,
    truth: ObjectMask,
    start: Start = "point",
    n_corrections: int = 2,
    i: int | None = None,
    label: int = 1,
    segment: Segment = segment_objects,
) -> Trial:
    """Segment one object as a user would, with some corrections.

    Parameters
    ----------
    predictor : Predictor
    embeddings : Embeddings
    truth : ObjectMask
        Not empty.
    start : "point" or "box"
        The first prompt.
    n_corrections : int
        Clicks after it.
    i : int, optional
        Slice of 3D embeddings.
    label : int
        Noted in the result.
    segment : callable
        ``segment(predictor, prompts, embeddings, i, previous=...)``, for trying variants.
    """
    if start not in ("point", "box"):
        raise InputError(f'The first prompt is a "point" or a "box", not {start!r}.')
    if truth.is_empty:
        raise InputError("The object to be segmented is empty.")
    y, x = innermost(truth.mask)
    points = [(y + truth.box[0], x + truth.box[1])] if start == "point" else []
    labels = [1] * len(points)
    boxes = [truth.box] if start == "box" else []
    found: ObjectMask | None = None
    ious: list[float] = []
    for step in range(n_corrections + 1):
        if found is not None:
            click = next_click(truth, found)
            if click is None:
                ious += [ious[-1]] * (n_corrections + 1 - step)
                break
            points.append(click[0])
            labels.append(click[1])
        prompts = Prompts(points=np.array(points), labels=np.array(labels), boxes=np.array(boxes))
        found = segment(predictor, prompts, embeddings, i, previous=None if found is None else [found])[0]
        ious.append(found.iou(truth))
    return Trial(label, start, tuple(ious))


def evaluate_image(
    predictor: Predictor,
    embeddings: Embeddings,
    labels: np.ndarray,
    start: Start = "point",
    n_corrections: int = 2,
    i: int | None = None,
    max_objects: int | None = None,
    min_size: int = 10,
    seed: int = 0,
    segment: Segment = segment_objects,
) -> Iterator[Trial]:
    """Segment the objects of a slice one by one; yields a trial for each.

    Parameters
    ----------
    labels : (H, W) integer
        The truth.
    max_objects : int, optional
        Draw this many at random (the same for the same seed).
    min_size : int
        Pixels; smaller objects are left out.

    Other parameters are those of :func:`simulate`.
    """
    small, ids = consecutive_ids(np.asarray(labels))
    objects = [one for one in regionprops(small) if one.area >= min_size]
    if max_objects is not None and len(objects) > max_objects:
        selected = np.random.default_rng(seed).permutation(len(objects))[:max_objects]
        objects = [objects[k] for k in sorted(selected)]
    for one in objects:
        truth = ObjectMask(tuple(one.bbox), one.image)
        yield simulate(predictor, embeddings, truth, start, n_corrections, i, int(ids[one.label - 1]), segment)
