"""Segment All Objects in all slices: each slice on its own, then what belongs together becomes one object."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import numpy as np

from micro_sam.sam_annotator.automatic_slices import SliceWork
from micro_sam.sam_annotator.jobs import Job, Progress
from micro_sam.session.values import count

if TYPE_CHECKING:
    from micro_sam.sam_annotator.annotator_3d import Annotator3D
    from micro_sam.session.volume import VolumeSession

NAME = "Segmenting all slices"


class AutomaticVolume:
    """Automatic segmentation of a whole stack, with the method and thresholds of Segment All Objects."""

    def __init__(self, annotator: Annotator3D) -> None:
        self._annotator = annotator

    def run(self) -> None:
        """Find the objects of all slices, in the background, and show them in the automatic layer.

        Raises
        ------
        InputError
            When slices are still being embedded, or another run is at work.
        """
        annotator, session = self._annotator, self._annotator.session
        work = SliceWork.of(annotator, "slice")
        annotator.jobs.start(
            NAME,
            lambda job: self._steps(job, work),
            on_item=lambda item: self._show(session, *item, method=work.method, **work.values),
            on_done=lambda number: self._end(session, number),
        )
        annotator.status.say("Looking for the objects of all slices. You can go on looking around meanwhile.")

    # In the thread of the run.

    @staticmethod
    def _steps(job: Job, work: SliceWork) -> Generator[Any, None, int]:
        from micro_sam.segmentation.merging import merge_instance_segmentation_3d

        labels = yield from work.run(job, NAME)
        yield Progress("Joining the objects of all slices", len(labels), len(labels))
        merged = merge_instance_segmentation_3d(labels, verbose=False)
        yield from enumerate(merged)  # one by one, so that the window never waits for the whole volume
        return int(merged.max(initial=0))

    # In the window's thread.

    def _show(self, session: VolumeSession, z: int, labels: np.ndarray, **details: Any) -> None:
        if session is self._annotator.session:
            session.set_auto(labels, z, **details)

    def _end(self, session: VolumeSession, number: int) -> None:
        if session is not self._annotator.session:
            return
        if number == 0:
            self._annotator.status.say("No object passes the thresholds in any slice. Lower them and try again.")
            return
        if not session.has_current:
            self._annotator.set_source("auto")
        self._annotator.status.say(f"Found {count(number, 'object')} in the volume. Commit them with C.", "good")
