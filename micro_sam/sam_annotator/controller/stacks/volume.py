"""The whole object in a volume: by its maps, live, or from slice to slice.

Live, it follows the preview: when the slice in view is answered (or painted, or ended by a negative point), the maps
are asked in a thread, and their answer joins the action that asked, so that both are one step of undo.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from micro_sam.sam_annotator.controller.automatic import Automatic
from micro_sam.sam_annotator.controller.embedding.engine import Engine
from micro_sam.sam_annotator.controller.preview import Preview
from micro_sam.sam_annotator.controller.stacks.automatic import AutomaticVolume
from micro_sam.sam_annotator.controller.stacks.maps import MapsWork, wants_maps
from micro_sam.sam_annotator.controller.stacks.propagation import Propagation
from micro_sam.sam_annotator.controller.stacks.sections import Sections
from micro_sam.sam_annotator.runtime.jobs import WORK, Jobs
from micro_sam.sam_annotator.runtime.threads import LatestWins
from micro_sam.sam_annotator.runtime.timers import once
from micro_sam.sam_annotator.state.window import WindowState
from micro_sam.session.propagation.shared import PropagationStep
from micro_sam.session.propagation.volume import VolumeRequest
from micro_sam.session.session import VolumeSession


class VolumeWork:
    """What the 3D tool does with volumes.

    Parameters
    ----------
    state, jobs, engine
        Of the window.
    preview, automatic, propagation
        Answer the slice in view, find all objects of it, and go from slice to slice.
    sections
        Shows the volume from the side.

    Attributes
    ----------
    maps
        Computes the maps of the volume.
    whole
        Keeps the current objects in line with their prompts in all slices.
    automatic
        Finds the objects of all slices.
    sections
        Shows the volume from the side.
    """

    def __init__(
        self,
        state: WindowState,
        jobs: Jobs,
        engine: Engine,
        preview: Preview,
        automatic: Automatic,
        propagation: Propagation,
        sections: Sections,
    ) -> None:
        self._state, self._jobs, self._propagation, self.sections = state, jobs, propagation, sections
        self.maps = MapsWork(state, jobs, engine, lambda: preview.busy or automatic.busy, lambda: self.whole.busy)
        self.whole = WholeObject(state, jobs, preview, propagation, self.maps)
        self.automatic = AutomaticVolume(state, jobs, automatic, self.maps)

    def segment(self) -> None:
        """The whole object(s): by the maps where they are ready, else from the prompted slices to all others."""
        self._state.needed()
        self._propagation.start(**dict(self._state.options or {}), batched=self._state.batched)
        if self._jobs.running(WORK) is not None and self._propagation.is_stepwise:
            self._state.status.say("The object grows from slice to slice. Cancel stops it and keeps what is there.")

    def after_correction(self) -> str:
        """What the user does after a correction, to end a sentence."""
        if not wants_maps(self._state) or not getattr(self._state.needed().propagation, "whole_object_possible", False):
            return self._state.tool.after_correction
        return "and the whole object follows" if self._state.live else "then press V: the whole object is done again"

    def then(self, do: Callable[[], object]) -> bool:
        """Do something when the whole object that is on its way has come; False when none is."""
        if self.whole.busy:
            self.whole.then(do)
            return True
        return False

    def close(self) -> None:
        """End the threads."""
        self.whole.close()
        self.automatic.close()
        self.sections.close()


class WholeObject:
    """Keeps the current objects of a volume in line with their prompts, as long as that is wished and can be done.

    Parameters
    ----------
    state, jobs
        Of the window.
    preview, propagation
        Answer first.
    maps
        Are asked.
    """

    def __init__(
        self, state: WindowState, jobs: Jobs, preview: Preview, propagation: Propagation, maps: MapsWork
    ) -> None:
        self._state, self._jobs, self._maps = state, jobs, maps
        self._preview, self._propagation = preview, propagation
        self._session: VolumeSession | None = None
        self._asked: Any = None
        self._shows = False
        self._waits = False
        self._then: Callable[[], object] | None = None
        self._timer = once(self._consider)  # after the action that has changed the history
        self._latest = LatestWins("whole object")
        self._latest.done.connect(self._show)
        self._latest.failed.connect(self._failed)
        state.events.session.connect(self._follow)
        maps.grew.connect(self._maps_grew)

    @property
    def busy(self) -> bool:
        """Whether an answer is on its way."""
        return self._asked is not None or self._timer.isActive()

    def then(self, do: Callable[[], object]) -> None:
        """Do something as soon as the answer that is on its way is shown."""
        self._then = do

    def _maps_grew(self) -> None:
        """More of the maps is known: what waits for it may be asked."""
        if self._waits and self._session is not None and self._session.propagation.whole_object_asked:
            self._timer.start()

    def close(self) -> None:
        """End the thread."""
        self._timer.stop()
        self._session = None
        self._latest.close()

    def _follow(self, session: VolumeSession) -> None:
        self._session, self._asked, self._then, self._waits = session, None, None, False
        session.events.history_changed.connect(self._changed)

    def _changed(self) -> None:
        if not self._shows and self._state.shows(self._session):
            self._timer.start()

    def _consider(self) -> None:
        """The history has changed: ask, when the last step has changed what the object is."""
        self._waits = False
        try:
            session = self._session
            if session is not None and self._wants(session):
                if session.propagation.whole_object_possible:
                    request = session.propagation.plan(method="auto", batched=self._state.batched)
                    self._asked = request
                    self._latest.ask(request, lambda: list(session.propagation.compute(request)))
                    return
                self._wait(session)
        except Exception as error:
            self._state.status.report(error)
        self._asked = None
        self._go_on()

    def _wants(self, session: VolumeSession) -> bool:
        if not self._state.shows(session) or not self._state.live:
            return False
        if not wants_maps(self._state) or self._jobs.running(WORK) is not None:
            return False
        if self._preview.busy or self._preview.waits or self._propagation.busy:
            return False  # their answers come here, too
        return session.propagation.whole_object_due

    def _wait(self, session: VolumeSession) -> None:
        """The maps do not know the place yet: say when the object comes."""
        self._waits, status, promise = True, self._state.status, self._maps.promise()
        if promise and status.kind != "error" and session.has_current:
            status.add(promise)

    def _show(self, request: VolumeRequest, steps: list[PropagationStep]) -> None:
        if request is not self._asked:
            return
        self._asked, self._shows = None, True
        try:
            if self._session is not None and self._state.shows(self._session):
                self._session.propagation.apply_whole(request, steps)
        except Exception as error:
            self._state.status.report(error)
        finally:
            self._shows = False
        self._go_on()

    def _failed(self, request: VolumeRequest, error: Exception) -> None:
        if request is self._asked:
            self._asked = None
            self._state.status.report(error)
            self._go_on()

    def _go_on(self) -> None:
        do, self._then = self._then, None
        if do is not None:
            do()
