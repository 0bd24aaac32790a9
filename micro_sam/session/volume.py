"""A session on a volume: one or several objects, extended from the prompted slices to all others.

As with slices, the work is split: :meth:`VolumeSession.plan_volume` takes down the question,
:meth:`VolumeSession.run_volume` is a generator for any thread, :meth:`VolumeSession.apply_step` shows each finished
slice, :meth:`VolumeSession.finish_volume` closes the run. The whole run is one step of undo. A run that is cancelled
keeps what is there; a run during which the person does something else becomes stale and shows nothing more.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from micro_sam.errors import InputError
from micro_sam.segmentation.values import ObjectMask
from micro_sam.session import current
from micro_sam.session.commands import Command
from micro_sam.session.labels import crop
from micro_sam.session.prompts import PromptSet
from micro_sam.session.session import Session
from micro_sam.session.values import Anchors, SliceConfidence, SliceRequest, SliceResult, count


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

    @property
    def total(self) -> int:
        """Most steps the run can take, for a progress bar."""
        objects = max(len(self.known), *(len(request.prompts.boxes) for request in self.pending), 1)
        return objects * (self.z_range[1] - self.z_range[0] + 1)


@dataclass(frozen=True, eq=False)
class VolumeStep:
    """One finished slice of one object.

    Attributes
    ----------
    request
        The run it belongs to.
    label
        The object in `current`.
    z
        Slice; -1 for the last step of an object.
    mask
        None where the object ends.
    score, overlap, source, reason
        As in :class:`micro_sam.segmentation.volume.SliceStep`. Source ``"end"`` is the last step of an object.
    answer
        For a slice that was prompted but not segmented before: the network's answer and the labels of its masks.
    reached
        Last step of an object only: all slices that the run found it in.
    """

    request: VolumeRequest
    label: int
    z: int
    mask: ObjectMask | None = None
    score: float = 0.0
    overlap: float = 1.0
    source: str = "propagated"
    reason: str = ""
    answer: tuple[SliceResult, tuple[int, ...]] | None = None
    reached: frozenset[int] = frozenset()


class VolumeSession(Session):
    """Session on a stack of shape (Z, H, W). See :class:`~micro_sam.session.session.Session`."""

    def __init__(self, shape: Sequence[int], **options: Any) -> None:
        super().__init__(shape, **options)
        if self.ndim != 3:
            raise InputError(
                f"The 3D tool needs a stack of slices (Z, H, W), but this image has the shape {self.shape}."
            )
        self._run_command: tuple[VolumeRequest, Command] | None = None
        self._run_reasons: list[str] = []

    # ------------------------------------------------------------------ runs

    def plan_volume(
        self,
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
            When there are no prompts, or a stop lies between prompted slices of the object.
        """
        if not 0 <= iou_threshold <= 1:
            raise InputError(f"The IoU threshold lies between 0 and 1, but is {iou_threshold}.")
        stops = self.stop_slices
        fixed = self._fixed_slices()
        if not fixed:
            raise InputError("There is no object to extend. Click on it in one slice, or draw a box around it there.")
        z_range = self._range_to_do(fixed)
        inside = [z for z in fixed if z_range[0] <= z <= z_range[1]]
        pending, known = [], {}
        for z in inside:
            answer = self._state.answers.get(z)
            drawn = self.prompts.in_slice(z)
            if drawn.has_positive and (answer is None or answer.drawn != drawn) and z not in self._kept_slices():
                pending.append(self.plan_slice(z, batched))
                continue
            for label, mask in self._masks_in(z).items():
                known.setdefault(label, {})[z] = mask
        if not known and not pending:
            raise InputError("The prompted slices are empty. Segment the object in one of them first (S).")
        between = [z for z in stops if len(known) < 2 and inside[0] < z < inside[-1]]
        if between:
            raise InputError(
                f"Slice {between[0]} says that the object is not there (only a negative point), but there are prompts "
                "on both sides of it. Remove the negative point, or the prompts beyond it."
            )
        options = {
            "iou_threshold": iou_threshold,
            "projection": projection,
            "box_extension": box_extension,
            "interpolation": interpolation,
        }
        return VolumeRequest(
            known, tuple(pending), stops, z_range, options, self.prompts, self._epoch, self._predictor, self._embeddings
        )

    @classmethod
    def run_volume(cls, request: VolumeRequest) -> Iterator[VolumeStep]:
        """Extend the objects, slice by slice. Changes nothing, so any thread may drive it; closing it cancels."""
        from micro_sam.segmentation.volume import iter_propagate_volume

        known = {label: dict(masks) for label, masks in request.known.items()}
        for slice_request in request.pending:
            result = cls.run(slice_request)
            labels = _labels_beside(known, slice_request.z, result.masks)
            for label, mask in zip(labels, result.masks, strict=True):
                if not mask.is_empty:
                    known.setdefault(label, {})[slice_request.z] = mask
            yield VolumeStep(request, 0, slice_request.z, source="prompt", answer=(result, labels))
        if not known:
            raise InputError("The model finds no object at the prompts. Click nearer to its centre, or draw a box.")
        for label, masks in sorted(known.items()):
            steps = iter_propagate_volume(
                request.predictor,
                request.embeddings,
                masks,
                stops=[z for z in request.stops if not min(masks) <= z <= max(masks) or len(known) == 1],
                z_range=(min(request.z_range[0], *masks), max(request.z_range[1], *masks)),
                **request.options,
            )
            reached = set()
            for step in steps:
                if step.mask is not None and not step.mask.is_empty:
                    reached.add(step.z)
                yield VolumeStep(request, label, step.z, step.mask, step.score, step.overlap, step.source, step.reason)
            yield VolumeStep(request, label, -1, source="end", reached=frozenset(reached))

    def apply_step(self, step: VolumeStep) -> bool:
        """Show one finished slice in `current`; False when the run is stale and should be cancelled."""
        if not self._continue_run(step.request):
            return False
        joined = self._run_command is not None
        with self._act("Segment volume", kind="volume", join=joined, **step.request.options) as draft:
            if step.answer is not None:
                result, labels = step.answer
                current.show(draft, step.z, result.masks, labels, result.request.drawn, result.request.batched)
            elif step.source == "end":
                self._clear_beyond(draft, step)
            elif step.mask is not None and step.source != "prompt":
                confidence = SliceConfidence(step.score, step.overlap, step.source)
                current.paint_masks(draft, step.z, [step.mask], [step.label], {step.label}, yield_to_others=True)
                current.note_confidence(draft, step.z, {step.label: confidence}, {step.label})
        if not joined and self._history.last is not None and draft.edits:
            self._run_command = (step.request, self._history.last)
        if step.reason:
            self._run_reasons.append(step.reason)
        return True

    def finish_volume(self, request: VolumeRequest, cancelled: bool = False) -> str:
        """Close a run, complete or cancelled, and return what came of it as a sentence (also sent as message)."""
        reasons, self._run_reasons = self._run_reasons, []
        if not self._continue_run(request):
            text = "The run was stopped because the object changed meanwhile. What was found before stays."
        elif cancelled:
            text = f"Cancelled; {count(len(self.current_slices), 'slice')} found so far. Press V to go on."
        else:
            with self._act("Segment volume", kind="volume", join=self._run_command is not None) as draft:
                draft.set("anchors", Anchors(self.prompts, dict(self._state.painted)))
            text = self._describe_run(reasons)
        self._run_command = None
        self._say(text)
        return text

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

    @property
    def confidence(self) -> dict[int, SliceConfidence]:
        """Slice -> confidence of the current object there (of the least certain one, when there are several)."""
        known = sorted(self._state.confidence.items())
        return {z: min(values.values(), key=lambda c: c.value) for z, values in known if values}

    def weakest_slice(self) -> int | None:
        """The slice that is worth a look first: the least certain one that has no prompts yet."""
        confidence = self.confidence
        fixed = self._fixed_slices()
        candidates = {z: c.value for z, c in confidence.items() if z not in fixed}
        return min(candidates, key=lambda z: (candidates[z], z)) if candidates else None

    # ------------------------------------------------------------------ inside

    def _fixed_slices(self) -> list[int]:
        """Sorted slices whose mask a person has decided: prompted or painted ones that are not empty."""
        prompted = {z for z in self.prompts.slices if self.prompts.in_slice(z).has_positive}
        return sorted(prompted | (self._state.painted.keys() & self._state.regions.keys()))

    def _kept_slices(self) -> set[int]:
        """Slices of a reopened object that still look as they were committed: they need no new answer."""
        anchors = self._state.anchors
        if anchors is None:
            return set()
        changed = anchors.changed_slices(self.prompts, self._state.painted)
        return {z for z in self._state.regions if z not in changed and z not in self._state.answers}

    def _range_to_do(self, fixed: Sequence[int]) -> tuple[int, int]:
        lower, upper = 0, self.shape[0] - 1
        anchors = self._state.anchors
        changed = anchors.changed_slices(self.prompts, self._state.painted) if anchors is not None else ()
        if changed:
            unchanged = [z for z in fixed if z not in changed]
            lower = max((z for z in unchanged if z < changed[0]), default=lower)
            upper = min((z for z in unchanged if z > changed[-1]), default=upper)
        return lower, upper

    def _masks_in(self, z: int) -> dict[int, ObjectMask]:
        """Label -> what `current` shows in a slice."""
        region = self._state.regions.get(z)
        if region is None:
            return {}
        window = self._state.plane("current", z)[crop(region)]
        scores = {label: c.score for label, c in self._state.confidence.get(z, {}).items()}
        labels = [int(label) for label in np.unique(window) if label > 0]
        return {
            label: ObjectMask.from_array(window == label, score=scores.get(label) or 1.0, offset=region[:2])
            for label in labels
        }

    def _continue_run(self, request: VolumeRequest) -> bool:
        if request.epoch != self._epoch or request.prompts != self.prompts:
            return False
        if self._run_command is not None and self._run_command[0] is request:
            return self._history.last is self._run_command[1]
        self._run_command = None
        return True

    def _clear_beyond(self, draft, step: VolumeStep) -> None:
        """Remove what an earlier run found in slices that this one did not reach."""
        lower, upper = step.request.z_range
        for z in [z for z in self._state.regions if lower <= z <= upper and z not in step.reached]:
            region = self._state.regions[z]
            if (self._state.plane("current", z)[crop(region)] == step.label).any():
                current.paint_masks(draft, z, [], [], {step.label})
                current.note_confidence(draft, z, {}, {step.label})
                if z not in self._state.regions:
                    current.clear_slice(draft, z)

    def _describe_run(self, reasons: Sequence[str]) -> str:
        slices = self.current_slices
        if not slices:
            return "The object was not found in any slice. Add prompts in another slice."
        text = f"The object spans slices {slices[0]} to {slices[-1]}."
        weakest = self.weakest_slice()
        if reasons:
            text += " " + " ".join(reasons[:2])
        if weakest is not None:
            text += f" The least certain slice is {weakest}."
        return text + " Commit with C, or correct a slice and press V again."


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
    pairs = sorted(
        ((mask.iou(other), k, label) for k, mask in enumerate(masks) for label, other in beside.items()), reverse=True
    )
    chosen: dict[int, int] = {}
    for overlap, k, label in pairs:
        if overlap > 0 and k not in chosen and label not in chosen.values():
            chosen[k] = label
    following = max(known)
    for k in range(len(masks)):
        if k not in chosen:
            following += 1
            chosen[k] = following
    return tuple(chosen[k] for k in range(len(masks)))
