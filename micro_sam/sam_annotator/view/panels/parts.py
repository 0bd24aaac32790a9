"""What all menus are made of."""

from __future__ import annotations

from collections.abc import Callable

from magicgui.widgets import Container, PushButton
from qtpy.QtCore import QObject, Qt
from qtpy.QtWidgets import QAbstractButton, QAbstractSpinBox, QComboBox, QFrame, QLabel, QSlider, QVBoxLayout, QWidget
from superqt import QCollapsible

PRIMARY = "QPushButton { background-color: #2563c9; color: white; font-weight: bold; padding: 5px; }"
PRIMARY += " QPushButton:hover { background-color: #3b78de; } QPushButton:pressed { background-color: #1c4c9c; }"
PRIMARY += " QPushButton:disabled { background-color: #3a3f4b; color: #8b93a3; }"


def button(text: str, tip: str, act: Callable[[], object], *, primary: bool = False) -> PushButton:
    """A button that calls `act`."""
    widget = PushButton(text=text, tooltip=tip)
    widget.changed.connect(lambda _: act())
    if primary:
        widget.native.setStyleSheet(PRIMARY)
    return widget


def row(*widgets) -> Container:
    """Widgets beside each other, without labels."""
    container = Container(widgets=widgets, layout="horizontal", labels=False)
    container.margins = (0, 0, 0, 0)
    return container


def column(*widgets, labels: bool = False) -> Container:
    """Widgets below each other."""
    container = Container(widgets=widgets, layout="vertical", labels=labels)
    container.margins = (0, 0, 0, 0)
    return container


def heading(text: str) -> QLabel:
    """Title of a menu."""
    label = QLabel(text)
    font = label.font()
    font.setBold(True)
    label.setFont(font)
    return label


def section(title: str, content: QWidget) -> QFrame:
    """A menu that is always open: its title and its content."""
    frame = QFrame()
    layout = QVBoxLayout(frame)
    layout.setContentsMargins(0, 2, 0, 2)
    layout.setSpacing(2)
    layout.addWidget(heading(title))
    layout.addWidget(content)
    return frame


def folded(title: str, content: QWidget, *, is_open: bool = False) -> QCollapsible:
    """A menu that opens when its title is clicked."""
    widget = QCollapsible(title)
    widget.setDuration(0)
    widget.setCollapsedIcon("▸")
    widget.setExpandedIcon("▾")
    widget.addWidget(content)
    widget.layout().setContentsMargins(0, 2, 0, 2)
    widget.content().layout().setContentsMargins(6, 0, 0, 0)
    if is_open:
        widget.expand(animate=False)
    else:
        widget.collapse(animate=False)
    return widget


def give_keys_back(root: QWidget, canvas: Callable[[], QWidget]) -> None:
    """Let the keys of the tool work after a menu was used.

    Buttons and lists do not take the keyboard at all (a list would search for the letter that was pressed); after a
    number was typed, Return gives the keyboard back to the image.
    """
    for widget in root.findChildren(QWidget):
        if isinstance(widget, (QAbstractButton, QComboBox, QSlider)):
            widget.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        elif isinstance(widget, QAbstractSpinBox):
            widget.setFocusPolicy(Qt.FocusPolicy.ClickFocus)
            widget.setKeyboardTracking(False)
            _return_gives_back(widget, canvas)


def _return_gives_back(widget: QAbstractSpinBox, canvas: Callable[[], QWidget]) -> None:
    line: QObject = widget.lineEdit()
    line.returnPressed.connect(lambda: canvas().setFocus())
