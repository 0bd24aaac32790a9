"""The whole object in a volume: by its maps, live, or from slice to slice."""

from __future__ import annotations

from collections.abc import Callable

from micro_sam.sam_annotator.controller.automatic import Automatic
from micro_sam.sam_annotator.controller.automatic_volume import AutomaticVolume
from micro_sam.sam_annotator.controller.engine import Engine
from micro_sam.sam_annotator.controller.preview import Preview
from micro_sam.sam_annotator.controller.propagation import Propagation
from micro_sam.sam_annotator.controller.sections import Sections
from micro_sam.sam_annotator.controller.volume_maps import MapsWork, wants_maps
from micro_sam.sam_annotator.controller.whole_object import WholeObject
from micro_sam.sam_annotator.runtime.jobs import WORK, Jobs
from micro_sam.sam_annotator.state.window import WindowState


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
