"""What loading, committing, re-opening and clearing do to committed tracks and their lineage."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np

from micro_sam.session.commands import Draft
from micro_sam.session.current_tracks import CurrentTrack
from micro_sam.session.edits import objects, tracks
from micro_sam.session.edits.commit import commit
from micro_sam.session.edits.commit_messages import amended
from micro_sam.session.lineage import Lineage
from micro_sam.session.prompts import PromptSet
from micro_sam.session.state import State
from micro_sam.session.values import CommitReport, CommitRules


def load_tracks(draft: Draft, labels: np.ndarray, source: str, lineage: Lineage) -> list[str]:
    """Replace the committed tracks by a checked label series and its lineage; returns what is worth a sentence.

    Tracks with gaps are cut there.
    """
    objects.load(draft, labels, source)
    messages = tracks.synchronise(draft, draft.state.objects)
    cut = {t.parent: t.id for t in draft.state.tracks.values() if t.parent is not None}
    parents = {}
    for track in lineage.tracks:
        mother = track.parent
        while mother in cut:
            mother = cut[mother]
        if mother is not None:
            parents[track.id] = mother
    return messages + tracks.relate(draft, parents)


def commit_tracks(draft: Draft, source: str, rules: CommitRules, model: dict[str, str]) -> CommitReport:
    """As :func:`~micro_sam.session.edits.commit.commit`, with the relations of the tracks."""
    state = draft.state
    relations = {label: track.parent for label, track in state.current_tracks.items()}
    if source == "auto":
        relations = dict(state.auto_parents)
    reopened = state.reopened
    report = commit(draft, source, replace(rules, families=_families(state.current_tracks)), model)
    messages = tracks.synchronise(draft, tracks.edited_ids(draft.edits, "committed"))
    ids = dict(zip(report.labels, report.ids, strict=True))
    last_part = _last_parts(state, report.ids)
    parents: dict[int, int | None] = {}
    for label, i in ids.items():
        mother = relations.get(label)
        parents[i] = last_part.get(ids[mother]) if mother in ids else None
    if source == "current" and reopened is not None and reopened.id in ids.values():
        parents[reopened.id] = reopened.parent
        parents.update({i: last_part[reopened.id] for i in reopened.daughters if i in state.tracks})
    messages += tracks.relate(draft, {i: mother for i, mother in parents.items() if mother is not None})
    if source == "auto":
        draft.drop_all("auto_parents")
    if messages:
        report = replace(report, message=amended(report.message, " ".join(messages[:2])))
    return report


def reopen_track(draft: Draft, track_id: int) -> None:
    """Move a committed track to `current`, and remember its relatives."""
    state = draft.state
    track, lineage = state.tracks[track_id], Lineage(state.tracks.values())
    daughters = lineage.daughters(track_id)
    objects.reopen(draft, track_id)
    begin = lineage[track.parent].end + 1 if track.parent is not None else 0
    limit = min((lineage[i].start for i in daughters), default=None)
    draft.put("current_tracks", 1, CurrentTrack(1, None, begin, None, None if limit is None else limit - 1))
    draft.set("prompts", PromptSet().add(*(replace(prompt, track_id=1, state="track") for prompt in state.prompts)))
    if state.anchors is not None and state.reopened is not None:
        draft.set("anchors", replace(state.anchors, prompts=state.prompts))
        draft.set("reopened", replace(state.reopened, parent=track.parent, daughters=daughters))


def clear_tracks(draft: Draft) -> None:
    """Clear `current` and the prompts; a reopened track goes back to its relatives."""
    reopened = draft.state.reopened
    objects.clear_all(draft)
    if reopened is not None:
        tracks.synchronise(draft, [reopened.id])
        back = {i: reopened.id for i in reopened.daughters}
        tracks.relate(draft, {**back, reopened.id: reopened.parent})


def _last_parts(state: State, ids: Iterable[int]) -> dict[int, int]:
    """Id -> id of its last part, for tracks that were cut at gaps."""
    ids = tuple(ids)
    follows = {t.parent: t.id for t in state.tracks.values() if t.parent is not None}
    last = {}
    for i in ids:
        last[i] = i
        while last[i] in follows and follows[last[i]] > max(ids):
            last[i] = follows[last[i]]
    return last


def _families(current_tracks: Mapping[int, CurrentTrack]) -> dict[int, int]:
    """Current track -> the founder of its lineage: mothers and daughters are committed together."""
    founders = {}
    for label in current_tracks:
        founder = label
        while (parent := current_tracks[founder].parent if founder in current_tracks else None) is not None:
            founder = parent
        founders[label] = founder
    return founders
