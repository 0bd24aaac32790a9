"""Classes of objects: their names, colours and keys."""

from __future__ import annotations

from collections import Counter

from qtpy.QtCore import QSignalBlocker, Qt
from qtpy.QtGui import QColor
from qtpy.QtWidgets import QCheckBox, QColorDialog, QGridLayout, QLabel, QLineEdit, QPushButton, QWidget

from micro_sam.sam_annotator.actions import Actions
from micro_sam.sam_annotator.state.window import WindowState
from micro_sam.sam_annotator.view.panels.parts import action_button, button, menu_layout, row
from micro_sam.session.actions.classes import MOST
from micro_sam.session.session import Session
from micro_sam.session.values import ObjectClass


class ClassPanel(QWidget):
    """A row for each class: its colour, its name, and a button that gives it to objects."""

    def __init__(self, state: WindowState, actions: Actions) -> None:
        super().__init__()
        self._state, self._actions = state, actions
        self._shown: tuple[ObjectClass, ...] = ()
        self.names: dict[int, QLineEdit] = {}
        self.counts: dict[int, QPushButton] = {}
        self._swatches: dict[int, QPushButton] = {}
        self._grid = QGridLayout()
        self._grid.setSpacing(2)
        self.current = QLabel()
        self.none = button("No class", "Take the class from the selected objects.", lambda: actions.set_class(0))
        self.add = button("New class", f"Make another class; Shift-1 to Shift-{MOST} do it, too.", self._add)
        self.image = action_button(actions, "save_class_image")
        by_class = actions["set_by_class"]
        self.by_class = QCheckBox(by_class.caption)
        self.by_class.setToolTip(by_class.tip)
        self.by_class.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.by_class.clicked.connect(lambda on: actions.set_by_class(on))
        layout = menu_layout(self)
        layout.addLayout(self._grid)
        layout.addWidget(self.current)
        layout.addWidget(row(self.add, self.none, self.image).native)
        layout.addWidget(self.by_class)
        state.events.by_class.connect(self._show_by_class)
        state.events.session.connect(self._follow)
        if state.session is not None:
            self._follow(state.session)
        self._show()

    def _follow(self, session: Session) -> None:
        session.events.objects_changed.connect(self._show)
        session.events.history_changed.connect(self._show_current)
        self._show()

    def _show(self) -> None:
        session = self._state.session
        known = session.classes.known if session is not None else ()
        if known != self._shown:
            self._make_rows(known)
        records = session.objects.values() if session is not None and known else ()
        numbers = Counter(record.object_class for record in records)
        for one in known:
            self.counts[one.number].setText(f"Shift-{one.number}: {numbers[one.number]}")
        self.image.enabled = bool(known)
        self.none.enabled = bool(known)
        self.add.enabled = len(known) < MOST
        self._show_current()

    def _show_by_class(self, on: bool) -> None:
        self.by_class.setChecked(on)

    def _show_current(self) -> None:
        session = self._state.session
        known = session.classes.numbered(session.classes.current) if session is not None else None
        self.current.setText(f"The current object will be '{known.name}'." if known is not None else "")
        self.current.setVisible(known is not None)

    def _make_rows(self, known: tuple[ObjectClass, ...]) -> None:
        if [one.number for one in known] == list(self.names):  # a name is being typed: its field stays
            for one in known:
                if self.names[one.number].text() != one.name:
                    with QSignalBlocker(self.names[one.number]):
                        self.names[one.number].setText(one.name)
                _colour(self._swatches[one.number], one.colour)
            self._shown = known
            return
        while self._grid.count():
            old = self._grid.takeAt(0).widget()
            old.hide()  # it goes when the event loop is idle; until then it would lie over others and take their clicks
            old.deleteLater()
        self.names, self.counts, self._swatches = {}, {}, {}
        for one in known:
            self._make_row(one)
        self._shown = known

    def _make_row(self, one: ObjectClass) -> None:
        swatch = QPushButton()
        swatch.setFixedSize(22, 22)
        swatch.setToolTip("Change the colour.")
        swatch.clicked.connect(lambda: self._ask_colour(one.number))
        _colour(swatch, one.colour)
        name = QLineEdit(one.name)
        name.setAccessibleName(f"name of class {one.number}")
        name.editingFinished.connect(lambda: self._rename(one.number))
        name.returnPressed.connect(name.clearFocus)  # the next key is one of the tool
        count = QPushButton()
        count.setToolTip("Give this class to the selected objects, or to the current one.")
        count.clicked.connect(lambda: self._actions.set_class(one.number))
        for one_of in (swatch, count):
            one_of.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        for k, widget in enumerate((swatch, name, count)):
            self._grid.addWidget(widget, one.number, k)
        self.names[one.number], self.counts[one.number], self._swatches[one.number] = name, count, swatch

    def _rename(self, number: int) -> None:
        session = self._state.session
        known = session.classes.numbered(number) if session is not None else None
        if known is None or self.names[number].text() == known.name:
            return
        self._actions.define_class(number, self.names[number].text())
        after = session.classes.numbered(number) if session is not None else None
        if after is not None:
            self.names[number].setText(after.name)

    def _ask_colour(self, number: int) -> None:
        known = self._state.needed().classes.numbered(number)
        if known is None:
            return
        colour = QColorDialog.getColor(QColor(known.colour), self, f"Colour of '{known.name}'")
        if colour.isValid():
            self._actions.define_class(number, None, colour.name())

    def _add(self) -> None:
        used = {one.number for one in self._state.session.classes.known} if self._state.session is not None else set()
        free = next((number for number in range(1, MOST + 1) if number not in used), None)
        if free is not None:
            self._actions.define_class(free)


def _colour(swatch: QWidget, colour: str) -> None:
    swatch.setStyleSheet(f"QPushButton {{ background-color: {colour}; border: 1px solid #888; }}")
