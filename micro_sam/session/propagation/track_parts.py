"""What is planned for the tracks of a movie, and the generator that follows them; any thread may drive it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from micro_sam.errors import InputError
from micro_sam.segmentation.values import ObjectMask
from micro_sam.session.current_tracks import CurrentTrack
from micro_sam.session.prompts import PromptSet
from micro_sam.session.propagation.shared import PropagationStep
from micro_sam.session.requests import FrameRequest, compute
from micro_sam.session.state import State
from micro_sam.session.values import Anchors

if TYPE_CHECKING:
    from micro_sam.segmentation.propagation.tracking import TrackStep

_MEMORY = 4  # frames before a correction that tell the motion model how the object moved


@dataclass(frozen=True, eq=False)
class TrackPart:
    """One track of a propagation.

    Attributes
    ----------
    label
        Its label in `current`.
    known
        Frame -> mask, where it is decided, and in some frames before a correction.
    stops
        Frames in which the object is said to be absent.
    begin, last
        First and last frame it may have.
    again
        First frame that is done again; what lies before stays.
    backward
        Whether it is followed backward, from its first known frame to `begin`.
    """

    label: int
    known: Mapping[int, ObjectMask]
    stops: tuple[int, ...]
    begin: int
    last: int | None
    again: int
    backward: bool


@dataclass(frozen=True, eq=False)
class TrackRequest:
    """Everything that is needed to follow current tracks through the movie."""

    parts: tuple[TrackPart, ...]
    pending: tuple[FrameRequest, ...]
    n_frames: int
    options: Mapping[str, Any]
    prompts: PromptSet
    epoch: int
    predictor: Any = field(repr=False)
    embeddings: Any = field(repr=False)
    occupied: np.ndarray | None = field(default=None, repr=False)  # committed tracks, which are not taken again

    @property
    def total(self) -> int:
        """Most steps it can take, for a progress bar."""
        steps = (self.n_frames - (part.begin if part.backward else part.again) for part in self.parts)
        return len(self.pending) + sum(steps)


def plan_parts(
    state: State,
    shown: Mapping[int, Mapping[int, ObjectMask]],
    track_ids: Iterable[int] | None,
    backward: bool,
) -> tuple[TrackPart, ...]:
    """What is to be done for each track.

    Parameters
    ----------
    shown
        Frame -> label -> mask, as `current` shows them.
    track_ids
        Tracks to follow; None: those that changed since the last propagation, or all.
    """
    asked = sorted(state.current_tracks) if track_ids is None else sorted(set(track_ids))
    unknown = [label for label in asked if label not in state.current_tracks]
    if unknown:
        raise InputError(f"There is no current track {unknown[0]}. Click on its object first.")
    plans = [_plan_part(state, shown, state.current_tracks[label], backward) for label in asked]
    found = [(part, changed) for part, changed in (plan for plan in plans if plan is not None)]
    if not found:
        raise InputError("There is no object to track. Click on it in one frame, or draw a box around it there.")
    if track_ids is None and any(changed for _, changed in found):
        found = [(part, changed) for part, changed in found if changed]
    return tuple(part for part, _ in found)


def run_tracks(request: TrackRequest) -> Iterator[PropagationStep]:
    """Follow the tracks of a request, mothers before daughters."""
    known = {part.label: dict(part.known) for part in request.parts}
    for frame in request.pending:
        result = compute(frame)
        for label, mask in zip(frame.labels, result.masks, strict=True):
            if label in known and not mask.is_empty:
                known[label][frame.z] = mask
        yield PropagationStep(request, 0, frame.z, source="prompt", answer=(result, frame.labels))
    if not any(known.values()):
        raise InputError("The model finds no object at the prompts. Click nearer to its centre, or draw a box.")
    for part in request.parts:
        if known[part.label]:
            yield from _run_part(request, part, known[part.label])


# ---------------------------------------------------------------------- inside


def _plan_part(
    state: State, shown: Mapping[int, Mapping[int, ObjectMask]], track: CurrentTrack, backward: bool
) -> tuple[TrackPart, bool] | None:
    """The part of one track and whether it changed since the last propagation; None when nothing of it is decided."""
    mine = state.prompts.of_track(track.id)
    painted = {t for t in state.painted if track.id in shown.get(t, {})}
    decided = {t for t in mine.slices if mine.in_slice(t).has_positive} | painted
    decided = {t for t in decided if t >= track.begin and (track.last is None or t <= track.last)}
    if not decided:
        return None
    stops = tuple(t for t in mine.slices if mine.in_slice(t).is_stop)
    _check_stops(track.id, stops, decided)
    changed = _changed_frames(state, track.id, painted)
    existing = sorted(t for t in shown if track.id in shown[t])
    again = min(decided)
    if changed:
        before = [t for t in existing if t < changed[0]]
        again = before[-1] + 1 if before else min(changed[0], *decided)
        known = {t: shown[t][track.id] for t in _run_up(before)}
    else:
        known = {}
    known |= {t: shown[t][track.id] for t in decided if t >= again and track.id in shown.get(t, {})}
    first = min([*known, *(t for t in decided if t >= again)])
    backward = (
        (backward or track.parent is not None or track.begin > 0)
        and first > track.begin
        and not (changed and first < again)
    )
    return TrackPart(track.id, known, stops, track.begin, track.last, again, backward), changed is None or bool(changed)


def _changed_frames(state: State, label: int, painted_here: Collection[int]) -> tuple[int, ...] | None:
    """Frames in which something else decides a track than at the last propagation; None when there was none."""
    anchors = state.anchors
    if anchors is None:
        return None
    before, now = (
        {t: number for t, number in strokes.items() if t in painted_here}
        for strokes in (anchors.painted, state.painted)
    )
    return Anchors(anchors.prompts.of_track(label), before).changed_slices(state.prompts.of_track(label), now)


def _run_up(frames: list[int]) -> list[int]:
    """The last few frames before a correction, as far as they follow each other."""
    found: list[int] = []
    for t in reversed(frames):
        if found and found[-1] - t != 1 or len(found) == _MEMORY:
            break
        found.append(t)
    return found


def _check_stops(label: int, stops: Iterable[int], decided: Collection[int]) -> None:
    for stop in stops:
        later = [t for t in decided if t > stop]
        if min(decided) < stop and later:
            raise InputError(
                f"Frame {stop} says that track {label} has ended (only a negative point), but it has prompts in frame "
                f"{min(later)}. Remove the negative point, or the prompts after it."
            )


def _run_part(request: TrackRequest, part: TrackPart, masks: dict[int, ObjectMask]) -> Iterator[PropagationStep]:
    from micro_sam.segmentation.propagation.tracking import iter_track

    several = len(request.parts) > 1

    def as_step(step: TrackStep) -> PropagationStep:
        reason = f"Track {part.label}: {step.reason}" if step.reason and several else step.reason
        values = (step.mask, step.score, step.overlap, step.source, reason)
        return PropagationStep(request, part.label, step.t, *values, division=step.division)

    reached: dict[int, ObjectMask] = {}
    options = {key: value for key, value in request.options.items() if key != "divisions"}
    options["occupied"] = request.occupied
    divides = None
    if request.options["divisions"]:
        from micro_sam.segmentation.divisions import find_division

        divides = partial(find_division, request.predictor, request.embeddings)
    forward = iter_track(
        request.predictor, request.embeddings, masks, stops=part.stops, last=part.last, divides=divides, **options
    )
    for step in forward:
        if step.mask is not None and not step.mask.is_empty:
            reached[step.t] = step.mask
        if step.t >= part.again:
            yield as_step(step)
    again = range(part.again, request.n_frames)
    yield PropagationStep(request, part.label, -1, source="end", done_again=again, reached=frozenset(reached))
    first = min(masks)
    if not part.backward or first <= part.begin:
        return
    seed = {t: reached[t] for t in sorted(reached)[:_MEMORY]}
    found: set[int] = set()
    stops = [t for t in part.stops if t < first]
    for step in iter_track(
        request.predictor, request.embeddings, seed, stops=stops, last=part.begin, backward=True, **options
    ):
        if step.t not in seed:
            if step.mask is not None and not step.mask.is_empty:
                found.add(step.t)
            yield as_step(step)
    again = range(part.begin, first)
    yield PropagationStep(request, part.label, -1, source="end", done_again=again, reached=frozenset(found))
