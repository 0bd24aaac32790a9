"""Committed objects: choose, delete, merge, re-open."""

from __future__ import annotations

from typing import TYPE_CHECKING

from magicgui.widgets import LineEdit
from qtpy.QtWidgets import QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from micro_sam.errors import InputError
from micro_sam.sam_annotator.view.panels.parts import button, column, row

if TYPE_CHECKING:
    from micro_sam.sam_annotator.controller.annotator import Annotator


class ObjectsMenu(QWidget):
    """Acts on committed objects, chosen by clicking them or by their ids.

    Parameters
    ----------
    noun
        What they are called: object, or track.
    """

    def __init__(self, annotator: Annotator, noun: str = "object") -> None:
        super().__init__()
        self._annotator = annotator
        self._noun = noun
        self.count = QLabel()
        self.choose = QPushButton(f"Choose {noun}s by clicking")
        self.choose.setCheckable(True)
        self.choose.setToolTip(f"Click committed {noun}s in the image to choose them, again to let them go.")
        self.choose.setStyleSheet("QPushButton:checked { background-color: #2563c9; color: white; }")
        self.choose.clicked.connect(lambda checked: annotator.use_tool("pick" if checked else "point"))
        self.ids = LineEdit(label="chosen ids", tooltip=f"Ids of {noun}s, for example: 3, 7")
        self.ids.native.setPlaceholderText(f"click {noun}s, or type ids: 3, 7")
        self.ids.native.editingFinished.connect(self._typed)
        self.reopen = button("Re-open", f"Make it the current {noun} again, with its prompts.", annotator.reopen_picked)
        self.merge = button("Merge", f"Make one {noun} of the chosen ones.", annotator.merge_picked)
        self.delete = button("Delete", f"Remove the chosen {noun}s. Undo brings them back.", annotator.delete_picked)
        self.table = button("Table", f"All {noun}s with their sizes: sort, filter, jump, save.", annotator.toggle_table)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        top = QHBoxLayout()
        top.addWidget(self.count, 1)
        top.addWidget(self.table.native)
        tip = f"Look at the {noun}s one by one, the most doubtful first."
        self.review = button("Review [W]", tip, annotator.review_next)
        top.addWidget(self.review.native)
        layout.addLayout(top)
        layout.addWidget(self.choose)
        layout.addWidget(column(self.ids, labels=True).native)
        layout.addWidget(row(self.reopen, self.merge, self.delete).native)
        annotator.picked_changed.connect(self._show_picked)
        annotator.session_changed.connect(self._follow)
        annotator.tool_changed.connect(self._show_tool)
        self._show_picked(annotator.picked)
        self._show_count()

    def _typed(self) -> None:
        try:
            words = self.ids.value.replace(",", " ").split()
            ids = tuple(int(word) for word in words)
            unknown = [i for i in ids if self._annotator.session is None or i not in self._annotator.session.objects]
            if unknown:
                raise InputError(f"There is no committed {self._noun} {unknown[0]}.")
        except ValueError as error:
            if not isinstance(error, InputError):
                error = InputError("Ids are whole numbers, for example: 3, 7")
            self._annotator.status.report(error)
            self._show_picked(self._annotator.picked)
            return
        if ids != self._annotator.picked:
            self._annotator.choose(ids)

    def _follow(self, session) -> None:
        session.events.objects_changed.connect(self._show_count)
        self._show_count()

    def _show_count(self) -> None:
        session = self._annotator.session
        number = len(session.objects) if session is not None else 0
        self.count.setText(f"{number} committed {self._noun}{'' if number == 1 else 's'}")

    def _show_picked(self, ids: tuple[int, ...]) -> None:
        self.ids.value = ", ".join(str(i) for i in ids)
        self.reopen.enabled = len(ids) == 1
        self.merge.enabled = len(ids) > 1
        self.delete.enabled = len(ids) > 0

    def _show_tool(self) -> None:
        layers = self._annotator.layers
        self.choose.setChecked(layers is not None and layers.tool_in_hand() == "pick")
