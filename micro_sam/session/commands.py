"""Actions of the user as commands with an exact inverse.

A command is a name and a list of edits. There are three kinds of edit: the pixels of a rectangle
(:class:`~micro_sam.session.label_edits.LabelEdit`), a value of the state (:class:`ValueEdit`), and entries of a dict of
the state (:class:`EntryEdit`). Actions never write the state themselves: they go through a :class:`Draft`, which
applies each edit at once and remembers it, so that an action that fails half-way is taken back and one that succeeds
can be undone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from micro_sam.io.label_arrays import check_room
from micro_sam.models.sizes import Box
from micro_sam.session.label_edits import BOX_PIXELS, LabelEdit, Runs, crop, fill, shift, union
from micro_sam.session.state import State

_MISSING = None  # an entry that is not there; the state never stores None in its dicts


@dataclass(frozen=True)
class ValueEdit:
    """An attribute of the state gets another (immutable) value."""

    key: str
    before: Any
    after: Any

    @property
    def nbytes(self) -> int:
        """Memory the edit takes, roughly: values are small and shared."""
        return 200

    def write(self, state: State, forward: bool) -> None:
        """Set the value after (or before) the edit."""
        setattr(state, self.key, self.after if forward else self.before)


@dataclass(frozen=True)
class EntryEdit:
    """An entry of a dict of the state is added, replaced or removed (None: not there)."""

    key: str
    entry: int
    before: Any
    after: Any

    @property
    def nbytes(self) -> int:
        """Memory the edit takes, roughly."""
        return 200 + getattr(self.before, "nbytes", 0) + getattr(self.after, "nbytes", 0)

    def write(self, state: State, forward: bool) -> None:
        """Set or remove the entry."""
        entries = getattr(state, self.key)
        value = self.after if forward else self.before
        if value is _MISSING:
            entries.pop(self.entry, None)
        else:
            entries[self.entry] = value


@dataclass(frozen=True)
class EntriesEdit:
    """Many entries of a dict of the state change at once; see :class:`EntryEdit`."""

    key: str
    before: Mapping[int, Any]
    after: Mapping[int, Any]

    @property
    def nbytes(self) -> int:
        """Memory the edit takes, roughly."""
        return 200 * len(self.after)

    def write(self, state: State, forward: bool) -> None:
        """Set or remove the entries."""
        entries = getattr(state, self.key)
        values = self.after if forward else self.before
        entries.update(values)
        for entry in [entry for entry, value in values.items() if value is _MISSING]:
            del entries[entry]


Edit = LabelEdit | ValueEdit | EntryEdit | EntriesEdit


@dataclass
class Changes:
    """What a command touched: per layer the slices and the rectangle, and the names of changed values."""

    regions: dict[str, tuple[int, int, Box]] = field(default_factory=dict)
    keys: set[str] = field(default_factory=set)

    def note(self, edit: Edit) -> None:
        """Add what an edit touches."""
        if not isinstance(edit, LabelEdit):
            self.keys.add(edit.key)
            return
        z0, z1, box = self.regions.get(edit.name, (edit.z, edit.z + 1, edit.box))
        self.regions[edit.name] = (min(z0, edit.z), max(z1, edit.z + 1), union(box, edit.box))


@dataclass
class Command:
    """One step of the history.

    Attributes
    ----------
    name
        What the user did, as in "Add point": shown beside Undo.
    edits
        In the order they were done.
    details
        JSON-able facts for the journal (ids, modes, model name, ...).
    kind
        What follows from a command of a certain kind may be joined with it: a preview with its click.
    """

    name: str
    edits: list[Edit]
    details: dict[str, Any] = field(default_factory=dict)
    kind: str = ""
    nbytes: int = field(init=False, default=0)
    """Memory the command takes, roughly."""
    entry: int = field(init=False, default=0)
    """Its place in the journal."""

    def __post_init__(self) -> None:
        self.nbytes = 500 + sum(edit.nbytes for edit in self.edits)

    @property
    def is_large(self) -> bool:
        """Whether so many pixels change that writing them takes longer than a moment."""
        return sum(edit.n_pixels for edit in self.edits if isinstance(edit, LabelEdit)) > BOX_PIXELS

    def extend(self, other: Command) -> None:
        """Append the edits and details of a command that was done right after this one."""
        self.edits.extend(other.edits)
        self.details.update(other.details)
        self.nbytes += other.nbytes

    def do(self, state: State, later: bool = False) -> Changes:
        """Do the edits again, in order. `later`: pixels go to ``state.unwritten``, and are not in the changes."""
        return _write_all(self.edits, state, forward=True, later=later)

    def undo(self, state: State, later: bool = False) -> Changes:
        """Take the edits back, last one first; `later` as in :meth:`do`."""
        return _write_all(reversed(self.edits), state, forward=False, later=later)


class Draft:
    """Edits a state and remembers how.

    Parameters
    ----------
    state
        Changed at once by every method.
    details
        JSON-able facts for the journal; actions may add to them.
    writes_later
        Whether pixels beyond a moment's work are left to ``state.unwritten``, and out of the changes. Who reads a
        slice gets it with all of them.
    """

    def __init__(self, state: State, details: dict[str, Any] | None = None, *, writes_later: bool = False) -> None:
        self.state = state
        self.details = details if details is not None else {}
        self.edits: list[Edit] = []
        self.changes = Changes()
        self._pixels_at_once = BOX_PIXELS if writes_later else float("inf")

    def paint(self, name: str, z: int, box: Box, after: np.ndarray, before: np.ndarray | None = None) -> Runs | None:
        """Give a rectangle of slice `z` of a layer new content.

        Parameters
        ----------
        after
            (h, w) of `box`.
        before
            What was there, when the array already holds the new content (a brush draws into it directly).

        Returns
        -------
        runs
            Of what was there before and after; None when the rectangle already looked like that.
        """
        if before is None:
            before = self.state.plane(name, z)[crop(box)]
        return self.paint_runs(name, z, box, Runs.of(before, after))

    def paint_runs(self, name: str, z: int, box: Box, runs: Runs) -> Runs | None:
        """As :meth:`paint`, for who has the runs of what is there (array 0) and of what is to come (array 1)."""
        first = len(self.edits)
        for part, inside in runs.bands():
            part = shift(part, box[0], box[1])
            edit = LabelEdit.between(name, z, part, inside)
            if edit is None:
                continue
            self.edits.append(edit)
            self._pixels_at_once -= edit.n_pixels
            if self._pixels_at_once < 0:
                check_room(self.state.labels[edit.name])
                self.state.write_later(edit, True)
                continue
            self._write_runs(edit, inside.crop(shift(edit.box, -part[0], -part[1])))
            self.changes.note(edit)
        return runs if len(self.edits) > first else None

    def set(self, key: str, value: Any) -> None:
        """Give an attribute of the state a new value."""
        before = getattr(self.state, key)
        if before is not value and before != value:
            self._add(ValueEdit(key, before, value))

    def put(self, key: str, entry: int, value: Any) -> None:
        """Add, replace or (None) remove an entry of a dict of the state."""
        before = getattr(self.state, key).get(entry)
        if before is not value:
            self._add(EntryEdit(key, entry, before, value))

    def put_all(self, key: str, values: Mapping[int, Any]) -> None:
        """Add or replace many entries of a dict of the state, as one edit."""
        entries = getattr(self.state, key)
        before = {entry: entries.get(entry) for entry in values}
        changed = [entry for entry, value in values.items() if before[entry] is not value]
        if changed:
            before, after = ({entry: some[entry] for entry in changed} for some in (before, values))
            self._add(EntriesEdit(key, before, after))

    def drop_all(self, key: str) -> None:
        """Remove all entries of a dict of the state."""
        for entry in list(getattr(self.state, key)):
            self.put(key, entry, None)

    def rollback(self) -> None:
        """Take everything back."""
        _write_all(reversed(self.edits), self.state, forward=False)
        self.edits.clear()

    def _write_runs(self, edit: LabelEdit, runs: Runs) -> None:
        plane = self.state.plane(edit.name, edit.z)
        check_room(plane)
        fill(plane, edit.box, runs.array(1) if runs.values[1].any() else 0)

    def _add(self, edit: Edit) -> None:
        _write(edit, self.state, forward=True)
        self.edits.append(edit)
        self.changes.note(edit)


class Plan(Draft):
    """A draft that leaves the pixels alone: its edits are done later, as a command.

    Parameters
    ----------
    state
        Of a session; its values are copied as far as a commit changes them.
    """

    def __init__(self, state: State, details: dict[str, Any] | None = None) -> None:
        super().__init__(replace(state, objects=dict(state.objects)), details)

    def _write_runs(self, edit: LabelEdit, runs: Runs) -> None:
        pass


def _write_all(edits: Iterable[Edit], state: State, forward: bool, later: bool = False) -> Changes:
    changes = Changes()
    for edit in edits:
        if later and isinstance(edit, LabelEdit):
            state.write_later(edit, forward)
            continue
        _write(edit, state, forward)
        changes.note(edit)
    return changes


def _write(edit: Edit, state: State, forward: bool) -> None:
    if isinstance(edit, LabelEdit):
        edit.write(state.plane(edit.name, edit.z), forward)
    else:
        edit.write(state, forward)
