"""A session on a volume: one or several objects, from the prompted slices to all others.

With the maps of the volume an object is found at once, from all prompts together; without them it is handed from slice
to slice (propagation).

As with slices, the work is split: :meth:`VolumeSession.plan_volume` takes down the question,
:meth:`VolumeSession.run_volume` is a generator for any thread, :meth:`VolumeSession.apply_step` shows each finished
slice, :meth:`VolumeSession.finish_volume` closes the run. The whole run is one step of undo. A run that is cancelled
keeps what is there; a run during which the person does something else becomes stale and shows nothing more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from micro_sam.errors import InputError
from micro_sam.segmentation.values import ObjectMask, Prompts
from micro_sam.session import current, volume_maps
from micro_sam.session.commands import Command, Draft
from micro_sam.session.prompts import PromptSet
from micro_sam.session.runs import RunActs, RunStep
from micro_sam.session.session import Session
from micro_sam.session.values import LayerName, SliceAnswer, SliceRequest
from micro_sam.session.volume_maps import MapsQuestion

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
        Of :func:`micro_sam.segmentation.volume.iter_propagate_volume`.
    question
        What the maps are asked; None for propagation.
    asked_by
        The last step of the history.
    """

    known: Mapping[int, Mapping[int, ObjectMask]]
    pending: tuple[SliceRequest, ...]
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
        """Most steps the run can take, for a progress bar; 0 when that is not known."""
        if self.question is not None:
            return 0
        objects = max(len(self.known), *(len(request.prompts.boxes) for request in self.pending), 1)
        return objects * (self.z_range[1] - self.z_range[0] + 1)


