"""The bar of a review: which object, why, and what to do with it. In sight only while there is a review."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from psygnal import SignalInstance
from qtpy.QtWidgets import QLabel, QVBoxLayout, QWidget

from micro_sam.sam_annotator.view.panels.parts import button, row

if TYPE_CHECKING:
    from micro_sam.measure.review import Doubt


class ReviewState(Protocol):
    """What the bar reads."""

    doubt: Doubt | None
    left: int
    changed: SignalInstance


@dataclass(frozen=True)
class ReviewActions:
    """What the bar can do with the object that is looked at."""

    next: Callable[[], Any]
    fine: Callable[[], Any]
    correct: Callable[[], Any]
    delete: Callable[[], Any]
    stop: Callable[[], Any]


class ReviewBar(QWidget):
    """Fine, correct, delete, next; the reasons and the number that is left."""

    def __init__(self, state: ReviewState, actions: ReviewActions, noun: str) -> None:
        super().__init__()
        self._state, self._noun = state, noun
        self.text = QLabel()
        self.text.setWordWrap(True)
        self.fine = button("Fine", f"This {noun} is right: on to the next.", actions.fine, primary=True)
        self.correct = button("Correct", "Open it again, with its prompts.", actions.correct)
        self.delete = button("Delete", "Remove it; undo brings it back.", actions.delete)
        self.next = button("Next [W]", "Leave it for now.", actions.next)
        self.stop = button("End", "End the review.", actions.stop)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        layout.addWidget(self.text)
        layout.addWidget(row(self.fine, self.correct, self.delete).native)
        layout.addWidget(row(self.next, self.stop).native)
        state.changed.connect(self._show)
        self._show()

    def _show(self) -> None:
        doubt = self._state.doubt
        self.setVisible(doubt is not None)
        if doubt is not None:
            why = ", ".join(doubt.reasons) or "nothing speaks against it"
            self.text.setText(f"Review, {self._state.left} left. {self._noun.capitalize()} {doubt.id}: {why}.")
