"""Steps: the one way in which actions change the state, so that each can be undone, is told, and is written down."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from psygnal import Signal, SignalGroup

from micro_sam.io.label_arrays import release
from micro_sam.models.sizes import Box
from micro_sam.session.commands import Changes, Command, Draft
from micro_sam.session.history import History
from micro_sam.session.journal.keeper import Keeper
from micro_sam.session.journal.restoring import Restored, restore
from micro_sam.session.journal.rows import Row
from micro_sam.session.label_edits import LabelEdit, crop
from micro_sam.session.prompts import PromptSet
from micro_sam.session.rules import ImageRules
from micro_sam.session.state import State


class SessionEvents(SignalGroup):
    """Signals of a session, emitted in the thread of the action, after the action is complete."""

    prompts_changed = Signal(PromptSet)
    """The prompts are different now."""
    labels_changed = Signal(str, tuple)
    """Layer name ("current", "committed", "auto") and the index of the smallest region that changed."""
    objects_changed = Signal()
    """Records of committed objects were added, replaced or removed, or classes changed."""
    region_changed = Signal()
    """Automatic segmentation looks elsewhere now."""
    lineage_changed = Signal()
    """Tracks or their relations changed (tracking only)."""
    track_changed = Signal(int, str)
    """Which track and state ("track" or "division") the next prompt gets (tracking only)."""
    polarity_changed = Signal(bool)
    """Whether the next point is positive."""
    history_changed = Signal()
    """What undo and redo would do is different now."""
    message = Signal(str)
    """Short sentences for the status line: what happened, and what to do next."""


class Steps:
    """Does actions as steps of undo.

    Parameters
    ----------
    state
        What is changed.
    rules
        What follows a change.
    max_history_bytes
        Memory bound of undo; the oldest steps are forgotten first.

    Attributes
    ----------
    events
        Signals.
    history
        The steps that can be undone and redone.
    keeper
        Writes them into the journal.
    epoch
        Counts what makes every plan stale: undo, redo, clear, commit, painting, another model.
    revision
        Counts the steps in which committed or automatic objects changed.
    writes_later
        Whether the pixels of large steps are left to :meth:`write_some`, which the window then calls.
    followers
        Called with the changes of each step before the signals are sent.
    """

    def __init__(self, state: State, rules: ImageRules, max_history_bytes: int) -> None:
        self.state = state
        self.rules = rules
        self.events = SessionEvents()
        self.history = History(max_history_bytes)
        self.keeper = Keeper(self.say)
        self.keeper.follow(self.events)
        self.epoch = 0
        self.revision = 0
        self.writes_later = False
        self.followers: list[Callable[[Changes], object]] = []

    @contextmanager
    def step(self, name: str, *, kind: str = "", join: bool = False, **details: Any) -> Iterator[Draft]:
        """One step: all edits of the draft, or none when the action raises.

        Parameters
        ----------
        name
            What the user did, shown beside Undo.
        kind
            See :class:`~micro_sam.session.commands.Command`.
        join
            Whether the edits are added to the step before.
        details
            JSON-able facts for the journal.
        """
        draft = Draft(self.state, details, writes_later=self.writes_later)
        try:
            yield draft
            for message in self.rules.complete(draft):
                self.say(message)
        except BaseException:
            draft.rollback()
            raise
        if draft.edits:
            self._remember(Command(name, draft.edits, draft.details, kind), join)
            self.revision += any(isinstance(edit, LabelEdit) and edit.name != "current" for edit in draft.edits)
            self._tell(draft.changes)

    def perform(self, command: Command, join: bool = False) -> None:
        """Do a command that was made elsewhere, as a step; `join` adds it to the step before."""
        self.revision += 1
        changes = command.do(self.state, later=self.writes_later and command.is_large)
        self._remember(command, join)
        self._tell(changes)

    def undo(self) -> str | None:
        """Take the last step back; its name, or None when there is none."""
        command = self.history.step_back()
        if command is None:
            self.say("There is nothing to undo.")
            return None
        self._after(command.undo(self.state, later=self.writes_later and command.is_large))
        self.keeper.note(command, "undo")
        self.say(f"Undone: {command.name}.")
        return command.name

    def redo(self) -> str | None:
        """Do the step again that was undone last; its name, or None when there is none."""
        command = self.history.step_forward()
        if command is None:
            self.say("There is nothing to redo.")
            return None
        self._after(command.do(self.state, later=self.writes_later and command.is_large))
        self.keeper.note(command, "redo")
        self.say(f"Redone: {command.name}.")
        return command.name

    def make_stale(self) -> None:
        """Make every plan stale."""
        self.epoch += 1

    def say(self, text: str) -> None:
        """Send a message."""
        self.events.message.emit(text)

    @property
    def is_writing(self) -> bool:
        """Whether pixels of the last step are still to be written or told."""
        return bool(self.state.unwritten or self.state.written)

    def write_some(self) -> bool:
        """Write some more pixels of the last step, and tell which; whether there are more. It takes a moment only.

        Whoever asks for a layer of the session meanwhile gets it with all pixels written.
        """
        self.state.write_next()
        while self.state.written:
            name, z, box = self.state.written.popleft()
            self._tell_labels(name, z, z + 1, box)
        return self.is_writing

    def begin_here(self) -> None:
        """Let what is there now be the beginning, for instance a result that was loaded: it cannot be taken back."""
        self.history.clear()
        self.keeper.note_beginning()

    def restore(self, rows: Sequence[Row], is_damaged: bool = False) -> Restored:
        """Do the actions of a journal again; see :meth:`Session.restore`."""
        result = restore(self.state, self.history, rows, is_damaged)
        if is_damaged:
            self.rules.mend(self.state)
        self.epoch += 1
        self.revision += 1
        return result

    # ------------------------------------------------------------------ inside

    def _remember(self, command: Command, join: bool) -> None:
        """Put a step that was just done into the history and into the journal; `join` adds it to the step before."""
        last = self.history.last if join else None
        if last is None:
            self.history.push(command)
            self.keeper.note(command)
        else:
            self.keeper.note(command, "join", last)  # before the two share their edits
            self.history.extend(command)

    def _after(self, changes: Changes) -> None:
        self.epoch += 1
        self.revision += 1
        self._tell(changes)

    def _tell_labels(self, name: str, z0: int, z1: int, box: Box) -> None:
        plane = crop(box)
        is_stack = self.state.labels[name].ndim == 3
        self.events.labels_changed.emit(name, (slice(z0, z1), *plane) if is_stack else plane)

    def _tell(self, changes: Changes) -> None:
        for follow in self.followers:
            follow(changes)
        release(*self.state.labels.values())  # the memory of those that lie in files
        for name, (z0, z1, box) in changes.regions.items():
            self._tell_labels(name, z0, z1, box)
        if "prompts" in changes.keys:
            self.events.prompts_changed.emit(self.state.prompts)
        if changes.keys & {"objects", "classes"}:
            self.events.objects_changed.emit()
        if "region_of_interest" in changes.keys:
            self.events.region_changed.emit()
        if changes.keys & {"tracks", "current_tracks"}:
            self.events.lineage_changed.emit()
        self.events.history_changed.emit()
