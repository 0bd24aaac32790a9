"""One object through time, starting from the frames in which a user has marked it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from micro_sam.errors import InputError
from micro_sam.segmentation.interpolation import centre_of, interpolate_masks, shifted
from micro_sam.segmentation.prompted.projection import Projection, project_mask, resolve_projection
from micro_sam.segmentation.propagation.motion import MotionModel
from micro_sam.segmentation.propagation.search import is_taken, search_nearby
from micro_sam.segmentation.values import ObjectMask

if TYPE_CHECKING:
    from micro_sam.embeddings.embeddings import Embeddings
    from micro_sam.models.predictor import Predictor

__all__ = ["Daughters", "Division", "TrackStep", "iter_track"]

# On 25 tracks of H2B nuclei (nano_lm, one click in the first frame) 32 % are followed to their end from a perfect first
# mask by the innermost point alone, 28 % with the mask, 16 % by the box; by looking around 76 % from one click.
DEFAULT_PROJECTION = Projection(use_points=True, use_single_point=True)
_DIVIDES = "It seems to divide after frame {}."


Daughters = tuple[ObjectMask, ObjectMask]


@dataclass(frozen=True)
class Division:
    """A division that was found while an object was followed.

    Attributes
    ----------
    daughters : two ObjectMask
        What the object has become.
    whole : ObjectMask
        What it would be if it went on as one; may be empty.
    """

    daughters: Daughters
    whole: ObjectMask


@dataclass(frozen=True)
class TrackStep:
    """What propagation found in one frame.

    Attributes
    ----------
    t : int
        Frame.
    mask : ObjectMask or None
        The object; None where the propagation stopped.
    score : float
        The model's predicted IoU; 0 where there is no mask.
    overlap : float
        Intersection over union with the mask of the frame before, moved by the motion model, or, for an object that
        was found by looking around, by its real displacement; 1 for prompted frames.
    source : "prompt" | "propagated" | "interpolated" | "stop"
        How the mask was made. ``"stop"``: the track ends before this frame; nothing is painted here.
    shift : (dy, dx)
        Displacement in pixels that the motion model expected.
    reason : str
        Of a stop, in one sentence for the user.
    division : Division, optional
        Of a stop at a division that nobody has marked.
    """

    t: int
    mask: ObjectMask | None
    score: float
    overlap: float
    source: Literal["prompt", "propagated", "interpolated", "stop"]
    shift: tuple[float, float] = (0.0, 0.0)
    reason: str = ""
    division: Division | None = None


def iter_track(
    predictor: Predictor,
    embeddings: Embeddings,
    masks: Mapping[int, ObjectMask],
    *,
    stops: Collection[int] = (),
    last: int | None = None,
    iou_threshold: float = 0.5,
    projection: str | Mapping[str, bool] | Projection = "default",
    motion_smoothing: float = 0.5,
    box_extension: float = 0.0,
    backward: bool = False,
    search: bool = True,
    occupied: np.ndarray | None = None,
    divides: Callable[[int, ObjectMask], Daughters | None] | None = None,
) -> Iterator[TrackStep]:
    """Follow one object from the first frame in which it is known, one frame at a time.

    Prompted frames correct the track: their mask replaces what would have been found. After the last prompted frame
    the propagation stops when the overlap is below ``iou_threshold``. A division is two calls: the mother with
    ``last`` at the division's frame, and each daughter from the masks of her own frames.

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
        See :class:`~micro_sam.segmentation.propagation.motion.MotionModel`.
    box_extension : float
        Pixels (>= 1) or fraction (< 1) by which box prompts grow.
    backward : bool
        Start at the last frame that is known and run toward the first frame of the movie.
    search : bool
        Where the overlap is below ``iou_threshold``, look around for an object of the same shape that moved farther
        than expected, before the track ends; see :func:`~micro_sam.segmentation.propagation.search.search_nearby`.
    occupied : (T, H, W) array of integers, optional
        Other tracks that are settled already. A mask that lies mostly on them is not believed: one object is not two.
        Tracks on which ``masks`` lie are not meant: they are being done again.
    divides : callable, optional
        Asked with each frame after the last prompted one, and the object in the frame before: the two objects that it
        has become there, or None; see :func:`~micro_sam.segmentation.divisions.find_division`. The track stops where
        there are two. Not asked backward, where daughters become one.

    Yields
    ------
    TrackStep

    Raises
    ------
    InputError
        Before anything is computed: no mask, an empty mask, frames outside the movie, a mask after ``last`` or after
        a stop.
    """
    mode = resolve_projection(projection, DEFAULT_PROJECTION)
    end = _last_frame(embeddings.n_slices, masks, stops, last, backward)
    motion = MotionModel(motion_smoothing)
    options = (iou_threshold, mode, motion, box_extension, backward, search, occupied, None if backward else divides)
    return _follow(predictor, embeddings, dict(masks), end, *options)


def _last_frame(
    n_frames: int | None, masks: Mapping[int, ObjectMask], stops: Collection[int], last: int | None, backward: bool
) -> int:
    """The frame, in running direction, after which the track must not go on."""
    if n_frames is None:
        raise InputError("These embeddings belong to a single image; a movie is needed to track an object.")
    if not masks:
        raise InputError("There is no object to track: segment it in at least one frame first.")
    empty = sorted(t for t, mask in masks.items() if mask.is_empty)
    if empty:
        raise InputError(f"The object is empty in frame {empty[0]}; segment it there, or leave this frame out.")
    outside = sorted(t for t in (*masks, *stops, *([last] if last is not None else [])) if not 0 <= t < n_frames)
    if outside:
        raise InputError(f"Frame {outside[0]} is not in the movie, which has the frames 0 to {n_frames - 1}.")
    begin, end = (max(masks), 0) if backward else (min(masks), n_frames - 1)
    final = min(masks) if backward else max(masks)
    direction = -1 if backward else 1
    ends = [t - direction for t in stops if (t - begin) * direction > 0]
    ends += [last] if last is not None else []
    end = min([end, *ends], key=lambda t: t * direction)
    if (final - end) * direction > 0:
        raise InputError(
            f"The track ends with frame {end} (a stop or a division), but it has prompts in frame {final}. Remove "
            "these prompts, or give them to another track."
        )
    return end


def _follow(
    predictor: Predictor,
    embeddings: Embeddings,
    masks: dict[int, ObjectMask],
    end: int,
    iou_threshold: float,
    mode: Projection,
    motion: MotionModel,
    box_extension: float,
    backward: bool,
    search: bool,
    occupied: np.ndarray | None,
    divides: Callable[[int, ObjectMask], Daughters | None] | None,
) -> Iterator[TrackStep]:
    direction = -1 if backward else 1
    prompted = sorted(masks, reverse=backward)
    begin, mask = prompted[0], masks[prompted[0]]
    redone = _tracks_under(masks, occupied)
    known = begin  # last frame with a mask that can be trusted
    motion.update(begin, centre_of(mask))
    yield TrackStep(begin, mask, mask.score, 1.0, "prompt")
    for t in range(begin + direction, end + direction, direction):
        gap = abs(t - known)
        shift = motion.shift(gap)
        if t in masks:
            found = TrackStep(t, masks[t], masks[t].score, 1.0, "prompt", shift)
        else:
            others = None if occupied is None else np.where(np.isin(occupied[t], redone), 0, occupied[t])
            result, overlap = project_mask(predictor, embeddings, t, mask, mode, shift, box_extension)
            if is_taken(result, others):
                result, overlap = ObjectMask.from_array(np.zeros((0, 0), bool)), 0.0
            if search and overlap < iou_threshold:
                nearby, likeness = search_nearby(predictor, embeddings, t, mask, shift, known, others)
                if likeness > overlap:
                    result, overlap = nearby, likeness
            if divides is not None and t > prompted[-1] and (two := divides(t, mask)) is not None:
                yield TrackStep(t, None, 0.0, overlap, "stop", shift, _DIVIDES.format(t - 1), Division(two, result))
                return
            found = TrackStep(t, result, result.score, overlap, "propagated", shift)
            if result.is_empty or overlap < iou_threshold:
                if (prompted[-1] - t) * direction > 0:
                    continue  # lost before a frame that is known: bridged from where it is found again
                yield TrackStep(t, None, 0.0, overlap, "stop", shift, _why_stopped(t, result, overlap, iou_threshold))
                return
        assert found.mask is not None  # a track that stops has ended above
        yield from _bridge(known, mask, t, found.mask, embeddings.grid.shape)
        yield found
        known, mask = t, found.mask
        motion.update(t, centre_of(mask))


def _tracks_under(masks: Mapping[int, ObjectMask], occupied: np.ndarray | None) -> list[int]:
    """Settled tracks that hold most of a mask that the user made."""
    if occupied is None:
        return []
    under = [np.bincount(occupied[t][mask.slices][mask.mask]) for t, mask in masks.items()]
    return sorted({int(counts.argmax()) for counts in under if counts.argmax() and 2 * counts.max() > counts.sum()})


def _bridge(a: int, mask_a: ObjectMask, b: int, mask_b: ObjectMask, shape: tuple[int, int]) -> Iterator[TrackStep]:
    """Interpolate the frames (if any) in which the model lost an object that is known again in frame ``b``."""
    direction = 1 if b > a else -1
    before = mask_a
    for t in range(a + direction, b, direction):
        mask = interpolate_masks(mask_a, mask_b, (t - a) / (b - a), shape)
        moved = shifted(before, tuple(centre_of(mask) - centre_of(before)), shape)
        yield TrackStep(
            t, mask, mask.score, mask.iou(moved), "interpolated", tuple(centre_of(mask) - centre_of(before))
        )
        before = mask


def _why_stopped(t: int, found: ObjectMask, overlap: float, iou_threshold: float) -> str:
    if found.is_empty:
        return f"Stopped at frame {t}: the model does not find the object there."
    return f"Stopped at frame {t}: the overlap with the expected mask is {overlap:.2f}, below {iou_threshold:.2f}."
