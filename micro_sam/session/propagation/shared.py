"""What propagation through volumes and movies shares: how its steps get into `current`, as one step of undo.

A propagation is planned and shown in the thread of the actions and computed in any other. Its first step makes the
command, later ones are joined to it. When the user does anything else meanwhile, the command is no longer the last one:
the propagation has become stale, shows nothing more, and what it had found stays.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from micro_sam.errors import InputError
from micro_sam.segmentation.values import ObjectMask
from micro_sam.session import queries
from micro_sam.session.actions.segment import SegmentActions
from micro_sam.session.commands import Command, Draft
from micro_sam.session.edits import current
from micro_sam.session.model import Model
from micro_sam.session.prompts import PromptSet
from micro_sam.session.requests import SliceResult
from micro_sam.session.steps import Steps
from micro_sam.session.values import Anchors, SliceConfidence, count

if TYPE_CHECKING:
    from micro_sam.segmentation.propagation.tracking import Division


class PropagationRequest(Protocol):
    """What all plans of propagation have in common."""

    @property
    def prompts(self) -> PromptSet:
        """The prompts it was made from."""

    @property
    def epoch(self) -> int:
        """See :class:`~micro_sam.session.steps.Steps`."""

    @property
    def options(self) -> Mapping[str, Any]:
        """What the user has set."""

    @property
    def total(self) -> int:
        """Most steps it can take, for a progress bar; 0 when that is not known."""


@dataclass(frozen=True, eq=False)
class PropagationStep:
    """One finished slice (or frame) of one object.

    Attributes
    ----------
    request
        What it belongs to.
    label
        The object in `current`.
    z
        Slice or frame; -1 for the last step of an object.
    mask
        None where the object ends.
    score, overlap, source, reason
        As in :class:`micro_sam.segmentation.propagation.volume.SliceStep`. Source ``"end"`` is the last step of
        an object.
    answer
        For a slice that was prompted but not segmented before: the network's answer and the labels of its masks.
    done_again, reached
        Last step of an object only: the slices that were to be done, and those in which the object was found.
    division
        Last step of a track that was stopped where it divides.
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
    division: Division | None = None


