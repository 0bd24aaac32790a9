"""The panel with the table of committed objects or tracks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import pandas as pd
from qtpy.QtCore import QItemSelection, QItemSelectionModel, Qt
from qtpy.QtGui import QKeyEvent
from qtpy.QtWidgets import (
    QAbstractItemView,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QTableView,
    QVBoxLayout,
    QWidget,
)

from micro_sam.errors import InputError
from micro_sam.sam_annotator.view.tables.model import Filter, TableModel

HIDDEN = ("y_min", "x_min", "y_max", "x_max", "z", "y", "x")
"""Columns that are saved, but not shown."""
HEIGHT = 190
_MOVES = (
    Qt.Key.Key_Up,
    Qt.Key.Key_Down,
    Qt.Key.Key_Left,
    Qt.Key.Key_Right,
    Qt.Key.Key_PageUp,
    Qt.Key.Key_PageDown,
    Qt.Key.Key_Home,
    Qt.Key.Key_End,
)


class TableState(Protocol):
    """What the panel reads."""

    selected: tuple[int, ...]

    @property
    def events(self) -> Any:
        """``events.selected``: others are selected."""


@dataclass(frozen=True)
class TableActions:
    """What the panel can do.

    Attributes
    ----------
    select
        Select these objects and no others.
    go_to
        Bring one object into sight.
    delete, merge, split, reopen
        With the selected objects; one step of undo each.
    save
        Write the table into a file that the user chooses.
    report
        Show what went wrong.
    splits_at_frame
        Whether `split` cuts one selected track before the frame in view, instead of objects into their pieces.
    """

    select: Callable[[Sequence[int]], Any]
    go_to: Callable[[int], Any]
    delete: Callable[[], Any]
    merge: Callable[[], Any]
    split: Callable[[], Any]
    reopen: Callable[[], Any]
    save: Callable[[], Any]
    report: Callable[[Exception], Any]
    splits_at_frame: bool = False


class Rows(QTableView):
    """The rows. Keys that do not move in the table go to the tool."""

    def __init__(self, delete: Callable[[], Any]) -> None:
        super().__init__()
        self._delete = delete
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setSortingEnabled(True)
        self.sortByColumn(0, Qt.SortOrder.AscendingOrder)
        self.verticalHeader().hide()
        self.verticalHeader().setDefaultSectionSize(22)
        self.setTabKeyNavigation(False)  # Tab leaves the table; arrows move in it
        self.setAccessibleName("table of objects")

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """See Qt."""
        if event.key() == Qt.Key.Key_Delete:
            self._delete()
        elif event.key() in _MOVES or (event.key() == Qt.Key.Key_A and event.modifiers()):
            super().keyPressEvent(event)
        else:
            event.ignore()


class TablePanel(QWidget):
    """Sort, filter, select, jump, delete, merge, re-open and save.

    Parameters
    ----------
    state, actions
        What it reads and does.
    noun
        What the rows are called: object, or track.
    colour_of
        Id -> colour of its label.
    """

    def __init__(
        self,
        state: TableState,
        actions: TableActions,
        noun: str = "object",
        colour_of: Callable[[int], Any] | None = None,
    ) -> None:
        super().__init__()
        self._state, self._actions, self._noun = state, actions, noun
        self._is_showing = False
        self.model = TableModel()
        if colour_of is not None:
            self.model.colour_of = colour_of
        self.filter = Filter(self.model)
        self.rows = Rows(actions.delete)
        self.rows.setModel(self.filter)
        self.count = QLabel()
        self.words = QLineEdit()
        self.words.setPlaceholderText("filter: area > 200, pieces > 1")
        self.words.setClearButtonEnabled(True)
        self.words.setFixedWidth(240)
        self.words.editingFinished.connect(self._filter)
        self.reopen = self._button("Re-open", f"Make the selected {noun} the current one again.", actions.reopen)
        self.merge = self._button("Merge", f"Make one {noun} of the selected ones.", actions.merge)
        tip = f"Cut the selected {noun} before the frame in view."
        tip = tip if actions.splits_at_frame else f"Make one {noun} of each piece."
        self.split = self._button("Split", tip, actions.split)
        self.delete = self._button("Delete", f"Remove the selected {noun}s. Undo brings them back.", actions.delete)
        self.save = self._button("Save table...", "Write the table as csv or Parquet.", actions.save)
        top = QHBoxLayout()
        top.setContentsMargins(0, 0, 0, 0)
        for widget in (self.words, self.count):
            top.addWidget(widget)
        top.addStretch(1)
        self.buttons = top
        for button in (self.reopen, self.merge, self.split, self.delete, self.save):
            top.addWidget(button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(6, 2, 6, 4)
        layout.setSpacing(3)
        layout.addLayout(top)
        layout.addWidget(self.rows, 1)
        self.setMinimumHeight(HEIGHT)
        self.rows.selectionModel().selectionChanged.connect(self._selected)
        state.events.selected.connect(self._show_selected)
        self._show_count()

    def show_table(self, table: pd.DataFrame) -> None:
        """Show what was measured."""
        is_new = list(table.columns) != self.model.columns
        header = self.rows.horizontalHeader()
        sorted_by, order = self.model.columns[header.sortIndicatorSection()], header.sortIndicatorOrder()
        self._is_showing = True  # rows that go away are no choice of the user
        try:
            self.model.show(table)
        finally:
            self._is_showing = False
        if is_new:
            for k, name in enumerate(self.model.columns):
                self.rows.setColumnHidden(k, name in HIDDEN)
            self.rows.resizeColumnsToContents()
            if sorted_by in self.model.columns:  # a column that comes (class) moves the others
                self.rows.sortByColumn(self.model.columns.index(sorted_by), order)
        self._show_count()
        self._show_selected(self._state.selected)

    @property
    def selected(self) -> tuple[int, ...]:
        """Ids of the selected rows, in the order in which they are shown."""
        rows = sorted(index.row() for index in self.rows.selectionModel().selectedRows())
        return tuple(self._id(row) for row in rows)

    @property
    def shown(self) -> list[int]:
        """Ids in the order in which they are shown."""
        return [self._id(row) for row in range(self.filter.rowCount())]

    def _id(self, row: int) -> int:
        return self.model.ids[self.filter.mapToSource(self.filter.index(row, 0)).row()]

    def _button(self, text: str, tip: str, action: Callable[[], Any]) -> QPushButton:
        button = QPushButton(text)
        button.setToolTip(tip)
        button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        button.clicked.connect(lambda _checked: action())
        return button

    def _filter(self) -> None:
        try:
            self.filter.use(self.words.text())
        except InputError as error:
            self._actions.report(error)
        self._show_count()

    def _selected(self, *_changes: QItemSelection) -> None:
        if self._is_showing:
            return
        ids = self.selected
        if set(ids) != set(self._state.selected):
            self._actions.select(ids)
        if len(ids) == 1:
            self._actions.go_to(ids[0])

    def _show_selected(self, ids: Sequence[int]) -> None:
        """Select the rows of what was selected elsewhere, and enable what can be done with it."""
        self.reopen.setEnabled(len(ids) == 1)
        self.merge.setEnabled(len(ids) > 1)
        self.split.setEnabled(len(ids) == 1 if self._actions.splits_at_frame else len(ids) > 0)
        self.delete.setEnabled(len(ids) > 0)
        if set(ids) == set(self.selected):
            return
        selection, wanted = QItemSelection(), set(ids)
        first = None
        for row in range(self.filter.rowCount()):
            if self._id(row) in wanted:
                index = self.filter.index(row, 0)
                selection.select(index, index)
                first = first or index
        self._is_showing = True
        try:
            flags = QItemSelectionModel.SelectionFlag
            self.rows.selectionModel().select(selection, flags.ClearAndSelect | flags.Rows)
        finally:
            self._is_showing = False
        if first is not None:
            self.rows.scrollTo(first)

    def _show_count(self) -> None:
        shown, number = self.filter.rowCount(), len(self.model.ids)
        noun = self._noun if number == 1 else f"{self._noun}s"
        self.count.setText(f"{shown} of {number} {noun}" if shown != number else f"{number} {noun}")
