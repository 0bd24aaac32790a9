"""The view follows a run: the frame that was finished last is the one in view."""

from __future__ import annotations

from typing import TYPE_CHECKING

from micro_sam.sam_annotator.session_run import SessionRun
from micro_sam.session.runs import RunStep

if TYPE_CHECKING:
    from micro_sam.sam_annotator.annotator import Annotator


class FollowRun:
    """Shows each frame as it is finished, until the person moves to another one.

    Parameters
    ----------
    annotator
        A tool with :class:`~micro_sam.sam_annotator.slices.SliceActs`.
    run
        What is followed.

    Attributes
    ----------
    on
        Whether the view follows at all.
    """

    def __init__(self, annotator: Annotator, run: SessionRun) -> None:
        self.on = True
        self._annotator = annotator
        self._start: int | None = None
        self._shown: int | None = None
        self._stopped_early = False
        run.stepped.connect(self._step)
        run.ended.connect(self._end)

    def begin(self, z: int) -> None:
        """A run begins while frame `z` is in view; there the view returns when all went well."""
        self._start = self._shown = z
        self._stopped_early = False

    def _step(self, step: RunStep) -> None:
        self._stopped_early |= bool(step.reason)
        if self.on and self._shown is not None and step.mask is not None:
            if self._annotator.z != self._shown:  # the person looks at something else
                self._shown = None
                return
            self._annotator.go_to_slice(step.z)
            self._shown = step.z

    def _end(self) -> None:
        """Stay where a track was lost, which is where the person is needed; else go back."""
        if self.on and self._shown is not None and self._annotator.z == self._shown and not self._stopped_early:
            self._annotator.go_to_slice(self._start)
        self._shown = None
