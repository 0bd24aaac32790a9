"""What all menus are made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

from magicgui.widgets import Container, PushButton
from qtpy.QtCore import QEvent, QObject, Qt, Signal
from qtpy.QtWidgets import (
    QAbstractButton,
    QAbstractSpinBox,
    QComboBox,
    QFrame,
    QLabel,
    QPushButton,
    QSlider,
    QVBoxLayout,
    QWidget,
)
from superqt import QCollapsible

from micro_sam.sam_annotator.actions import Actions

CHECKED = "QPushButton:checked { background-color: #2563c9; color: white; }"
PRIMARY = "QPushButton { background-color: #2563c9; color: white; font-weight: bold; padding: 5px; }"
PRIMARY += " QPushButton:hover { background-color: #3b78de; } QPushButton:pressed { background-color: #1c4c9c; }"
PRIMARY += " QPushButton:disabled { background-color: #3a3f4b; color: #8b93a3; }"

SECONDARY = "QPushButton { padding: 5px; }"  # as large as the main button

Panel = TypeVar("Panel", bound=QWidget)


def button(text: str, tip: str, do: Callable[[], object]) -> PushButton:
    """A button that calls `do`."""
    widget = PushButton(text=text, tooltip=tip)
    widget.changed.connect(lambda _: do())
    return widget


def action_button(actions: Actions, name: str) -> PushButton:
    """The button of an action."""
    action = actions[name]
    return button(action.caption, action.tip, getattr(actions, name))


def action_switch(actions: Actions, name: str, is_on: Callable[[], bool]) -> QPushButton:
    """A button of an action that stays pressed while something is on; the action is told, and may refuse."""
    switch = QPushButton(actions[name].caption)
    switch.setCheckable(True)
    switch.setStyleSheet(CHECKED)
    switch.setToolTip(actions[name].tip)

    def clicked(checked: bool) -> None:
        getattr(actions, name)(checked)
        switch.setChecked(is_on())

    switch.clicked.connect(clicked)
    return switch


def row(*widgets: Any) -> Container[Any]:
    """Widgets beside each other, without labels."""
    container = Container(widgets=widgets, layout="horizontal", labels=False)
    container.margins = (0, 0, 0, 0)
    return container


def column(*widgets: Any, labels: bool = False) -> Container[Any]:
    """Widgets below each other."""
    container = Container(widgets=widgets, layout="vertical", labels=labels)
    container.margins = (0, 0, 0, 0)
    return container


def menu_layout(menu: QWidget, spacing: int = 2) -> QVBoxLayout:
    """Makes a layout for what a menu holds: below each other, close together."""
    layout = QVBoxLayout(menu)
    layout.setContentsMargins(0, 0, 0, 0)
    layout.setSpacing(spacing)
    return layout


def section(title: str, content: QWidget) -> QFrame:
    """A menu that is always open: its title and its content."""
    heading = QLabel(title)
    font = heading.font()
    font.setBold(True)
    heading.setFont(font)
    frame = QFrame()
    layout = QVBoxLayout(frame)
    layout.setContentsMargins(0, 2, 0, 2)
    layout.setSpacing(2)
    layout.addWidget(heading)
    layout.addWidget(content)
    return frame


class FoldedMenu(QCollapsible, Generic[Panel]):
    """A menu that opens when its title is clicked.

    Parameters
    ----------
    title
        Is always in sight.
    panel
        What the menu holds, or what makes it when the menu is opened, or its panel asked for, for the first time: most
        menus of a window are never opened, and a new tool is seen sooner without what they hold.

    Signals
    -------
    made
        The panel is there now.
    """

    made = Signal()

    def __init__(self, title: str, panel: Panel | Callable[[], Panel]) -> None:
        super().__init__(title, expandedIcon="▾", collapsedIcon="▸")
        self.setDuration(0)
        self._panel: Panel | None = None
        self._make: Callable[[], Panel] | None = None
        self.content().installEventFilter(_Grows(self))
        for layout, left, top in ((self.layout(), 0, 2), (self.content().layout(), 6, 0)):
            if layout is not None:
                layout.setContentsMargins(left, top, 0, top)
        if isinstance(panel, QWidget):
            self._put_in(panel)
        else:
            self._make = panel

    @property
    def panel(self) -> Panel:
        """What the menu holds."""
        if self._panel is None:
            assert self._make is not None
            self._put_in(self._make())
            self.made.emit()
        assert self._panel is not None
        return self._panel

    def expand(self, animate: bool = True) -> None:
        """See superqt."""
        self.panel.show()
        super().expand(animate)

    def _put_in(self, panel: Panel) -> None:
        self._panel = panel
        self.addWidget(panel)
        before: QWidget = self.toggleButton()
        for widget in panel.findChildren(QWidget):  # with Tab from the title, also to what was made late
            is_popup = widget.window() != self.window()
            if widget.focusPolicy() != Qt.FocusPolicy.NoFocus and widget.focusProxy() is None and not is_popup:
                QWidget.setTabOrder(before, widget)
                before = widget


class _Grows(QObject):
    """Lets an open menu grow with what it holds, which superqt does not: rows that come later would be cut."""

    def __init__(self, menu: QCollapsible) -> None:
        super().__init__(menu)
        self._menu = menu

    def eventFilter(self, content: QObject, event: QEvent) -> bool:
        """See Qt."""
        if event.type() == QEvent.Type.LayoutRequest and self._menu.isExpanded() and isinstance(content, QWidget):
            content.setMaximumHeight(content.sizeHint().height() + 10)  # as superqt does when it opens
        return False


def give_keys_back(root: QWidget, canvas: Callable[[], QWidget]) -> None:
    """Let the keys of the tool work after a menu was used.

    With the mouse, buttons and lists do not take the keyboard (a list would search for the letter that was pressed);
    with Tab they do, so that all can be reached without a mouse. After a number was typed, Return gives the keyboard
    back to the image. Menus that are made later follow.
    """
    for widget in root.findChildren(QWidget):
        if isinstance(widget, (QAbstractButton, QComboBox, QSlider)):
            widget.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        elif isinstance(widget, QAbstractSpinBox):
            widget.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
            widget.setKeyboardTracking(False)
            _return_gives_back(widget, canvas)
        elif isinstance(widget, FoldedMenu):
            widget.made.connect(lambda menu=widget: give_keys_back(menu.content(), canvas))


def _return_gives_back(widget: QAbstractSpinBox, canvas: Callable[[], QWidget]) -> None:
    line: Any = widget.lineEdit()
    line.returnPressed.connect(lambda: canvas().setFocus())
