"""From the rows of a journal back to what a session knew: labels, prompts, objects, tracks, and all steps of undo.

The actions are done again, from the first on, as they were recorded; no network is asked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from micro_sam.errors import CacheError
from micro_sam.io.label_arrays import release
from micro_sam.session.commands import Command, Draft
from micro_sam.session.history import History
from micro_sam.session.journal.codec import is_single, pixels_from_bytes, prompt_from_json, value_from_json
from micro_sam.session.journal.rows import Row
from micro_sam.session.label_edits import Runs, crop
from micro_sam.session.prompts import AnyPrompt
from micro_sam.session.state import LAYERS, State
from micro_sam.session.values import ObjectRecord


@dataclass
class Restored:
    """What became of some rows.

    Attributes
    ----------
    last_id
        The last action.
    known
        Prompt -> its number in the journal.
    last_prompt_id
        The largest id of a prompt.
    lost
        Number of actions of which something could not be done again.
    next
        What the next prompt is: ``positive``, and in a movie ``track`` and ``state``, as far as they are not usual.
    """

    last_id: int = 0
    known: dict[AnyPrompt, int] = field(default_factory=dict)
    last_prompt_id: int = 0
    lost: int = 0
    next: dict[str, Any] = field(default_factory=dict)


def live_rows(rows: Sequence[Row]) -> list[Row]:
    """The rows that count: not those of steps that are taken back, nor the taking back itself."""
    done: dict[int, None] = {}
    undone: set[int] = set()
    for row in rows:
        if row.kind in ("do", "join"):
            done[row.of or row.id] = None
            undone.clear()
        elif row.kind == "undo" and row.of in done:
            del done[row.of]
            undone.add(row.of)
        elif row.kind == "redo" and row.of in undone:
            undone.remove(row.of)
            done[row.of] = None
    steps = ("do", "join", "undo", "redo")
    return [r for r in rows if r.kind not in steps or (r.kind in ("do", "join") and (r.of or r.id) in done)]


def renumbered(rows: Sequence[Row]) -> list[Row]:
    """Some of the rows of a journal as a journal of their own."""
    numbers = {row.id: k for k, row in enumerate(rows, start=1)}
    return [replace(row, id=numbers[row.id], of=numbers.get(row.of, 0)) for row in rows]


def restore(state: State, history: History, rows: Sequence[Row], is_damaged: bool = False) -> Restored:
    """Do the actions of a journal again.

    Parameters
    ----------
    state, history
        Of a session in which nothing was done; changed in place.
    rows
        All actions, in order.
    is_damaged
        Some are missing: what is there is done, the objects are made to agree with their pixels, and nothing can be
        taken back that was done before.
    """
    result = Restored()
    prompts: dict[int, AnyPrompt] = {}
    limit, history.max_bytes = history.max_bytes, 2**62
    for row in rows:
        result.last_id = row.id
        for number, record in row.prompts.items():
            prompt = prompt_from_json(record)
            prompts[number], result.known[prompt] = prompt, number
            result.last_prompt_id = max(result.last_prompt_id, prompt.id or 0)
        if row.kind == "next":
            result.next.update(row.parameters)
        try:
            _do(row, state, history, prompts, is_damaged)
        except (CacheError, KeyError, ValueError, IndexError, TypeError) as error:
            if not is_damaged:
                raise CacheError(
                    f"Action {row.id} ({row.name}) of the session cannot be done again: {error}"
                ) from error
            result.lost += 1
        release(*state.labels.values())
    if is_damaged:
        result.lost += sum(not row.is_whole for row in rows)
        history.clear()
        agree_with_pixels(state)
    history.keep_below(limit)
    return result


def agree_with_pixels(state: State) -> None:
    """Make records, regions and tracks say what the label arrays hold, after a part of the actions was lost."""
    found: dict[int, ObjectRecord] = {}
    frames: dict[int, list[int]] = {}
    n_slices = state.labels["committed"].shape[0] if state.labels["committed"].ndim == 3 else 1
    for z in range(n_slices):
        for label, box, area, _ in Runs.of(state.plane("committed", z)).measure():
            known = found.get(label)
            record = state.objects.get(label) or ObjectRecord(label, "recovered", (z, z + 1), box, 0)
            if known is not None:
                outer = (*np.minimum(known.box[:2], box[:2]).tolist(), *np.maximum(known.box[2:], box[2:]).tolist())
                found[label] = known.changed(slices=(known.slices[0], z + 1), box=outer, area=known.area + area)
            else:
                found[label] = record.changed(slices=(z, z + 1), box=box, area=area)
            frames.setdefault(label, []).append(z)
        inside = Runs.of(state.plane("current", z)).measure()
        state.regions.pop(z, None)
        if inside:
            boxes = np.array([box for _, box, _, _ in inside])
            state.regions[z] = (*boxes[:, :2].min(axis=0).tolist(), *boxes[:, 2:].max(axis=0).tolist())
    state.objects.clear()
    state.objects.update(found)
    state.last_id = max([state.last_id, *found])
    by_slice: tuple[dict[int, Any], ...] = (state.answers, state.confidence, state.painted)
    for values in by_slice:
        for z in [z for z in values if z not in state.regions]:
            del values[z]
    state.anchors = None


def _do(row: Row, state: State, history: History, prompts: Mapping[int, AnyPrompt], is_damaged: bool) -> None:
    if row.kind in ("do", "join"):
        command = _command(row, state, prompts)
        if row.kind == "join" and history.last is not None and history.last.entry == row.of:
            history.extend(command)
        else:
            command.entry = row.of or row.id
            history.push(command)
    elif row.kind in ("undo", "redo"):
        following = history.last if row.kind == "undo" else history.next
        if following is None or following.entry != row.of:
            raise CacheError(f"there is no action {row.of} to {row.kind}")
        if row.kind == "undo":
            history.step_back()
            following.undo(state)
        else:
            history.step_forward()
            following.do(state)
    elif row.kind == "base":
        history.clear()


def _command(row: Row, state: State, prompts: Mapping[int, AnyPrompt]) -> Command:
    """Do an action, and give it back as a step of undo."""

    def prompt(number: int) -> AnyPrompt:
        return prompts[number]

    draft = Draft(state, dict(row.parameters))
    for pixel in row.pixels:
        _paint(draft, pixel)
    for key, *rest in row.state:
        if is_single(key):
            draft.set(key, value_from_json(key, rest[0], prompt))
        elif len(rest) == 2:
            draft.put(key, rest[0], value_from_json(key, rest[1], prompt))
        else:
            draft.put_all(key, {int(entry): value_from_json(key, v, prompt) for entry, v in rest[0].items()})
    kind = draft.details.pop("kind", "")
    return Command(row.name, draft.edits, draft.details, kind)


def _paint(draft: Draft, pixel: Any) -> None:
    y0, x0, y1, x1 = pixel.box
    if pixel.layer not in LAYERS:
        raise CacheError(f"there is no layer '{pixel.layer}'")
    plane = draft.state.plane(pixel.layer, pixel.z)
    if not (0 <= y0 < y1 <= plane.shape[0] and 0 <= x0 < x1 <= plane.shape[1]):
        raise CacheError("pixels lie outside the image")
    after = pixels_from_bytes(pixel.data, (y1 - y0, x1 - x0)).array(0)
    draft.paint_runs(pixel.layer, pixel.z, pixel.box, Runs.of(plane[crop(pixel.box)], after))
