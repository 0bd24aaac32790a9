"""Prompts of a slice -> objects.

``segment_objects`` is what the annotators call: all prompts of a slice, one object per box or click. The four
``segment_from_*`` functions of the public library are in ``single_object.py``, on the same code.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from micro_sam.embeddings.embeddings import as_embeddings
from micro_sam.segmentation.prompted.close_ups import segment_object
from micro_sam.segmentation.prompted.splitting import split_prompts
from micro_sam.segmentation.values import ObjectMask, Prompts

if TYPE_CHECKING:
    from micro_sam.embeddings.embeddings import EmbeddingsLike
    from micro_sam.models.predictor import Predictor

__all__ = ["segment_objects"]


def segment_objects(
    predictor: Predictor,
    prompts: Prompts,
    embeddings: EmbeddingsLike,
    i: int | None = None,
    *,
    batched: bool = False,
    previous: Sequence[ObjectMask] | None = None,
) -> list[ObjectMask]:
    """Segment the objects that the prompts of a slice stand for.

    - Each box is one object. Positive points refine the box they lie in, negative points act on every box. With a
      single box, positive points outside of it belong to it too.
    - With several boxes, positive points outside all of them are objects of their own, after those of the boxes.
    - Without boxes all points are one object, or with ``batched`` each positive point is one; the negative points act
      on every object.

    An object that crosses tiles is complete. Of a mask in several parts those that hold a positive click are kept.

    Parameters
    ----------
    predictor : Predictor
    prompts : Prompts
        Points (y, x) and boxes (y0, x0, y1, x1) in pixels of the slice.
    embeddings : Embeddings
        Or anything that ``as_embeddings`` takes.
    i : int, optional
        Slice; None for a 2D image.
    batched : bool
        One object for each positive point.
    previous : sequence of ObjectMask, optional
        The objects that the same prompts gave before the last correction, in the same order. They serve as mask
        prompts. When their number differs from that of the objects, they are not used.

    Returns
    -------
    list of ObjectMask
        An object may be empty, when the model finds nothing.

    Raises
    ------
    InputError
        For a point or box outside the image, a box without area, or when there is nothing to segment.
    NotComputedYet
        When the features of the slice or tile are not there yet.
    """
    embeddings = as_embeddings(embeddings)
    objects = split_prompts(prompts, embeddings.grid.shape, batched, previous)
    return [clicked_parts(segment_object(predictor, embeddings, i, prompt), prompt.positive) for prompt in objects]


def clicked_parts(mask: ObjectMask, clicks: np.ndarray) -> ObjectMask:
    """The connected parts of a mask that hold a click; the whole mask when none does.

    Small models answer with scattered islands besides the object; a user who wants another part clicks it. On 65
    objects of validation images (starting weights of nano_lm) this raised the mean IoU from 0.638 to 0.651 after one
    click, from 0.637 to 0.684 after one correction and from 0.647 to 0.712 after two.

    Parameters
    ----------
    mask : ObjectMask
    clicks : (n, 2)
        Positive points (y, x) in the frame of the slice.
    """
    if mask.is_empty or len(clicks) == 0:
        return mask
    parts, n = ndimage.label(mask.mask)
    inside = np.rint(clicks).astype(int) - mask.box[:2]
    inside = inside[((inside >= 0) & (inside < mask.mask.shape)).all(1)]
    wanted = np.setdiff1d(parts[tuple(inside.T)], [0])
    if len(wanted) in (0, n):
        return mask
    kept = ObjectMask.from_array(np.isin(parts, wanted), mask.score, mask.logits, mask.tile, mask.box[:2])
    return replace(kept, cut_at=mask.cut_at)
