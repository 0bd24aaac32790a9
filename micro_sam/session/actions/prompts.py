"""Prompts: what the user's clicks reach first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from micro_sam.errors import InputError
from micro_sam.session import queries
from micro_sam.session.actions.tracks import TrackActions
from micro_sam.session.commands import Changes
from micro_sam.session.current_tracks import daughters_of
from micro_sam.session.edits import current
from micro_sam.session.model import Model
from micro_sam.session.prompts import (
    AnyPrompt,
    PointPrompt,
    PromptSet,
    PromptState,
    ShapeKind,
    ShapePrompt,
    SomePrompt,
)
from micro_sam.session.steps import Steps
from micro_sam.session.values import count, named


class PromptActions:
    """The prompts of the current object."""

    def __init__(self, steps: Steps, model: Model, tracks: TrackActions) -> None:
        self._steps = steps
        self._model = model
        self._tracks = tracks
        self._shape = steps.state.shape
        self._positive = True
        self._last_id = 0
        steps.followers.append(self._follow)

    @property
    def drawn(self) -> PromptSet:
        """All prompts as they are now, an immutable value."""
        return self._steps.state.prompts

    @property
    def next_positive(self) -> bool:
        """Whether the next point is positive. True again where there is nothing that a negative one would correct."""
        return self._positive

    def set_next_polarity(self, positive: bool) -> None:
        """Choose whether the next point is positive. A mode of the pointer, not a step of undo."""
        if positive != self._positive:
            self._positive = bool(positive)
            self._steps.events.polarity_changed.emit(self._positive)

    def add_point(
        self,
        position: Sequence[float],
        positive: bool | None = None,
        track_id: int | None = None,
        state: PromptState | None = None,
    ) -> int:
        """Add a point and return its id.

        Parameters
        ----------
        position
            (y, x) or (z, y, x); must lie in the image.
        positive
            None: as :attr:`next_positive` says.
        track_id, state
            Tracking only. None: the active track, and the state that is set.
        """
        positive = self._positive if positive is None else positive
        state = state or self._tracks.next_state
        point, prompt_id = self._new(PointPrompt(None, tuple(position), positive, track_id, state))
        self.change(self.drawn.add(point))
        return prompt_id

    def add_shape(
        self,
        kind: ShapeKind,
        vertices: Sequence[Sequence[float]],
        track_id: int | None = None,
        state: PromptState | None = None,
    ) -> int:
        """Add a rectangle, ellipse or polygon around one object and return its id.

        Parameters
        ----------
        kind
            ``"rectangle"``, ``"ellipse"`` (four corners of its box) or ``"polygon"``.
        vertices
            (n, 2) or (n, 3) positions. Two opposite corners are enough for a rectangle.
        """
        state = state or self._tracks.next_state
        shape, prompt_id = self._new(ShapePrompt(None, kind, _full_rectangle(kind, vertices), track_id, state))
        self.change(self.drawn.add(shape))
        return prompt_id

    def move_point(self, prompt_id: int, position: Sequence[float]) -> None:
        """Move a point."""
        if not isinstance(self.drawn[prompt_id], PointPrompt):
            raise InputError(f"Prompt {prompt_id} is a shape; only points can be moved by one position.")
        self._check_inside(PointPrompt(None, tuple(position)))
        self.change(self.drawn.change([prompt_id], position=tuple(float(v) for v in position)))

    def set_polarity(self, ids: Iterable[int], positive: bool) -> None:
        """Make points positive or negative."""
        ids = [i for i in ids if isinstance(self.drawn[i], PointPrompt)]
        self.change(self.drawn.change(ids, positive=bool(positive)))

    def set_track(self, ids: Iterable[int], track_id: int | None = None, state: PromptState | None = None) -> None:
        """Say which track prompts belong to, or whether they mark a division. None leaves that as it is."""
        values = {key: value for key, value in (("track_id", track_id), ("state", state)) if value is not None}
        self.change(self.drawn.change(list(ids), **values))

    def remove(self, ids: Iterable[int]) -> None:
        """Remove prompts. Where a slice is left without any, the mask they gave goes too."""
        ids = list(ids)
        for i in ids:
            self.drawn[i]  # there is one
        self.change(self.drawn.without(ids))

    def replace(
        self, points: Iterable[PointPrompt] | None = None, shapes: Iterable[ShapePrompt] | None = None
    ) -> PromptSet:
        """Take over what the layers show now; whatever differs is one step of undo.

        Parameters
        ----------
        points, shapes
            All points and shapes as they are now. Prompts with id None (or an id the session does not know) are new
            and get one. None means "as before". Prompts outside the image are dropped with a message.

        Returns
        -------
        prompts
            The set with all ids given, in the order of the arguments.
        """
        dropped = 0
        kept: list[AnyPrompt] = []
        seen: set[int | None] = set()
        points = self.drawn.points if points is None else points
        shapes = self.drawn.shapes if shapes is None else shapes
        drawn: list[AnyPrompt] = [*points, *shapes]
        for prompt in drawn:
            known = prompt.id in self.drawn and prompt.id not in seen
            try:
                self._check_inside(prompt)
            except InputError:
                dropped += 1
                continue
            kept.append(prompt if known else self._new_of_any_kind(prompt))
            seen.add(kept[-1].id)
        after = PromptSet().add(*kept)
        if dropped:
            self._steps.say(f"{count(dropped, 'prompt')} outside the image removed. Click inside the image.")
        try:
            self.change(after)
        except InputError:
            dropped += 1
            raise
        finally:
            if dropped:  # the layer shows more than there is: make it read the prompts again
                self._steps.events.prompts_changed.emit(self.drawn)
        return self.drawn

    def change(self, after: PromptSet, name: str | None = None, join: bool = False) -> None:
        """Have other prompts, which all have ids; masks that nothing asks for any more go.

        `name` is what the step is called, `join` makes it a part of the step before.
        """
        self.count_from(max((prompt.id or 0 for prompt in after), default=0))
        rules, state, before = self._steps.rules, self._steps.state, self.drawn
        assigned = rules.assign(after, state, self._tracks.active)
        after = assigned.prompts
        added, removed, changed = before.difference(after)
        if added or removed or changed:
            touched = {before[i].z for i in removed | changed} | {after[i].z for i in added | changed}
            name = name or _name(before, after, added, removed, changed)
            with self._steps.step(name, kind="prompts", join=join, slices=sorted(touched)) as draft:
                for z in touched:
                    rules.forget_masks(draft, z, after.in_slice(z))
                draft.set("prompts", after)
                rules.follow_prompts(draft, before, assigned)
        self._tracks.follow(assigned)
        for message in rules.messages(before, assigned, state, self._model):
            self._steps.say(message)

    def divide(self, track_id: int, mother: Sequence[float], daughters: Sequence[Sequence[float]]) -> tuple[int, int]:
        """Mark that a current track divides: points on the mother in her last frame and on both daughters in the next.

        Parameters
        ----------
        track_id
            The mother's.
        mother, daughters
            (t, y, x) each.

        Returns
        -------
        ids
            The tracks of the daughters, in the order of their points.

        Raises
        ------
        InputError
            When the track cannot divide there.
        """
        division, _ = self._new(PointPrompt(None, tuple(mother), True, track_id, "division"))
        self.change(self.drawn.add(division), "Mark division")
        first, second = daughters_of(self._tracks.current, track_id)
        points = [
            self._new(PointPrompt(None, tuple(place), True, one, "track"))[0]
            for one, place in zip((first, second), daughters, strict=True)
        ]
        self.change(self.drawn.add(*points), "Mark division", join=True)
        return first, second

    def clear(self, z: int | None = None) -> None:
        """Remove the prompts and the current object, everywhere or in one slice.

        A reopened object that is cleared everywhere goes back to the committed objects as it was.
        """
        steps, rules = self._steps, self._steps.rules
        reopened = steps.state.reopened
        if z is None:
            with steps.step("Clear", z=None) as draft:
                rules.clear(draft)
        else:
            place = rules.place(z, self._shape)
            with steps.step(f"Clear {place.name}", z=place.z) as draft:
                current.clear_slice(draft, place.z)
                draft.set("prompts", self.drawn.without(prompt.id for prompt in self.drawn.in_slice(place.z)))
        steps.make_stale()
        self.set_next_polarity(True)
        if z is None and reopened is not None:
            steps.say(f"{named(rules.noun, [reopened.id])} is back as it was. Click the next object.")
        else:
            steps.say(f"Prompts and current {rules.noun} cleared. Click the next object.")

    def restore(self, following: Mapping[str, Any]) -> None:
        """Go on after a session was opened; `following` says what the next prompt is (see ``Restored.next``)."""
        self._positive = bool(following.get("positive", True))

    def count_from(self, last_id: int) -> None:
        """Give new prompts ids above this one."""
        self._last_id = max(self._last_id, last_id)

    # ------------------------------------------------------------------ inside

    def _follow(self, changes: Changes) -> None:
        """After a commit, and when an undo has taken the first point back, the next one begins an object."""
        if "prompts" in changes.keys and not len(self.drawn) and not queries.has_current(self._steps.state):
            self.set_next_polarity(True)

    def _new(self, prompt: SomePrompt) -> tuple[SomePrompt, int]:
        self._check_inside(prompt)
        self._last_id += 1
        return replace(prompt, id=self._last_id), self._last_id

    def _new_of_any_kind(self, prompt: AnyPrompt) -> AnyPrompt:
        return self._new(prompt)[0] if isinstance(prompt, PointPrompt) else self._new(prompt)[0]

    def _check_inside(self, prompt: AnyPrompt) -> None:
        vertices = [prompt.position] if isinstance(prompt, PointPrompt) else prompt.vertices
        ndim = len(self._shape)
        height, width = self._shape[-2:]
        if any(len(vertex) != ndim for vertex in vertices):
            raise InputError(f"Prompts of this image need {ndim} coordinates.")
        if ndim == 3:
            self._steps.rules.place(prompt.z, self._shape)
        if isinstance(prompt, PointPrompt):
            y, x = prompt.position[-2:]
            if not (-0.5 <= y < height - 0.5 and -0.5 <= x < width - 0.5):
                raise InputError(f"The point ({y:.0f}, {x:.0f}) lies outside the image. Click inside it.")
            return
        low, high = prompt.corners.min(axis=0), prompt.corners.max(axis=0)
        if (high <= -0.5).any() or low[0] >= height - 0.5 or low[1] >= width - 0.5:
            raise InputError(f"The {prompt.kind} lies outside the image. Draw it around an object.")
        y0, x0, y1, x1 = prompt.box((height, width))
        if (high - low).min() <= 0 or (y1 <= y0 and height > 1) or (x1 <= x0 and width > 1):
            raise InputError(f"The {prompt.kind} has no area. Draw it around an object.")


def _full_rectangle(kind: str, vertices: Sequence[Sequence[float]]) -> tuple[tuple[float, ...], ...]:
    """All four corners, also when only two opposite ones are given."""
    corners = tuple(tuple(float(value) for value in vertex) for vertex in vertices)
    if kind not in ("rectangle", "ellipse") or len(corners) != 2 or len(corners[0]) != len(corners[1]):
        return corners
    (*z, y0, x0), (*_, y1, x1) = corners
    return (*z, y0, x0), (*z, y0, x1), (*z, y1, x1), (*z, y1, x0)


def _name(before: PromptSet, after: PromptSet, added: set[int], removed: set[int], changed: set[int]) -> str:
    """What a change of prompts is called beside Undo."""
    if bool(added) + bool(removed) + bool(changed) > 1:
        return "Change prompts"
    source, ids = (after, added) if added else (before, removed) if removed else (after, changed)
    prompts = [source[i] for i in ids]
    if all(isinstance(prompt, PointPrompt) for prompt in prompts):
        noun = "point"
    else:
        kinds = {prompt.kind for prompt in prompts if isinstance(prompt, ShapePrompt)}
        noun = kinds.pop() if len(kinds) == 1 and all(isinstance(p, ShapePrompt) for p in prompts) else "prompt"
    what = noun if len(prompts) == 1 else f"{len(prompts)} {noun}s"
    return f"{'Add' if added else 'Remove' if removed else 'Change'} {what}"
