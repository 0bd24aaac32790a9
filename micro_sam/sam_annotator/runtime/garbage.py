"""Garbage is collected in the window's thread only.

Python's collector runs in whichever thread happens to allocate. In a thread of ours it may then delete Qt widgets and
OpenGL objects of a window (of one that was closed, or leftovers of a layer), which only the window's thread may do:
the process crashes, or another window loses its buffers. So while a tool is open, automatic collection is off, and a
timer in the window's thread collects by the usual thresholds.

A full collection looks at every object of the process, several 100,000 of napari, Qt and torch, which holds up the
window for a fifth of a second and more. What stands when an image is open is therefore set aside (``gc.freeze``) until
the next one.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from qtpy.QtCore import QObject, QTimer
from qtpy.QtWidgets import QApplication

from micro_sam.sam_annotator.runtime.threads import active_threads

INTERVAL_MS = 500
NAME = "micro_sam_garbage"


class GarbageTimer(QObject):
    """One per application; automatic collection is off as long as somebody holds it."""

    def __init__(self, application: QApplication) -> None:
        super().__init__(application)
        self.setObjectName(NAME)
        self._holders = 0
        self._has_settled = False
        self._timer = QTimer(self)
        self._timer.setInterval(INTERVAL_MS)
        self._timer.timeout.connect(self._tick)

    def hold(self) -> None:
        """A window opens."""
        self._holders += 1
        gc.disable()
        self._timer.start()

    def settle(self) -> None:
        """An image is open: later collections look only at what is made from now on.

        Whatever an earlier image left is collected first. In a new process there is nothing to collect.
        """
        if self._has_settled:
            gc.unfreeze()
            gc.collect()
        gc.freeze()
        self._has_settled = True

    def release(self) -> None:
        """A window has closed."""
        self._holders -= 1
        if self._holders == 0:
            gc.unfreeze()
            self._end()

    def _tick(self) -> None:
        collect_what_is_due()
        if self._holders == 0:
            self._end()

    def _end(self) -> None:
        """Python may collect by itself again, as soon as no thread is left that could then delete the closed window."""
        if not active_threads():
            self._timer.stop()
            gc.enable()


def collect_what_is_due() -> None:
    """Collect the oldest generation that has reached its threshold, as the automatic collection does."""
    for generation, (count, threshold) in reversed(
        list(enumerate(zip(gc.get_count(), gc.get_threshold(), strict=True)))
    ):
        if count > threshold > 0:
            gc.collect(generation)
            return


@contextmanager
def no_collection() -> Iterator[None]:
    """Nothing is collected meanwhile: importing napari and the tools leaves no garbage, but enough objects for several
    full collections, a fifth of a second each."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def garbage_timer() -> GarbageTimer:
    """The timer of the running application; two windows of one process share it."""
    application: Any = QApplication.instance()
    found: GarbageTimer | None = application.findChild(GarbageTimer, NAME)
    return found or GarbageTimer(application)
