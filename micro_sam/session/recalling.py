"""What guided the next correction before a restart: logits, which the journal does not keep.

The questions that led to the answer on the screen are asked again, in their order, when the next one is asked. The
same model then answers as it would have without the restart.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from micro_sam.segmentation.values import ObjectMask
from micro_sam.session.commands import Command, EntriesEdit, EntryEdit
from micro_sam.session.prompts import PromptSet

if TYPE_CHECKING:
    from micro_sam.session.values import SliceAnswer

Masks = tuple[ObjectMask, ...]
Ask = Callable[[PromptSet, Masks | None], Masks]
"""Asks the network for some prompts, with the answer before."""
KINDS = ("answer", "run")
"""Kinds of steps in which the network answers; in others an answer is made of pixels, and had no logits."""


def previous_masks(answer: SliceAnswer | None, drawn: PromptSet, batched: bool) -> tuple[ObjectMask, ...] | None:
    """The last answer, when it can guide the next: the same objects, and points were only added since."""
    if answer is None or answer.batched != batched or answer.drawn.shapes != drawn.shapes:
        return None
    if drawn.points[: len(answer.drawn.points)] != answer.drawn.points:
        return None
    if batched and not drawn.shapes and sum(p.positive for p in drawn.points) != len(answer.masks):
        return None
    return answer.masks if answer.masks and not any(mask.is_empty for mask in answer.masks) else None


class Recall:
    """The questions behind an answer without logits, and what they give once they were asked again.

    Parameters
    ----------
    questions
        Oldest first.
    begin
        The answer before the first of them, where that was not the network's.
    """

    def __init__(self, questions: tuple[PromptSet, ...], begin: Masks | None = None) -> None:
        self.questions, self.begin = questions, begin
        self._masks: Masks | None = None
        self._lock = threading.Lock()

    def masks(self, ask: Ask) -> Masks:
        """The answer with its logits. Any thread may ask; only the first one waits for the network."""
        with self._lock:
            if self._masks is None:
                masks = self.begin
                for question in self.questions:
                    masks = ask(question, masks)
                self._masks = masks or ()
            return self._masks


def needs_recall(masks: Masks | None) -> bool:
    """Whether an answer that is to guide the next one lacks logits."""
    return masks is not None and any(mask.logits is None for mask in masks)


def questions_behind(done: Sequence[Command], z: int, drawn: PromptSet) -> Recall | None:
    """The questions that led to the answer in slice `z`; None when the network did not give it.

    Parameters
    ----------
    done
        All steps, oldest first.
    z
        Slice; 0 in 2D.
    drawn
        The prompts that are to be asked next; of one track, where they belong to tracks.
    """
    label = next((prompt.track_id for prompt in drawn), None)
    questions: list[PromptSet] = []
    begin: Masks | None = None
    later: SliceAnswer | None = None
    for answer, kind in _answers(done, z):
        if answer is None or (label is not None and label not in answer.labels):
            break
        asked = answer.drawn if label is None else answer.drawn.of_track(label)
        if later is not None and previous_masks(answer, later.drawn, later.batched) is None:
            break
        if kind not in KINDS:
            begin = answer.masks if label is None else (answer.masks[answer.labels.index(label)],)
            break
        later = answer
        if label is None or not questions or questions[-1] != asked:  # a track that did not change is not asked again
            questions.append(asked)
    return Recall(tuple(reversed(questions)), begin) if questions else None


def _answers(done: Sequence[Command], z: int) -> Iterator[tuple[SliceAnswer | None, str]]:
    """What the answer in a slice was after each change of it, newest first, and the kind of the step."""
    for command in reversed(done):
        for edit in reversed(command.edits):
            if isinstance(edit, EntryEdit) and edit.key == "answers" and edit.entry == z:
                yield edit.after, command.kind
            elif isinstance(edit, EntriesEdit) and edit.key == "answers" and z in edit.after:
                yield edit.after[z], command.kind
