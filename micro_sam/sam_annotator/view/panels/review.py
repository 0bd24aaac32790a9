"""The bar of a review: which object, why, and what to do with it. In sight only while there is a review."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from psygnal import SignalInstance
from qtpy.QtWidgets import QLabel, QVBoxLayout, QWidget

from micro_sam.sam_annotator.actions import Actions
from micro_sam.sam_annotator.view.panels.parts import action_button, row

if TYPE_CHECKING:  # its libraries take longer than a window
    from micro_sam.measure.review import Doubt


class ReviewState(Protocol):
    """What the bar reads."""

    doubt: Doubt | None
    left: int

    @property
    def changed(self) -> SignalInstance:
        """Another object is looked at, or none."""


class ReviewBar(QWidget):
    """Fine, correct, delete, next; the reasons and the number that is left."""

    def __init__(self, state: ReviewState, actions: Actions, noun: str) -> None:
        super().__init__()
        self._state, self._noun = state, noun
        self.text = QLabel()
        self.text.setWordWrap(True)
        self.fine = action_button(actions, "review_fine", primary=True)
        self.correct = action_button(actions, "review_correct")
        self.delete = action_button(actions, "review_delete")
        self.next = action_button(actions, "review_skip")
        self.stop = action_button(actions, "review_stop")
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
