"""The table as a Qt model, and the filter that the user types."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd
from qtpy.QtCore import QAbstractTableModel, QModelIndex, QSortFilterProxyModel, Qt

from micro_sam.errors import InputError

MOST_ROWS = 200  # rows that come or go one by one; for more the whole table is new
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "!=": operator.ne,
    "<": operator.lt,
    ">": operator.gt,
    "=": operator.eq,
}
_TERM = re.compile(r"\s*([\w ]+?)\s*(<=|>=|!=|==|<|>|=)\s*(.+?)\s*")
_TITLES = {"um3": "µm³", "um2": "µm²", "um": "µm", "px": "px"}

NUMBER = Qt.ItemDataRole.UserRole
"""Role of the value itself, to sort by."""


def title_of(column: str) -> str:
    """A column as the header shows it: ``area_um2`` -> ``area µm²``."""
    words = column.split("_")
    return " ".join(_TITLES.get(word, word) for word in words)


class TableModel(QAbstractTableModel):
    """A table of pandas that changes row by row, so that the view keeps its place."""

    def __init__(self) -> None:
        super().__init__()
        self.columns: list[str] = ["id"]
        self.ids: list[int] = []
        self._rows: list[tuple[Any, ...]] = []
        self.colour_of: Callable[[int], Any] = lambda _id: None
        """Colour of an object's id, for the small square beside it."""
        self.class_colour_of: Callable[[int], Any] = lambda _id: None
        """Colour of an object's class."""

    def rowCount(self, parent: QModelIndex = QModelIndex()) -> int:  # noqa: B008
        """See Qt."""
        return 0 if parent.isValid() else len(self.ids)

    def columnCount(self, parent: QModelIndex = QModelIndex()) -> int:  # noqa: B008
        """See Qt."""
        return 0 if parent.isValid() else len(self.columns)

    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """See Qt."""
        value = self._rows[index.row()][index.column()]
        if role == NUMBER:
            return -math.inf if isinstance(value, float) and math.isnan(value) else value
        if role == Qt.ItemDataRole.DisplayRole:
            return shown(value)
        if role == Qt.ItemDataRole.TextAlignmentRole and not isinstance(value, str):
            return Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
        if role == Qt.ItemDataRole.DecorationRole:
            colour_of = {"id": self.colour_of, "class": self.class_colour_of}.get(self.columns[index.column()])
            return None if colour_of is None else colour_of(self.ids[index.row()])
        return None

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """See Qt."""
        if orientation == Qt.Orientation.Horizontal and role == Qt.ItemDataRole.DisplayRole:
            return title_of(self.columns[section])
        return None

    def value(self, row: int, column: str) -> Any:
        """A value by the name of its column; None where there is no such column."""
        return self._rows[row][self.columns.index(column)] if column in self.columns else None

    def show(self, table: pd.DataFrame) -> None:
        """Show another table, sorted by ``id``."""
        columns, ids = list(table.columns), table["id"].astype(int).tolist()
        rows = list(zip(*(table[name].tolist() for name in columns), strict=True))
        if columns != self.columns or len(set(ids) ^ set(self.ids)) > MOST_ROWS:
            self.beginResetModel()
            self.columns, self.ids, self._rows = columns, ids, rows
            self.endResetModel()
            return
        wanted = set(ids)
        for k in reversed(range(len(self.ids))):
            if self.ids[k] not in wanted:
                self.beginRemoveRows(QModelIndex(), k, k)
                del self.ids[k], self._rows[k]
                self.endRemoveRows()
        for k, (i, row) in enumerate(zip(ids, rows, strict=True)):
            if k >= len(self.ids) or self.ids[k] != i:
                self.beginInsertRows(QModelIndex(), k, k)
                self.ids.insert(k, i)
                self._rows.insert(k, row)
                self.endInsertRows()
        self._rows = rows
        if rows:
            self.dataChanged.emit(self.index(0, 0), self.index(len(rows) - 1, len(columns) - 1))


class Filter(QSortFilterProxyModel):
    """Sorts by numbers, and shows the rows that fit an expression such as ``area > 200, class = round``."""

    def __init__(self, model: TableModel) -> None:
        super().__init__()
        self._model = model
        self._terms: list[tuple[str, Callable[[Any, Any], bool], Any]] = []
        self.setSourceModel(model)
        self.setSortRole(NUMBER)

    def use(self, text: str) -> None:
        """Filter by an expression; an empty one shows all.

        Raises
        ------
        InputError
            When it is none. The filter stays as it was.
        """
        self._terms = parse(text, self._model.columns)
        self.invalidate()

    def filterAcceptsRow(self, row: int, parent: QModelIndex) -> bool:
        """See Qt."""
        return all(_fits(self._model.value(row, name), compare, wanted) for name, compare, wanted in self._terms)


def parse(text: str, columns: Sequence[str]) -> list[tuple[str, Callable[[Any, Any], bool], Any]]:
    """The terms of a filter: column, comparison, value.

    A column may be named by its beginning; area and volume are also the pixels of an image whose scale is not known. A
    number or word alone means the id, or a part of the class.

    Raises
    ------
    InputError
        When a term is none, or names no column.
    """
    terms: list[tuple[str, Callable[[Any, Any], bool], Any]] = []
    for part in re.split(r",| and ", text):
        if not part.strip():
            continue
        found = _TERM.fullmatch(part)
        if found is None:
            word = part.strip()
            by_id = word.isdigit()
            terms.append(("id", operator.eq, int(word)) if by_id else ("class", _holds, word.lower()))
            continue
        name, sign, value = found.groups()
        wanted = name.strip().replace(" ", "_").lower()
        column = next((c for c in columns if c == wanted), None) or next(
            (c for c in columns if c.lower().startswith(wanted)), None
        )
        if column is None and wanted in ("area", "volume", "size"):
            column = next((c for c in columns if c in ("pixels", "voxels", "mean_pixels", "mean_area_um2")), None)
        if column is None:
            names = ", ".join(title_of(one) for one in columns)
            raise InputError(f"The table has no column {name.strip()!r}. It has: {names}.")
        try:
            number: Any = float(value)
        except ValueError:
            number = value.strip("'\"").lower()
        terms.append((column, _COMPARE["=" if sign == "==" else sign], number))
    return terms


def shown(value: Any) -> str:
    """A value as the table shows it."""
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.4g}" if abs(value) < 1e4 else f"{value:.0f}"
    return str(value)


def _fits(value: Any, compare: Callable[[Any, Any], bool], wanted: Any) -> bool:
    if isinstance(value, str):
        return compare(value.lower(), str(wanted))
    return value is not None and not isinstance(wanted, str) and bool(compare(value, wanted))


def _holds(value: str, word: str) -> bool:
    return word in value
