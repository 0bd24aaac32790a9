"""Questions to the network: what the prompts of one slice or frame ask, so that any thread can answer it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from micro_sam.errors import InputError
from micro_sam.segmentation.values import ObjectMask, Prompts
from micro_sam.session.first_answers import FirstAnswers
from micro_sam.session.history import History
from micro_sam.session.model import Model
from micro_sam.session.prompts import PromptSet
from micro_sam.session.recalling import Recall, needs_recall, previous_masks, questions_behind
from micro_sam.session.values import SliceAnswer


@dataclass(frozen=True)
class Place:
    """Where prompts lie: the image, a slice or a frame.

    Attributes
    ----------
    z
        Slice or frame; 0 in 2D.
    index
        What the embeddings call it; None in 2D.
    name
        What messages call it.
    shape
        (H, W).
    """

    z: int
    index: int | None
    name: str
    shape: tuple[int, int]


@dataclass(frozen=True, eq=False)
class SliceRequest:
    """Everything that is needed to segment one slice, so that any thread can do it.

    Attributes
    ----------
    z
        Slice; 0 in 2D.
    index
        What the embeddings call it: None in 2D.
    prompts
        The question to the network.
    drawn
        The prompts it was made from. The result is stale once the slice has others.
    batched
        Whether each positive point is an object of its own.
    previous
        The last answer for this slice when prompts were only added since: it guides the correction.
    epoch
        Counts the actions that make every plan stale (undo, redo, clear, commit, painting).
    predictor, embeddings
        Used read-only; or twice the :class:`.FirstAnswers` that answer before they are there.
    recall
        Asks again what led to `previous`, where its logits are gone; see :mod:`~micro_sam.session.recalling`.
    """

    z: int
    index: int | None
    prompts: Prompts
    drawn: PromptSet
    batched: bool
    previous: tuple[ObjectMask, ...] | None
    epoch: int
    predictor: Any = field(repr=False)
    embeddings: Any = field(repr=False)
    recall: Callable[[Any], tuple[ObjectMask, ...]] | None = field(default=None, repr=False)


@dataclass(frozen=True, eq=False)
class FrameRequest:
    """What the prompts of one frame ask: one object per track.

    Attributes
    ----------
    z
        Frame.
    labels, parts
        Per track its label, and either the question to the network or the mask that needs no new answer.
    drawn, epoch
        As in :class:`SliceRequest`.
    """

    z: int
    labels: tuple[int, ...]
    parts: tuple[SliceRequest | ObjectMask, ...]
    drawn: PromptSet
    epoch: int
    batched: bool = False


Request = SliceRequest | FrameRequest


@dataclass(frozen=True, eq=False)
class SliceResult:
    """The answer to a request: one mask per object, in the order of the prompts."""

    request: Request
    masks: tuple[ObjectMask, ...]

    @property
    def cut_at(self) -> tuple[int, ...]:
        """Tiles that the objects reach into, but that are not embedded yet: to be asked again when they are there."""
        return tuple(dict.fromkeys(tile for mask in self.masks for tile in mask.cut_at))


def check_prompts(drawn: PromptSet, where: str) -> None:
    """Raise InputError when the prompts of a slice ask nothing."""
    if not len(drawn):
        raise InputError(f"There are no prompts in {where}. Click on an object or draw a box around it.")
    if not drawn.has_positive:
        raise InputError(
            f"All prompts in {where} are negative. Add a positive point or a box to say where the object is."
        )


class Asker:
    """Makes requests: with the model in use, and with what was done before.

    Parameters
    ----------
    model
    history
        Of the session.
    epoch
        Tells the present epoch (see :class:`~micro_sam.session.steps.Steps`).
    """

    def __init__(self, model: Model, history: History, epoch: Callable[[], int]) -> None:
        self.model = model
        self._history = history
        self._epoch = epoch
        self._recalled: tuple[Any, Recall] | None = None
        """The model that was asked again after a restart, and for what."""

    def slice_request(
        self, place: Place, drawn: PromptSet, previous: tuple[ObjectMask, ...] | None, batched: bool = False
    ) -> SliceRequest:
        """What the prompts of one slice ask.

        Raises
        ------
        InputError
            When no model is attached.
        NotComputedYet
            When the features of the slice are not there yet.
        """
        prompts = drawn.to_prompts(place.shape)
        self.model.check_ready(place.index, place.name, prompts, batched, previous)
        predictor, embeddings = self.model.answering or self.model.check()
        return SliceRequest(
            z=place.z,
            index=place.index,
            prompts=prompts,
            drawn=drawn,
            batched=batched,
            previous=previous,
            epoch=self._epoch(),
            predictor=predictor,
            embeddings=embeddings,
            recall=self._recall(place.z, drawn) if needs_recall(previous) else None,
        )

    def frame_request(
        self, place: Place, drawn: PromptSet, answer: SliceAnswer | None, shown: Mapping[int, ObjectMask]
    ) -> FrameRequest:
        """What the prompts of a frame ask; tracks whose prompts did not change keep what `current` shows (`shown`).

        Raises as :meth:`slice_request`.
        """
        labels: list[int] = []
        parts: list[SliceRequest | ObjectMask] = []
        for label in sorted({prompt.track_id for prompt in drawn if prompt.track_id is not None}):
            mine = drawn.of_track(label)
            if not mine.has_positive:
                continue
            labels.append(label)
            if answer is None or label not in answer.labels:
                parts.append(self.slice_request(place, mine, None))
                continue
            last = answer.masks[answer.labels.index(label)]
            asked = answer.drawn.of_track(label)
            if asked == mine and label in shown:
                parts.append(replace(shown[label], logits=last.logits, tile=last.tile))
            else:
                previous = previous_masks(SliceAnswer((last,), (label,), asked), mine, batched=False)
                parts.append(self.slice_request(place, mine, previous))
        return FrameRequest(place.z, tuple(labels), tuple(parts), drawn, self._epoch())

    def _recall(self, z: int, drawn: PromptSet) -> Callable[[Any], tuple[ObjectMask, ...]] | None:
        """How the answer in a slice came about whose logits are gone; the same one until another is needed."""
        found = questions_behind(self._history.done, z, drawn)
        if found is None:
            return None
        predictor, known = self.model.predictor, self._recalled
        if known is None or known[0] is not predictor or known[1].questions != found.questions:
            known = self._recalled = (predictor, found)
        return known[1].masks


def compute(request: Request) -> SliceResult:
    """Ask the network. Changes nothing, so any thread may do it."""
    return _run_frame(request) if isinstance(request, FrameRequest) else _run_slice(request)


def _run_slice(request: SliceRequest) -> SliceResult:
    def ask(prompts: Prompts, previous: tuple[ObjectMask, ...] | None) -> tuple[ObjectMask, ...]:
        if isinstance(request.predictor, FirstAnswers):
            return request.predictor.segment(prompts, request.index, batched=request.batched, previous=previous)
        from micro_sam.segmentation.prompted.segment import segment_objects

        where = (request.predictor, prompts, request.embeddings, request.index)
        return tuple(segment_objects(*where, batched=request.batched, previous=previous))

    previous = request.previous
    if request.recall is not None and previous is not None:
        shape = request.embeddings.shape[-2:]
        recalled = request.recall(lambda drawn, before: ask(drawn.to_prompts(shape), before))
        previous = recalled if len(recalled) == len(previous) else previous
    return SliceResult(request, ask(request.prompts, previous))


def _run_frame(request: FrameRequest) -> SliceResult:
    """Ask for every track of the frame that needs it. Several boxes of one track are one object."""
    masks = []
    for part in request.parts:
        if isinstance(part, ObjectMask):
            masks.append(part)
            continue
        found = _run_slice(part).masks
        masks.append(found[0] if len(found) == 1 else _union(found))
    return SliceResult(request, tuple(masks))


def _union(masks: Iterable[ObjectMask]) -> ObjectMask:
    found = [mask for mask in masks if not mask.is_empty]
    if not found:
        return ObjectMask.from_array(np.zeros((0, 0), bool))
    y0, x0 = (min(mask.box[k] for mask in found) for k in (0, 1))
    y1, x1 = (max(mask.box[k] for mask in found) for k in (2, 3))
    area = np.zeros((y1 - y0, x1 - x0), dtype=bool)
    for mask in found:
        area[mask.box[0] - y0 : mask.box[2] - y0, mask.box[1] - x0 : mask.box[3] - x0] |= mask.mask
    whole = ObjectMask.from_array(area, score=min(mask.score for mask in found), offset=(y0, x0))
    return replace(whole, cut_at=tuple(dict.fromkeys(tile for mask in found for tile in mask.cut_at)))
