"""Whole objects of a volume by its maps: from the prompts of a session to one result for each object.

The prompted slices that were not segmented before are asked first, as for propagation from slice to slice: their masks
say which prompts mean the same object, and are believed where they agree with the maps. Painted slices are exact.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from micro_sam.segmentation.values import ObjectMask
from micro_sam.session.commands import Draft
from micro_sam.session.edits import current
from micro_sam.session.state import State
from micro_sam.session.values import SliceAnswer, SliceConfidence

NOTHING = ObjectMask((0, 0, 0, 0), np.zeros((0, 0), bool))


@dataclass(frozen=True, eq=False)
class MapsQuestion:
    """What the maps are asked, beside what every request says.

    Attributes
    ----------
    maps
        :class:`~micro_sam.segmentation.volume.maps.VolumeMaps`.
    embeddings
        For parts of the maps that are not computed yet.
    labels
        The objects that are known.
    exact
        Label -> painted slice -> mask.
    answers
        Slice -> the network's answer to the prompts that are there now.
    """

    maps: Any
    embeddings: Any
    labels: tuple[int, ...]
    exact: Mapping[int, Mapping[int, ObjectMask]]
    answers: Mapping[int, SliceAnswer]


def question_of(
    state: State, known: Mapping[int, Mapping[int, ObjectMask]], maps: Any, embeddings: Any
) -> MapsQuestion:
    """What the maps are asked of the objects that are known (label -> slice -> mask)."""
    exact = {label: {z: m for z, m in masks.items() if z in state.painted} for label, masks in known.items()}
    for z, answer in state.answers.items():
        for label in known:
            if answer.is_imposed_on(label, state.prompts):
                exact[label].setdefault(z, answer.masks[answer.labels.index(label)])
    if len(known) == 1:  # where all was erased, the object is not there
        (mine,) = exact.values()
        gone = [z for z in state.painted if z not in mine and not state.prompts.in_slice(z).has_positive]
        mine.update(dict.fromkeys(gone, NOTHING))
    answers = {z: a for z, a in state.answers.items() if a.drawn == state.prompts.in_slice(z)}
    return MapsQuestion(maps, embeddings, tuple(known), exact, answers)


class _NotKnown(Exception):
    """The object reaches a window of the maps that is not computed yet."""

    def __init__(self, window: tuple[slice, slice, slice]) -> None:
        self.window = window


def find_objects(request: Any, answers: Mapping[int, SliceAnswer]) -> Iterator[tuple[int, Any] | None]:
    """Yield None for every block of the maps that had to be computed, then (label, object) pairs.

    Parameters
    ----------
    request
        :class:`~micro_sam.session.propagation.volume.VolumeRequest` with a question to the maps.
    answers
        Slice -> answer, those of the question and of the slices that were asked since.
    """
    labels = sorted({*request.question.labels, *(label for answer in answers.values() for label in answer.labels)})

    from micro_sam.segmentation.volume.compute import iter_volume_maps
    from micro_sam.segmentation.volume.object import segment_volume_objects

    prompts = [_volume_prompts(request, label, answers, len(labels) == 1) for label in labels]
    question = request.question

    def ensure(window: tuple[slice, slice, slice]) -> None:
        if not question.maps.knows(window):
            raise _NotKnown(window)

    while True:
        try:
            found = segment_volume_objects(question.maps, prompts, ensure)
            break
        except _NotKnown as missing:
            for _ in iter_volume_maps(request.predictor, question.embeddings, question.maps, window=missing.window):
                yield None
    yield from zip(labels, found, strict=True)


def show_object(draft: Draft, label: int, found: Any, decided: Sequence[int]) -> None:
    """Put an object in place of what `current` shows of it, in all slices."""
    for z in [z for z in draft.state.regions if z not in found.slices]:
        current.erase(draft, z, [label])
    for z in found.slices:
        mask = found.in_slice(z)
        current.paint_masks(draft, z, [mask], [label], {label}, yield_to_others=True)
        if mask.is_empty:
            current.note_confidence(draft, z, {}, {label})
        elif z not in draft.state.painted:
            source = "prompt" if z in decided else "maps"
            current.note_confidence(draft, z, {label: SliceConfidence(mask.score, None, source)}, {label})


def _volume_prompts(request: Any, label: int, answers: Mapping[int, SliceAnswer], is_only: bool) -> Any:
    """The prompts of one object, in the order in which they were placed."""
    from micro_sam.segmentation.volume.values import VolumePrompts

    shape = request.question.maps.shape[1:]
    exact = dict(request.question.exact.get(label, {}))
    ids, decoded = set(), {}
    for z in request.prompts.slices:
        answer = answers.get(z)
        # an object that was opened again has no answers, but all prompts are its own
        drawn = request.prompts.in_slice(z) if is_only or answer is None else answer.drawn_for(label)
        ids |= {prompt.id for prompt in drawn}
        if answer is not None and label in answer.labels and z not in exact:
            decoded[z] = answer.masks[answer.labels.index(label)]
    points = [point for point in request.prompts.points if point.id in ids]
    boxes = {}
    for drawn in request.prompts.shapes:
        if drawn.id in ids:
            y0, x0, y1, x1 = drawn.box(shape)
            boxes[drawn.z] = (int(np.floor(y0)), int(np.floor(x0)), int(np.ceil(y1)) + 1, int(np.ceil(x1)) + 1)
    return VolumePrompts(
        np.array([(point.z, *point.position[1:]) for point in points]).reshape(-1, 3),
        np.array([int(point.positive) for point in points]),
        boxes,
        masks=exact,
        decoded=decoded,
    )