class VolumeSession(RunActs, Session):
    """Session on a stack of shape (Z, H, W). See :class:`~micro_sam.session.session.Session`."""

    def __init__(self, shape: Sequence[int], **options: Any) -> None:
        super().__init__(shape, **options)
        if self.ndim != 3:
            raise InputError(
                f"The 3D tool needs a stack of slices (Z, H, W), but this image has the shape {self.shape}."
            )

    _maps: Any = None
    _run_by_maps = False

    # ------------------------------------------------------------------ maps

    def attach(self, predictor: Any, embeddings: Any) -> None:
        """See :class:`~micro_sam.session.base.SessionBase`. The maps of other features are let go."""
        if embeddings is not self._embeddings or predictor is not self._predictor:
            self._maps = None
        super().attach(predictor, embeddings)

    def attach_maps(self, maps: Any) -> None:
        """Use these maps (:class:`~micro_sam.segmentation.volume.maps.VolumeMaps`) from now on; they may still grow.

        Raises
        ------
        InputError
            For maps of a volume of another shape.
        """
        if maps is not None and tuple(maps.shape) != self.shape:
            raise InputError(
                f"These maps are of a volume {tuple(maps.shape)}, but this one has the shape {self.shape}."
            )
        self._maps = maps

    @property
    def maps(self) -> Any:
        """The maps of the volume, complete or growing; None where there are none."""
        return self._maps

    @property
    def maps_ready(self) -> bool:
        """Whether the maps are known around the prompts and painted slices of the current objects."""
        painted = {z: self._state.regions[z] for z in self._state.painted if z in self._state.regions}
        return volume_maps.are_ready(self._maps, self.prompts, painted)

    # ------------------------------------------------------------------ runs

    def plan_volume(
        self,
        method: Method = "propagation",
        iou_threshold: float = 0.8,
        projection: str = "default",
        box_extension: float = 0.0,
        interpolation: str = "lost",
        batched: bool = False,
    ) -> VolumeRequest:
        """Take down what is known of the current objects, and how far the run may go.

        After a first run (or for a reopened object) only the slices between the corrected ones and the nearest
        unchanged prompted ones are done again.

        Parameters
        ----------
        method
            ``"maps"``: the whole object at once, by the maps of the volume. ``"propagation"``: from slice to slice;
            all other parameters but `batched` are for it. ``"auto"``: maps where they are ready around the prompts.
        iou_threshold
            The run stops outward at the first slice whose overlap with the slice before is lower.
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
        stops = self.stop_slices
        decided = self._decided_slices()
        if not decided:
            raise InputError("There is no object to extend. Click on it in one slice, or draw a box around it there.")
        self._check_model()
        by_maps = self._takes_maps(method)
        z_range = (0, self.shape[0] - 1) if by_maps else self._range_to_do(decided)
        inside = [z for z in decided if z_range[0] <= z <= z_range[1]]
        pending, known = [], {}
        for z in inside:
            if self._needs_answer(z, self.prompts.in_slice(z)):
                pending.append(self.plan_slice(z, batched))
                continue
            for label, mask in self._masks_in(z).items():
                known.setdefault(label, {})[z] = mask
        if known and not pending and not by_maps:
            boxes = [masks[inside[0]].box for masks in known.values() if inside[0] in masks]
            self._check_ready(inside[0], Prompts(boxes=boxes))
        if not known and not pending:
            raise InputError("The prompted slices are empty. Segment the object in one of them first (S).")
        between = [z for z in stops if not by_maps and len(known) < 2 and inside[0] < z < inside[-1]]
        if between:
            raise InputError(
                f"Slice {between[0]} says that the object is not there (only a negative point), but there are prompts "
                "on both sides of it. Remove the negative point, or the prompts beyond it."
            )
        options = (
            {"method": "maps"}
            if by_maps
            else {
                "iou_threshold": iou_threshold,
                "projection": projection,
                "box_extension": box_extension,
                "interpolation": interpolation,
            }
        )
        self._planned = VolumeRequest(
            known,
            tuple(pending),
            stops,
            z_range,
            options,
            self.prompts,
            self._epoch,
            self._predictor,
            self._embeddings,
            volume_maps.question_of(self._state, known, self._maps, self._embeddings) if by_maps else None,
            self._history.last,
        )
        return self._planned

    @classmethod
    def run_volume(cls, request: VolumeRequest) -> Iterator[RunStep]:
        """Extend the objects, slice by slice. Changes nothing, so any thread may drive it; closing it cancels."""
        from micro_sam.segmentation.volume import iter_propagate_volume

        known = {label: dict(masks) for label, masks in request.known.items()}
        answers = dict(request.question.answers) if request.question is not None else {}
        for slice_request in request.pending:
            result = cls.run(slice_request)
            labels = _labels_beside(known, slice_request.z, result.masks)
            answers[slice_request.z] = SliceAnswer(result.masks, labels, slice_request.drawn, slice_request.batched)
            for label, mask in zip(labels, result.masks, strict=True):
                if not mask.is_empty:
                    known.setdefault(label, {})[slice_request.z] = mask
            yield RunStep(request, 0, slice_request.z, source="prompt", answer=(result, labels))
        if not known:
            raise InputError("The model finds no object at the prompts. Click nearer to its centre, or draw a box.")
        if request.question is not None:
            for item in volume_maps.find_objects(request, answers):
                label, whole = item or (0, None)
                yield RunStep(request, label, -1, source="maps", whole=whole)
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
                yield RunStep(request, label, step.z, step.mask, step.score, step.overlap, step.source, step.reason)
            done_again = range(request.z_range[0], request.z_range[1] + 1)
            yield RunStep(request, label, -1, source="end", done_again=done_again, reached=frozenset(reached))

    def apply_step(self, step: RunStep) -> bool:
        """See :class:`~micro_sam.session.runs.RunActs`; a whole object takes the place of what was shown of it."""
        if step.whole is None:
            return super().apply_step(step)
        if not self._run_goes_on(step.request):
            return False
        if step.whole.is_empty:
            self._run_reasons += (step.whole.hint,)
            return True
        with self._run_act(step.request) as draft:
            volume_maps.show_object(draft, step.label, step.whole, self._decided_slices())
        self._remember_run(step.request, draft)
        return True

    @property
    def whole_object_possible(self) -> bool:
        """Whether the maps can tell the whole of the current object, as ``method="auto"`` asks."""
        return self._takes_maps("auto")

    @property
    def whole_object_asked(self) -> bool:
        """Whether the last action has changed what the object is, and the maps can tell the rest of it."""
        return self.whole_object_due and self.whole_object_possible

    @property
    def whole_object_due(self) -> bool:
        """Whether the last action has changed what the object is, so that the rest of it is to follow."""
        last = self._history.last
        if last is None or self._history.next is not None or self._is_given or not self._decided_slices():
            return False
        return last.kind in ("prompts", "answer") or last.details.get("layer") == "current"

    def apply_volume(self, request: VolumeRequest, steps: Sequence[RunStep]) -> bool:
        """Show all steps of a run by the maps as part of the act that it answers: both are one step of undo.

        Returns
        -------
        shown
            False when the answer is stale: something else was done meanwhile.
        """
        if not self._run_goes_on(request) or self._history.last is not request.asked_by or self._history.next:
            return False
        self._run_command = (request, request.asked_by)
        for step in steps:
            self.apply_step(step)
        self.finish_volume(request)
        return True

    def finish_volume(self, request: VolumeRequest, cancelled: bool = False) -> str:
        """Close a run, complete or cancelled, and return what came of it as a sentence (also sent as message)."""
        self._run_by_maps = request.question is not None
        return self._finish_run(request, cancelled)

    def segment_volume(self, **options: Any) -> str:
        """Plan, run, apply and finish, waiting for all of it. Options as in :meth:`plan_volume`."""
        request = self.plan_volume(**options)
        for step in self.run_volume(request):
            self.apply_step(step)
        return self.finish_volume(request)

    # ------------------------------------------------------------------ what is known of slices

    @property
    def stop_slices(self) -> tuple[int, ...]:
        """Slices in which the object is said to be absent: their only prompt is a negative point."""
        return tuple(z for z in self.prompts.slices if self.prompts.in_slice(z).is_stop)

    # ------------------------------------------------------------------ inside

    def _change_prompts(self, after: PromptSet, also: Callable[[Draft], None] | None = None) -> None:
        before = set(self.stop_slices)

        def forget(draft: Draft) -> None:
            current.forget_unfounded(draft, current.without_prompts(draft.state, after))
            if also is not None:
                also(draft)

        super()._change_prompts(after, forget)
        new = sorted(set(self.stop_slices) - before)
        if new and len(self._decided_slices()) and not self.whole_object_possible:
            self._say(f"Slice {new[0]} is a stop: the object ends before it. Press V to extend it up to there.")

    def _paint(self, verb: str, name: LayerName, *where: Any) -> None:
        super()._paint(verb, name, *where)
        if name == "current":
            with self._act(f"{verb} current object", join=True) as draft:  # the last painted slice may be erased
                current.forget_unfounded(draft, current.without_prompts(draft.state, self.prompts))

    @property
    def _what_next(self) -> str:
        return "Commit with C, or correct what is wrong in any slice." if self._run_by_maps else super()._what_next

    def _imposes(self, z: int) -> bool:
        return self._maps is not None and any(other != z for other in self._state.regions)

    def _takes_maps(self, method: Method) -> bool:
        if method == "maps" and self._maps is None:
            raise InputError(
                "There are no maps of this volume: they are not begun yet, or the model cannot make them. Choose the "
                "method 'auto' or 'propagation'."
            )
        return method == "maps" or (method == "auto" and self.maps_ready and not self._is_given)

    @property
    def _is_given(self) -> bool:
        """Whether a loaded or merged object is open, of which only the corrected slices may change."""
        reopened = self._state.reopened
        return reopened is not None and reopened.record_before.is_given

    def _range_to_do(self, decided: Sequence[int]) -> tuple[int, int]:
        """First and last slice that a run may change: up to the nearest decided slices that did not change."""
        lower, upper = 0, self.shape[0] - 1
        anchors = self._state.anchors
        changed = anchors.changed_slices(self.prompts, self._state.painted) if anchors is not None else ()
        if not changed:
            return lower, upper
        unchanged = [z for z in decided if z not in changed]
        if not unchanged and self.reopened is not None:
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
