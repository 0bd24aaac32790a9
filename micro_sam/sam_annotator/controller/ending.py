"""The end of a window that somebody else ends: log-out, shut-down, ``kill``. Nothing is asked, and nothing is lost."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
from collections.abc import Iterator
from typing import TYPE_CHECKING

from qtpy.QtCore import QSocketNotifier, QTimer
from qtpy.QtWidgets import QApplication

if TYPE_CHECKING:
    from micro_sam.sam_annotator.controller.annotator import Annotator

log = logging.getLogger(__name__)

SIGNALS = ("SIGTERM", "SIGHUP")


@contextlib.contextmanager
def ends_in_order(annotator: Annotator) -> Iterator[None]:
    """While the event loop runs: SIGTERM, SIGHUP and log-out keep everything, then close the window."""
    numbers = [getattr(signal, name) for name in SIGNALS if hasattr(signal, name)]
    app = QApplication.instance()

    def keep(*_: object) -> None:
        keep_all(annotator)

    def end() -> None:
        if annotator.closed:
            return
        keep_all(annotator)
        annotator.viewer.close()
        app.quit()

    app.commitDataRequest.connect(keep)
    try:
        # Python runs its handlers between two steps of its own, of which an idle event loop has none: Qt must wake it.
        # napari's event loop does the same for Ctrl-C, with a wakeup of its own in place of this one.
        here, there = socket.socketpair()
        for end_of_pair in (here, there):
            end_of_pair.setblocking(False)
        before = {number: signal.signal(number, lambda *_: QTimer.singleShot(0, end)) for number in numbers}
        wakeup = signal.set_wakeup_fd(there.fileno(), warn_on_full_buffer=False)
    except (ValueError, OSError) as error:  # not in the main thread
        log.debug("signals are not heard: %s", error)
        yield
        return
    notifier = QSocketNotifier(here.fileno(), QSocketNotifier.Type.Read)

    notifier.activated.connect(lambda *_: here.recv(64))
    try:
        yield
    finally:
        notifier.setEnabled(False)
        signal.set_wakeup_fd(wakeup)
        for number, handler in before.items():
            signal.signal(number, handler)
        here.close()
        there.close()
        app.commitDataRequest.disconnect(keep)


def keep_all(annotator: Annotator) -> None:
    """Bring everything to the disc that can be brought there without a question."""
    saving, session = annotator.saving, annotator.session
    if session is None:
        return
    if not session.keeper.flush(5):
        log.warning(
            "The session could not be written: %s", session.keeper.journal.trouble if session.keeper.journal else ""
        )
    try:
        if saving.unsaved and saving.was_saved and (write := saving.plan_quiet()) is not None:
            write()
            saving.written(saving.path)
            session.keeper.flush(5)
    except Exception as error:  # the session has it all
        log.warning("%s was not written: %s", os.fspath(saving.path), error)
