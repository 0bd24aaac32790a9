"""The maps of a volume, computed in the background after the embeddings, so that a prompt gives the whole object.

Nobody waits for this work: it makes room for the embedding, for other jobs and for previews, and goes on after them.
What is known around the prompts is used at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from typing import Any

from psygnal import Signal

from micro_sam.errors import NotComputedYet
from micro_sam.sam_annotator.controller.embedding.engine import Engine
from micro_sam.sam_annotator.runtime.jobs import MAPS, WORK, Job, Jobs, Progress
from micro_sam.sam_annotator.state.options import VolumeOptions
from micro_sam.sam_annotator.state.status import duration
from micro_sam.sam_annotator.state.window import WindowState, image_of

PAUSE = 0.02  # seconds between two looks whether others have ended their work
READY = "Whole objects are ready: every click gives the object in all slices at once."
STOPPED = "Cancelled: whole objects are ready where they were prepared; elsewhere V goes from slice to slice."


class MapsWork:
    """Computes the maps of the volume of one window.

    Parameters
    ----------
    state, jobs, engine
        Of the window.
    is_answering, is_growing
        Whether a click or a slider is being answered, and whether a whole object is; asked in the thread of the job,
        too.

    Signals
    -------
    grew
        More of the maps is known.
    """

    grew = Signal()

    def __init__(
        self,
        state: WindowState,
        jobs: Jobs,
        engine: Engine,
        is_answering: Callable[[], bool],
        is_growing: Callable[[], bool],
    ) -> None:
        self._state, self._jobs, self._engine = state, jobs, engine
        self._is_answering, self._is_growing = is_answering, is_growing
        self._again = False
        self._left: float | None = None  # seconds
        engine.ready.connect(self.begin)
        state.events.options.connect(self._options_changed)

    def begin(self) -> None:
        """Compute what is missing, unless the model has no maps or nobody wants them."""
        session, job = self._state.session, self._jobs.running(MAPS)
        if job is not None:
            self._again = job.cancelled or session is None or session.model.maps is None
            if self._again:
                job.cancel()
            return
        embeddings = None if session is None else session.model.embeddings
        if session is None or embeddings is None or not self._are_wanted() or not embeddings.is_complete():
            return
        if session.model.maps is not None and session.model.maps.is_complete:
            return
        predictor, scale = session.model.predictor, self.scale
        self._left = None
        self._jobs.start(
            "Preparing whole objects",
            lambda job: self._steps(job, predictor, embeddings, scale),
            lane=MAPS,
            on_item=lambda maps: self._attach(session, embeddings, maps),
            on_done=lambda _: self._end(f"{READY} {getattr(session.model.maps, 'note', '')}".strip()),
            on_error=self._failed,
            on_cancel=lambda: self._end(STOPPED),
        )

    def _options_changed(self) -> None:
        if wants_maps(self._state):
            self.begin()
        else:
            self.cancel()

    def cancel(self) -> None:
        """Stop; what is computed stays."""
        self._jobs.cancel(MAPS)

    def promise(self) -> str:
        """When a whole object comes that the maps cannot tell yet, as a sentence; empty when nobody computes them."""
        job = self._jobs.running(MAPS)
        if job is not None and not job.cancelled:
            when = "" if self._left is None else f" (in {duration(self._left)} at most)"
            return f"The whole object comes by itself when its slices are prepared{when}; V goes from slice to slice."
        engine = self._engine
        if self._are_wanted() and engine.active and (engine.wants_all or not engine.on_demand):
            return "The whole object comes by itself later, when all slices are embedded."
        return ""

    def _are_wanted(self) -> bool:
        session = self._state.session
        if session is None or session.model.embeddings is None or not wants_maps(self._state):
            return False
        return getattr(getattr(session.model.predictor, "model", None), "dense_kind", None) is not None

    @property
    def scale(self) -> tuple[float, ...] | None:
        """Size of a voxel (z, y, x); a layer that says 1 for all axes says nothing."""
        image = image_of(self._state)
        if image.scale is None or (image.layer is not None and set(image.scale) == {1.0}):
            return None
        return image.scale

    # In the thread of the job.

    def _steps(self, job: Job, predictor: Any, embeddings: Any, scale: Any) -> Generator[Any, None, None]:
        from micro_sam.segmentation.volume.compute import iter_volume_maps
        from micro_sam.segmentation.volume.scripts import maps_of

        maps = maps_of(predictor, embeddings, scale)
        yield maps
        done, total = maps.progress
        began, before = time.monotonic(), done
        steps = iter_volume_maps(predictor, embeddings, maps, focus=self.focus)
        while True:
            if self._is_awaited():
                while self._is_awaited() and not job.cancelled:
                    time.sleep(PAUSE)
                steps = iter_volume_maps(predictor, embeddings, maps, focus=self.focus)  # they may have computed some
            if job.cancelled or next(steps, None) is None:
                return
            done = maps.progress[0]
            self._left = (time.monotonic() - began) / max(done - before, 1) * (total - done)
            yield maps
            yield Progress(f"Preparing whole objects: {done} of {total}, {duration(self._left)} left", done, total)

    def _is_awaited(self) -> bool:
        """Whether the user waits for something else."""
        return self._engine.busy or self._is_answering() or self._is_growing() or self._jobs.running(WORK) is not None

    def focus(self) -> tuple[float, float, float] | None:
        """Where the user is at work: the newest prompt of the slice in view, else the middle of the view."""
        focus = self._engine.focus
        box = focus.prompts[0] if focus.prompts else focus.view
        if focus.index is None or box is None:
            return None
        return focus.index, (box[0] + box[2]) / 2, (box[1] + box[3]) / 2

    # In the window's thread.

    def _attach(self, session: Any, embeddings: Any, maps: Any) -> None:
        if self._state.shows(session) and session.model.embeddings is embeddings:
            session.model.attach_maps(maps)
            self.grew.emit()

    def _failed(self, error: Exception) -> None:
        if not isinstance(error, NotComputedYet):  # other features are there by now
            self._state.status.report(error)
        self._end("")

    def _end(self, text: str) -> None:
        if self._again:
            self._again = False
            self.begin()
            return
        status = self._state.status
        if text == STOPPED:
            status.say(text)
        elif text and status.kind != "error" and not self._is_growing():
            status.add(text)


def wants_maps(state: WindowState) -> bool:
    """Whether the options of the window use the maps of a volume."""
    return isinstance(state.options, VolumeOptions) and state.options.method != "propagation"
