"""Committed objects: select, delete, merge, split, re-open; the bar of a review of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from magicgui.widgets import FloatSlider, LineEdit, PushButton
from psygnal import SignalInstance
from qtpy.QtWidgets import QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from micro_sam.sam_annotator.actions import Actions
from micro_sam.sam_annotator.state.window import WindowState
from micro_sam.sam_annotator.view.panels.parts import CHECKED, action_button, column, menu_layout, row
from micro_sam.session.session import Session

if TYPE_CHECKING:
    from micro_sam.measure.review import Doubt


class SimilarState(Protocol):
    """What the panel reads of the proposals."""

    threshold: float

    @property
    def found(self) -> SignalInstance:
        """Whether there are candidates, so that the slider acts."""

    @property
    def has_found(self) -> bool:
        """Whether there are some now."""


class ObjectsPanel(QWidget):
    """Actions on committed objects (or tracks), which are selected by clicking them or by their ids."""

    def __init__(self, state: WindowState, actions: Actions, similar: SimilarState | None = None) -> None:
        super().__init__()
        self._state, self._actions = state, actions
        self._noun = noun = state.tool.noun
        self.similar: PushButton | None = None
        self.count = QLabel()
        self.choose = QPushButton(f"Select {noun}s by clicking")
        self.choose.setCheckable(True)
        self.choose.setToolTip(f"Click committed {noun}s in the image to select them, again to let them go.")
        self.choose.setStyleSheet(CHECKED)
        self.choose.clicked.connect(lambda checked: actions.use_tool("pick" if checked else "point"))
        self.ids = LineEdit(label="selected ids", tooltip=f"Ids of {noun}s, for example: 3, 7")
        self.ids.native.setPlaceholderText(f"click {noun}s, or type ids: 3, 7")
        self.ids.native.editingFinished.connect(self._typed)
        self.ids.native.returnPressed.connect(self.ids.native.clearFocus)  # the next key is one of the tool
        self.reopen = action_button(actions, "reopen_selected")
        self.merge = action_button(actions, "merge_selected")
        self._splits_at_frame = "split_selected" in actions  # tracks, which are not split into pieces
        self.split = action_button(actions, "split_selected" if self._splits_at_frame else "split_pieces")
        self.delete = action_button(actions, "delete_selected")
        self.table = action_button(actions, "toggle_table")
        self.review = action_button(actions, "review_next")
        layout = menu_layout(self)
        top = QHBoxLayout()
        top.addWidget(self.count, 1)
        top.addWidget(self.table.native)
        top.addWidget(self.review.native)
        layout.addLayout(top)
        layout.addWidget(self.choose)
        layout.addWidget(column(self.ids, labels=True).native)
        layout.addWidget(row(self.reopen, self.merge, self.split, self.delete).native)
        if similar is not None:
            self._add_similar(similar, layout)
        state.events.selected.connect(self._show_selected)
        state.events.session.connect(self._follow)
        state.events.mouse.connect(self._show_tool)
        self._show_selected(state.selected)
        self._show_tool()
        if state.session is not None:
            self._follow(state.session)
        self._show_count()

    def _add_similar(self, similar: SimilarState, layout: QVBoxLayout) -> None:
        """*Find similar objects*, and its slider."""
        self.similar = action_button(self._actions, "find_similar")
        self.similarity = FloatSlider(
            min=0,
            max=1,
            step=0.05,
            value=similar.threshold,
            label="similarity",
            tooltip="How similar proposed objects are at least. Proposals follow at once.",
        )
        self.similarity.changed.connect(self._actions.set_similarity)
        self._similarity = column(self.similarity, labels=True)
        self._show_found(similar.has_found)
        similar.found.connect(self._show_found)
        layout.addWidget(self.similar.native)
        layout.addWidget(self._similarity.native)

    def _show_found(self, found: bool) -> None:
        self._similarity.visible = found

    def _typed(self) -> None:
        if self.ids.value != _text(self._state.selected):
            self._actions.select_typed(self.ids.value)
            self._show_selected(self._state.selected)

    def _follow(self, session: Session) -> None:
        session.events.objects_changed.connect(self._show_count)
        self._show_count()

    def _show_count(self) -> None:
        session = self._state.session
        number = len(session.objects) if session is not None else 0
        self.count.setText(f"{number} committed {self._noun}{'' if number == 1 else 's'}")

    def _show_selected(self, ids: tuple[int, ...]) -> None:
        self.ids.value = _text(ids)
        self.reopen.enabled = len(ids) == 1
        self.merge.enabled = len(ids) > 1
        self.delete.enabled = len(ids) > 0
        self.split.enabled = len(ids) == 1 if self._splits_at_frame else len(ids) > 0
        if self.similar is not None:
            self.similar.enabled = len(ids) > 0

    def _show_tool(self) -> None:
        self.choose.setChecked(self._state.mouse == "pick")


def _text(ids: tuple[int, ...]) -> str:
    return ", ".join(str(i) for i in ids)


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
        self.fine = action_button(actions, "review_fine")
        self.correct = action_button(actions, "review_correct")
        self.delete = action_button(actions, "review_delete")
        self.next = action_button(actions, "review_skip")
        self.stop = action_button(actions, "review_stop")
        layout = menu_layout(self)
        layout.addWidget(self.text)
        # one row: below it prompts and Segment stay in sight on a small screen
        layout.addWidget(row(self.fine, self.correct, self.delete, self.next, self.stop).native)
        state.changed.connect(self._show)
        self._show()

    def _show(self) -> None:
        doubt = self._state.doubt
        self.setVisible(doubt is not None)
        if doubt is not None:
            why = ", ".join(doubt.reasons) or "nothing speaks against it"
            self.text.setText(f"Review, {self._state.left} left. {self._noun.capitalize()} {doubt.id}: {why}.")
