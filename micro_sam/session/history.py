"""The list of what was done, with a bound on its memory."""

from __future__ import annotations

from micro_sam.session.commands import Command


class History:
    """Undo and redo.

    Parameters
    ----------
    max_bytes
        When the steps together take more memory than this, the oldest are forgotten (the newest always stays).
    """

    def __init__(self, max_bytes: int = 512 * 1024**2) -> None:
        self.max_bytes = max_bytes
        self._done: list[Command] = []
        self._undone: list[Command] = []
        self._nbytes = 0

    @property
    def last(self) -> Command | None:
        """The step that undo would take back."""
        return self._done[-1] if self._done else None

    @property
    def next(self) -> Command | None:
        """The step that redo would do again."""
        return self._undone[-1] if self._undone else None

    @property
    def can_undo(self) -> bool:
        """Whether there is a step to take back."""
        return bool(self._done)

    @property
    def can_redo(self) -> bool:
        """Whether there is a step to do again."""
        return bool(self._undone)

    @property
    def done(self) -> tuple[Command, ...]:
        """All steps that can be undone, oldest first: what a journal writes."""
        return tuple(self._done)

    @property
    def nbytes(self) -> int:
        """Memory that all steps take."""
        return self._nbytes

    def push(self, command: Command) -> None:
        """Append a step that was just done. Steps that had been undone can no longer be redone."""
        self._forget_undone()
        self._done.append(command)
        self._nbytes += command.nbytes
        self._forget_oldest()

    def extend(self, command: Command) -> None:
        """Join a step that was just done with the last one: they are undone together."""
        last = self.last
        if last is None:
            self.push(command)
            return
        self._forget_undone()
        last.extend(command)
        self._nbytes += command.nbytes
        self._forget_oldest()

    def step_back(self) -> Command | None:
        """Move the last step to the undone ones and return it; the caller takes its edits back."""
        if not self._done:
            return None
        self._undone.append(self._done.pop())
        return self._undone[-1]

    def step_forward(self) -> Command | None:
        """Move the step that was undone last back and return it; the caller does its edits again."""
        if not self._undone:
            return None
        self._done.append(self._undone.pop())
        return self._done[-1]

    def keep_below(self, max_bytes: int) -> None:
        """Have another bound from now on."""
        self.max_bytes = max_bytes
        self._forget_oldest()

    def clear(self) -> None:
        """Forget all steps: what is there now is the beginning, for instance a result that was loaded at the start."""
        self._done.clear()
        self._undone.clear()
        self._nbytes = 0

    def _forget_undone(self) -> None:
        self._nbytes -= sum(command.nbytes for command in self._undone)
        self._undone.clear()

    def _forget_oldest(self) -> None:
        while self._nbytes > self.max_bytes and len(self._done) > 1:
            self._nbytes -= self._done.pop(0).nbytes
