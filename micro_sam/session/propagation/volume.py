"""Propagation in a volume: one or several objects, from the prompted slices to all others.

With the maps of the volume an object is found at once, from all prompts together; without them it is handed from slice
to slice. The whole propagation is one step of undo. One that is cancelled keeps what is there; one during which the
user does something else becomes stale and shows nothing more.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from micro_sam.errors import InputError
from micro_sam.segmentation.values import ObjectMask, Prompts
from micro_sam.session import queries
from micro_sam.session.commands import Command
from micro_sam.session.edits import current
from micro_sam.session.prompts import PromptSet
from micro_sam.session.propagation import volume_maps
from micro_sam.session.propagation.shared import Propagation, PropagationStep
from micro_sam.session.propagation.volume_maps import MapsQuestion
from micro_sam.session.requests import Request, SliceRequest, compute
from micro_sam.session.values import SliceAnswer

Method = Literal["auto", "maps", "propagation"]
METHODS = ("auto", "maps", "propagation")


@dataclass(frozen=True, eq=False)
class VolumeRequest:
    """Everything that is needed to extend the current objects through the volume.

    Attributes
    ----------
    known
        Label -> slice -> mask, for prompted and painted slices that are segmented already.
    pending
        Prompted slices that must be segmented first.
    stops
        Slices in which the object is said to be absent.
    z_range
        First and last slice (both included) that may change.
    options
        Of :func:`micro_sam.segmentation.propagation.volume.iter_propagate_volume`.
    question
        What the maps are asked; None for propagation.
    asked_by
        The last step of the history.
    """

    known: Mapping[int, Mapping[int, ObjectMask]]
    pending: tuple[Request, ...]
    stops: tuple[int, ...]
    z_range: tuple[int, int]
    options: Mapping[str, Any]
    prompts: PromptSet
    epoch: int
    predictor: Any = field(repr=False)
    embeddings: Any = field(repr=False)
    question: MapsQuestion | None = None
    asked_by: Command | None = field(default=None, repr=False)

    @property
    def total(self) -> int:
        """Most steps it can take, for a progress bar; 0 when that is not known."""
        if self.question is not None:
            return 0
        objects = max(
            len(self.known),
            *(len(request.prompts.boxes) for request in self.pending if isinstance(request, SliceRequest)),
            1,
        )
        return objects * (self.z_range[1] - self.z_range[0] + 1)


class VolumePropagation(Propagation):
    """Propagation through the slices of a volume."""

    _by_maps = False

    def plan(
        self,
        method: Method = "propagation",
        iou_threshold: float = 0.8,
        projection: str = "default",
        box_extension: float = 0.0,
        interpolation: str = "lost",
        batched: bool = False,
    ) -> VolumeRequest:
        """Take down what is known of the current objects, and how far the propagation may go.

        After a first propagation (or for a reopened object) only the slices between the corrected ones and the nearest
        unchanged prompted ones are done again.

        Parameters
        ----------
        method
            ``"maps"``: the whole object at once, by the maps of the volume. ``"propagation"``: from slice to slice;
            all other parameters but `batched` are for it. ``"auto"``: maps where they are ready around the prompts.
        iou_threshold
            It stops outward at the first slice whose overlap with the slice before is lower, or in which the object
            does not stand out from its surroundings any more.
        projection
            How the mask of one slice prompts the next: ``"box"``, ``"mask"``, ``"points"``, ``"points_and_mask"``,
            ``"single_point"`` or ``"default"``.
        box_extension
            Pixels (>= 1) or fraction (< 1) by which box prompts grow.
        interpolation
            In gaps between prompted slices: ``"never"``, ``"lost"`` (where the model loses the object), ``"always"``.
        batched
            Whether each positive point is an object of its own. Several boxes are several objects anyhow.

        Raises
        ------
        InputError
            When there are no prompts, a stop lies between prompted slices of the object, or there are no maps for
            ``method="maps"``.
        """
        if method not in METHODS:
            raise InputError(f"The method is one of {', '.join(METHODS)}, not {method!r}.")
        if not 0 <= iou_threshold <= 1:
            raise InputError(f"The IoU threshold lies between 0 and 1, but is {iou_threshold}.")
        steps, model = self._steps, self._model
        state = steps.state
        stops = state.prompts.stop_slices
        decided = queries.decided_slices(state)
        if not decided:
            raise InputError("There is no object to extend. Click on it in one slice, or draw a box around it there.")
        model.check()
        by_maps = self._takes_maps(method)
        z_range = (0, state.shape[0] - 1) if by_maps else self._range_to_do(decided)
        inside = [z for z in decided if z_range[0] <= z <= z_range[1]]
        pending: list[Request] = []
        known: dict[int, dict[int, ObjectMask]] = {}
        for z in inside:
            if self._needs_answer(z):
                pending.append(self._segment.plan(z, batched))
                continue
            for label, mask in queries.masks_in(state, z).items():
                known.setdefault(label, {})[z] = mask
        if known and not pending and not by_maps:
            boxes = [masks[inside[0]].box for masks in known.values() if inside[0] in masks]
            where = steps.rules.where(inside[0], state.shape)
            model.check_ready(inside[0], where, Prompts(boxes=np.array(boxes, np.float64).reshape(-1, 4)))
        if not known and not pending:
            raise InputError("The prompted slices are empty. Segment the object in one of them first (S).")
        between = [z for z in stops if not by_maps and len(known) < 2 and inside[0] < z < inside[-1]]
        if between:
            raise InputError(
                f"Slice {between[0]} says that the object is not there (only a negative point), but there are prompts "
                "on both sides of it. Remove the negative point, or the prompts beyond it."
            )
        options: dict[str, Any] = (
            {"method": "maps"}
            if by_maps
            else {
                "iou_threshold": iou_threshold,
                "projection": projection,
                "box_extension": box_extension,
                "interpolation": interpolation,
            }
        )
        self._planned = request = VolumeRequest(
            known,
            tuple(pending),
            stops,
            z_range,
            options,
            state.prompts,
            steps.epoch,
            model.predictor,
            model.embeddings,
            volume_maps.question_of(state, known, model.maps, model.embeddings) if by_maps else None,
            steps.history.last,
        )
        return request

    @staticmethod
    def compute(request: VolumeRequest) -> Iterator[PropagationStep]:
        """Extend the objects, slice by slice. Changes nothing, so any thread may drive it; closing it cancels."""
        from micro_sam.segmentation.propagation.volume import iter_propagate_volume

        known = {label: dict(masks) for label, masks in request.known.items()}
        answers = dict(request.question.answers) if request.question is not None else {}
        for slice_request in request.pending:
            result = compute(slice_request)
            labels = _labels_beside(known, slice_request.z, result.masks)
            answers[slice_request.z] = SliceAnswer(result.masks, labels, slice_request.drawn, slice_request.batched)
            for label, mask in zip(labels, result.masks, strict=True):
                if not mask.is_empty:
                    known.setdefault(label, {})[slice_request.z] = mask
            yield PropagationStep(request, 0, slice_request.z, source="prompt", answer=(result, labels))
        if not known:
            raise InputError("The model finds no object at the prompts. Click nearer to its centre, or draw a box.")
        if request.question is not None:
            for item in volume_maps.find_objects(request, answers):
                label, whole = item or (0, None)
                yield PropagationStep(request, label, -1, source="maps", whole=whole)
            return
        for label, masks in sorted(known.items()):
            steps = iter_propagate_volume(
                request.predictor,
                request.embeddings,
                masks,
                stops=[z for z in request.stops if not min(masks) <= z <= max(masks) or len(known) == 1],
                z_range=(min(request.z_range[0], *masks), max(request.z_range[1], *masks)),
                **request.options,
            )
            reached: set[int] = set()
            for step in steps:
                if step.mask is not None and not step.mask.is_empty:
                    reached.add(step.z)
                yield PropagationStep(
                    request, label, step.z, step.mask, step.score, step.overlap, step.source, step.reason
                )
            done_again = range(request.z_range[0], request.z_range[1] + 1)
            yield PropagationStep(request, label, -1, source="end", done_again=done_again, reached=frozenset(reached))

    @property
    def whole_object_possible(self) -> bool:
        """Whether the maps can tell the whole of the current object, as ``method="auto"`` asks."""
        return queries.can_tell_whole(self._steps.state, self._model.maps)

    @property
    def whole_object_asked(self) -> bool:
        """Whether the last action has changed what the object is, and the maps can tell the rest of it."""
        return self.whole_object_due and self.whole_object_possible

    @property
    def whole_object_due(self) -> bool:
        """Whether the last action has changed what the object is, so that the rest of it is to follow."""
        history, state = self._steps.history, self._steps.state
        last = history.last
        if last is None or history.next is not None or queries.is_given(state) or not queries.decided_slices(state):
            return False
        return last.kind in ("prompts", "answer") or last.details.get("layer") == "current"

    def apply_step(self, step: PropagationStep) -> bool:
        """See :class:`Propagation`; a whole object takes the place of what was shown of it."""
        if step.whole is None:
            return super().apply_step(step)
        if not self._goes_on(step.request):
            return False
        if step.whole.is_empty:
            self._reasons += (step.whole.hint,)
            return True
        with self._step(step.request) as draft:
            volume_maps.show_object(draft, step.label, step.whole, queries.decided_slices(draft.state))
        self._remember(step.request, draft)
        return True

    def apply_whole(self, request: VolumeRequest, steps: Sequence[PropagationStep]) -> bool:
        """Show all steps by the maps as part of the action that they answer: both are one step of undo.

        Returns
        -------
        shown
            False when the answer is stale: something else was done meanwhile.
        """
        history = self._steps.history
        if not self._goes_on(request) or history.last is None or history.last is not request.asked_by or history.next:
            return False
        self._shown = (request, history.last)
        for step in steps:
            self.apply_step(step)
        self.finish(request)
        return True

    def finish(self, request: VolumeRequest, cancelled: bool = False) -> str:  # type: ignore[override]
        """See :class:`Propagation`."""
        self._by_maps = request.question is not None
        return super().finish(request, cancelled)

    # ------------------------------------------------------------------ inside

    @property
    def _what_next(self) -> str:
        return "Commit with C, or correct what is wrong in any slice." if self._by_maps else super()._what_next

    def _takes_maps(self, method: Method) -> bool:
        if method == "maps" and self._model.maps is None:
            raise InputError(
                "There are no maps of this volume: they are not begun yet, or the model cannot make them. Choose the "
                "method 'auto' or 'propagation'."
            )
        return method == "maps" or (method == "auto" and self.whole_object_possible)

    def _needs_answer(self, z: int) -> bool:
        """Whether the prompts of a slice were never answered, or have changed since."""
        state = self._steps.state
        drawn, answer = state.prompts.in_slice(z), state.answers.get(z)
        if not drawn.has_positive or (answer is not None and answer.drawn == drawn):
            return False
        # A reopened object has no answers, but it shows what its prompts once gave.
        return state.anchors is None or state.anchors.prompts.in_slice(z) != drawn or z not in state.regions

    def _range_to_do(self, decided: Sequence[int]) -> tuple[int, int]:
        """First and last slice that may change: up to the nearest decided slices that did not change."""
        state = self._steps.state
        lower, upper = 0, state.shape[0] - 1
        changed = state.anchors.changed_slices(state.prompts, state.painted) if state.anchors is not None else ()
        if not changed:
            return lower, upper
        unchanged = [z for z in decided if z not in changed]
        if not unchanged and state.reopened is not None:
            # An object without prompts of its own (loaded, merged): what lies beyond the corrections is kept.
            return changed[0], changed[-1]
        lower = max((z for z in unchanged if z < changed[0]), default=lower)
        upper = min((z for z in unchanged if z > changed[-1]), default=upper)
        return lower, upper


def _labels_beside(
    known: Mapping[int, Mapping[int, ObjectMask]], z: int, masks: Sequence[ObjectMask]
) -> tuple[int, ...]:
    """Which object each new mask of slice `z` continues: the one it overlaps most in the nearest known slice."""
    slices = {other for by_slice in known.values() for other in by_slice}
    if not slices:
        return tuple(range(1, len(masks) + 1))
    nearest = min(slices, key=lambda other: abs(other - z))
    beside = {label: by_slice[nearest] for label, by_slice in known.items() if nearest in by_slice}
    if len(beside) == 1 and len(masks) == 1:
        return tuple(beside)
    pairs = [(mask.iou(other), k, label) for k, mask in enumerate(masks) for label, other in beside.items()]
    return current.match_labels(pairs, len(masks), known)
