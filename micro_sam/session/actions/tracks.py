"""Tracks: which one the next prompt belongs to, and what the user does to committed tracks and their lineage."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from micro_sam.errors import InputError
from micro_sam.session.commands import Changes
from micro_sam.session.current_tracks import Assignment, CurrentTrack, daughters_of
from micro_sam.session.edits import tracks
from micro_sam.session.lineage import Lineage
from micro_sam.session.prompts import PROMPT_STATES, PromptState
from micro_sam.session.steps import Steps
from micro_sam.session.values import listing


class TrackActions:
    """The tracks of a movie; an image or a volume has none."""

    def __init__(self, steps: Steps) -> None:
        self._steps = steps
        self._active = 1
        self._new: int | None = None
        self._next_state: PromptState = "track"
        self._centres: dict[int, dict[int, tuple[float, float]]] = {}
        steps.followers.append(self._follow_changes)

    # ------------------------------------------------------------------ current tracks

    @property
    def current(self) -> Mapping[int, CurrentTrack]:
        """Label in `current` -> track (read-only copy)."""
        return dict(self._steps.state.current_tracks)

    @property
    def ids(self) -> tuple[int, ...]:
        """What a menu of tracks offers: the current tracks and the active one."""
        return tuple(sorted({*self._steps.state.current_tracks, self._active}))

    @property
    def active(self) -> int:
        """Track that the next prompts belong to."""
        return self._active

    @property
    def next_state(self) -> PromptState:
        """State of the next prompts. After a division it is "track" again."""
        return self._next_state

    def set_active(self, track_id: int) -> None:
        """Choose the track that the next prompts belong to. Not a step of undo."""
        if track_id not in self.ids:
            raise InputError(f"There is no current track {track_id}; there are {listing(self.ids)}.")
        self._select(track_id, self._next_state)

    def set_next_state(self, state: PromptState) -> None:
        """Choose whether the next prompt marks a division. Not a step of undo."""
        if state not in PROMPT_STATES:
            raise InputError(f"The state of a prompt is 'track' or 'division', not '{state}'.")
        self._select(self._active, state)

    def new(self) -> int:
        """Make a new track the active one; it exists once it has a prompt. Returns its id."""
        self._new = max([0, *self._steps.state.current_tracks]) + 1
        self._select(self._new, "track")
        self._steps.say(f"The next prompt begins track {self._active}.")
        return self._active

    def follow(self, assigned: Assignment) -> None:
        """After a division one of the daughters is active, and the next prompt is no division."""
        if assigned.divided is not None:
            self._select(daughters_of(assigned.tracks, assigned.divided)[0], "track")
        elif self._next_state == "division":
            self._select(self._active, "track")

    def restore(self, following: Mapping[str, Any]) -> None:
        """Go on after a session was opened; `following` says what the next prompt is (see ``Restored.next``)."""
        known, active = self._steps.state.current_tracks, following.get("track")
        self._new = active if active not in known else None
        self._select(min(known, default=1) if active is None else active, following.get("state", "track"))

    # ------------------------------------------------------------------ committed tracks

    @property
    def lineage(self) -> Lineage:
        """The committed tracks and their relations."""
        return Lineage(self._steps.state.tracks.values())

    def points(self) -> np.ndarray:
        """Centres of the committed tracks as rows (id, t, y, x), float64, sorted: the data of napari's tracks layer."""
        state = self._steps.state
        rows: list[tuple[int, int, float, float]] = []
        for t in sorted({t for track in state.tracks.values() for t in track.frames}):
            if t not in self._centres:
                self._centres[t] = tracks.centres(state, t)
            rows += [(i, t, y, x) for i, (y, x) in self._centres[t].items()]
        return np.array(sorted(rows), dtype=np.float64).reshape(-1, 4)

    def split(self, track_id: int, frame: int, link: bool = False) -> int:
        """Cut a committed track before `frame`; the later part keeps the daughters and gets the id that is returned."""
        with self._steps.step(f"Split track {track_id}", ids=[track_id], frame=frame, link=link) as draft:
            new_id = tracks.split(draft, track_id, int(frame), link)
        self._steps.say(f"Track {track_id} ends in frame {frame - 1}; from frame {frame} on it is track {new_id}.")
        return new_id

    def relink(self, track_id: int, mother: int | None) -> None:
        """Give a committed track another mother, or none."""
        lineage = self.lineage.relink(track_id, mother)
        with self._steps.step(f"Relink track {track_id}", ids=[track_id], mother=mother) as draft:
            tracks.replace_lineage(draft, lineage)
        link = f"a daughter of track {mother}" if mother is not None else "a founder"
        self._steps.say(f"Track {track_id} is {link} now.")

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
        lineage.divide(mother, other.start - 1, (self._steps.state.last_id + 1, daughter))
        with self._steps.step(f"Divide track {mother}", ids=[mother, daughter]) as draft:
            rest = tracks.split(draft, mother, other.start, link=True)
            tracks.relate(draft, {daughter: mother})
        self._steps.say(f"Track {mother} divides in frame {other.start - 1} into tracks {rest} and {daughter}.")
        return rest, daughter

    # ------------------------------------------------------------------ inside

    def _select(self, track_id: int, state: PromptState) -> None:
        if (track_id, state) != (self._active, self._next_state):
            self._active, self._next_state = track_id, state
            self._steps.events.track_changed.emit(track_id, state)

    def _follow_changes(self, changes: Changes) -> None:
        if "committed" in changes.regions:
            t0, t1, _ = changes.regions["committed"]
            for t in range(t0, t1):
                self._centres.pop(t, None)
        known = self._steps.state.current_tracks
        if not known:
            self._new = None  # after a commit or clear everything begins with track 1 again
        if self._active not in known and self._active != self._new:
            self._select(min(known, default=1), "track")
