"""Acts on prompts: the part of a session that a person's clicks reach first."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

from micro_sam.errors import InputError
from micro_sam.session import current
from micro_sam.session.base import SessionBase
from micro_sam.session.commands import Draft
from micro_sam.session.prompts import AnyPrompt, PointPrompt, PromptSet, PromptState, ShapeKind, ShapePrompt
from micro_sam.session.values import count


class PromptActs(SessionBase):
    """Prompts of a session. Mixed into :class:`~micro_sam.session.session.Session`."""

    _next_state: PromptState = "track"

    @property
    def next_positive(self) -> bool:
        """Whether the next point is positive. True again after every commit and clear."""
        return self._positive

    def set_next_polarity(self, positive: bool) -> None:
        """Choose whether the next point is positive. A mode of the pointer, not a step of undo."""
        if positive != self._positive:
            self._positive = bool(positive)
            self.events.polarity_changed.emit(self._positive)

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
            Tracking only. None: the active track, and the state that is chosen.
        """
        positive = self._positive if positive is None else positive
        point = self._new(PointPrompt(None, tuple(position), positive, track_id, state or self._next_state))
        self._change_prompts(self.prompts.add(point))
        return point.id

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
        shape = self._new(ShapePrompt(None, kind, _full_rectangle(kind, vertices), track_id, state or self._next_state))
        self._change_prompts(self.prompts.add(shape))
        return shape.id

    def move_point(self, prompt_id: int, position: Sequence[float]) -> None:
        """Move a point."""
        if not isinstance(self.prompts[prompt_id], PointPrompt):
            raise InputError(f"Prompt {prompt_id} is a shape; only points can be moved by one position.")
        self._check_inside(PointPrompt(None, tuple(position)))
        self._change_prompts(self.prompts.change([prompt_id], position=tuple(float(v) for v in position)))

    def set_polarity(self, ids: Iterable[int], positive: bool) -> None:
        """Make points positive or negative."""
        ids = [i for i in ids if isinstance(self.prompts[i], PointPrompt)]
        self._change_prompts(self.prompts.change(ids, positive=bool(positive)))

    def set_track(self, ids: Iterable[int], track_id: int | None = None, state: PromptState | None = None) -> None:
        """Say which track prompts belong to, or whether they mark a division. None leaves that as it is."""
        values = {key: value for key, value in (("track_id", track_id), ("state", state)) if value is not None}
        self._change_prompts(self.prompts.change(list(ids), **values))

    def remove_prompts(self, ids: Iterable[int]) -> None:
        """Remove prompts. Where a slice is left without any, the mask they gave goes too."""
        ids = [self.prompts[i].id for i in ids]
        self._change_prompts(self.prompts.without(ids))

    def replace_prompts(
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
        seen: set[int] = set()
        points = self.prompts.points if points is None else points
        shapes = self.prompts.shapes if shapes is None else shapes
        for prompt in (*points, *shapes):
            known = prompt.id in self.prompts and prompt.id not in seen
            try:
                self._check_inside(prompt)
            except InputError:
                dropped += 1
                continue
            kept.append(prompt if known else self._new(prompt))
            seen.add(kept[-1].id)
        after = PromptSet().add(*kept)
        if dropped:
            self._say(f"{count(dropped, 'prompt')} outside the image removed. Click inside the image.")
        try:
            self._change_prompts(after)
        except InputError:
            dropped += 1
            raise
        finally:
            if dropped:  # the layer shows more than there is: make it read the prompts again
                self.events.prompts_changed.emit(self.prompts)
        return self.prompts

    # ------------------------------------------------------------------ inside

    def _new(self, prompt: AnyPrompt) -> Any:
        self._check_inside(prompt)
        self._last_prompt_id += 1
        return replace(prompt, id=self._last_prompt_id)

    def _check_inside(self, prompt: AnyPrompt) -> None:
        vertices = [prompt.position] if isinstance(prompt, PointPrompt) else prompt.vertices
        height, width = self.shape[-2:]
        if any(len(vertex) != self.ndim for vertex in vertices):
            raise InputError(f"Prompts of this image need {self.ndim} coordinates.")
        if self.ndim == 3:
            self._check_slice(prompt.z)
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

    def _change_prompts(self, after: PromptSet, also: Callable[[Draft], None] | None = None) -> None:
        before = self.prompts
        added, removed, changed = before.difference(after)
        if not (added or removed or changed):
            return
        touched = {before[i].z for i in removed | changed} | {after[i].z for i in added | changed}
        with self._act(_name(before, after, added, removed, changed), kind="prompts", slices=sorted(touched)) as draft:
            for z in touched:
                self._forget_masks_without_prompts(draft, z, after.in_slice(z))
            draft.set("prompts", after)
            if also is not None:
                also(draft)

    def _forget_masks_without_prompts(self, draft: Draft, z: int, drawn: PromptSet) -> None:
        """Where a slice has no prompts any more, the masks they gave go too."""
        answer = self._state.answers.get(z)
        if answer is not None and not len(drawn):
            current.erase(draft, z, answer.labels)
            draft.put("answers", z, None)


def _full_rectangle(kind: str, vertices: Sequence[Sequence[float]]) -> tuple[tuple[float, ...], ...]:
    """All four corners, also when only two opposite ones are given."""
    corners = tuple(tuple(float(value) for value in vertex) for vertex in vertices)
    if kind not in ("rectangle", "ellipse") or len(corners) != 2 or len(corners[0]) != len(corners[1]):
        return corners
    (*z, y0, x0), (*_, y1, x1) = corners
    return (*z, y0, x0), (*z, y0, x1), (*z, y1, x1), (*z, y1, x0)


def _name(before: PromptSet, after: PromptSet, added: set, removed: set, changed: set) -> str:
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
