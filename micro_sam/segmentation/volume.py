"""One object through a volume, starting from the slices in which a person has marked it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from micro_sam.errors import InputError
from micro_sam.segmentation.interpolation import interpolate_masks, union
from micro_sam.segmentation.projection import PROJECTION_MODES, Projection, project_mask, resolve_projection
from micro_sam.segmentation.values import ObjectMask

__all__ = ["PROJECTION_MODES", "SliceStep", "iter_propagate_volume", "segment_mask_in_volume"]

Source = Literal["prompt", "propagated", "interpolated", "stop"]
Interpolation = Literal["never", "lost", "always"]


@dataclass(frozen=True)
class SliceStep:
    """What a run found in one slice.

    Attributes
    ----------
    z : int
        Slice.
    mask : ObjectMask or None
        The object; None where the run stopped.
    score : float
        The model's predicted IoU; 0 where there is no mask.
    overlap : float
        Intersection over union with the neighbouring slice it came from; 1 for prompted slices.
    source : "prompt" | "propagated" | "interpolated" | "stop"
        How the mask was made. ``"stop"``: the object ends before this slice; nothing is painted here.
    reason : str
        Of a stop, in one sentence for the person.
    """

    z: int
    mask: ObjectMask | None
    score: float
    overlap: float
    source: Source
    reason: str = ""


def iter_propagate_volume(
    predictor,
    embeddings,
    masks: Mapping[int, ObjectMask],
    *,
    stops: Collection[int] = (),
    iou_threshold: float = 0.8,
    projection: str | Mapping[str, bool] | Projection = "default",
    box_extension: float = 0.0,
    interpolation: Interpolation = "lost",
    z_range: tuple[int, int] | None = None,
) -> Iterator[SliceStep]:
    """Extend an object from the slices where it is known to the rest of the volume, one slice at a time.

    The prompted slices come first, then the gaps between them, which are filled from both sides (the middle slice of
    an even gap from the union of both), then the slices above and below, until the overlap of two slices is below
    ``iou_threshold``. Closing the generator cancels the run; what was yielded stays valid.

    Parameters
    ----------
    predictor : Predictor
    embeddings : Embeddings
        Features of the volume; all slices that are reached must be complete.
    masks : mapping of int to ObjectMask
        Slice -> the object there (from prompts, or painted). At least one; none empty.
    stops : collection of int
        Slices in which the object is said to be absent. They must lie outside the range of ``masks``.
    iou_threshold : float
        Outward runs stop at the first slice whose overlap with the slice before is lower.
    projection : str
        One of :data:`PROJECTION_MODES`, or ``"default"``.
    box_extension : float
        Pixels (>= 1) or fraction (< 1) by which box prompts grow.
    interpolation : "never" | "lost" | "always"
        In gaps: never interpolate shapes, where the model loses the object, or everywhere (no model is asked).
    z_range : (int, int), optional
        First and last slice (both included) that a run may reach.

    Yields
    ------
    SliceStep

    Raises
    ------
    InputError
        Before anything is computed: no mask, an empty mask, slices outside the volume, a stop between two masks.
    """
    mode = resolve_projection(projection)
    lower, upper = _bounds(embeddings.n_slices, masks, stops, z_range)
    if interpolation not in ("never", "lost", "always"):
        raise InputError(f'The interpolation is "never", "lost" or "always", not {interpolation!r}.')
    return _propagate(
        predictor, embeddings, dict(masks), lower, upper, iou_threshold, mode, box_extension, interpolation
    )


def segment_mask_in_volume(
    segmentation: np.ndarray,
    predictor,
    image_embeddings,
    segmented_slices: np.ndarray,
    stop_lower: bool,
    stop_upper: bool,
    iou_threshold: float,
    projection: str | Mapping[str, bool],
    update_progress: Callable[[int], None] | None = None,
    box_extension: float = 0.0,
    verbose: bool = False,
) -> tuple[np.ndarray, tuple[int, int]]:
    """Extend an object from some slices to the volume; see :func:`iter_propagate_volume`, which it drives."""
    raise NotImplementedError
