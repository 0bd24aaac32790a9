"""A session on a movie: objects followed through time, divisions, and committed lineages.

Frames are what slices are in a volume, and `current` holds one label per track at work. The mask of every frame
belongs to a track; prompts say which one (:mod:`~micro_sam.session.track_prompts`). Committed tracks and their lineage
always agree with the committed labels (:mod:`~micro_sam.session.tracks`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from psygnal import Signal

from micro_sam.errors import InputError
from micro_sam.session import current, objects, tracks
from micro_sam.session.commands import Changes, Draft
from micro_sam.session.lineage import Lineage
from micro_sam.session.prompts import PromptSet, PromptState
from micro_sam.session.runs import RunActs, RunStep
from micro_sam.session.session import Session, SessionEvents
from micro_sam.session.track_prompts import CurrentTrack, assign_tracks, daughters_of
from micro_sam.session.track_runs import FrameRequest, TrackRequest, plan_frame, plan_parts, run_frame, run_tracks
from micro_sam.session.values import Anchors, CommitReport, SliceRequest, SliceResult, count, listing


class TrackingEvents(SessionEvents):
    """Signals of a tracking session."""

    track_changed = Signal(int, str)
    """Which track and state ("track" or "division") the next prompt gets."""


class TrackingSession(RunActs, Session):
    """Session on a movie of shape (T, H, W). See :class:`~micro_sam.session.session.Session`."""

    _run_name = "Track objects"
    _place = "frame"
    _events_type = TrackingEvents

    def __init__(self, shape: Sequence[int], **options: Any) -> None:
        super().__init__(shape, **options)
        if self.ndim != 3:
            raise InputError(
                f"The tracking tool needs a movie (time, H, W), but this image has the shape {self.shape}."
            )
        self._active = 1
        self._new_track: int | None = None
        self._centres: dict[int, dict[int, tuple[float, float]]] = {}

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
    def lineage(self) -> Lineage:
        """The committed tracks and their relations."""
        return Lineage(self._state.tracks.values())

    @property
    def tracks_at_work(self) -> Mapping[int, CurrentTrack]:
        """Label in `current` -> track (read-only copy)."""
        return dict(self._state.current_tracks)

    @property
    def track_ids(self) -> tuple[int, ...]:
        """What a menu of tracks offers: the tracks at work and the active one."""
        return tuple(sorted({*self._state.current_tracks, self._active}))

    def track_points(self) -> np.ndarray:
        """Centres of the committed tracks as rows (id, t, y, x), float64, sorted: the data of napari's tracks layer."""
        rows = []
        for t in sorted({t for track in self._state.tracks.values() for t in track.frames}):
            if t not in self._centres:
                self._centres[t] = tracks.centres(self._state, t)
            rows += [(i, t, y, x) for i, (y, x) in self._centres[t].items()]
        return np.array(sorted(rows), dtype=np.float64).reshape(-1, 4)

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
        self._check_ready(t)
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
        if not 0 <= iou_threshold <= 1 or not 0 <= motion_smoothing <= 1:
            raise InputError("The IoU threshold and the motion smoothing lie between 0 and 1.")
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
        self._check_ready(min(min(part.known, default=part.again) for part in parts))
        return TrackRequest(
            parts=parts,
            pending=tuple(self.plan_slice(t) for t in unanswered),
            n_frames=self.shape[0],
            options=options,
            prompts=self.prompts,
            epoch=self._epoch,
            predictor=self._predictor,
            embeddings=self._embeddings,
        )

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

    # ------------------------------------------------------------------ committed tracks

    def set_auto(
        self,
        labels: np.ndarray,
        z: int | None = None,
        lineage: Mapping[int, Iterable[int]] | None = None,
        **details: Any,
    ) -> None:
        """Show automatic tracks in `auto`; `lineage` is mother -> daughters. See :meth:`Session.set_auto`."""
        labels = objects.check_labels(labels, self.shape if z is None else self.shape[-2:])
        parents: dict[int, int] = {}
        if z is None:
            checked = Lineage.from_dict(tracks.extents(labels), lineage)
            parents = {track.id: track.parent for track in checked.tracks if track.parent is not None}

        def take_over_lineage(draft: Draft) -> None:
            draft.drop_all("auto_parents")
            for daughter, mother in parents.items():
                draft.put("auto_parents", daughter, mother)

        self._show_auto(labels, z, details, take_over_lineage)

    def load_tracks(self, labels: np.ndarray, lineage: Lineage | Mapping[int, Iterable[int]] | None = None) -> None:
        """Replace the committed tracks by a label series, keeping its ids.

        Parameters
        ----------
        labels
            (T, H, W) integers; the same label in all frames of a track.
        lineage
            A :class:`~micro_sam.session.lineage.Lineage`, or mother -> daughters. Tracks with gaps are cut there.

        Raises
        ------
        InputError
            For another shape, or a lineage that names tracks that are not in the labels, or cannot be.
        """
        labels = objects.check_labels(labels, self.shape)
        relation = lineage.to_dict() if isinstance(lineage, Lineage) else lineage
        checked = Lineage.from_dict(tracks.extents(labels), relation)
        with self._act("Load tracks") as draft:
            objects.load(draft, labels, "loaded")
            messages = tracks.synchronise(draft, draft.state.objects)
            cut = {t.parent: t.id for t in draft.state.tracks.values() if t.parent is not None}
            parents = {}
            for track in checked.tracks:
                mother = track.parent
                while mother in cut:
                    mother = cut[mother]
                if mother is not None:
                    parents[track.id] = mother
            messages += tracks.relate(draft, parents)
        lineage_now = self.lineage
        text = f"{count(len(lineage_now), 'track')} loaded, {count(len(lineage_now.divisions), 'division')}."
        self._say(" ".join([text, *messages[:2]]))

    def load_committed(self, labels: np.ndarray, source: str = "loaded") -> None:
        """Replace the committed tracks by a label series without relations."""
        self.load_tracks(labels)

    def split_track(self, track_id: int, frame: int, link: bool = False) -> int:
        """Cut a committed track before `frame`; the later part keeps the daughters and gets the id that is returned."""
        with self._act(f"Split track {track_id}", ids=[track_id], frame=frame, link=link) as draft:
            new_id = tracks.split(draft, track_id, int(frame), link)
        self._say(f"Track {track_id} ends in frame {frame - 1}; from frame {frame} on it is track {new_id}.")
        return new_id

    def relink(self, track_id: int, mother: int | None) -> None:
        """Give a committed track another mother, or none."""
        lineage = self.lineage.relink(track_id, mother)
        with self._act(f"Relink track {track_id}", ids=[track_id], mother=mother) as draft:
            tracks.replace_lineage(draft, lineage)
        link = f"a daughter of track {mother}" if mother is not None else "a founder"
        self._say(f"Track {track_id} is {link} now.")

    def divide(self, mother: int, daughter: int) -> tuple[int, int]:
        """Let a committed track divide where another one begins.

        The mother ends in the frame before `daughter` begins; what follows of her becomes the other daughter.

        Returns
        -------
        daughters
            Ids of both daughters; the first is the rest of the mother's track.
        """
        lineage = self.lineage
        track, other = lineage.track(mother), lineage.track(daughter)
        if mother == daughter or not track.start < other.start <= track.end:
            raise InputError(
                f"Track {daughter} begins in frame {other.start}, but track {mother} goes from frame {track.start} to "
                f"{track.end}: a track can only divide where the daughter begins inside it."
            )
        lineage.divide(mother, other.start - 1, (self._state.last_id + 1, daughter))
        with self._act(f"Divide track {mother}", ids=[mother, daughter]) as draft:
            rest = tracks.split(draft, mother, other.start, link=True)
            tracks.relate(draft, {daughter: mother})
        self._say(f"Track {mother} divides in frame {other.start - 1} into tracks {rest} and {daughter}.")
        return rest, daughter

    # ------------------------------------------------------------------ inside

    def _choose(self, track_id: int, state: PromptState) -> None:
        if (track_id, state) != (self._active, self._next_state):
            self._active, self._next_state = track_id, state
            self.events.track_changed.emit(track_id, state)

    def _emit(self, changes: Changes) -> None:
        if "committed" in changes.regions:
            t0, t1, _ = changes.regions["committed"]
            for t in range(t0, t1):
                self._centres.pop(t, None)
        at_work = self._state.current_tracks
        if self._active not in at_work and self._active != self._new_track:
            self._choose(min(at_work, default=1), "track")
        super()._emit(changes)

    def _change_prompts(self, after: PromptSet, also: Any = None) -> None:
        before = dict(self._state.current_tracks)
        assigned = assign_tracks(after, before, self._active, self.shape[0])

        def take_over_tracks(draft: Draft) -> None:
            for label in before.keys() | assigned.tracks.keys():
                if before.get(label) != assigned.tracks.get(label):
                    draft.put("current_tracks", label, assigned.tracks.get(label))
            for t in list(self._state.regions) if before != assigned.tracks else ():
                ended = [i for i, track in assigned.tracks.items() if not track.may_have(t)]
                current.erase(draft, t, {*ended, *(before.keys() - assigned.tracks.keys())})

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

    def _slice_request(self, t: int, drawn: PromptSet, previous: Any) -> SliceRequest:
        return SliceRequest(
            z=t,
            index=t,
            prompts=drawn.to_prompts(self.shape[-2:]),
            drawn=drawn,
            batched=False,
            previous=previous,
            epoch=self._epoch,
            predictor=self._predictor,
            embeddings=self._embeddings,
        )

    def _assign_labels(self, result: SliceResult) -> tuple[int, ...]:
        return result.request.labels

    def _commit(self, draft: Draft, source: str, preserve: str) -> CommitReport:
        state = draft.state
        relations = {label: track.parent for label, track in state.current_tracks.items()}
        if source == "auto":
            relations = dict(state.auto_parents)
        reopened = state.reopened
        report = super()._commit(draft, source, preserve)
        messages = tracks.synchronise(draft, tracks.edited_ids(draft.edits, "committed"))
        ids = dict(zip(report.labels, report.ids, strict=True))
        last_part = self._last_parts(report.ids)
        parents = {i: last_part.get(ids.get(relations.get(label))) for label, i in ids.items()}
        if source == "current" and reopened is not None and reopened.id in ids.values():
            parents[reopened.id] = reopened.parent
            parents.update({i: last_part[reopened.id] for i in reopened.daughters if i in state.tracks})
        messages += tracks.relate(draft, {i: mother for i, mother in parents.items() if mother is not None})
        if source == "auto":
            draft.drop_all("auto_parents")
        text = report.message.replace("Object ", "Track ").replace("objects committed", "tracks committed")
        return replace(report, message=" ".join([text, *messages[:2]]))

    def _last_parts(self, ids: Iterable[int]) -> dict[int, int]:
        """Id -> id of its last part, for tracks that were cut at gaps."""
        follows = {t.parent: t.id for t in self._state.tracks.values() if t.parent is not None}
        last = {}
        for i in ids:
            last[i] = i
            while last[i] in follows and follows[last[i]] > max(ids):
                last[i] = follows[last[i]]
        return last

    def _merge(self, draft: Draft, ids: Sequence[int]) -> int:
        return tracks.merge(draft, ids)

    def _reopen(self, draft: Draft, object_id: int) -> None:
        track = self._state.tracks[object_id]
        lineage = self.lineage
        daughters = lineage.daughters(object_id)
        objects.reopen(draft, object_id)
        begin = lineage[track.parent].end + 1 if track.parent is not None else 0
        limit = min((lineage[i].start for i in daughters), default=None)
        draft.put("current_tracks", 1, CurrentTrack(1, None, begin, None, None if limit is None else limit - 1))
        mine = [replace(prompt, track_id=1, state="track") for prompt in self.prompts]
        draft.set("prompts", PromptSet().add(*mine))
        draft.set("anchors", replace(self._state.anchors, prompts=self.prompts))
        draft.set("reopened", replace(self._state.reopened, parent=track.parent, daughters=daughters))

    def _clear_all(self, draft: Draft) -> None:
        reopened = draft.state.reopened
        super()._clear_all(draft)
        if reopened is not None:
            tracks.synchronise(draft, [reopened.id])
            back = {i: reopened.id for i in reopened.daughters}
            tracks.relate(draft, {**back, reopened.id: reopened.parent})

    def _complete(self, draft: Draft) -> None:
        ids = tracks.edited_ids(draft.edits, "committed")
        if ids:
            for message in tracks.synchronise(draft, ids):
                self._say(message)
        for label in tracks.edited_ids(draft.edits, "current", gained=True):
            if label not in draft.state.current_tracks and draft.state.regions:
                draft.put("current_tracks", label, CurrentTrack(label))

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
        return " ".join([*texts, "Commit with C, or correct a frame and press V again."])
