"""Tracks without clicks: the objects of every frame, segmented here or by another program, are linked over time."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

import numpy as np

from micro_sam.errors import InputError
from micro_sam.sam_annotator.controller.automatic import Automatic, SliceWork
from micro_sam.sam_annotator.runtime.jobs import Job, Jobs, Progress
from micro_sam.sam_annotator.state.window import WindowState
from micro_sam.session.lineage import Lineage
from micro_sam.session.values import count

SEGMENTING, LINKING = "Segmenting all frames", "Linking objects"


class Linking:
    """Links the objects of all frames in the background and shows the tracks in the automatic layer.

    Parameters
    ----------
    state, jobs
        Of the window.
    automatic
        Its method and thresholds find the objects of each frame.
    """

    def __init__(self, state: WindowState, jobs: Jobs, automatic: Automatic) -> None:
        self._state, self._jobs, self._automatic = state, jobs, automatic

    def segment_and_link(self) -> None:
        """Find the objects of every frame with the method and thresholds of Segment All Objects, then link them.

        Raises
        ------
        InputError
            When frames are still being embedded, or another job is running.
        """
        work = SliceWork.of(self._state, self._automatic)

        def steps(job: Job) -> Generator[Any, None, Lineage]:
            labels = yield from work.run(job, SEGMENTING)
            return (yield from _link(work.part.place(labels)))

        self._start(SEGMENTING, steps, method=work.method, **work.values)
        self._state.status.say("Looking for the objects of all frames. You can go on looking around meanwhile.")

    def start(self, labels: np.ndarray) -> None:
        """Link a label series.

        Parameters
        ----------
        labels
            (T, H, W) integers: one object per label and frame; labels need not agree between frames.

        Raises
        ------
        InputError
            When it does not fit the movie, or holds no object.
        """
        session = self._state.needed()
        labels = np.asarray(labels)
        if labels.shape != session.shape:
            raise InputError(
                f"The segmentation has the shape {labels.shape}, but the movie has {session.shape}. Only a "
                "segmentation of the whole movie can be tracked."
            )
        occupied = [t for t in range(len(labels)) if labels[t].any()]
        if len(occupied) < 2:
            raise InputError(
                "The segmentation has objects in fewer than two frames, so there is nothing to link. Press Segment and "
                "Track All to segment all frames first, or choose the label layer that holds the segmentation."
            )
        labels = labels.copy()  # the user may go on painting meanwhile
        self._start(LINKING, lambda _job: _link(labels), method="linking", in_pieces=True)
        self._state.status.say("Linking the objects of all frames. You can go on meanwhile.")

    def _start(self, name: str, steps: Callable[[Job], Generator[Any, None, Lineage]], **details: Any) -> None:
        session = self._state.needed()
        self._jobs.start(
            name,
            steps,
            on_item=lambda item: self._show(session, *item, **details),
            on_done=lambda lineage: self._end(session, lineage),
        )

    # In the window's thread.

    def _show(self, session: Any, t: int, labels: np.ndarray, **details: Any) -> None:
        if self._state.shows(session):
            session.automatic.show(labels, t, **details)

    def _end(self, session: Any, lineage: Lineage) -> None:
        if not self._state.shows(session):
            return
        if not len(lineage):
            self._state.status.say("No object passes the thresholds in any frame. Lower them and try again.")
            return
        session.automatic.relate(lineage)
        if not session.has_current:
            self._state.source = "auto"
        self._state.status.say(
            f"{count(len(lineage), 'track')} with {count(len(lineage.divisions), 'division')} in "
            f"{self._state.names.auto}. Commit them with C, or go on with single objects.",
            "good",
        )


def _link(labels: np.ndarray) -> Generator[Any, None, Lineage]:
    """Link objects, then yield (frame, labels) one by one, so that the window never waits for the whole movie."""
    from micro_sam.segmentation.stacks import iter_track_labels

    linking = iter_track_labels(labels)
    while True:
        try:
            yield Progress(LINKING, next(linking), len(labels))
        except StopIteration as stop:
            tracks, rows = stop.value
            break
    yield from enumerate(tracks)
    return Lineage.from_rows(rows)
