"""A thread that answers the newest question and forgets the older ones: how a preview keeps up with quick clicks."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from qtpy.QtCore import QObject, Signal

from micro_sam.sam_annotator.runtime.leaving import start_thread


class LatestWins(QObject):
    """Calls functions in one thread; of those that wait, only the newest is kept.

    Signals
    -------
    done
        (tag, result) of a call, in the window's thread.
    failed
        (tag, exception) of a call, in the window's thread.
    """

    done = Signal(object, object)
    failed = Signal(object, object)

    def __init__(self, name: str) -> None:
        super().__init__()
        self._condition = threading.Condition()
        self._waiting: tuple[Any, Callable[[], Any]] | None = None
        self._working = False
        self._closed = False
        self._thread = start_thread(name, self._loop, stop=self._stop)

    def ask(self, tag: Any, function: Callable[[], Any]) -> None:
        """Call `function` as soon as the thread is free, unless a newer question comes before."""
        with self._condition:
            self._waiting = (tag, function)
            self._condition.notify()

    def forget(self) -> None:
        """Drop the question that waits. The one that is being answered still reports."""
        with self._condition:
            self._waiting = None

    @property
    def busy(self) -> bool:
        """Whether a question waits or is being answered."""
        with self._condition:
            return self._working or self._waiting is not None

    def close(self, timeout: float = 1.0) -> None:
        """End the thread after the call it is in."""
        self._stop()
        self._thread.join(timeout)

    def _stop(self) -> None:
        with self._condition:
            self._closed = True
            self._waiting = None
            self._condition.notify()

    def _loop(self) -> None:
        while True:
            with self._condition:
                self._working = False
                while self._waiting is None and not self._closed:
                    self._condition.wait()
                if self._closed:
                    return
                assert self._waiting is not None
                tag, function = self._waiting
                self._waiting, self._working = None, True
            try:
                signal, value = self.done, function()
            except Exception as exception:
                signal, value = self.failed, exception
            if not self._closed:
                try:
                    signal.emit(tag, value)
                except RuntimeError:  # Qt deleted this object while the thread was at work
                    return
