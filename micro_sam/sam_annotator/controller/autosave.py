"""Results save themselves: after the first save, every commit reaches the file within seconds."""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QTimer

from micro_sam.sam_annotator.runtime.jobs import Progress

if TYPE_CHECKING:
    from micro_sam.sam_annotator.controller.annotator import Annotator
    from micro_sam.session.session import Session

PAUSE = 20.0  # seconds that lie at least between two saves
SOON = 1.0  # seconds that a save waits for what follows at once
LANE = "autosave"


class Autosave:
    """Saves the results of a window by itself, in a thread, where they were saved before."""

    def __init__(self, annotator: Annotator) -> None:
        self._annotator = annotator
        self._last = -PAUSE
        self._timer = QTimer()
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self._save)
        annotator.saving.changed.connect(self._changed)
        annotator.session_changed.connect(lambda _session: self._changed())

    def close(self) -> None:
        """Save no more; the window is closing."""
        self._timer.stop()

    def _changed(self) -> None:
        saving = self._annotator.saving
        if saving.unsaved and saving.was_saved and not self._timer.isActive():
            wait = max(SOON, self._last + PAUSE - time.monotonic())
            self._timer.start(int(1000 * wait))

    def _save(self) -> None:
        annotator = self._annotator
        saving, session = annotator.saving, annotator.session
        if annotator.closed or not (saving.unsaved and saving.was_saved):
            return
        if session.steps.is_writing or annotator.jobs.running(LANE) is not None:
            self._timer.start(int(1000 * SOON))
            return
        self._last = time.monotonic()
        write = saving.plan_quiet()
        if write is None:
            return
        entry, path = session.history.last, saving.path

        def steps(_job: Any) -> Generator[Any, None, None]:
            yield Progress("Saving")
            write()

        annotator.jobs.start("Saving", steps, lane=LANE, on_done=lambda _: self._done(session, entry, path))

    def _done(self, session: Session, entry: object, path: Any) -> None:
        annotator = self._annotator
        if session is not annotator.session or path != annotator.saving.path:
            return
        if session.history.last is entry:
            annotator.saving.written(path)
        else:
            self._changed()  # more was done while it was written
