"""Committed objects: commit, load, delete, merge, re-open."""

from __future__ import annotations

from collections.abc import ItemsView, Iterable, Iterator, KeysView, Mapping, Sequence, ValuesView
from typing import Any

import numpy as np

from micro_sam.errors import InputError
from micro_sam.session import queries
from micro_sam.session.actions.prompts import PromptActions
from micro_sam.session.edits import objects
from micro_sam.session.edits.committed import check_ids, check_labels
from micro_sam.session.model import Model
from micro_sam.session.rules import Relations
from micro_sam.session.steps import Steps
from micro_sam.session.values import (
    MIN_SIZE,
    CommitReport,
    CommitRules,
    LayerName,
    ObjectRecord,
    PreserveMode,
    count,
    listing,
    named,
)


class ObjectActions(Mapping[int, ObjectRecord]):
    """The committed objects: id -> where it came from, and what can be done with them."""

    def __init__(self, steps: Steps, model: Model, prompts: PromptActions) -> None:
        self._steps = steps
        self._model = model
        self._prompts = prompts

    # ------------------------------------------------------------------ records

    def __getitem__(self, object_id: int) -> ObjectRecord:
        return self._steps.state.objects[object_id]

    def __iter__(self) -> Iterator[int]:
        return iter(self._steps.state.objects)

    def __len__(self) -> int:
        return len(self._steps.state.objects)

    def keys(self) -> KeysView[int]:
        """All ids."""
        return self._steps.state.objects.keys()

    def values(self) -> ValuesView[ObjectRecord]:
        """All records."""
        return self._steps.state.objects.values()

    def items(self) -> ItemsView[int, ObjectRecord]:
        """Ids and records."""
        return self._steps.state.objects.items()

    @property
    def reopened(self) -> int | None:
        """Id of the committed object that is being corrected, if any."""
        reopened = self._steps.state.reopened
        return reopened.id if reopened is not None else None

    @property
    def next_id(self) -> int:
        """Id that the first current object gets at its commit."""
        return self.reopened or self._steps.state.last_id + 1

    def at(self, position: Sequence[float]) -> int:
        """Id of the committed object at (y, x) or (z, y, x); 0 for background and outside."""
        return queries.object_at(self._steps.state, position)

    # ------------------------------------------------------------------ actions

    def commit(
        self,
        source: LayerName = "current",
        preserve: PreserveMode = "pixels",
        min_size: int = MIN_SIZE,
        only: Iterable[int] | None = None,
        **details: Any,
    ) -> CommitReport:
        """Move the current object(s), or the automatic segmentation, into the committed objects, with new ids.

        Parameters
        ----------
        source
            ``"current"`` or ``"auto"``.
        preserve
            What happens where committed objects are in the way. ``"pixels"``: they keep their pixels, the new objects
            get the free ones. ``"objects"``: new objects that overlap a committed one are left out whole.
            ``"none"``: the new objects overwrite, and the report says who lost what.
        min_size
            Pixels that must stay of an object that is cut (in a movie: in a frame).
        only
            Labels of `auto`: the others stay there. None: all are committed.
        details
            JSON-able facts for the record.

        Notes
        -----
        No rims and crumbs are committed (the rule is in ``session.edits.commit``): an object that is covered by more
        than half is not committed, of another one its largest piece is. Current objects that are not committed stay
        open.

        Returns
        -------
        report
            Ids, and all that was not committed or was overwritten.

        Raises
        ------
        InputError
            When there is nothing to commit, or nothing of it is free.
        """
        steps = self._steps
        selected = None if only is None or source != "auto" else tuple(int(label) for label in only)
        rules = CommitRules(preserve, int(min_size), steps.rules.noun, steps.rules.per_slice, only=selected)
        with steps.step("Commit", **rules.record(source), **details) as draft:
            report = steps.rules.commit(draft, source, rules, self._model.facts)
            draft.details.update(ids=list(report.ids))
        if source == "current":
            steps.make_stale()
            self._prompts.set_next_polarity(True)
        steps.keeper.say_when_written(report.message)
        return report

    def load(self, labels: np.ndarray, lineage: Relations | None = None, source: str = "loaded") -> None:
        """Replace the committed objects by a label image, keeping its ids.

        Parameters
        ----------
        labels
            Integers of the session's shape. In a movie: the same label in all frames of a track; tracks with gaps are
            cut there.
        lineage
            Movies only: a :class:`~micro_sam.session.lineage.Lineage`, or mother -> daughters.
        source
            What the records say of it.

        Raises
        ------
        InputError
            For another shape, negative values, values that are not integers, or a lineage that names tracks that are
            not in the labels, or cannot be.
        """
        steps = self._steps
        labels = check_labels(labels, steps.state.shape)
        with steps.step(f"Load {steps.rules.noun}s") as draft:
            message = steps.rules.load(draft, labels, source, lineage)
        steps.say(message)

    def delete(self, ids: Iterable[int]) -> None:
        """Remove committed objects."""
        ids = check_ids(self._steps.state, ids)
        what = named(self._steps.rules.noun, ids)
        with self._steps.step(f"Delete {what.lower()}", ids=ids) as draft:
            objects.delete(draft, ids)
        self._steps.say(f"{what} deleted. Undo brings {'it' if len(ids) == 1 else 'them'} back.")

    def merge(self, ids: Iterable[int]) -> int:
        """Make one committed object of several; the smallest id stays and is returned."""
        ids = check_ids(self._steps.state, ids)
        noun = self._steps.rules.noun
        if len(ids) < 2:
            raise InputError(f"Merging needs at least two {noun}s. Select another one that belongs to it.")
        what = named(noun, ids)
        with self._steps.step(f"Merge {what.lower()}", ids=ids) as draft:
            kept = self._steps.rules.merge(draft, ids)
        self._steps.say(f"{what} are one now: {noun} {kept}.")
        return kept

    def split(self, ids: Iterable[int]) -> list[int]:
        """Make an object of each piece of some objects; the largest pieces keep the ids. Returns the ids of all pieces.

        Raises
        ------
        InputError
            When all of them are in one piece, or they are tracks, which are split at a frame.
        """
        steps = self._steps
        if steps.rules.per_slice:
            raise InputError("A track is split at a frame: go to the frame and use the split of the lineage.")
        ids = check_ids(steps.state, ids)
        with steps.step(f"Split {named(steps.rules.noun, ids).lower()}", ids=ids) as draft:
            pieces = [piece for i in ids for piece in objects.split(draft, i)]
            if len(pieces) == len(ids):
                raise InputError(f"{count(len(ids), 'object')} in one piece: nothing to split.")
        steps.say(f"{count(len(ids), 'object')} split into {len(pieces)}: {listing(pieces)}.")
        return pieces

    def reopen(self, object_id: int) -> None:
        """Make a committed object the current one again, with its prompts. The next commit gives it its id again.

        Raises
        ------
        InputError
            When there is another current object, or there is no such object.
        """
        steps = self._steps
        (object_id,) = check_ids(steps.state, [object_id])
        if queries.has_current(steps.state) or len(steps.state.prompts):
            raise InputError(
                f"There is a current {steps.rules.noun}. Commit it (C) or clear it (Shift-C) before reopening another."
            )
        what = named(steps.rules.noun, [object_id])
        with steps.step(f"Reopen {what.lower()}", ids=[object_id]) as draft:
            steps.rules.reopen(draft, object_id)
        steps.make_stale()
        steps.say(f"{what} is open again. Add prompts or paint to correct it, then commit it with C.")
