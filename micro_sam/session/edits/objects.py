"""Edits of committed objects: load, delete, merge, split, reopen, paint. Commit: see ``commit``."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy  # its parts are loaded when they are used

from micro_sam.segmentation.values import ObjectMask
from micro_sam.session.commands import Draft
from micro_sam.session.edits import current
from micro_sam.session.edits.committed import CommittedWriter, Extent, check_free_ids, relabel
from micro_sam.session.label_edits import Runs, crop, union
from micro_sam.session.prompts import PromptSet
from micro_sam.session.values import Anchors, ObjectRecord, Reopened, SliceAnswer, SliceConfidence


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
        imposed=tuple(sorted({z for record in records for z in record.imposed})),
    )
    draft.put("objects", target, merged)
    return target


def split(draft: Draft, object_id: int) -> list[int]:
    """Make an object of each connected piece (corners count); the largest keeps the id and the prompts.

    Returns
    -------
    ids
        Of the pieces, the largest first; of an object in one piece its own.
    """
    state = draft.state
    record = state.objects[object_id]
    slices = range(*record.slices)
    inside = np.stack([state.plane("committed", z)[crop(record.box)] == object_id for z in slices])
    pieces, number = scipy.ndimage.label(inside, np.ones((3, 3, 3)))
    sizes = np.bincount(pieces.ravel(), minlength=number + 1)[1:]
    order = np.argsort(-sizes, kind="stable")
    ids = [object_id, *range(state.last_id + 1, state.last_id + number)]
    check_free_ids(ids[-1])
    table = np.zeros(number + 1, np.uint32)
    table[order + 1] = ids
    writer = CommittedWriter(draft)
    for z, plane in zip(slices, pieces, strict=True):
        if (table[plane] > object_id).any():
            before = state.plane("committed", z)[crop(record.box)]
            writer.write(z, record.box, np.where(plane > 0, table[plane], before))
    writer.finish(
        lambda i, extent: record.changed(
            id=i,
            source="split",
            slices=(extent.z0, extent.z1),
            box=extent.box,
            area=extent.area,
            prompts=PromptSet(),
            confidence={},
            painted=(),
            imposed=(),
        )
    )
    return ids


def reopen(draft: Draft, object_id: int) -> None:
    """Move a committed object to `current` (label 1) with its prompts, and remember how to put it back."""
    record = draft.state.objects[object_id]
    writer, edits = relabel(draft, [object_id], 0)
    writer.finish(_never)
    for edit in edits:
        runs = edit.runs
        mine = (runs.values[0] == object_id).astype(np.uint32)
        draft.paint_runs("current", edit.z, edit.box, runs.with_values(np.zeros_like(mine), mine))
        draft.put("regions", edit.z, union(draft.state.regions.get(edit.z), edit.box))
    for z, value in record.confidence.items():
        draft.put("confidence", z, {1: value})
    for z in record.painted:
        draft.put("painted", z, 1)
    for z in set(record.imposed) & draft.state.regions.keys():
        drawn, region = record.prompts.in_slice(z), draft.state.regions[z]
        mask = ObjectMask.from_array(draft.state.plane("current", z)[crop(region)] == 1, offset=region[:2])
        draft.put("answers", z, SliceAnswer((mask,), (1,), drawn, imposed=True))
    draft.set("prompts", record.prompts)
    draft.set("anchors", Anchors(record.prompts, dict(draft.state.painted)))
    draft.set("reopened", Reopened(record, tuple(edits)))
    draft.set("current_class", record.object_class)


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


def _never(object_id: int, extent: Extent) -> ObjectRecord:
    raise AssertionError(f"no new object is made here, but {object_id} is")
