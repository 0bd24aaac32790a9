"""A session on a movie: objects followed through time, divisions, and committed lineages.

Frames are what slices are in a volume, and `current` holds one label per track at work. The mask of every frame
belongs to a track; prompts say which one (:mod:`~micro_sam.session.track_prompts`). Committed tracks and their lineage
always agree with the committed labels (:mod:`~micro_sam.session.tracks`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from psygnal import Signal

from micro_sam.errors import InputError
from micro_sam.segmentation.values import Prompts
from micro_sam.session import current, tracks
from micro_sam.session.commands import Changes, Draft
from micro_sam.session.journal.restoring import Restored
from micro_sam.session.journal.rows import Row
from micro_sam.session.prompts import PromptSet, PromptState
from micro_sam.session.runs import RunActs, RunStep
from micro_sam.session.session import Session, SessionEvents
from micro_sam.session.track_acts import TrackActs
from micro_sam.session.track_prompts import CurrentTrack, assign_tracks, daughters_of
from micro_sam.session.track_runs import FrameRequest, TrackRequest, plan_frame, plan_parts, run_frame, run_tracks
from micro_sam.session.values import Anchors, SliceRequest, SliceResult, listing


class TrackingEvents(SessionEvents):
    """Signals of a tracking session."""

    track_changed = Signal(int, str)
    """Which track and state ("track" or "division") the next prompt gets."""


class TrackingSession(RunActs, TrackActs, Session):
    """Session on a movie of shape (T, H, W). See :class:`~micro_sam.session.session.Session`."""

    _run_name = "Track objects"
    _place = "frame"
    _noun = "track"
    _per_slice = True
    _events_type = TrackingEvents

    def __init__(self, shape: Sequence[int], **options: Any) -> None:
        super().__init__(shape, **options)
        if self.ndim != 3:
            raise InputError(
                f"The tracking tool needs a movie (time, H, W), but this image has the shape {self.shape}."
            )
        self._active = 1
        self._new_track: int | None = None

    # ------------------------------------------------------------------ what there is

    @property
    def current_tracks(self) -> np.ndarray:
        """Tracks at work, uint32 (T, H, W): the same array as `current`."""
        return self.current

    @property
    def committed_tracks(self) -> np.ndarray:
        """Committed tracks, uint32 (T, H, W): the same array as `committed`."""
        return self.committed

    @property
    def tracks_at_work(self) -> Mapping[int, CurrentTrack]:
        """Label in `current` -> track (read-only copy)."""
        return dict(self._state.current_tracks)

    @property
    def track_ids(self) -> tuple[int, ...]:
        """What a menu of tracks offers: the tracks at work and the active one."""
        return tuple(sorted({*self._state.current_tracks, self._active}))

    # ------------------------------------------------------------------ which track comes next

    @property
    def active_track(self) -> int:
        """Track that the next prompts belong to."""
        return self._active

    @property
    def next_state(self) -> PromptState:
        """State of the next prompts. After a division it is "track" again."""
        return self._next_state

    def set_active_track(self, track_id: int) -> None:
        """Choose the track that the next prompts belong to. Not a step of undo."""
        if track_id not in self.track_ids:
            raise InputError(f"There is no track {track_id} at work; there are {listing(self.track_ids)}.")
        self._choose(track_id, self._next_state)

    def set_next_state(self, state: PromptState) -> None:
        """Choose whether the next prompt marks a division. Not a step of undo."""
        if state not in ("track", "division"):
            raise InputError(f"The state of a prompt is 'track' or 'division', not '{state}'.")
        self._choose(self._active, state)

    def new_track(self) -> int:
        """Make a new track the active one; it exists once it has a prompt. Returns its id."""
        self._new_track = max([0, *self._state.current_tracks]) + 1
        self._choose(self._new_track, "track")
        self._say(f"The next prompt begins track {self._active}.")
        return self._active

    # ------------------------------------------------------------------ segmentation of a frame

    def plan_slice(self, z: int | None = None, batched: bool = False) -> FrameRequest:
        """Take down what the prompts of a frame ask: one object per track. `batched` has no meaning here."""
        t = self._check_slice(z)
        drawn = self.prompts.in_slice(t)
        current.check_prompts(drawn, self._where(t))
        self._check_model()
        return plan_frame(t, drawn, self._state.answers.get(t), self._masks_in(t), self._slice_request, self._epoch)

    @staticmethod
    def run(request: FrameRequest | SliceRequest) -> SliceResult:
        """Ask the network. Changes nothing, so any thread may do it."""
        return run_frame(request) if isinstance(request, FrameRequest) else Session.run(request)

    # ------------------------------------------------------------------ tracking

    def plan_track(
        self,
        track_ids: Iterable[int] | None = None,
        iou_threshold: float = 0.5,
        projection: str = "default",
        motion_smoothing: float = 0.5,
        box_extension: float = 0.0,
        backward: bool = False,
    ) -> TrackRequest:
        """Take down what is known of the tracks at work.

        After a correction only what follows it is tracked again; tracks without a change are left alone.

        Parameters
        ----------
        track_ids
            Tracks to follow. None: those that changed since the last run, or all when none did.
        iou_threshold
            A track stops after its last prompted frame where the overlap with the expected mask is lower.
        projection
            How the mask of one frame prompts the next; see :meth:`VolumeSession.plan_volume`.
        motion_smoothing
            Between 0 and 1: how much the motion of the frames before counts.
        box_extension
            Pixels (>= 1) or fraction (< 1) by which box prompts grow.
        backward
            Whether tracks are also followed from their first prompted frame toward the first frame of the movie.
            Daughters are always followed back to their mother's division.

        Raises
        ------
        InputError
            When there is nothing to track, or prompts contradict each other.
        """
        if not 0 <= iou_threshold <= 1 or not 0 <= motion_smoothing < 1:
            raise InputError("The IoU threshold lies between 0 and 1, the motion smoothing too, but below 1.")
        options = {
            "iou_threshold": iou_threshold,
            "projection": projection,
            "motion_smoothing": motion_smoothing,
            "box_extension": box_extension,
        }
        shown = {t: self._masks_in(t) for t in self._state.regions}
        parts = plan_parts(self._state, shown, track_ids, backward)
        labels = {part.label for part in parts}
        asked = {p.z for p in self.prompts if p.track_id in labels}
        unanswered = [t for t in sorted(asked) if self._has_unanswered(t, labels)]
        self._check_model()
        for part in parts:
            if part.known:
                t = min(part.known)
                self._check_ready(t, Prompts(boxes=[part.known[t].box]))
        self._planned = TrackRequest(
            parts=parts,
            pending=tuple(self.plan_slice(t) for t in unanswered),
            n_frames=self.shape[0],
            options=options,
            prompts=self.prompts,
            epoch=self._epoch,
            predictor=self._predictor,
            embeddings=self._embeddings,
            occupied=self.committed,
        )
        return self._planned

    @staticmethod
    def run_track(request: TrackRequest) -> Iterator[RunStep]:
        """Follow the tracks, frame by frame. Changes nothing, so any thread may drive it; closing it cancels."""
        return run_tracks(request)

    def finish_track(self, request: TrackRequest, cancelled: bool = False) -> str:
        """Close a run, complete or cancelled, and return what came of it as a sentence (also sent as message)."""
        return self._finish_run(request, cancelled)

    def track_objects(self, track_ids: Iterable[int] | None = None, **options: Any) -> str:
        """Plan, run, apply and finish, waiting for all of it. Options as in :meth:`plan_track`."""
        request = self.plan_track(track_ids, **options)
        for step in self.run_track(request):
            self.apply_step(step)
        return self.finish_track(request)

    # ------------------------------------------------------------------ journal

    def restore(self, rows: Sequence[Row], is_damaged: bool = False) -> Restored:
        """See :class:`~micro_sam.session.base.SessionBase`; the lineage follows what could be read."""
        result = super().restore(rows, is_damaged)
        if is_damaged:
            tracks.synchronise(Draft(self._state), self._state.objects)
        active = result.next.get("track")
        self._new_track = active if active not in self._state.current_tracks else None
        if active is None:
            active = min(self._state.current_tracks, default=1)
        self._choose(active, result.next.get("state", "track"))
        return result

    # ------------------------------------------------------------------ inside

    def _choose(self, track_id: int, state: PromptState) -> None:
        if (track_id, state) != (self._active, self._next_state):
            self._active, self._next_state = track_id, state
            self.events.track_changed.emit(track_id, state)

    def _emit(self, changes: Changes) -> None:
        at_work = self._state.current_tracks
        if not at_work:
            self._new_track = None  # after a commit or clear everything begins with track 1 again
        if self._active not in at_work and self._active != self._new_track:
            self._choose(min(at_work, default=1), "track")
        super()._emit(changes)

    def _change_prompts(self, after: PromptSet, also: Any = None) -> None:
        drawn, before = self.prompts, dict(self._state.current_tracks)
        assigned = assign_tracks(after, before, self._active, self.shape[0])

        def take_over_tracks(draft: Draft) -> None:
            for label in before.keys() | assigned.tracks.keys():
                if before.get(label) != assigned.tracks.get(label):
                    draft.put("current_tracks", label, assigned.tracks.get(label))
            for t in list(self._state.regions) if before != assigned.tracks else ():
                ended = [i for i, track in assigned.tracks.items() if not track.may_have(t)]
                current.erase(draft, t, {*ended, *(before.keys() - assigned.tracks.keys())})
            left = {i for i in before if drawn.of_track(i).has_positive and not after.of_track(i).has_positive}
            reopened = draft.state.reopened
            if reopened is None or not reopened.record_before.is_given:
                current.forget_unfounded(draft, left)

        super()._change_prompts(assigned.prompts, take_over_tracks)
        if assigned.divided is not None:
            self._choose(daughters_of(assigned.tracks, assigned.divided)[0], "track")
        elif self._next_state == "division":
            self._choose(self._active, "track")
        for message in assigned.messages:
            self._say(message)

    def _forget_masks_without_prompts(self, draft: Draft, z: int, drawn: PromptSet) -> None:
        answer = self._state.answers.get(z)
        if answer is None:
            return
        left = {prompt.track_id for prompt in drawn}
        gone = [label for label in answer.labels if label not in left]
        if len(gone) == len(answer.labels):
            draft.put("answers", z, None)
        current.erase(draft, z, gone)

    def _has_unanswered(self, t: int, labels: set[int]) -> bool:
        """Whether prompts of these tracks in a frame were never answered, or have changed since."""
        answer, anchors = self._state.answers.get(t), self._state.anchors
        for label in labels:
            mine = self.prompts.in_slice(t).of_track(label)
            answered = answer is not None and label in answer.labels and answer.drawn.of_track(label) == mine
            as_before = anchors is not None and anchors.prompts.in_slice(t).of_track(label) == mine
            if mine.has_positive and not answered and not (as_before and label in self._masks_in(t)):
                return True
        return False

    def _assign_labels(self, result: SliceResult) -> tuple[int, ...]:
        return result.request.labels

    def _anchors_after(self, request: TrackRequest) -> Anchors:
        followed = {part.label for part in request.parts}
        before = self._state.anchors or Anchors(PromptSet())
        others = [prompt for prompt in before.prompts if prompt.track_id not in followed]
        mine = [prompt for prompt in self.prompts if prompt.track_id in followed]
        return Anchors(PromptSet().add(*others, *mine), dict(self._state.painted))

    def _describe_run(self, reasons: Sequence[str]) -> str:
        frames: dict[int, list[int]] = {}
        for t in self.current_slices:
            for label in self._masks_in(t):
                frames.setdefault(label, []).append(t)
        texts = [f"Track {i}: frames {ts[0]} to {ts[-1]}." for i, ts in sorted(frames.items())[:4]]
        texts += reasons[:2]
        for label, track in sorted(self._state.current_tracks.items()):
            if label not in frames and track.parent is not None:
                texts.append(f"Track {label} has no prompts yet: go to frame {track.begin} and click it.")
        weakest = self.weakest_slice()
        if weakest is not None:
            texts.append(f"The least certain frame is {weakest}.")
        return " ".join([*texts, self._what_next])
