"""Commit: what the network found, or the user drew, becomes committed objects, and no junk comes of it.

Where objects meet those that are committed already, rims and shells would be left of them. Therefore:

- An automatic object of which committed ones cover more than half is left out. Of the others the largest connected
  piece stays, if it has the minimal size. Objects of another program may have more pieces where nothing cuts them.
- An object made from prompts obeys the same rule, but all pieces that a positive prompt asks for stay, and instead of
  being left out it stays open.
- What the user painted stays wherever it is free, in as many pieces as it has.
- When new objects overwrite, those that they cut obey the rule. Objects that were in several pieces before (merged,
  loaded) obey it piece by piece.

In movies each frame is decided on its own. Pixels that touch at a corner only are not connected.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from micro_sam.errors import InputError
from micro_sam.models.sizes import Box
from micro_sam.session.commands import Draft
from micro_sam.session.edits import commit_messages as messages
from micro_sam.session.edits import current
from micro_sam.session.edits.committed import CommittedWriter, Extent, check_free_ids
from micro_sam.session.edits.pieces import Spans, Windows, pixels_per_label, units_of, what_stays
from micro_sam.session.label_edits import Runs, bounding_box, crop, union
from micro_sam.session.prompts import PromptSet
from micro_sam.session.state import State
from micro_sam.session.values import (
    CommitReport,
    CommitRules,
    ObjectRecord,
    count,
)


def commit(draft: Draft, source: str, rules: CommitRules, model: dict[str, str]) -> CommitReport:
    """Move `current` or `auto` into the committed objects. See :meth:`.ObjectActions.commit`."""
    if source not in ("current", "auto"):
        raise InputError(f"Only 'current' and 'auto' can be committed, not '{source}'.")
    state = draft.state
    windows = dict(_windows(state, source, rules.only))
    if rules.preserve == "none":
        windows = _with_all_below(state, source, windows, rules.only)
    spans = Spans.of(windows, 1)
    if not len(spans.label):
        raise InputError(messages.nothing_there(state, source))
    total = pixels_per_label(spans, np.ones(len(spans.label), bool))
    stays, cut, refused = _choose(state, source, rules, spans, total)
    labels = sorted(set(total) - set(refused))
    if not labels:
        raise InputError(messages.nothing_free(refused, source, rules))
    ids = _new_ids(state, labels, source)
    to_id = _lookup(ids)
    flags = spans.in_window(windows, stays & (to_id(spans.label) > 0))
    new = {z: np.where(flags[z], to_id(runs.values[1]), np.uint32(0)) for z, (_, runs) in windows.items()}
    below = {z: runs.values[0] for z, (_, runs) in windows.items()}
    crumbs: dict[int, int] = {}
    if rules.preserve == "none":
        below, crumbs = _without_crumbs(state, rules, windows, new)
    writer = CommittedWriter(draft)
    for z, (box, runs) in windows.items():
        writer.write_runs(z, box, runs.with_values(runs.values[0], np.where(flags[z], new[z], below[z])))
    label_of = {i: label for label, i in ids.items()}
    vanished = writer.finish(lambda i, extent: _record(state, label_of[i], i, extent, source, model))
    kept = {} if rules.preserve == "none" else pixels_per_label(spans, (spans.other > 0) & (to_id(spans.label) > 0))
    report = CommitReport(
        tuple(ids[label] for label in labels),
        tuple(labels),
        {ids[label]: state.objects[ids[label]].area for label in labels},
        sum(kept.values()),
        tuple(sorted(refused)) if source == "auto" else (),
        tuple(sorted(refused)) if source == "current" else (),
        tuple(label for label in labels if label in cut),
        writer.lost,
        crumbs,
        vanished,
    )
    _take_away(draft, source, windows, refused, rules.only)
    return replace(report, message=messages.describe(report, source, rules, refused, cut))


# ---------------------------------------------------------------------- what is committed


def _windows(state: State, source: str, only: Sequence[int] | None = None) -> Iterator[tuple[int, tuple[Box, Runs]]]:
    """Slice -> rectangle with all of the source, and the runs of the committed objects (0) and the source (1) in it."""
    array = state.labels[source]
    slices = sorted(state.regions) if source == "current" else range(1 if array.ndim == 2 else len(array))
    for z in slices:
        box = state.regions[z] if source == "current" else bounding_box(state.plane(source, z))
        if box is not None:
            yield z, (box, _runs(state, source, z, box, only))


def _runs(state: State, source: str, z: int, box: Box, only: Sequence[int] | None) -> Runs:
    below, plane = (state.plane(name, z)[crop(box)] for name in ("committed", source))
    return Runs.of(below, plane if only is None else np.where(np.isin(plane, only), plane, 0))


def _choose(
    state: State, source: str, rules: CommitRules, spans: Spans, total: Mapping[int, int]
) -> tuple[np.ndarray, dict[int, int], dict[int, str]]:
    """The runs that are committed; label -> free pixels that are not; label -> why nothing of it is committed."""
    covered = spans.other > 0
    blocked = pixels_per_label(spans, covered)
    if rules.preserve != "pixels":
        spans = replace(spans, other=np.zeros_like(spans.other))
    unit = units_of(spans, rules.per_slice)
    across = not rules.per_slice
    refused: dict[int, str] = {}
    if source == "auto":
        whole = not state.auto_in_pieces
        rest = what_stays(spans, unit, across=across, min_size=rules.min_size, always=whole)
    else:
        own = _painted(state, spans)
        prompts = {label: _prompts_of(state, label) for label in total}
        if state.reopened is not None and state.reopened.record_before.source in ("merged", "loaded", "painted"):
            piece, _ = spans.pieces(np.where(spans.label == 1, 0, -1), across)
            unit = np.where(piece >= 0, piece + unit.max(initial=-1) + 1, unit)
        rest = what_stays(
            spans,
            unit,
            across=across,
            min_size=rules.min_size,
            always=True,
            own=own,
            prompts=prompts,
            small_too=True,
        )
        if rules.preserve == "pixels":
            drawn_by_network = pixels_per_label(spans, ~own)
            refused = {
                label: f"lies mostly ({100 * blocked[label] // total[label]} %) on"
                for label in blocked
                if 2 * blocked[label] > total[label] and label in drawn_by_network
            }
    left = pixels_per_label(spans, rest.stays)
    for label in total:
        if rules.preserve == "objects" and label in blocked:
            refused[label] = "overlaps"
        elif rules.preserve == "pixels" and blocked.get(label) == total[label]:
            refused[label] = "lies completely on"
        elif label not in left and label not in refused:
            free = total[label] - blocked.get(label, 0)
            refused[label] = f"would keep {count(free, 'pixel')} (in pieces below the minimal size) beside"
    if source == "current" and rules.families:
        for label in total:
            relatives = [i for i in refused if rules.families.get(i) == rules.families.get(label, -1)]
            if relatives and label not in refused:
                refused[label] = f"belongs to {rules.noun} {relatives[0]}, which cannot be committed beside"
    stays = rest.stays & ~np.isin(spans.label, np.array(list(refused), np.uint32))
    return stays, pixels_per_label(spans, rest.cut), refused


def _painted(state: State, spans: Spans) -> np.ndarray:
    """The runs of `current` in slices in which the user painted their object."""
    own = np.zeros(len(spans.label), bool)
    for z, known in state.confidence.items():
        labels = [label for label, confidence in known.items() if confidence.source == "painted"]
        if labels:
            own |= (spans.z == z) & np.isin(spans.label, labels)
    return own


# ---------------------------------------------------------------------- what is cut by it


def _with_all_below(
    state: State, source: str, windows: Windows, only: Sequence[int] | None
) -> dict[int, tuple[Box, Runs]]:
    """Windows that hold the committed objects whole that lie under those of the source."""
    below = Spans.of(windows, 1).other
    boxes = {z: box for z, (box, _) in windows.items()}
    for i in np.unique(below[below > 0]).tolist():
        record = state.objects[i]
        for z in range(*record.slices):
            boxes[z] = union(boxes.get(z), record.box)
    larger = {}
    for z, box in sorted(boxes.items()):
        if z in windows and windows[z][0] == box:
            larger[z] = windows[z]
        else:
            larger[z] = (box, _runs(state, source, z, box, only))
    return larger


def _without_crumbs(
    state: State, rules: CommitRules, windows: Windows, new: Mapping[int, np.ndarray]
) -> tuple[dict[int, np.ndarray], dict[int, int]]:
    """The committed objects without what is too little to keep of those that `new` ids (per run) overwrite.

    Returns
    -------
    values
        Slice -> id in each run of its window, 0 where a rest is removed.
    crumbs
        Id -> pixels that are removed.
    """
    values = {z: runs.values[0] for z, (_, runs) in windows.items()}
    over = {z: (box, runs.with_values(values[z], new[z])) for z, (box, runs) in windows.items()}
    ids = np.unique(np.concatenate([values[z][(new[z] > 0) & (values[z] > 0)] for z in windows]))
    if not len(ids):
        return values, {}
    spans = Spans.of(over, 0, ids)
    records = [state.objects[i] for i in ids.tolist()]
    across = not rules.per_slice
    unit, _ = spans.pieces(spans.label.astype(np.int64), across)
    own = np.isin(spans.label, [record.id for record in records if record.source == "painted"])
    for record in records:
        if record.painted:
            own |= (spans.label == record.id) & np.isin(spans.z, record.painted)
    prompts = {record.id: record.prompts for record in records if len(record.prompts)}
    rest = what_stays(spans, unit, across=across, min_size=rules.min_size, own=own, prompts=prompts, small_too=True)
    removed = spans.in_window(over, rest.cut)
    left = {z: np.where(removed[z], np.uint32(0), values[z]) for z in windows}
    return left, pixels_per_label(spans, rest.cut)


# ---------------------------------------------------------------------- ids, records, layers


def _lookup(ids: dict[int, int]) -> Callable[[np.ndarray], np.ndarray]:
    """A function that maps labels to ids, and all others to 0."""
    keys = np.array(sorted(ids), dtype=np.uint32)
    values = np.array([ids[key] for key in keys.tolist()], dtype=np.uint32)
    largest = int(keys[-1])
    if largest < 2**22:
        table = np.zeros(largest + 2, dtype=np.uint32)
        table[keys] = values
        return lambda labels: table[np.minimum(labels, np.uint32(largest + 1))]

    def search(labels: np.ndarray) -> np.ndarray:
        position = np.searchsorted(keys, labels).clip(max=len(keys) - 1)
        return np.where(keys[position] == labels, values[position], np.uint32(0))

    return search


def _new_ids(state: State, labels: Sequence[int], source: str) -> dict[int, int]:
    """Label of the source -> committed id. A reopened object gets its own id again."""
    ids = {}
    last = state.last_id
    for label in labels:
        if source == "current" and state.reopened is not None and label == 1:
            ids[label] = state.reopened.id
        else:
            last += 1
            ids[label] = last
    check_free_ids(last)
    return ids


def _record(state: State, label: int, new_id: int, extent: Extent, source: str, model: dict[str, str]) -> ObjectRecord:
    """The record of an object that was just written."""
    record = ObjectRecord(new_id, source, (extent.z0, extent.z1), extent.box, extent.area)
    if source == "auto":
        return record.changed(**model)
    known = state.confidence
    confidence = {z: values[label] for z, values in sorted(known.items()) if label in values}
    by_model = any(value.source != "painted" for value in confidence.values())
    return record.changed(
        source="prompts" if by_model else "painted",
        prompts=_prompts_of(state, label),
        confidence=confidence,
        painted=tuple(z for z in sorted(state.painted) if label in known.get(z, (label,))),
        imposed=tuple(z for z, answer in sorted(state.answers.items()) if answer.is_imposed_on(label, state.prompts)),
        **(model if by_model else {}),
        object_class=state.current_class,
    )


def _prompts_of(state: State, label: int) -> PromptSet:
    """The prompts of one of the current objects."""
    by_track = any(prompt.track_id is not None for prompt in state.prompts)
    lone = not by_track and len({value for answer in state.answers.values() for value in answer.labels} | {1}) == 1
    if lone or (state.reopened is not None and label == 1 and not by_track):
        return state.prompts
    if by_track:
        return state.prompts.of_track(label)
    drawn = [answer.drawn_for(label) for answer in state.answers.values()]
    mine = {prompt.id for prompt_set in drawn for prompt in prompt_set}
    mine |= {p.id for z in state.prompts.slices if state.prompts.in_slice(z).is_stop for p in state.prompts.in_slice(z)}
    return state.prompts.without([prompt.id for prompt in state.prompts if prompt.id not in mine])


def _take_away(
    draft: Draft, source: str, windows: Windows, refused: Mapping[int, str], only: Sequence[int] | None
) -> None:
    """Empty the source; of `current` those stay that were not committed, of `auto` those that were not meant."""
    state = draft.state
    if source == "auto" and only is not None:
        for z, (box, _) in windows.items():
            plane = state.plane("auto", z)[crop(box)]
            draft.paint("auto", z, box, np.where(np.isin(plane, only), 0, plane))
    elif source == "auto":
        for z, (box, runs) in windows.items():
            draft.paint_runs("auto", z, box, runs.with_values(runs.values[1], np.zeros_like(runs.values[1])))
    elif refused:
        theirs = {prompt.id for label in refused for prompt in _prompts_of(state, label)}
        others = [prompt.id for prompt in state.prompts if prompt.id not in theirs]
        current.keep_only(draft, set(refused), state.prompts.without(others))
    else:
        current.clear_all(draft)
