"""The end of the program: it never pulls down Python under a thread that is in the middle of a step.

Background threads are daemons, so that a window closes at once. When Python ends while such a thread computes in torch,
the thread takes the whole process with it (abort, segmentation fault). So the end waits for the step at work; what is
still at work after that ends with the process, whose results are whole or not there.
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

log = logging.getLogger(__name__)

PATIENCE = 10.0  # seconds that the end of the program waits for threads at work
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
    log.warning("The window is closed; waiting for the step at work to end: %s.", names)
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
