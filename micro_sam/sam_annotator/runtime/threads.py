"""Background threads, and the end of the program, which never pulls down Python under one in the middle of a step.

They are daemons, so that a window closes at once. When Python ends while such a thread computes in torch, the thread
takes the whole process with it (abort, segmentation fault). So the end waits for the active step; what is still
busy after that ends with the process, whose results are whole or not there.
"""

from __future__ import annotations

import atexit
import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from qtpy.QtCore import QObject, Signal

log = logging.getLogger(__name__)

PATIENCE = 10.0  # seconds that the end of the program waits for threads that are still busy
SILENT = 1.0  # seconds of them without a word

_threads: dict[threading.Thread, Callable[[], object]] = {}


def start_thread(
    name: str, target: Callable[..., object], args: tuple[Any, ...] = (), *, stop: Callable[[], object]
) -> threading.Thread:
    """Start a background thread.

    Parameters
    ----------
    name
        What it does.
    target, args
        What it runs.
    stop
        Asks it to end after the step it is in; called at the end of the program, from another thread.
    """

    def run() -> None:
        try:
            target(*args)
        finally:
            del _threads[thread]

    thread = threading.Thread(target=run, name=f"micro_sam {name}", daemon=True)
    _threads[thread] = stop
    thread.start()
    return thread


@atexit.register
def _leave() -> None:
    for stop in list(_threads.values()):
        stop()
    begin = time.monotonic()
    if not _wait(begin + SILENT):
        return
    names = ", ".join(sorted(thread.name.removeprefix("micro_sam ") for thread in active_threads()))
    log.warning("The window is closed; waiting for the active step to end: %s.", names)
    if not _wait(begin + PATIENCE):
        return
    log.warning("It takes too long and is broken off. What is complete is kept.")
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    os._exit(1 if hasattr(sys, "last_value") else 0)  # an error that nobody has caught is an error still


def active_threads() -> list[threading.Thread]:
    """The background threads that have not ended."""
    return [thread for thread in list(_threads) if thread.is_alive()]


def _wait(until: float) -> list[threading.Thread]:
    """The threads that have not ended at a time."""
    for thread in list(_threads):
        thread.join(max(0.0, until - time.monotonic()))
    return active_threads()


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
                except RuntimeError:  # Qt deleted this object while the thread was busy
                    return
