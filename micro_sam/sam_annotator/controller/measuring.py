"""Keeps the table of a window up to date: measured off the window's thread, and only while somebody looks at it."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pandas as pd
from psygnal import Signal
from qtpy.QtCore import QTimer

from micro_sam.sam_annotator.controller.table_contents import Contents, Rows, Work
from micro_sam.sam_annotator.runtime.jobs import MEASURE, Job, Jobs
from micro_sam.sam_annotator.state.images import OpenImage
from micro_sam.session.session import Session

PAUSE_MS = 150  # several actions in a row are measured together


class Measuring:
    """Measures what has changed in a session, in the background.

    Parameters
    ----------
    jobs
        Of the window.

    Signals
    -------
    changed
        The table, when it is complete again.
    """

    changed = Signal(pd.DataFrame)

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs
        self._contents: Contents | None = None
        self._wanted_by: set[str] = set()
        self._timer = QTimer()
        self._timer.setSingleShot(True)
        self._timer.setInterval(PAUSE_MS)
        self._timer.timeout.connect(self._begin)

    @property
    def is_complete(self) -> bool:
        """Whether nothing has changed since the table was told."""
        work = self._contents.plan() if self._contents is not None else Work({})
        return not (work.changed or work.gone or self._timer.isActive())

    def follow(self, session: Session, image: OpenImage) -> None:
        """Measure this session from now on."""
        if self._contents is not None and self._contents.session is not session:
            self._unfollow()
        if self._contents is None or self._contents.session is not session:
            session.events.objects_changed.connect(self._soon)
            session.events.lineage_changed.connect(self._soon)
        self._jobs.cancel(MEASURE)
        self._contents = Contents(session, image)
        self._soon()

    def want(self, who: str, is_wanted: bool) -> None:
        """Whether a part of the window needs the table; nothing is measured while none does."""
        if is_wanted and who not in self._wanted_by:
            self._wanted_by.add(who)
            self._soon()
        elif not is_wanted:
            self._wanted_by.discard(who)

    def table(self) -> pd.DataFrame | None:
        """The table as it is known now; None before an image is open."""
        return None if self._contents is None else self._contents.table()

    def close(self) -> None:
        """Hear of nothing any more."""
        self._timer.stop()
        self._wanted_by.clear()
        if self._contents is not None:
            self._unfollow()

    def _unfollow(self) -> None:
        if self._contents is None:
            return
        events = self._contents.session.events
        events.objects_changed.disconnect(self._soon)
        events.lineage_changed.disconnect(self._soon)
        self._contents = None

    def _soon(self) -> None:
        if self._wanted_by and self._contents is not None:
            self._timer.start()

    def _begin(self) -> None:
        if not self._wanted_by or self._contents is None or self._jobs.running(MEASURE) is not None:
            return  # a run that ends looks again
        contents = self._contents
        work = contents.plan()

        def steps(_job: Job) -> Generator[dict[int, Rows], Any, None]:
            yield from contents.measure(work)

        def done(_result: object) -> None:
            contents.take(work, {})
            if contents is not self._contents:
                self._begin()
                return
            again = contents.plan()
            if again.changed or again.gone:
                self._soon()
            else:
                self.changed.emit(contents.table())

        self._jobs.start(
            "Measure objects",
            steps,
            lane=MEASURE,
            on_item=lambda rows: contents.take(work, rows),
            on_done=done,
            on_cancel=self._begin,
        )
