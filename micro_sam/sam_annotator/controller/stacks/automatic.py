"""Segment All Objects in all slices of a volume, or in all frames of a movie.

In a volume it goes by the maps, or slice by slice, which are joined then. With the maps the network looks once, and the
sliders of the volume menu act without it. In a movie the objects of every frame, segmented here or by another program,
are linked to tracks.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from typing import Any

import numpy as np

from micro_sam.errors import InputError
from micro_sam.sam_annotator.controller.automatic import DEBOUNCE_MS, Automatic, SliceWork
from micro_sam.sam_annotator.controller.stacks.maps import MapsWork, wants_maps
from micro_sam.sam_annotator.runtime.jobs import WORK, Job, Jobs, Progress
from micro_sam.sam_annotator.runtime.timers import once
from micro_sam.sam_annotator.state.options import VolumeThresholds
from micro_sam.sam_annotator.state.window import WindowState
from micro_sam.session.lineage import Lineage
from micro_sam.session.session import Session
from micro_sam.session.values import count

ALL_SLICES = "Segmenting all slices"
ALL_FRAMES, LINKING = "Segmenting all frames", "Linking objects"


class AutomaticVolume:
    """Automatic segmentation of a whole stack.

    Attributes
    ----------
    values
        Parameter name -> value, for the way by the maps. The other one has those of Segment All Objects.
    """

    def __init__(self, state: WindowState, jobs: Jobs, automatic: Automatic, maps: MapsWork) -> None:
        self._state, self._jobs, self._automatic, self._maps = state, jobs, automatic, maps
        self.method_changed = automatic.method_changed
        self.values: dict[str, Any] = dict(VolumeThresholds())
        self._job: Job | None = None
        self._shown: Session | None = None  # whose automatic objects come from the maps
        self._again = False
        self._timer = once(self._run_again, DEBOUNCE_MS)

    @property
    def by_maps(self) -> bool:
        """Whether the maps are used: the model has them, and neither menu says otherwise."""
        return self._automatic.method == "dense" and wants_maps(self._state)

    def set_threshold(self, name: str, value: float) -> None:
        """Change a threshold; a segmentation that is shown follows at once."""
        if self.values.get(name) != value:
            self.values[name] = value
            if self._shown is not None and self._state.shows(self._shown) and self._shown.automatic.exists:
                self._timer.start()

    def close(self) -> None:
        """Do nothing more."""
        self._timer.stop()
        self._again = False

    def segment(self) -> None:
        """Find the objects of all slices, in the background, and show them in the automatic layer.

        Raises
        ------
        InputError
            When slices are still being embedded, or another job is running.
        """
        session = self._state.needed()
        maps = session.model.maps
        is_known = self.by_maps and maps is not None and maps.is_complete
        work = SliceWork.of(self._state, self._automatic, whole=is_known)
        by_maps, values = self.by_maps, dict(self.values if self.by_maps else work.values)
        scale, focus = self._maps.scale, self._maps.focus if is_known or session.automatic.region is None else None
        self._shown = None
        self._job = self._jobs.start(
            ALL_SLICES,
            lambda job: _by_maps(work, scale, focus, values) if by_maps else _slice_by_slice(job, work),
            on_item=lambda item: self._show(session, *item, method="maps" if by_maps else work.method, **values),
            on_done=lambda number: self._end(session, number, by_maps),
            on_error=self._failed,
            on_cancel=self._cancelled,
        )
        self._state.status.say("Looking for the objects of all slices. You can go on looking around meanwhile.")

    def _run_again(self) -> None:
        """The sliders have other values."""
        if self._job is not None:
            self._again = True
            self._job.cancel()
            return
        try:
            if self._jobs.running(WORK) is None and self.by_maps:
                self.segment()
        except Exception as error:
            self._state.status.report(error)

    # In the window's thread.

    def _show(self, session: Session, z: int, labels: np.ndarray, **details: Any) -> None:
        if self._state.shows(session):
            session.automatic.show(labels, z, **details)

    def _end(self, session: Session, number: int, by_maps: bool) -> None:
        self._ended()
        if not self._state.shows(session):
            return
        if by_maps:
            self._shown = session
        if number == 0:
            self._state.status.say("No object passes the thresholds in any slice. Lower them and try again.")
            return
        if not session.has_current:
            self._state.source = "auto"
        where = "volume" if session.automatic.region is None else "region"
        self._state.status.say(f"Found {count(number, 'object')} in the {where}. Commit them with C.", "good")

    def _failed(self, error: Exception) -> None:
        self._ended()
        self._state.status.report(error)

    def _cancelled(self) -> None:
        self._shown = self._state.session if self._again else None
        self._ended()

    def _ended(self) -> None:
        self._job = None
        if self._again:
            self._again = False
            self._timer.start()


# In the thread of the job.


def _by_maps(work: SliceWork, scale: Any, focus: Any, values: Mapping[str, Any]) -> Generator[Any, None, int]:
    from micro_sam.segmentation.volume.automatic import iter_segment_volume

    labels = None
    steps = iter_segment_volume(work.predictor, work.embeddings, scale, focus=focus, **values)
    while labels is None:
        try:
            done, total = next(steps)
            yield Progress(ALL_SLICES, done, total)
        except StopIteration as end:
            labels = end.value
    labels = work.part.place(labels)
    yield from enumerate(labels)  # one by one, so that the window never waits for the whole volume
    return int(labels.max(initial=0))


def _slice_by_slice(job: Job, work: SliceWork) -> Generator[Any, None, int]:
    from micro_sam.segmentation.volume.merging import merge_instance_segmentation_3d

    labels = yield from work.segment(job, ALL_SLICES)
    yield Progress("Joining the objects of all slices", len(labels), len(labels))
    merged = work.part.place(merge_instance_segmentation_3d(labels, verbose=False))
    yield from enumerate(merged)
    return int(merged.max(initial=0))


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
            labels = yield from work.segment(job, ALL_FRAMES)
            return (yield from _link(work.part.place(labels)))

        self._start(ALL_FRAMES, steps, method=work.method, **work.values)
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
            f"{self._state.tool.names.auto}. Commit them with C, or go on with single objects.",
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
