"""A mask in one slice becomes the prompts of the next.

The step that volumes and tracks share: derive prompts from where the object was, decode them on the features of the
neighbouring slice or frame, and choose the answer that is most like what the object looked like.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from micro_sam.errors import InputError
from micro_sam.segmentation.interpolation import shifted
from micro_sam.segmentation.prompt_generators import points_from_mask
from micro_sam.segmentation.prompted.close_ups import GAIN, segment_object
from micro_sam.segmentation.prompted.objects import ObjectPrompt
from micro_sam.segmentation.prompted.splitting import check_box
from micro_sam.segmentation.values import ObjectMask

if TYPE_CHECKING:
    from micro_sam.embeddings.embeddings import Embeddings
    from micro_sam.models.predictor import Predictor

__all__ = ["PROJECTION_MODES", "Projection", "project_mask", "prompt_from_mask", "resolve_projection"]

PROJECTION_MODES = ("box", "mask", "points", "points_and_mask", "single_point")


@dataclass(frozen=True)
class Projection:
    """Which prompts are derived from a mask."""

    use_box: bool = False
    use_mask: bool = False
    use_points: bool = False
    use_single_point: bool = False


_MODES = {
    "box": Projection(use_box=True),
    "mask": Projection(use_box=True, use_mask=True),
    "points": Projection(use_points=True),
    "points_and_mask": Projection(use_points=True, use_mask=True),
    "single_point": Projection(use_points=True, use_single_point=True),
}


def resolve_projection(projection: str | Mapping[str, bool] | Projection, default: Projection) -> Projection:
    """The prompts behind the name of a projection mode.

    Parameters
    ----------
    projection : str or mapping
        One of :data:`PROJECTION_MODES`, ``"default"``, or a mapping with the keys ``use_box``, ``use_mask``,
        ``use_points`` and ``use_single_point``.
    default : Projection
        What ``"default"`` means.

    Raises
    ------
    InputError
        If there is no such mode, or the mapping asks for no prompt at all.
    """
    if isinstance(projection, Projection):
        return projection
    if isinstance(projection, Mapping):
        unknown = set(projection) - set(Projection.__dataclass_fields__)
        if unknown or not any(projection.values()):
            raise InputError(
                "A projection given as a mapping needs at least one true value among use_box, use_mask, use_points and "
                f"use_single_point; got {dict(projection)}."
            )
        given = {key: bool(value) for key, value in projection.items()}
        return Projection(**given | {"use_points": given.get("use_points") or given.get("use_single_point", False)})
    if projection == "default":
        return default
    if projection not in _MODES:
        raise InputError(f'The projection is "default" or one of {", ".join(PROJECTION_MODES)}, not {projection!r}.')
    return _MODES[projection]


def project_mask(
    predictor: Predictor,
    embeddings: Embeddings,
    i: int,
    mask: ObjectMask,
    projection: Projection,
    shift: tuple[float, float] = (0.0, 0.0),
    box_extension: float = 0.0,
    close_up_gain: float = GAIN,
) -> tuple[ObjectMask, float]:
    """Find in slice ``i`` the object that had ``mask`` in a neighbouring slice.

    Parameters
    ----------
    predictor : Predictor
    embeddings : Embeddings
    i : int
        Slice or frame to segment.
    mask : ObjectMask
        The object in the neighbouring slice; not empty.
    projection : Projection
    shift : (dy, dx)
        Expected displacement in pixels.
    box_extension : float
        Pixels (>= 1) or fraction of the box (< 1) by which the box prompt grows on every side.
    close_up_gain : float
        See :func:`segment_object`.

    Returns
    -------
    mask : ObjectMask
        Empty if the model finds nothing, or the object is expected outside the image.
    overlap : float
        Intersection over union with the shifted ``mask``.
    """
    expected = shifted(mask, shift, embeddings.grid.shape)
    if expected.is_empty:
        return expected, 0.0
    prompt = prompt_from_mask(expected, projection, embeddings.grid.shape, box_extension)
    # The last outline tells which of the model's three answers is meant, the part or the whole.
    found = segment_object(
        predictor,
        embeddings,
        i,
        prompt,
        multimask=not projection.use_box,
        choose=lambda answers: max(answers, key=expected.iou),
        gain=close_up_gain,
    )
    return found, found.iou(expected)


def prompt_from_mask(
    mask: ObjectMask, projection: Projection, shape: tuple[int, int], box_extension: float = 0.0
) -> ObjectPrompt:
    """The prompts that describe an object by its mask.

    Parameters
    ----------
    mask : ObjectMask
        Not empty.
    projection : Projection
        Which prompts are derived: the box, the mask itself, points inside and around it.
    shape : (H, W)
        Of the slice. Points beyond its border are left out, the box is cut there.
    box_extension : float
        Growth of the box on every side: 1 or more are pixels, less than 1 is a fraction of the box.
    """
    prompt = ObjectPrompt()
    if projection.use_points:
        points, labels = points_from_mask(mask.mask, single=projection.use_single_point)
        points = points + mask.box[:2]
        inside = ((points >= -0.5) & (points <= np.array(shape) - 0.5)).all(1)
        prompt = replace(prompt, points=points[inside], labels=labels[inside])
    if projection.use_box:
        prompt = replace(prompt, box=check_box(mask.box, shape, box_extension))
    if projection.use_mask:
        # The mask is drawn anew: the model's own logits of the slice before, fed back from slice to slice, drift (mean
        # 3D IoU from one click 0.04 and 0.10 on two sets of nuclei with nano_lm, drawn 0.11 and 0.24).
        prompt = replace(prompt, mask=mask)
    return prompt
