"""Writes what a session does into its journal, in a thread of its own.

The session's thread only notes down what was done: edits are values that never change. When the disc is slow, full or
gone, actions wait in memory and are written as soon as that is possible; nothing else is held up.
"""

from __future__ import annotations

import atexit
import logging
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from micro_sam.errors import CacheError
from micro_sam.session.commands import Edit
from micro_sam.session.journal.codec import edit_to_json, pixels_to_bytes, prompt_to_json
from micro_sam.session.journal.rows import PixelRow, Row
from micro_sam.session.journal.store import JournalFile, why_not
from micro_sam.session.label_edits import LabelEdit
from micro_sam.session.prompts import AnyPrompt

log = logging.getLogger(__name__)

RETRY = 2.0  # seconds between two tries to write on a disc that does not take anything
PATIENCE = 10.0  # seconds that the end of the program waits for the disc


class Journal:
    """The journal of one session.

    Parameters
    ----------
    folder
        The session on disc. It is made with the first action, so that a window that was only looked at leaves nothing.
    header
        About image, model and program, see `header.py`.
    file
        The journal to go on with; None: a new one in `folder`.
    last_id, known
        Of a journal to go on with: its last action, and the numbers of its prompts.

    Attributes
    ----------
    on_written
        Called in the journal's thread after actions came to the disc, or when they cannot.
    trouble
        Why nothing is written at present, as the operating system says it; empty when all is well.
    """

    def __init__(
        self,
        folder: Path,
        header: Mapping[str, Any],
        *,
        file: JournalFile | None = None,
        last_id: int = 0,
        known: Mapping[AnyPrompt, int] | None = None,
    ) -> None:
        self.header = dict(header)
        self.on_written: Callable[[], object] = lambda: None
        self.trouble = ""
        self._folder = Path(folder)
        self._file = file
        self._known = dict(known or {})
        self._facts: Mapping[str, Any] = {}  # of the step that was recorded last: what is joined repeats most of it
        self._step = 0
        self._model: Mapping[str, str] | None = None
        self._last_id = self._written = last_id
        self._waiting: deque[tuple[int, float, str, str, Mapping[str, Any], int, tuple[Edit, ...]]] = deque()
        self._tasks: deque[Callable[[], object]] = deque()
        self._condition = threading.Condition()
        self._closed = self._held = False
        self._thread: threading.Thread | None = None

    @property
    def folder(self) -> Path:
        """Where the session lies."""
        return self._folder

    @property
    def last_id(self) -> int:
        """The last action, whether it is on disc or not."""
        return self._last_id

    @property
    def written(self) -> int:
        """The last action that is on disc."""
        return self._written

    @property
    def is_empty(self) -> bool:
        """Whether nothing was ever recorded."""
        return self._last_id == 0

    @property
    def is_on_disc(self) -> bool:
        """Whether there is a file, or there will be one in a moment."""
        return self._file is not None or self._thread is not None

    def record(
        self,
        kind: str,
        name: str = "",
        parameters: Mapping[str, Any] | None = None,
        edits: Iterable[Edit] = (),
        of: int = 0,
    ) -> int:
        """Note down an action; returns its id. It is on disc when :attr:`written` has come to it.

        Parameters
        ----------
        kind
            See `rows.KINDS`.
        edits
            What it changed.
        of
            Id of the step that it belongs to, takes back or does again.
        """
        parameters = dict(parameters or {})
        model = parameters.pop("model", None)
        if model is not None and model != self._model:
            self._model = model
            self._note("model", "", model, 0, ())
        if kind == "join" and of == self._step:
            parameters = {key: value for key, value in parameters.items() if self._facts.get(key, ...) != value}
            self._facts, name = {**self._facts, **parameters}, ""
        else:
            self._facts = parameters
        if self._last_id == 0 and kind != "start":
            self._note("start", "", self.header, 0, ())
        entry = self._note(kind, name, parameters, of, tuple(edits))  # a step may get more edits later
        self._step = of or entry
        return entry

    def hold(self, held: bool) -> None:
        """Whether what is recorded waits for the next action that is recorded when nothing is held.

        A result that a window was opened with is a part of the session, but no reason to have one.
        """
        self._held = held

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until all actions are on disc; False when that takes longer than `timeout` seconds, or cannot be."""
        end = None if timeout is None else time.monotonic() + timeout
        with self._condition:
            while self._thread is not None and (self._written < self._last_id or self._tasks):
                left = None if end is None else end - time.monotonic()
                if (left is not None and left <= 0) or self.trouble or not self._thread.is_alive():
                    return False
                self._condition.wait(left if left is not None else 1.0)
        return True

    def move(self, folder: Path) -> None:
        """Let the session lie in another folder from now on, which must not be there."""
        folder = Path(folder)

        def move() -> None:
            if self._file is not None:
                self._file.move(folder)
            self._folder = folder

        if self._thread is None and self._file is None:
            self._folder = folder
        else:
            self._do(move)

    def change_header(self, **values: Any) -> None:
        """Other facts about the image or the settings, in the header."""
        self.header.update(values)
        header = dict(self.header)
        if self._thread is not None or self._file is not None:
            self._do(lambda: self._file.write_header(header) if self._file is not None else None)

    def end(self) -> None:
        """Write what waits, and then let others have the session; nobody is held up."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()
        if self._thread is None and self._file is not None:
            self._file.close()
            self._file = None

    def close(self, timeout: float = PATIENCE) -> bool:
        """As :meth:`end`, and wait for it; False when the disc did not take everything in that time (seconds)."""
        self.end()
        atexit.unregister(self.close)
        if self._thread is not None:
            self._thread.join(timeout)
            return self._written >= self._last_id
        return True

    # ------------------------------------------------------------------ inside

    def _note(self, kind: str, name: str, parameters: Mapping[str, Any], of: int, edits: tuple[Edit, ...]) -> int:
        with self._condition:
            self._last_id += 1
            self._waiting.append((self._last_id, time.time(), kind, name, parameters, of, edits))
            if not self._held:
                self._begin()
            return self._last_id

    def _do(self, task: Callable[[], object]) -> None:
        with self._condition:
            self._tasks.append(task)
            self._begin()

    def _begin(self) -> None:
        """There is something to do; the lock is held."""
        if self._thread is None and not self._closed:
            self._thread = threading.Thread(target=self._loop, name="micro_sam journal", daemon=True)
            self._thread.start()
            atexit.register(self.close)
        self._condition.notify_all()

    def _loop(self) -> None:
        rows: list[Row] = []
        while True:
            with self._condition:
                while not self._waiting and not self._tasks and not rows and not self._closed:
                    self._condition.wait()
                is_last = self._closed
                waiting, tasks = list(self._waiting), list(self._tasks)
                self._waiting.clear()
            rows += [self._row(*noted) for noted in waiting]
            try:
                self._write(rows)
            except (OSError, sqlite3.Error, CacheError) as error:
                self._stop_for_a_while(error)
            else:
                rows = []
                for task in tasks:
                    self._run(task)
                with self._condition:
                    self._condition.notify_all()
                self.on_written()
            if is_last:
                break
        if self._file is not None:
            self._file.close()
            self._file = None

    def _run(self, task: Callable[[], object]) -> None:
        try:
            task()
        except (OSError, sqlite3.Error, CacheError) as error:
            log.warning("The session stays in %s: %s", self._folder, error)
        with self._condition:
            self._tasks.popleft()

    def _write(self, rows: list[Row]) -> None:
        if not rows:
            return
        if self._file is None:
            self._file = JournalFile(self._folder, self.header)
        self._file.append(rows)
        with self._condition:
            self._written = rows[-1].id
            self.trouble = ""

    def _stop_for_a_while(self, error: Exception) -> None:
        """The disc takes nothing: say so once, and try again later."""
        log.debug("the journal in %s cannot be written: %s", self._folder, error)
        trouble = why_not(error, self._folder)
        with self._condition:
            is_new, self.trouble = not self.trouble, trouble
            self._condition.notify_all()
        if is_new:
            self.on_written()
        with self._condition:
            if not self._closed:
                self._condition.wait_for(lambda: self._closed, RETRY)

    def _row(
        self,
        id_: int,
        when: float,
        kind: str,
        name: str,
        parameters: Mapping[str, Any],
        of: int,
        edits: tuple[Edit, ...],
    ) -> Row:
        new: dict[int, Any] = {}

        def number(prompt: AnyPrompt) -> int:
            if prompt not in self._known:
                self._known[prompt] = len(self._known) + 1
                new[self._known[prompt]] = prompt_to_json(prompt)
            return self._known[prompt]

        pixels = [PixelRow(e.name, e.z, e.box, pixels_to_bytes(e)) for e in edits if isinstance(e, LabelEdit)]
        state = [edit_to_json(e, number) for e in edits if not isinstance(e, LabelEdit)]
        return Row(id_, when, kind, name, parameters, of, state, pixels, new)
