"""Runs over many slices or frames: how their steps get into `current`, as one step of undo.

A run is planned and shown in the thread of the actions and computed in any other. Its first step makes the command,
later ones are joined to it. When the user does anything else meanwhile, the command is no longer the last one: the run
has become stale, shows nothing more, and what it had found stays.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from micro_sam.segmentation.values import ObjectMask
from micro_sam.session import current
from micro_sam.session.base import SessionBase
from micro_sam.session.commands import Command, Draft
from micro_sam.session.labels import crop
from micro_sam.session.prompts import PromptSet
from micro_sam.session.values import Anchors, SliceConfidence, SliceResult, count


class RunRequest(Protocol):
    """What all plans of runs have in common."""

    prompts: PromptSet
    epoch: int
    options: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class RunStep:
    """One finished slice (or frame) of one object.

    Attributes
    ----------
    request
        The run it belongs to.
    label
        The object in `current`.
    z
        Slice or frame; -1 for the last step of an object.
    mask
        None where the object ends.
    score, overlap, source, reason
        As in :class:`micro_sam.segmentation.volume.SliceStep`. Source ``"end"`` is the last step of an object.
    answer
        For a slice that was prompted but not segmented before: the network's answer and the labels of its masks.
    done_again, reached
        Last step of an object only: the slices that the run was to do, and those in which it found the object.
    whole
        The object in all slices at once (:class:`~micro_sam.segmentation.volume.values.VolumeObject`).
    """

    request: Any
    label: int
    z: int
    mask: ObjectMask | None = None
    score: float = 0.0
    overlap: float = 1.0
    source: str = "propagated"
    reason: str = ""
    answer: tuple[SliceResult, tuple[int, ...]] | None = None
    done_again: range = range(0)
    reached: frozenset[int] = frozenset()
    whole: Any = None


class RunActs(SessionBase):
    """Steps of runs. Mixed into the sessions on volumes and on movies."""

    _planned: Any = None  # a run that was planned later makes the ones before stale
    _run_command: tuple[Any, Command] | None = None
    _run_reasons: tuple[str, ...] = ()
    _run_name = "Segment volume"

    def apply_step(self, step: RunStep) -> bool:
        """Show one finished step in `current`; False when the run is stale and should be cancelled."""
        if not self._run_goes_on(step.request):
            return False
        with self._run_act(step.request) as draft:
            if step.answer is not None:
                result, labels = step.answer
                current.show(draft, step.z, result.masks, labels, result.request.drawn, result.request.batched)
            elif step.source == "end":
                self._clear_where_lost(draft, step)
            elif step.mask is not None and step.source != "prompt":
                confidence = SliceConfidence(step.score, step.overlap, step.source)
                current.paint_masks(draft, step.z, [step.mask], [step.label], {step.label}, yield_to_others=True)
                current.note_confidence(draft, step.z, {step.label: confidence}, {step.label})
        self._remember_run(step.request, draft)
        if step.reason:
            self._run_reasons += (step.reason,)
        return True

    @property
    def confidence(self) -> dict[int, SliceConfidence]:
        """Slice -> confidence of the current object there (of the least certain one, when there are several)."""
        known = sorted(self._state.confidence.items())
        return {z: min(values.values(), key=lambda c: c.value) for z, values in known if values}

    def weakest_slice(self) -> int | None:
        """The slice that is worth a look first: the least certain one that nobody has prompted or painted."""
        decided = self._decided_slices()
        candidates = {z: c.value for z, c in self.confidence.items() if z not in decided}
        return min(candidates, key=lambda z: (candidates[z], z)) if candidates else None

    # ------------------------------------------------------------------ inside

    def _finish_run(self, request: RunRequest, cancelled: bool) -> str:
        reasons, self._run_reasons = self._run_reasons, ()
        if not self._run_goes_on(request):
            text = "The run was stopped because the object changed meanwhile. What was found before stays."
        elif cancelled:
            text = f"Cancelled; {count(len(self.current_slices), self._place)} found so far. Press V to go on."
        else:
            with self._run_act(request) as draft:
                draft.set("anchors", self._anchors_after(request))
            text = self._describe_run(reasons)
        self._run_command = None
        self._say(text)
        return text

    def _anchors_after(self, request: RunRequest) -> Anchors:
        """What has decided the objects, for a later run to see what changed."""
        return Anchors(self.prompts, dict(self._state.painted))

    def _run_act(self, request: RunRequest):
        facts = {**request.options, "model": self._model_facts()}
        return self._act(self._run_name, kind="run", join=self._run_command is not None, **facts)

    def _remember_run(self, request: RunRequest, draft: Draft) -> None:
        if self._run_command is None and draft.edits:
            self._run_command = (request, self._history.last)

    def _run_goes_on(self, request: RunRequest) -> bool:
        if request is not self._planned or request.epoch != self._epoch or request.prompts != self.prompts:
            return False
        if self._run_command is not None and self._run_command[0] is request:
            return self._history.last is self._run_command[1]
        self._run_command = None
        return True

    def _clear_where_lost(self, draft: Draft, step: RunStep) -> None:
        """Remove what an earlier run found in slices that this one did and did not find the object in."""
        for z in [z for z in self._state.regions if z in step.done_again and z not in step.reached]:
            current.erase(draft, z, [step.label])

    def _decided_slices(self) -> list[int]:
        """Sorted slices whose mask a person has decided: prompted or painted ones."""
        prompted = {z for z in self.prompts.slices if self.prompts.in_slice(z).has_positive}
        return sorted(prompted | (self._state.painted.keys() & self._state.regions.keys()))

    def _needs_answer(self, z: int, drawn: PromptSet) -> bool:
        """Whether these prompts of a slice were never answered, or have changed since."""
        answer, anchors = self._state.answers.get(z), self._state.anchors
        if not drawn.has_positive or (answer is not None and answer.drawn == drawn):
            return False
        # A reopened object has no answers, but it shows what its prompts once gave.
        return anchors is None or anchors.prompts.in_slice(z) != drawn or z not in self._state.regions

    def _masks_in(self, z: int) -> dict[int, ObjectMask]:
        """Label -> what `current` shows in a slice."""
        region = self._state.regions.get(z)
        if region is None:
            return {}
        window = self._state.plane("current", z)[crop(region)]
        known = self._state.confidence.get(z, {})
        masks = {}
        for label in np.unique(window[window > 0]).tolist():
            score = known[label].score if label in known else None
            masks[label] = ObjectMask.from_array(window == label, 1.0 if score is None else score, offset=region[:2])
        return masks

    def _describe_run(self, reasons: Sequence[str]) -> str:
        slices = self.current_slices
        if not slices:
            return f"The object was not found in any {self._place}. Add prompts in another {self._place}."
        text = f"The object spans {self._place}s {slices[0]} to {slices[-1]}."
        weakest = self.weakest_slice()
        if reasons:
            text += " " + " ".join(reasons[:2])
        if weakest is not None:
            text += f" The least certain {self._place} is {weakest}."
        return f"{text} {self._what_next}"

    @property
    def _what_next(self) -> str:
        return f"Commit with C, or correct a {self._place} and press V again."
