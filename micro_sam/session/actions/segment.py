"""Segmentation of one slice, so that a window never waits: plan, compute in any thread, apply."""

from __future__ import annotations

from collections.abc import Sequence

from micro_sam.session import requests
from micro_sam.session.actions.prompts import PromptActions
from micro_sam.session.edits import current
from micro_sam.session.model import Model
from micro_sam.session.prompts import PointPrompt
from micro_sam.session.recalling import previous_masks
from micro_sam.session.requests import Asker, Request, SliceRequest, SliceResult
from micro_sam.session.steps import Steps


class SegmentActions:
    """From the prompts of one slice to a mask in `current`."""

    compute = staticmethod(requests.compute)

    def __init__(self, steps: Steps, model: Model, prompts: PromptActions) -> None:
        self._steps = steps
        self._model = model
        self._asker = Asker(model, steps.history, lambda: steps.epoch)
        self._prompts = prompts

    def plan(self, z: int | None = None, batched: bool = False) -> Request:
        """Take down the question that the prompts of one slice ask.

        Parameters
        ----------
        z
            Slice; may be left out in 2D. Prompts of other slices play no part.
        batched
            Whether each positive point is an object of its own. Without meaning in movies, where each track is one.

        Raises
        ------
        InputError
            When no model is attached, or the slice has nothing to segment.
        NotComputedYet
            When the features of the slice are not there yet.
        """
        steps = self._steps
        place = steps.rules.place(z, steps.state.shape)
        drawn = self._prompts.drawn.in_slice(place.z)
        return steps.rules.request(place, drawn, steps.state, self._asker, batched)

    def plan_hover(self, position: Sequence[float], z: int | None = None) -> SliceRequest:
        """Take down the question that a click would ask, together with the prompts that are there; it is not placed.

        The answer is only to be looked at: :meth:`apply` refuses it.

        Parameters
        ----------
        position
            (y, x) or (z, y, x), in the image.
        z
            Slice; may be left out in 2D.

        Raises
        ------
        InputError, NotComputedYet
            As :meth:`plan`.
        """
        steps = self._steps
        place = steps.rules.place(z, steps.state.shape)
        click = PointPrompt(None, tuple(position), self._prompts.next_positive)
        drawn = self._prompts.drawn.in_slice(place.z).add(click)
        requests.check_prompts(drawn, place.name)
        previous = previous_masks(steps.state.answers.get(place.z), drawn, batched=False)
        return self._asker.slice_request(place, drawn, previous)

    def apply(self, result: SliceResult, preview: bool = False, completes: bool = False) -> bool:
        """Show an answer in `current`.

        Parameters
        ----------
        preview
            Whether the answer came without being asked for, right after a click: then it is one step of undo
            together with the click.
        completes
            Whether it takes the place of an answer to the same question that lacked a part of the object (see
            :attr:`SliceResult.cut_at`): then it is no step of its own.

        Returns
        -------
        shown
            False when the answer is stale: the prompts of the slice, or what they stand for, changed meanwhile.
        """
        steps, request, masks = self._steps, result.request, result.masks
        state, rules, history = steps.state, steps.rules, steps.history
        if request.epoch != steps.epoch or self._prompts.drawn.in_slice(request.z) != request.drawn:
            return False
        last = history.last
        asked = last is not None and last.kind == "prompts" and request.z in last.details["slices"]
        answered = last is not None and last.kind == "answer" and request.z == last.details["z"]
        join = history.next is None and ((preview and asked) or (completes and (asked or answered)))
        where = rules.where(request.z, state.shape)
        name = "Segment object" if len(state.shape) == 2 else f"Segment {where}"
        with steps.step(name, kind="answer", join=join, z=request.z, preview=preview, model=self._model.facts) as draft:
            labels = rules.labels_of(state, result)
            imposed = not preview and rules.imposes(state, self._model, request.z)
            current.show(draft, request.z, masks, labels, request.drawn, request.batched, imposed=imposed)
        steps.say(current.describe(masks, where, preview))
        return True

    def slice(self, z: int | None = None, batched: bool = False) -> None:
        """Segment the prompts of one slice into `current`, waiting for it: plan, compute and apply."""
        self.apply(self.compute(self.plan(z, batched)))
