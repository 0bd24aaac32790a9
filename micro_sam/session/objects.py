"""Acts on committed objects: commit, load, delete, merge, reopen, paint."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from micro_sam.errors import InputError
from micro_sam.session import current
from micro_sam.session.commands import Draft
from micro_sam.session.committed import MAX_ID, CommittedWriter, Extent, relabel
from micro_sam.session.labels import Box, Runs, bounding_box, crop, union
from micro_sam.session.prompts import PromptSet
from micro_sam.session.state import State
from micro_sam.session.values import (
    PRESERVE_MODES,
    Anchors,
    CommitReport,
    ObjectRecord,
    Reopened,
    SliceConfidence,
    count,
    listing,
)


def commit(draft: Draft, source: str, preserve: str, model: dict[str, str]) -> CommitReport:
    """Move `current` or `auto` into the committed objects. See :meth:`Session.commit`."""
    if preserve not in PRESERVE_MODES:
        raise InputError(f"Committed objects can be preserved by {', '.join(PRESERVE_MODES)}, not by '{preserve}'.")
    if source not in ("current", "auto"):
        raise InputError(f"Only 'current' and 'auto' can be committed, not '{source}'.")
    state = draft.state
    windows = dict(_windows(state, source))
    total, blocked = _count_overlaps(windows.values())
    if not total:
        if source == "auto":
            raise InputError("There is no automatic segmentation to commit. Run Segment All Objects first.")
        found = next(_windows(state, "auto"), None) is not None
        how = " To commit what Segment All found, choose auto_segmentation in the commit menu." if found else ""
        raise InputError(f"There is no current object to commit. Click on an object and segment it first.{how}")
    if preserve == "objects":
        left_out = sorted(blocked)
    else:
        left_out = sorted(i for i in blocked if blocked[i] == total[i]) if preserve == "pixels" else []
    labels = sorted(set(total) - set(left_out))
    if not labels:
        raise InputError(_nothing_free(len(total), preserve))
    ids = _new_ids(state, labels, source)
    records = {ids[label]: _draft_record(state, label, ids[label], source, model) for label in labels}
    to_id = _lookup(ids)
    writer = CommittedWriter(draft)
    for z, (box, runs) in windows.items():
        below, new = runs.values[0], to_id(runs.values[1])
        take = new > 0 if preserve == "none" else (new > 0) & (below == 0)
        writer.write_runs(z, box, runs.with_values(below, np.where(take, new, below)))
    vanished = writer.finish(
        lambda i, extent: records[i].changed(slices=(extent.z0, extent.z1), box=extent.box, area=extent.area)
    )
    if source == "current":
        current.clear_all(draft)
    else:
        for z, (box, runs) in windows.items():
            draft.paint_runs("auto", z, box, runs.with_values(runs.values[1], np.zeros_like(runs.values[1])))
    sizes = {ids[label]: state.objects[ids[label]].area for label in labels}
    kept = 0 if preserve == "none" else sum(blocked.get(label, 0) for label in labels)
    new_ids = tuple(ids[label] for label in labels)
    report = CommitReport(new_ids, tuple(labels), sizes, kept, tuple(left_out), writer.lost, vanished)
    return replace(report, message=_describe(report, source))


def load(draft: Draft, labels: np.ndarray, source: str) -> None:
    """Replace all committed objects by a checked label image (uint32), with its ids."""
    for i in list(draft.state.objects):
        draft.put("objects", i, None)
    writer = CommittedWriter(draft)
    extents: dict[int, Extent] = {}
    for z, plane in enumerate(labels.reshape(-1, *labels.shape[-2:])):
        draft.paint("committed", z, (0, 0, *plane.shape), plane)
        for value, box, number, _ in Runs.of(plane).measure():
            extent = extents.setdefault(value, Extent(z, z + 1, box))
            extent.z1, extent.box, extent.area = z + 1, union(extent.box, box), extent.area + number
    writer.gained = extents
    writer.finish(lambda i, extent: ObjectRecord(i, source, (extent.z0, extent.z1), extent.box, extent.area))


def delete(draft: Draft, ids: Sequence[int]) -> None:
    """Remove committed objects."""
    writer, _ = relabel(draft, ids, 0)
    writer.finish(_never)


def merge(draft: Draft, ids: Sequence[int]) -> int:
    """Give several objects the smallest of their ids; prompts and confidence are put together."""
    state = draft.state
    target = ids[0]
    records = [state.objects[i] for i in ids]
    writer, _ = relabel(draft, ids, target)
    writer.finish(_never)
    confidence: dict[int, SliceConfidence] = {}
    for record in records:
        for z, value in record.confidence.items():
            if z not in confidence or value.value < confidence[z].value:
                confidence[z] = value
    merged = state.objects[target].changed(
        source="merged",
        prompts=PromptSet().add(*(prompt for record in records for prompt in record.prompts)),
        confidence=confidence,
        painted=tuple(sorted({z for record in records for z in record.painted})),
    )
    draft.put("objects", target, merged)
    return target


def reopen(draft: Draft, object_id: int) -> None:
    """Move a committed object to `current` (label 1) with its prompts, and remember how to put it back."""
    record = draft.state.objects[object_id]
    writer, edits = relabel(draft, [object_id], 0)
    writer.finish(_never)
    for edit in edits:
        runs = edit.runs
        mine = (runs.values[0] == object_id).astype(np.uint32)
        draft.paint_runs("current", edit.z, edit.box, runs.with_values(np.zeros_like(mine), mine))
        draft.put("regions", edit.z, edit.box)
    for z, value in record.confidence.items():
        draft.put("confidence", z, {1: value})
    for z in record.painted:
        draft.put("painted", z, 1)
    draft.set("prompts", record.prompts)
    draft.set("anchors", Anchors(record.prompts, dict(draft.state.painted)))
    draft.set("reopened", Reopened(record, tuple(edits)))


def clear_all(draft: Draft) -> None:
    """Clear `current` and the prompts; a reopened object goes back where it was, as far as its pixels are free."""
    reopened = draft.state.reopened
    current.clear_all(draft)
    if reopened is None:
        return
    writer = CommittedWriter(draft)
    for edit in reopened.edits:
        runs = Runs.of(draft.state.plane("committed", edit.z)[crop(edit.box)], edit.runs.array(0))
        below, before = runs.values
        back = (before == reopened.id) & (below == 0)
        writer.write_runs(edit.z, edit.box, runs.with_values(below, np.where(back, np.uint32(reopened.id), below)))
    writer.finish(
        lambda i, extent: reopened.record_before.changed(
            slices=(extent.z0, extent.z1), box=extent.box, area=extent.area
        )
    )


def paint(draft: Draft, blocks: Sequence[current.Block]) -> None:
    """Take brush strokes over into the committed objects; a value that is new becomes a new object."""
    writer = CommittedWriter(draft)
    for z, box, after, before in blocks:
        writer.write(z, box, after, before)
    writer.finish(lambda i, extent: ObjectRecord(i, "painted", (extent.z0, extent.z1), extent.box, extent.area))


# ---------------------------------------------------------------------- inside


def _windows(state: State, source: str) -> Iterator[tuple[int, tuple[Box, Runs]]]:
    """Slice -> rectangle with all of the source, and the runs of the committed objects (0) and the source (1) in it."""
    array = state.labels[source]
    slices = sorted(state.regions) if source == "current" else range(1 if array.ndim == 2 else len(array))
    for z in slices:
        box = state.regions[z] if source == "current" else bounding_box(state.plane(source, z))
        if box is not None:
            yield z, (box, Runs.of(*(state.plane(name, z)[crop(box)] for name in ("committed", source))))


def _count_overlaps(windows: Iterable[tuple[Box, Runs]]) -> tuple[dict[int, int], dict[int, int]]:
    """Pixels per label of the source, and how many of them lie on committed objects."""
    total: dict[int, int] = {}
    blocked: dict[int, int] = {}
    for _, runs in windows:
        for counts, where in ((total, None), (blocked, runs.values[0] > 0)):
            for value, number in runs.areas(1, where).items():
                counts[value] = counts.get(value, 0) + number
    return total, blocked


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
    if last > MAX_ID:
        raise InputError(f"There are no free ids left: the largest is {MAX_ID}. Save and relabel the objects.")
    return ids


def _draft_record(state: State, label: int, new_id: int, source: str, model: dict[str, str]) -> ObjectRecord:
    """The record of an object that is being committed; extent and area are filled in once it is written."""
    facts = {"slices": (0, 0), "box": (0, 0, 0, 0), "area": 0}
    if source == "auto":
        return ObjectRecord(new_id, "auto", **facts, **model)
    by_track = any(prompt.track_id is not None for prompt in state.prompts)
    lone = not by_track and len({value for answer in state.answers.values() for value in answer.labels} | {1}) == 1
    if lone or (state.reopened is not None and label == 1 and not by_track):
        prompts = state.prompts
    elif by_track:
        prompts = state.prompts.of_track(label)
    else:
        drawn = [answer.drawn_for(label) for answer in state.answers.values()]
        chosen = {prompt.id for prompt_set in drawn for prompt in prompt_set}
        chosen |= {
            p.id for z in state.prompts.slices if state.prompts.in_slice(z).is_stop for p in state.prompts.in_slice(z)
        }
        prompts = PromptSet(
            tuple(p for p in state.prompts.points if p.id in chosen),
            tuple(s for s in state.prompts.shapes if s.id in chosen),
        )
    confidence = {z: known[label] for z, known in sorted(state.confidence.items()) if label in known}
    by_model = any(value.source != "painted" for value in confidence.values())
    return ObjectRecord(
        new_id,
        "prompts" if by_model else "painted",
        **facts,
        prompts=prompts,
        confidence=confidence,
        painted=tuple(sorted(state.painted)),
        **(model if by_model else {}),
    )


def _nothing_free(number: int, preserve: str) -> str:
    what = "The object overlaps" if number == 1 else f"All {number:,} objects overlap"
    if preserve == "pixels":
        what = "The object lies completely on" if number == 1 else f"All {number:,} objects lie completely on"
    return (
        f"{what} committed objects, which are preserved, so nothing was committed. "
        "Correct the object, or choose another way to preserve committed objects."
    )


def _describe(report: CommitReport, source: str) -> str:
    area = sum(report.areas.values())
    if len(report.ids) == 1:
        text = f"Object {report.ids[0]} committed ({count(area, 'pixel')})."
    else:
        text = f"{len(report.ids):,} objects committed (ids {min(report.ids)} to {max(report.ids)})."
    if report.kept:
        text += f" {count(report.kept, 'pixel')} stayed with the objects committed before."
    if report.left_out:
        verb = "was" if len(report.left_out) == 1 else "were"
        text += f" {count(len(report.left_out), 'object')} {verb} left out because committed objects are in the way."
    if report.lost:
        text += f" Overwritten: {count(sum(report.lost.values()), 'pixel')} of {listing(sorted(report.lost))}."
    if report.vanished:
        text += f" Nothing is left of {listing(report.vanished)}; undo brings it back."
    return text + (" Click the next object." if source == "current" else " Click an object that was missed.")


def _never(object_id: int, extent: Extent) -> ObjectRecord:
    raise AssertionError(f"no new object is made here, but {object_id} is")
