"""Which track a prompt belongs to, and what a division does to the current tracks.

The current tracks are numbered 1, 2, ...; they get their final ids when they are committed. Their relation follows
from the prompts: a prompt with state "division" ends its track in that frame and starts two daughters in the next.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from micro_sam.errors import InputError
from micro_sam.session.prompts import PromptSet, ShapePrompt, SomePrompt
from micro_sam.session.values import listing


@dataclass(frozen=True)
class CurrentTrack:
    """A current track.

    Attributes
    ----------
    id
        Its label in `current`.
    parent
        The current track that divides into it.
    begin
        First frame it may have: the one after the mother's last.
    division
        Frame in which it divides, its last.
    limit
        Last frame it may have for another reason: a reopened track ends before its committed daughters begin.
    """

    id: int
    parent: int | None = None
    begin: int = 0
    division: int | None = None
    limit: int | None = None

    @property
    def last(self) -> int | None:
        """Last frame it may have; None when the end of the movie is the only limit."""
        return min((t for t in (self.division, self.limit) if t is not None), default=None)

    def may_have(self, t: int) -> bool:
        """Whether frame `t` can belong to the track."""
        return t >= self.begin and (self.last is None or t <= self.last)


@dataclass(frozen=True)
class Assignment:
    """Result of :func:`assign_tracks`: prompts that all have a track, the tracks, and what is worth a sentence."""

    prompts: PromptSet
    tracks: dict[int, CurrentTrack]
    messages: tuple[str, ...] = ()
    divided: int | None = None
    """Track that was newly divided."""


def assign_tracks(drawn: PromptSet, tracks: Mapping[int, CurrentTrack], active: int, n_frames: int) -> Assignment:
    """Give prompts without a track one, and bring the tracks in line with the divisions among the prompts.

    Parameters
    ----------
    drawn
        All prompts. Those without `track_id` go to the active track; a second box of it in the same frame starts a
        new track, since one object has one box.
    tracks
        The current tracks so far.
    active
        Track that new prompts belong to.
    n_frames
        Length of the movie.

    Raises
    ------
    InputError
        For prompts after the end or before the begin of their track, and for divisions that cannot be.
    """
    messages: list[str] = []
    tracks = dict(tracks)
    drawn = _fill_in(drawn, tracks, active, messages)
    divisions = _divisions(drawn, n_frames)
    divided = None
    for track_id in sorted(tracks):
        if track_id in tracks:
            drawn, is_new = _apply_division(drawn, tracks, track_id, divisions.get(track_id), messages)
            divided = track_id if is_new else divided
    _check_frames(drawn, tracks)
    return Assignment(drawn, tracks, tuple(messages), divided)


def daughters_of(tracks: Mapping[int, CurrentTrack], track_id: int) -> list[int]:
    """Sorted ids of the daughters of a current track."""
    return sorted(track.id for track in tracks.values() if track.parent == track_id)


def _fill_in(drawn: PromptSet, tracks: dict[int, CurrentTrack], active: int, messages: list[str]) -> PromptSet:
    boxed = {(shape.track_id, shape.z) for shape in drawn.shapes if shape.track_id is not None}

    def with_track(prompt: SomePrompt) -> SomePrompt:
        track_id = prompt.track_id
        if track_id is None:
            track_id = active
            if isinstance(prompt, ShapePrompt) and (track_id, prompt.z) in boxed:
                track_id = max([active, *tracks]) + 1
                messages.append(f"Track {track_id} begins with this {prompt.kind}.")
        if isinstance(prompt, ShapePrompt):
            boxed.add((track_id, prompt.z))
        if track_id not in tracks:
            tracks[track_id] = CurrentTrack(track_id)
        return prompt if prompt.track_id == track_id else replace(prompt, track_id=track_id)

    return PromptSet(tuple(map(with_track, drawn.points)), tuple(map(with_track, drawn.shapes)))


def _divisions(drawn: PromptSet, n_frames: int) -> dict[int, int]:
    """Track -> frame of its division."""
    found: dict[int, int] = {}
    for prompt in drawn:
        if prompt.state != "division":
            continue
        if not getattr(prompt, "positive", True):
            raise InputError("A division is marked with a positive point or a box on the dividing object.")
        if prompt.z >= n_frames - 1:
            raise InputError(f"Frame {prompt.z} is the last one, so daughters cannot follow. Use a plain prompt there.")
        assert prompt.track_id is not None  # all have one by now
        if found.setdefault(prompt.track_id, prompt.z) != prompt.z:
            frames = sorted((found[prompt.track_id], prompt.z))
            raise InputError(
                f"Track {prompt.track_id} is marked to divide in frames {frames[0]} and {frames[1]}, but it ends with "
                "its first division. Remove one of the marks, or choose a daughter for the second."
            )
    return found


def _apply_division(
    drawn: PromptSet, tracks: dict[int, CurrentTrack], track_id: int, frame: int | None, messages: list[str]
) -> tuple[PromptSet, bool]:
    track, daughters = tracks[track_id], daughters_of(tracks, track_id)
    if frame is None:
        if track.division is not None:
            tracks[track_id] = replace(track, division=None)
            for daughter in daughters:
                if len(drawn.of_track(daughter)):
                    tracks[daughter] = replace(tracks[daughter], parent=None, begin=0)
                else:
                    del tracks[daughter]
        return drawn, False
    tracks[track_id] = replace(track, division=frame)
    if daughters:
        for daughter in daughters:
            tracks[daughter] = replace(tracks[daughter], begin=frame + 1)
        return drawn, False
    first = max(tracks) + 1
    tracks[first] = CurrentTrack(first, track_id, frame + 1)
    tracks[first + 1] = CurrentTrack(first + 1, track_id, frame + 1)
    later = [prompt.id for prompt in drawn.of_track(track_id) if prompt.z > frame]
    text = f"Track {track_id} divides in frame {frame} into tracks {first} and {first + 1}."
    if later:
        text += f" Its later prompts belong to track {first} now."
    messages.append(text + f" Go to frame {frame + 1} and click both daughters.")
    return drawn.change(later, track_id=first), True


def _check_frames(drawn: PromptSet, tracks: Mapping[int, CurrentTrack]) -> None:
    for prompt in drawn:
        assert prompt.track_id is not None  # all have one by now
        track = tracks[prompt.track_id]
        if prompt.z < track.begin:
            begun = f"the division of track {track.parent}" if track.parent is not None else "its mother"
            raise InputError(
                f"Track {track.id} begins after {begun}, in frame {track.begin}, so it can have no prompt in frame "
                f"{prompt.z}. Choose the mother's track for this frame."
            )
        if track.last is not None and prompt.z > track.last:
            daughters = daughters_of(tracks, track.id)
            choice = f" Choose one of its daughters ({listing(daughters)}) for later frames." if daughters else ""
            raise InputError(
                f"Track {track.id} has ended: it divides in frame {track.last}, so it can have no prompt in frame "
                f"{prompt.z}.{choice}"
            )
