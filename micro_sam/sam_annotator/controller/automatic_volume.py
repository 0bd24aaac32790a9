"""Segment All Objects in all slices: by the maps of the volume, or each slice on its own and then joined.

With the maps the network looks once, and the sliders of the volume menu act without it.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QTimer

from micro_sam.sam_annotator.controller.automatic import DEBOUNCE_MS, Parameter
from micro_sam.sam_annotator.controller.automatic_slices import SliceWork
from micro_sam.sam_annotator.runtime.jobs import WORK, Job, Progress
from micro_sam.session.values import count

if TYPE_CHECKING:
    from micro_sam.sam_annotator.annotator_3d import Annotator3D
    from micro_sam.session.session import VolumeSession

NAME = "Segmenting all slices"
PARAMETERS = (
    Parameter("foreground_threshold", "foreground", "Lower it to find fainter objects.", 0.5, 0.05, 0.95, 0.01),
    Parameter("distance_threshold", "middle", "Lower it when objects are missed.", 0.4, 0.0, 0.95, 0.01),
    Parameter(
        "prominence", "split", "Raise it when objects are cut, lower it when they are merged.", 0.15, 0.0, 0.9, 0.01
    ),
    Parameter("min_size", "minimal size", "Objects with fewer voxels are left out.", 0, 0, 1_000_000, 50),
)
"""Of :func:`~micro_sam.segmentation.volume.automatic.segment_volume`, with its defaults."""


class AutomaticVolume:
    """Automatic segmentation of a whole stack.

    Attributes
    ----------
    values
        Parameter name -> value, for the way by the maps. The other one has those of Segment All Objects.
    """

    def __init__(self, annotator: Annotator3D) -> None:
        self._annotator = annotator
        self.values = {parameter.name: parameter.default for parameter in PARAMETERS}
        self._job: Job | None = None
        self._shown: VolumeSession | None = None  # whose automatic objects come from the maps
        self._again = False
        self._timer = QTimer()
        self._timer.setSingleShot(True)
        self._timer.setInterval(DEBOUNCE_MS)
        self._timer.timeout.connect(self._run_again)

    @property
    def by_maps(self) -> bool:
        """Whether the maps are used: the model has them, and neither menu says otherwise."""
        annotator = self._annotator
        return annotator.automatic.method == "dense" and annotator.volume_options.method != "propagation"

    def set_value(self, name: str, value: float) -> None:
        """Change a parameter; a segmentation that is shown follows at once."""
        if self.values.get(name) != value:
            self.values[name] = value
            if self._shown is not None and self._shown is self._annotator.session and self._shown.automatic.exists:
                self._timer.start()

    def close(self) -> None:
        """Do nothing more."""
        self._timer.stop()
        self._again = False

    def run(self) -> None:
        """Find the objects of all slices, in the background, and show them in the automatic layer.

        Raises
        ------
        InputError
            When slices are still being embedded, or another run is at work.
        """
        annotator, session = self._annotator, self._annotator.session
        work = SliceWork.of(annotator, "slice")
        by_maps, values = self.by_maps, dict(self.values if self.by_maps else work.values)
        scale, focus = annotator.maps.scale, annotator.maps.focus
        self._shown = None
        self._job = annotator.jobs.start(
            NAME,
            lambda job: _by_maps(work, scale, focus, values) if by_maps else _slice_by_slice(job, work),
            on_item=lambda item: self._show(session, *item, method="maps" if by_maps else work.method, **values),
            on_done=lambda number: self._end(session, number, by_maps),
            on_error=self._failed,
            on_cancel=self._cancelled,
        )
        annotator.status.say("Looking for the objects of all slices. You can go on looking around meanwhile.")

    def _run_again(self) -> None:
        """The sliders have other values."""
        if self._job is not None:
            self._again = True
            self._job.cancel()
            return
        try:
            if self._annotator.jobs.running(WORK) is None and self.by_maps:
                self.run()
        except Exception as error:
            self._annotator.status.report(error)

    # In the window's thread.

    def _show(self, session: VolumeSession, z: int, labels: np.ndarray, **details: Any) -> None:
        if session is self._annotator.session:
            session.automatic.show(labels, z, **details)

    def _end(self, session: VolumeSession, number: int, by_maps: bool) -> None:
        self._ended()
        if session is not self._annotator.session:
            return
        if by_maps:
            self._shown = session
        if number == 0:
            self._annotator.status.say("No object passes the thresholds in any slice. Lower them and try again.")
            return
        if not session.has_current:
            self._annotator.set_source("auto")
        self._annotator.status.say(f"Found {count(number, 'object')} in the volume. Commit them with C.", "good")

    def _failed(self, error: Exception) -> None:
        self._ended()
        self._annotator.status.report(error)

    def _cancelled(self) -> None:
        self._shown = self._annotator.session if self._again else None
        self._ended()

    def _ended(self) -> None:
        self._job = None
        if self._again:
            self._again = False
            self._timer.start()


# In the thread of the run.


def _by_maps(work: SliceWork, scale: Any, focus: Any, values: Mapping[str, Any]) -> Generator[Any, None, int]:
    from micro_sam.segmentation.volume.automatic import iter_segment_volume

    labels = None
    run = iter_segment_volume(work.predictor, work.embeddings, scale, focus=focus, **values)
    while labels is None:
        try:
            done, total = next(run)
            yield Progress(NAME, done, total)
        except StopIteration as end:
            labels = end.value
    yield from enumerate(labels)  # one by one, so that the window never waits for the whole volume
    return int(labels.max(initial=0))


def _slice_by_slice(job: Job, work: SliceWork) -> Generator[Any, None, int]:
    from micro_sam.segmentation.volume.merging import merge_instance_segmentation_3d

    labels = yield from work.run(job, NAME)
    yield Progress("Joining the objects of all slices", len(labels), len(labels))
    merged = merge_instance_segmentation_3d(labels, verbose=False)
    yield from enumerate(merged)
    return int(merged.max(initial=0))
