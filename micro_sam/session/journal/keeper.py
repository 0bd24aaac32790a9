"""What a session tells its journal, and which of its messages wait for the disc."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from micro_sam.session.commands import Command
from micro_sam.session.journal.recorder import Journal


class Keeper:
    """Stands between a session and its journal, if it has one.

    Parameters
    ----------
    say
        Sends a message.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self.journal: Journal | None = None
        self._say = say
        self._untold: deque[tuple[int, str]] = deque()
        self._next: dict[str, Any] = {}

    def note(self, command: Command, kind: str = "do", last: Command | None = None) -> None:
        """Write down a step of undo, or that it was joined with `last`, taken back or done again."""
        journal = self.journal
        if journal is None:
            return
        if kind in ("undo", "redo"):
            journal.record(kind, command.name, of=command.entry)
            return
        facts = {"kind": command.kind, **command.details} if command.kind else command.details
        entry = journal.record(kind, command.name, facts, command.edits, last.entry if last is not None else 0)
        command.entry = entry if last is None else last.entry
        self._write_next(journal)  # what was selected before there was anything to keep

    def follow(self, events: Any) -> None:
        """Write down, from now on, what the next prompt will be: its polarity, and in a movie its track and state."""
        events.polarity_changed.connect(lambda positive: self._note_next(positive=positive))
        if hasattr(events, "track_changed"):
            events.track_changed.connect(lambda track, state: self._note_next(track=track, state=state))

    def _note_next(self, **facts: Any) -> None:
        self._next.update(facts)
        if self.journal is not None and not self.journal.is_empty:
            self._write_next(self.journal)

    def _write_next(self, journal: Journal) -> None:
        if self._next:
            journal.record("next", parameters=self._next)
            self._next = {}

    def note_beginning(self) -> None:
        """Write down that nothing of what was done so far can be taken back."""
        if self.journal is not None and not self.journal.is_empty:
            self.journal.record("base")

    def say_when_written(self, text: str) -> None:
        """Send a message as soon as what was done last is on disc."""
        if self.journal is None:
            self._say(text)
        else:
            self._untold.append((self.journal.last_id, text))
            self.tell_written()

    def tell_written(self) -> None:
        """Send the messages of actions that are on disc by now, or that the disc does not take."""
        journal = self.journal
        while self._untold and (journal is None or self._untold[0][0] <= journal.written or journal.trouble):
            self._say(self._untold.popleft()[1])

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until everything that was done is on disc; False when it cannot be, or takes longer (seconds)."""
        done = self.journal is None or self.journal.flush(timeout)
        self.tell_written()
        return done