class Propagation(ABC):
    """Propagation through the slices of a volume or the frames of a movie.

    Planned by :meth:`plan`; :meth:`compute` is a generator for any thread, :meth:`apply_step` shows each of its steps,
    :meth:`finish` closes it. :meth:`segment` does all of that.
    """

    _name = "Segment volume"

    def __init__(self, steps: Steps, model: Model, segment: SegmentActions) -> None:
        self._steps = steps
        self._model = model
        self._segment = segment
        self._planned: Any = None  # what was planned later makes the ones before stale
        self._shown: tuple[Any, Command] | None = None
        self._reasons: tuple[str, ...] = ()

    @abstractmethod
    def plan(self, *args: Any, **options: Any) -> Any:
        """Take down what is known of the current objects, and how far the propagation may go."""

    @staticmethod
    @abstractmethod
    def compute(request: Any) -> Iterator[PropagationStep]:
        """Extend the objects. Changes nothing, so any thread may drive it; closing it cancels."""

    def apply_step(self, step: PropagationStep) -> bool:
        """Show one finished step in `current`; False when the plan is stale and should be cancelled."""
        if not self._goes_on(step.request):
            return False
        with self._step(step.request) as draft:
            self._show(draft, step)
        self._remember(step.request, draft)
        if step.reason:
            self._reasons += (step.reason,)
        return True

    def finish(self, request: PropagationRequest, cancelled: bool = False) -> str:
        """Close a propagation, complete or cancelled; what came of it as a sentence (also sent as message)."""
        reasons, self._reasons = self._reasons, ()
        if not self._goes_on(request):
            text = "The propagation was stopped because the object changed meanwhile. What was found before stays."
        elif cancelled:
            found = count(len(self._steps.state.regions), self._steps.rules.slice_noun)
            text = f"Cancelled; {found} found so far. Press V to go on."
        else:
            with self._step(request) as draft:
                draft.set("anchors", self._anchors(request))
            text = self._describe(reasons)
        self._shown = None
        self._steps.say(text)
        return text

    def segment(self, *args: Any, **options: Any) -> str:
        """Plan, compute, apply and finish, waiting for all of it. Options as in :meth:`plan`."""
        request = self.plan(*args, **options)
        for step in self.compute(request):
            self.apply_step(step)
        return self.finish(request)

    @property
    def confidence(self) -> dict[int, SliceConfidence]:
        """See :func:`micro_sam.session.queries.confidence`."""
        return queries.confidence(self._steps.state)

    def weakest_slice(self) -> int | None:
        """See :func:`micro_sam.session.queries.weakest_slice`."""
        return queries.weakest_slice(self._steps.state)

    # ------------------------------------------------------------------ what volumes and movies do their own way

    def _show(self, draft: Draft, step: PropagationStep) -> None:
        if step.answer is not None:
            result, labels = step.answer
            current.show(draft, step.z, result.masks, labels, result.request.drawn, result.request.batched)
        elif step.source == "end":
            # remove what was found before in slices that were done again, and in which the object was not found
            for z in [z for z in draft.state.regions if z in step.done_again and z not in step.reached]:
                current.erase(draft, z, [step.label])
        elif step.mask is not None and step.source != "prompt":
            confidence = SliceConfidence(step.score, step.overlap, step.source)
            current.paint_masks(draft, step.z, [step.mask], [step.label], {step.label}, yield_to_others=True)
            current.note_confidence(draft, step.z, {step.label: confidence}, {step.label})

    def _anchors(self, request: Any) -> Anchors:
        """What has decided the objects, for a later propagation to see what changed."""
        return Anchors(self._steps.state.prompts, dict(self._steps.state.painted))

    def _describe(self, reasons: Sequence[str]) -> str:
        slices, noun = sorted(self._steps.state.regions), self._steps.rules.slice_noun
        if not slices:
            return f"The object was not found in any {noun}. Add prompts in another {noun}."
        number = len({label for labels in self._steps.state.confidence.values() for label in labels})
        what = f"{number:,} objects span" if number > 1 else "The object spans"
        text = f"{what} {noun}s {slices[0]} to {slices[-1]}."
        weakest = self.weakest_slice()
        if reasons:
            text += " " + " ".join(reasons[:2])
        elif weakest is not None:
            text += f" The least certain {noun} is {weakest}."
        return f"{text} {self._what_next}"

    @property
    def _what_next(self) -> str:
        return f"Commit with C, or correct a {self._steps.rules.slice_noun} and press V again."

    # ------------------------------------------------------------------ inside

    def _step(self, request: PropagationRequest) -> AbstractContextManager[Draft]:
        facts = {**request.options, "model": self._model.facts}
        return self._steps.step(self._name, kind="run", join=self._shown is not None, **facts)

    def _remember(self, request: PropagationRequest, draft: Draft) -> None:
        last = self._steps.history.last
        if self._shown is None and draft.edits and last is not None:
            self._shown = (request, last)

    def _goes_on(self, request: PropagationRequest) -> bool:
        steps = self._steps
        if request is not self._planned or request.epoch != steps.epoch or request.prompts != steps.state.prompts:
            return False
        if self._shown is not None and self._shown[0] is request:
            return steps.history.last is self._shown[1]
        self._shown = None
        return True


class NoPropagation(Propagation):
    """Of a 2D image: there is nothing to propagate to."""

    def plan(self, *args: Any, **options: Any) -> Any:
        """Raise InputError."""
        raise InputError("A 2D image has no other slices.")

    @staticmethod
    def compute(request: Any) -> Iterator[PropagationStep]:
        """Yield nothing."""
        return iter(())
