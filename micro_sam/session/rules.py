"""What differs between a session on an image, a volume and a movie: words, places, ids, and what follows an action.

Rules know no state of their own: they get the state, or the draft of a step. A session has one of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from micro_sam.errors import InputError
from micro_sam.session import queries
from micro_sam.session.commands import Draft
from micro_sam.session.current_tracks import Assignment, CurrentTrack, assign_tracks
from micro_sam.session.edits import current, objects, tracks
from micro_sam.session.edits.commit import commit
from micro_sam.session.edits.track_commits import clear_tracks, commit_tracks, load_tracks, reopen_track
from micro_sam.session.lineage import Lineage
from micro_sam.session.model import Model
from micro_sam.session.prompts import PromptSet
from micro_sam.session.recalling import previous_masks
from micro_sam.session.requests import (
    Asker,
    FrameRequest,
    Place,
    Request,
    SliceResult,
    check_prompts,
)
from micro_sam.session.state import State
from micro_sam.session.values import CommitReport, CommitRules, count

Relations = Lineage | Mapping[int, Iterable[int]]
"""A lineage, or mother -> daughters."""


class ImageRules:
    """Rules of a 2D image; those of volumes and movies differ from them.

    Attributes
    ----------
    noun
        What an object is called.
    slice_noun
        What one plane of a stack is called.
    per_slice
        Whether what an object is in one slice says nothing of the next, as in movies.
    can_write_later
        Whether the pixels of large steps may be written after the step.
    """

    noun = "object"
    slice_noun = "slice"
    per_slice = False
    can_write_later = True

    # ------------------------------------------------------------------ places

    def check_shape(self, shape: tuple[int, ...]) -> None:
        """Raise InputError when an image of this shape is not for these rules."""

    def where(self, z: int, shape: tuple[int, ...]) -> str:
        """What messages call a slice."""
        return "the image" if len(shape) == 2 else f"{self.slice_noun} {z}"

    def place(self, z: int | None, shape: tuple[int, ...]) -> Place:
        """A slice of an image of this shape; InputError when there is none, or none is named in a stack."""
        plane = (shape[-2], shape[-1])
        if len(shape) == 2:
            if z not in (None, 0):
                raise InputError(f"A 2D image has no slice {z}.")
            return Place(0, None, self.where(0, shape), plane)
        if z is None:
            raise InputError(f"Say which {self.slice_noun} is meant.")
        if not 0 <= z < shape[0]:
            raise InputError(f"There is no {self.slice_noun} {z}; the last one is {shape[0] - 1}.")
        return Place(int(z), int(z), self.where(z, shape), plane)

    # ------------------------------------------------------------------ prompts

    def assign(self, drawn: PromptSet, state: State, active: int) -> Assignment:
        """Prompts that all belong somewhere; `active` is the track that new ones are for.

        Raises
        ------
        InputError
            When one of them cannot be.
        """
        return Assignment(drawn, dict(state.current_tracks))

    def forget_masks(self, draft: Draft, z: int, drawn: PromptSet) -> None:
        """Where a slice has no prompts any more, the masks they gave go too."""
        answer = draft.state.answers.get(z)
        if answer is not None and not len(drawn):
            current.erase(draft, z, answer.labels)
            draft.put("answers", z, None)

    def follow_prompts(self, draft: Draft, before: PromptSet, assigned: Assignment) -> None:
        """Bring what depends on the prompts in line with them; `before` were the prompts before this step."""

    def messages(self, before: PromptSet, assigned: Assignment, state: State, model: Model) -> Sequence[str]:
        """What is worth a sentence after a change of prompts."""
        return assigned.messages

    # ------------------------------------------------------------------ questions and answers

    def request(self, place: Place, drawn: PromptSet, state: State, asker: Asker, batched: bool = False) -> Request:
        """What the prompts `drawn` of a slice ask; raises as :meth:`.Asker.slice_request`."""
        check_prompts(drawn, place.name)
        previous = previous_masks(state.answers.get(place.z), drawn, batched)
        return asker.slice_request(place, drawn, previous, batched)

    def labels_of(self, state: State, result: SliceResult) -> tuple[int, ...]:
        """Which label each mask of an answer gets in `current`."""
        return current.assign_labels(state, result.request.z, result.masks)

    def imposes(self, state: State, model: Model, z: int) -> bool:
        """Whether an answer that was asked for by key or button overrules what is known from other slices."""
        return False

    # ------------------------------------------------------------------ objects

    def auto_lineage(self, labels: np.ndarray, lineage: Relations | None) -> Lineage | None:
        """The relations of automatic tracks; None where there are none."""
        return None

    def load(self, draft: Draft, labels: np.ndarray, source: str, lineage: Relations | None) -> str:
        """Replace the committed objects by a checked label image; returns what to say."""
        objects.load(draft, labels, source)
        number = count(len(draft.state.objects), "object")
        return f"{number} loaded. Click an object to segment, or reopen one to correct it."

    def commit(self, draft: Draft, source: str, rules: CommitRules, model: dict[str, str]) -> CommitReport:
        """Move `current` or `auto` into the committed objects."""
        return commit(draft, source, rules, model)

    def merge(self, draft: Draft, ids: Sequence[int]) -> int:
        """Make one committed object of several; returns its id."""
        return objects.merge(draft, ids)

    def reopen(self, draft: Draft, object_id: int) -> None:
        """Move a committed object to `current`."""
        objects.reopen(draft, object_id)

    def clear(self, draft: Draft) -> None:
        """Clear `current` and the prompts; a reopened object goes back."""
        objects.clear_all(draft)

    # ------------------------------------------------------------------ what follows any edit

    def follow_brush(self, draft: Draft) -> None:
        """Bring the current objects in line with what a brush did to them."""

    def complete(self, draft: Draft) -> list[str]:
        """Bring what depends on the edits of a step in line with them; returns what is worth a sentence."""
        return []

    def mend(self, state: State) -> None:
        """Bring a state in line with its labels after a part of its journal was lost."""


class VolumeRules(ImageRules):
    """Rules of a stack of slices of one volume."""

    def check_shape(self, shape: tuple[int, ...]) -> None:
        """See :class:`ImageRules`."""
        if len(shape) != 3:
            raise InputError(f"The 3D tool needs a stack of slices (Z, H, W), but this image has the shape {shape}.")

    def follow_prompts(self, draft: Draft, before: PromptSet, assigned: Assignment) -> None:
        """Objects that nothing decides any more go, and what lies beyond a new stop."""
        current.forget_unfounded(draft, current.without_prompts(draft.state, assigned.prompts))
        new = set(assigned.prompts.stop_slices) - set(before.stop_slices)
        decided = queries.slices_decided_of(draft.state) if new else {}
        for label, slices in decided.items():
            if queries.is_by_maps(draft.state, label):
                continue  # the maps are asked what a negative point means
            for stop in sorted(new):
                if len(decided) == 1 or not slices[0] <= stop <= slices[-1]:
                    current.end_at_stop(draft, label, stop, slices)

    def follow_brush(self, draft: Draft) -> None:
        """The last painted slice may be erased."""
        current.forget_unfounded(draft, current.without_prompts(draft.state, draft.state.prompts))

    def messages(self, before: PromptSet, assigned: Assignment, state: State, model: Model) -> Sequence[str]:
        """What a new stop does."""
        new = sorted(set(state.prompts.stop_slices) - set(before.stop_slices))
        if not new or not queries.decided_slices(state):
            return ()
        text = f"Slice {new[0]} is a stop: the object ends before it."
        is_there = not state.regions.keys().isdisjoint((new[0] - 1, new[0] + 1))
        if is_there and not any(queries.is_by_maps(state, label) for label in queries.slices_decided_of(state)):
            return (text,)
        return () if queries.can_tell_whole(state, model.maps) else (f"{text} Press V to extend it up to there.",)

    def imposes(self, state: State, model: Model, z: int) -> bool:
        """Where the maps tell the object, an answer that was asked for is exact."""
        return model.maps is not None and any(other != z for other in state.regions)


class MovieRules(ImageRules):
    """Rules of a movie: prompts belong to tracks, and the lineage follows the pixels."""

    noun = "track"
    slice_noun = "frame"
    per_slice = True
    can_write_later = False  # the lineage follows the pixels

    def check_shape(self, shape: tuple[int, ...]) -> None:
        """See :class:`ImageRules`."""
        if len(shape) != 3:
            raise InputError(f"The tracking tool needs a movie (time, H, W), but this image has the shape {shape}.")

    def assign(self, drawn: PromptSet, state: State, active: int) -> Assignment:
        """See :func:`~micro_sam.session.current_tracks.assign_tracks`."""
        n_frames = state.labels["current"].shape[0]
        return assign_tracks(drawn, dict(state.current_tracks), active, n_frames)

    def forget_masks(self, draft: Draft, z: int, drawn: PromptSet) -> None:
        """Where a track has no prompts in a frame any more, its mask goes too."""
        answer = draft.state.answers.get(z)
        if answer is None:
            return
        left = {prompt.track_id for prompt in drawn}
        gone = [label for label in answer.labels if label not in left]
        if len(gone) == len(answer.labels):
            draft.put("answers", z, None)
        current.erase(draft, z, gone)

    def follow_prompts(self, draft: Draft, before: PromptSet, assigned: Assignment) -> None:
        """Take over the tracks of the prompts; frames that a track may no longer have are erased."""
        state, after = draft.state, assigned.prompts
        known = dict(state.current_tracks)
        for label in known.keys() | assigned.tracks.keys():
            if known.get(label) != assigned.tracks.get(label):
                draft.put("current_tracks", label, assigned.tracks.get(label))
        for t in list(state.regions) if known != assigned.tracks else ():
            ended = [i for i, track in assigned.tracks.items() if not track.may_have(t)]
            current.erase(draft, t, {*ended, *(known.keys() - assigned.tracks.keys())})
        left = {i for i in known if before.of_track(i).has_positive and not after.of_track(i).has_positive}
        if not queries.is_given(state):
            current.forget_unfounded(draft, left)
        for i in sorted(state.current_tracks):
            mine = after.of_track(i)
            for stop in sorted(set(mine.stop_slices) - set(before.of_track(i).stop_slices)):
                decided = {t for t in mine.slices if mine.in_slice(t).has_positive}
                decided |= {t for t in state.painted if i in queries.masks_in(state, t)}
                if decided:
                    current.end_at_stop(draft, i, stop, decided)

    def messages(self, before: PromptSet, assigned: Assignment, state: State, model: Model) -> Sequence[str]:
        """What a new stop does to its track."""
        for i in sorted(state.current_tracks):
            mine = state.prompts.of_track(i)
            new = sorted(set(mine.stop_slices) - set(before.of_track(i).stop_slices))
            if new and mine.has_positive:
                text = f"Frame {new[0]} is a stop: track {i} ends before it."
                is_there = any(i in queries.masks_in(state, t) for t in (new[0] - 1, new[0] + 1))
                return (*assigned.messages, text if is_there else f"{text} Press V to end it there.")
        return assigned.messages

    def request(self, place: Place, drawn: PromptSet, state: State, asker: Asker, batched: bool = False) -> Request:
        """One object per track; `batched` has no meaning here."""
        check_prompts(drawn, place.name)
        if asker.model.answering is None:
            asker.model.check()
        shown = queries.masks_in(state, place.z)
        return asker.frame_request(place, drawn, state.answers.get(place.z), shown)

    def labels_of(self, state: State, result: SliceResult) -> tuple[int, ...]:
        """Each mask belongs to the track that was asked for."""
        request = result.request
        return (
            request.labels
            if isinstance(request, FrameRequest)
            else current.assign_labels(state, result.request.z, result.masks)
        )

    def auto_lineage(self, labels: np.ndarray, lineage: Relations | None) -> Lineage | None:
        """Checked against the labels of a whole movie; a single frame has no relations."""
        return _checked(labels, lineage) if labels.ndim == 3 else Lineage()

    def load(self, draft: Draft, labels: np.ndarray, source: str, lineage: Relations | None) -> str:
        """Replace the committed tracks, with their relations."""
        messages = load_tracks(draft, labels, "loaded", _checked(labels, lineage))
        now = Lineage(draft.state.tracks.values())
        text = f"{count(len(now), 'track')} loaded, {count(len(now.divisions), 'division')}."
        return " ".join([text, *messages[:2]])

    def commit(self, draft: Draft, source: str, rules: CommitRules, model: dict[str, str]) -> CommitReport:
        """Move `current` or `auto` into the committed tracks, with their relations."""
        return commit_tracks(draft, source, rules, model)

    def merge(self, draft: Draft, ids: Sequence[int]) -> int:
        """Make one committed track of several."""
        return tracks.merge(draft, ids)

    def reopen(self, draft: Draft, object_id: int) -> None:
        """Move a committed track to `current`."""
        reopen_track(draft, object_id)

    def clear(self, draft: Draft) -> None:
        """Clear `current` and the prompts; a reopened track goes back to its relatives."""
        clear_tracks(draft)

    def complete(self, draft: Draft) -> list[str]:
        """Committed tracks follow their pixels; a label of `current` without a track gets one."""
        messages: list[str] = []
        if ids := tracks.edited_ids(draft.edits, "committed"):
            messages = tracks.synchronise(draft, ids)
        for label in tracks.edited_ids(draft.edits, "current", gained=True):
            if label not in draft.state.current_tracks and draft.state.regions:
                draft.put("current_tracks", label, CurrentTrack(label))
        return messages

    def mend(self, state: State) -> None:
        """The tracks are made to agree with their pixels."""
        tracks.synchronise(Draft(state), state.objects)


def _checked(labels: np.ndarray, lineage: Relations | None) -> Lineage:
    """A lineage that fits the labels of a movie; InputError when it cannot be."""
    relations = lineage.to_dict() if isinstance(lineage, Lineage) else lineage
    return Lineage.from_dict(tracks.extents(labels), relations)
