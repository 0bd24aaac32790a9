"""One object through time, starting from the frames in which a person has marked it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from micro_sam.segmentation.projection import Projection
from micro_sam.segmentation.values import ObjectMask

__all__ = ["TrackStep", "iter_track"]


@dataclass(frozen=True)
class TrackStep:
    """What a run found in one frame.

    Attributes
    ----------
    t : int
        Frame.
    mask : ObjectMask or None
        The object; None where the run stopped.
    score : float
        The model's predicted IoU; 0 where there is no mask.
    overlap : float
        Intersection over union with the mask of the frame before, moved by the motion model; 1 for prompted frames.
    source : "prompt" | "propagated" | "interpolated" | "stop"
        How the mask was made. ``"stop"``: the track ends before this frame; nothing is painted here.
    shift : (dy, dx)
        Displacement in pixels that the motion model expected.
    reason : str
        Of a stop, in one sentence for the person.
    """

    t: int
    mask: ObjectMask | None
    score: float
    overlap: float
    source: Literal["prompt", "propagated", "interpolated", "stop"]
    shift: tuple[float, float] = (0.0, 0.0)
    reason: str = ""


def iter_track(
    predictor,
    embeddings,
    masks: Mapping[int, ObjectMask],
    *,
    stops: Collection[int] = (),
    last: int | None = None,
    iou_threshold: float = 0.5,
    projection: str | Mapping[str, bool] | Projection = "default",
    motion_smoothing: float = 0.5,
    box_extension: float = 0.0,
    backward: bool = False,
) -> Iterator[TrackStep]:
    """Follow one object from the first frame in which it is known, one frame at a time.

    Prompted frames correct the track: their mask replaces what would have been found. After the last prompted frame
    the run stops when the overlap is below ``iou_threshold``. A division is two calls: the mother with ``last`` at the
    division's frame, and each daughter from the masks of her own frames.

    Parameters
    ----------
    predictor : Predictor
    embeddings : Embeddings
        Features of the movie; all frames that are reached must be complete.
    masks : mapping of int to ObjectMask
        Frame -> the object there. At least one; none empty.
    stops : collection of int
        Frames in which the object is said to be absent: the track ends before the first one after it began.
    last : int, optional
        Last frame of the track (included), for a mother the frame of her division. With ``backward`` the earliest one.
    iou_threshold : float
    projection : str
        One of ``PROJECTION_MODES``, or ``"default"``.
    motion_smoothing : float
        See :class:`~micro_sam.segmentation.motion.MotionModel`.
    box_extension : float
        Pixels (>= 1) or fraction (< 1) by which box prompts grow.
    backward : bool
        Start at the last frame that is known and run toward the first frame of the movie.

    Yields
    ------
    TrackStep

    Raises
    ------
    InputError
        Before anything is computed: no mask, an empty mask, frames outside the movie, a mask after ``last`` or after
        a stop.
    """
    raise NotImplementedError
