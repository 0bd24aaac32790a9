"""A recorded session done again with a network, without a window.

The prompts are placed as they were, and each question that was asked of the network is asked again, in the same order;
commits, deletions, merges and edits of tracks follow by what they were asked for. What was painted, loaded or found
automatically is taken as it was recorded. So a session that was made with a small model can be redone with a large one,
and every session is a benchmark.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from micro_sam.errors import InputError, MicroSamError
from micro_sam.session.commands import Command, EntriesEdit, EntryEdit, ValueEdit
from micro_sam.session.journal.restoring import live_rows, renumbered
from micro_sam.session.journal.rows import Row
from micro_sam.session.label_edits import LabelEdit, crop
from micro_sam.session.session import Session, TrackingSession, VolumeSession

KINDS: Mapping[str, type[Session]] = {"2d": Session, "3d": VolumeSession, "tracking": TrackingSession}


@dataclass
class Replayed:
    """What came of it.

    Attributes
    ----------
    session
        With the labels, records and tracks as they are now.
    ious
        Id of each prompted object of the recorded session -> its overlap (IoU) with the one of now.
    taken
        Ids of objects that were taken as recorded -> where they came from.
    problems
        Actions that could not be done again, as sentences.
    """

    session: Any
    ious: dict[int, float] = field(default_factory=dict)
    taken: dict[int, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    @property
    def mean_iou(self) -> float | None:
        """Over all prompted objects; None when there is none."""
        return float(np.mean(list(self.ious.values()))) if self.ious else None


def recorded_session(tool: str, shape: Sequence[int], rows: Sequence[Row]) -> Any:
    """The session as it was recorded; every action that counts can be undone in it.

    Raises
    ------
    InputError
        For a tool that this program does not know.
    """
    if tool not in KINDS:
        raise InputError(f"This session was made with the tool '{tool}', which this program does not know.")
    recorded = KINDS[tool](tuple(shape), max_history_bytes=2**62)
    recorded.restore([row for row in renumbered(live_rows(rows)) if row.kind != "base"])
    return recorded


def replay(
    tool: str,
    shape: Sequence[int],
    rows: Sequence[Row],
    predictor: Any,
    embeddings: Any,
    make_maps: Callable[[], Any] | None = None,
) -> Iterator[tuple[int, int] | Replayed]:
    """Do a session again.

    Parameters
    ----------
    tool, shape
        Of the session, as its header says.
    rows
        All its actions.
    predictor, embeddings
        The network, and the features of the image.
    make_maps
        Makes the maps of a volume, where a step of the session needs them.

    Yields
    ------
    (done, total), or the result
        Actions done so far; the last item is the result.
    """
    recorded = recorded_session(tool, shape, rows)
    commands = list(recorded.history.done)
    while recorded.undo() is not None:
        pass
    again = KINDS[tool](tuple(shape))
    again.model.attach(predictor, embeddings)
    result = Replayed(again)
    needs_maps = any(command.details.get("method") == "maps" for command in commands)
    if needs_maps and make_maps is not None:
        again.model.attach_maps(make_maps())
    for k, command in enumerate(commands):
        recorded.redo()
        try:
            _do_again(again, recorded, command)
        except MicroSamError as error:
            result.problems.append(f"{command.name}: {error}")
        yield k + 1, len(commands)
    _compare(result, recorded)
    yield result


# ---------------------------------------------------------------------- inside


def _do_again(again: Any, recorded: Any, command: Command) -> None:
    details, name, kind = command.details, command.name, command.kind
    ids = [i for i in details.get("ids", ()) if i in again.objects]
    if kind in ("prompts", "answer", "run"):
        _segment(again, command)
    elif name == "Commit":
        _commit(again, command)
    elif name.startswith(("Delete object", "Delete track")):
        again.objects.delete(ids)
    elif name.startswith(("Merge objects", "Merge tracks")):
        again.objects.merge(ids)
    elif name.startswith(("Reopen object", "Reopen track")):
        again.objects.reopen(details["ids"][0])
    elif name in ("Set region", "Clear region"):
        again.automatic.set_region(recorded.automatic.region)
    elif name.startswith("Clear"):
        again.prompts.clear(details.get("z"))
    elif name.startswith("Split track"):
        again.tracks.split(details["ids"][0], details["frame"], details["link"])
    elif name.startswith("Relink track"):
        again.tracks.relink(details["ids"][0], details["mother"])
    elif name.startswith("Divide track"):
        again.tracks.divide(*details["ids"])
    else:
        _take(again, command)


def _segment(again: Any, command: Command) -> None:
    """Prompts as they were placed, and the questions that were asked of them."""
    for edit in command.edits:
        if isinstance(edit, ValueEdit) and edit.key == "prompts":
            again.prompts.change(edit.after)
        elif isinstance(edit, EntryEdit) and edit.key == "answers" and edit.after is not None:
            if "iou_threshold" in command.details:
                continue
            z = edit.entry if again.ndim == 3 else None
            if again.prompts.drawn.in_slice(edit.entry) == edit.after.drawn:
                preview = bool(command.details.get("preview", False))
                again.segment.apply(again.segment.compute(again.segment.plan(z, edit.after.batched)), preview=preview)
    details = command.details
    if "iou_threshold" in details or "method" in details:
        names = (
            "method",
            "iou_threshold",
            "projection",
            "box_extension",
            "interpolation",
            "motion_smoothing",
            "divisions",
        )
        options = {name: details[name] for name in names if name in details}
        again.propagation.segment(**options)


def _commit(again: Any, command: Command) -> None:
    details = command.details
    before = [edit.before for edit in command.edits if isinstance(edit, ValueEdit) and edit.key == "last_id"]
    if before:  # a new object has the id that it had, also where one before was not found again
        again.state.last_id = max(before[0], max(again.objects, default=0))
    again.objects.commit(details["source"], details["preserve"], details["min_size"], only=details.get("only"))


def _take(again: Any, command: Command) -> None:
    """Change the pixels that the recorded action changed, to what they became."""
    by_layer: dict[str, list[LabelEdit]] = {}
    for edit in command.edits:
        if isinstance(edit, LabelEdit):
            by_layer.setdefault(edit.name, []).append(edit)
    for name, edits in by_layer.items():
        if name == "auto" and command.kind == "auto":
            labels = again.auto.copy()
            for edit in edits:
                _write(labels[edit.z] if labels.ndim == 3 else labels, edit)
            again.automatic.show(labels)
            again.state.auto_parents.update(
                {
                    edit.entry: edit.after
                    for edit in command.edits
                    if isinstance(edit, EntryEdit) and edit.key == "auto_parents" and edit.after
                }
            )
            continue
        for edit in edits:
            plane = again.state.plane(name, edit.z)[crop(edit.box)].copy()
            before, after = edit.runs.array(0), edit.runs.array(1)
            region = crop(edit.box)
            values = np.where(before != after, after, plane)
            again.labels.paint(
                name,
                region if again.ndim == 2 else (slice(edit.z, edit.z + 1), *region),
                values if again.ndim == 2 else values[None],
            )
    for change in command.edits:
        if isinstance(change, EntryEdit | EntriesEdit) and change.key == "objects":
            changed = {change.entry: change.after} if isinstance(change, EntryEdit) else change.after
            for i, record in changed.items():
                if record is not None and i in again.objects:
                    again.state.objects[i] = again.objects[i].changed(
                        source=record.source, object_class=record.object_class
                    )


def _write(plane: np.ndarray, edit: LabelEdit) -> None:
    before, after = edit.runs.array(0), edit.runs.array(1)
    window = plane[crop(edit.box)]
    window[before != after] = after[before != after]


def _compare(result: Replayed, recorded: Any) -> None:
    new, old = result.session, recorded
    planes = range(old.shape[0] if old.ndim == 3 else 1)
    for i, record in old.objects.items():
        if record.source not in ("prompts", "merged") or not len(record.prompts):
            result.taken[i] = record.source
            continue
        intersection = union = 0
        for z in planes:
            a, b = (session.state.plane("committed", z) == i for session in (old, new))
            intersection += int((a & b).sum())
            union += int((a | b).sum())
        result.ious[i] = intersection / union if union else 0.0
