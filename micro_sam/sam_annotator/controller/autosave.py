"""Results save themselves: after the first save, every commit reaches the file within seconds."""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import Any

from qtpy.QtCore import QTimer

from micro_sam.sam_annotator.controller.saving import Saving
from micro_sam.sam_annotator.runtime.jobs import Jobs, Progress
from micro_sam.sam_annotator.state.window import WindowState
from micro_sam.session.session import Session

PAUSE = 20.0  # seconds that lie at least between two saves
SOON = 1.0  # seconds that a save waits for what follows at once
LANE = "autosave"


class Autosave:
    """Saves the results of a window by itself, in a thread, where they were saved before."""

    def __init__(self, state: WindowState, jobs: Jobs, saving: Saving) -> None:
        self._state, self._jobs, self._saving = state, jobs, saving
        self._last = -PAUSE
        self._timer = QTimer()
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self._save)
        saving.changed.connect(self._changed)

    def close(self) -> None:
        """Save no more; the window is closing."""
        self._timer.stop()

    def _changed(self) -> None:
        saving = self._saving
        if saving.unsaved and saving.was_saved and not self._timer.isActive():
            wait = max(SOON, self._last + PAUSE - time.monotonic())
            self._timer.start(int(1000 * wait))

    def _save(self) -> None:
        saving, session = self._saving, self._state.session
        if self._state.closed or session is None or not (saving.unsaved and saving.was_saved):
            return
        if session.steps.is_writing or self._jobs.running(LANE) is not None:
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

        self._jobs.start("Saving", steps, lane=LANE, on_done=lambda _: self._done(session, entry, path))

    def _done(self, session: Session, entry: object, path: Any) -> None:
        if not self._state.shows(session) or path != self._saving.path:
            return
        if session.history.last is entry:
            self._saving.written(path)
        else:
            self._changed()  # more was done while it was written
