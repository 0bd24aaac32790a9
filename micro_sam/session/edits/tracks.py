"""Committed tracks: how the lineage follows the committed labels, whatever is done to them.

``state.tracks`` always agrees with the committed labels: first and last frame are those in which the id has pixels, a
track has no gaps, and every relation points from a mother to daughters that begin after her end. :func:`synchronise`
restores this after each edit; a track with a gap is cut there, and its parts are linked one after the other, as the
Cell Tracking Challenge does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from micro_sam.errors import InputError
from micro_sam.session.commands import Draft, Edit
from micro_sam.session.edits import objects
from micro_sam.session.edits.committed import CommittedWriter, Extent
from micro_sam.session.label_edits import LabelEdit, Runs, crop, present
from micro_sam.session.lineage import Lineage, Track
from micro_sam.session.state import State
from micro_sam.session.values import ObjectRecord, listing


def edited_ids(edits: Iterable[Edit], name: str, gained: bool = False) -> set[int]:
    """Labels that gained or lost pixels (or only those that gained) in a layer."""
    ids: set[int] = set()
    for edit in edits:
        if isinstance(edit, LabelEdit) and edit.name == name:
            before, after = edit.runs.values
            different = before != after
            ids.update(np.unique(after[different]).tolist())
            if not gained:
                ids.update(np.unique(before[different]).tolist())
    return ids - {0}


def frames_of(state: State, object_id: int) -> list[int]:
    """Sorted frames in which a committed object has pixels. Looks only where it is."""
    record = state.objects.get(object_id)
    if record is None:
        return []
    window = crop(record.box)
    return [t for t in range(*record.slices) if (state.plane("committed", t)[window] == object_id).any()]


def synchronise(draft: Draft, ids: Iterable[int]) -> list[str]:
    """Bring the tracks of edited objects in line with their pixels; returns what is worth a sentence."""
    state = draft.state
    tracks = dict(state.tracks)
    messages = []
    for i in sorted(ids):
        frames = frames_of(state, i)
        if not frames:
            tracks.pop(i, None)
            continue
        parts = np.split(np.array(frames), np.flatnonzero(np.diff(frames) > 1) + 1)
        known = tracks.get(i)
        tracks[i] = Track(i, int(parts[0][0]), int(parts[0][-1]), known.parent if known else None)
        last = i
        for part in parts[1:]:
            new_id = _cut_off(draft, i, int(part[0]), int(part[-1]) + 1)
            tracks[new_id] = Track(new_id, int(part[0]), int(part[-1]), last)
            last = new_id
        if last != i:
            for track in [t for t in tracks.values() if t.parent == i and t.start > int(parts[-1][-1])]:
                tracks[track.id] = replace(track, parent=last)
            messages.append(
                f"Track {i} is missing in frame {int(parts[0][-1]) + 1}, so it ends before that frame and goes on as "
                f"track {last}."
            )
    messages += write(draft, tracks)
    return messages


def write(draft: Draft, tracks: Mapping[int, Track]) -> list[str]:
    """Make `tracks` the committed tracks, without relations that cannot be; returns sentences about those."""
    kept: dict[int, Track] = {}
    messages = []
    for i, track in tracks.items():
        if track.parent is not None:
            mother = tracks.get(track.parent)
            if mother is None or mother.end >= track.start:
                if mother is not None:
                    messages.append(f"Track {i} begins before track {mother.id} ends, so it is no longer its daughter.")
                track = replace(track, parent=None)
        kept[i] = track
    before = draft.state.tracks
    for i in [i for i in before if i not in kept]:
        draft.put("tracks", i, None)
    for i, track in kept.items():
        if before.get(i) != track:
            draft.put("tracks", i, track)
    return messages


def relate(draft: Draft, parents: Mapping[int, int | None]) -> list[str]:
    """Set the mothers of some tracks, as far as that can be."""
    tracks = dict(draft.state.tracks)
    for i, parent in parents.items():
        if i in tracks:
            tracks[i] = replace(tracks[i], parent=parent)
    return write(draft, tracks)


def replace_lineage(draft: Draft, lineage: Lineage) -> None:
    """Make a lineage the committed one."""
    write(draft, dict(lineage))


def split(draft: Draft, track_id: int, frame: int, link: bool) -> int:
    """Cut a committed track in two; the part from `frame` on gets a new id, which is returned."""
    lineage = Lineage(draft.state.tracks.values())
    new_id = draft.state.last_id + 1
    after = lineage.split(track_id, frame, new_id, link)
    _cut_off(draft, track_id, frame, lineage[track_id].end + 1)
    write(draft, dict(after))
    return new_id


def merge(draft: Draft, ids: Sequence[int]) -> int:
    """Make one track of several that follow each other, or lie in the same frames, without a gap."""
    state = draft.state
    tracks = [state.tracks[i] for i in ids]
    frames = sorted({t for track in tracks for t in track.frames})
    missing = sorted(set(range(frames[0], frames[-1] + 1)) - set(frames))
    if missing:
        raise InputError(
            f"Tracks {listing(ids)} cannot be one: none of them has an object in frame {missing[0]}. "
            "Track or paint the object there first, or link them as mother and daughter."
        )
    parent = min(tracks, key=lambda track: track.start).parent
    daughters = [track.id for track in state.tracks.values() if track.parent in ids and track.id not in ids]
    kept = objects.merge(draft, ids)
    synchronise(draft, ids)
    relate(draft, {kept: parent if parent not in ids else None, **{i: kept for i in daughters}})
    return kept


def extents(labels: np.ndarray) -> dict[int, tuple[int, int]]:
    """First and last frame of every label of a (T, H, W) series."""
    found: dict[int, tuple[int, int]] = {}
    for t, plane in enumerate(labels):
        for i in present(plane).tolist():
            if i:
                found[i] = (found.get(i, (t, t))[0], t)
    return found


def centres(state: State, t: int) -> dict[int, tuple[float, float]]:
    """Centre (y, x) of every committed object in a frame."""
    return {found.label: found.centre for found in Runs.of(state.plane("committed", t)).measure()}


def _cut_off(draft: Draft, object_id: int, begin: int, end: int) -> int:
    """Give a committed object a new id in the frames from `begin` to before `end`."""
    state = draft.state
    record = state.objects[object_id]
    new_id = state.last_id + 1
    writer = CommittedWriter(draft)
    for t in range(max(begin, record.slices[0]), min(end, record.slices[1])):
        window = state.plane("committed", t)[crop(record.box)]
        if (window == object_id).any():
            writer.write(t, record.box, np.where(window == object_id, np.uint32(new_id), window))
    inside = [prompt.id for prompt in record.prompts if begin <= prompt.z < end]

    def second_part(i: int, extent: Extent) -> ObjectRecord:
        return record.changed(
            id=i,
            slices=(extent.z0, extent.z1),
            box=extent.box,
            area=extent.area,
            prompts=record.prompts.without([p.id for p in record.prompts if p.id not in inside]),
            confidence={t: value for t, value in record.confidence.items() if begin <= t < end},
            painted=tuple(t for t in record.painted if begin <= t < end),
        )

    writer.finish(second_part)
    first = state.objects[object_id]
    draft.put(
        "objects",
        object_id,
        first.changed(
            prompts=first.prompts.without(inside),
            confidence={t: value for t, value in first.confidence.items() if not begin <= t < end},
            painted=tuple(t for t in first.painted if not begin <= t < end),
        ),
    )
    return new_id
