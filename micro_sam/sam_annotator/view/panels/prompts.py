"""What the user draws with, and Segment: the tool of the mouse, positive or negative, live, several objects at once."""

from __future__ import annotations

from magicgui.widgets import CheckBox, Container, RadioButtons
from qtpy.QtWidgets import QButtonGroup, QGridLayout, QPushButton, QVBoxLayout, QWidget

from micro_sam.sam_annotator.actions import Actions
from micro_sam.sam_annotator.state.window import WindowState
from micro_sam.sam_annotator.view.panels.parts import CHECKED, action_button, menu_layout, row
from micro_sam.session.session import Session

TOOLS = (
    ("point", "Point", "Click an object. A negative click shows what does not belong to it."),
    ("box", "Box", "Draw a box around an object; several boxes give several objects."),
    ("polygon", "Polygon", "Click the corners of an outline; double-click or press Enter to close it."),
    ("ellipse", "Ellipse", "Draw an ellipse around an object."),
    ("paint", "Brush", "Paint on the current object."),
    ("erase", "Eraser", "Erase from the current object."),
)


class PromptPanel(QWidget):
    """Tools, and the menu positive / negative (key ``t``)."""

    def __init__(self, state: WindowState, actions: Actions) -> None:
        super().__init__()
        self._state = state
        self.tools: dict[str, QPushButton] = {}
        group = QButtonGroup(self)
        grid = QGridLayout()
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setSpacing(3)
        for number, (name, text, tip) in enumerate(TOOLS):
            tool = QPushButton(text)
            tool.setCheckable(True)
            tool.setToolTip(tip)
            tool.setStyleSheet(CHECKED)
            tool.clicked.connect(lambda _=False, name=name: actions.use_tool(name))
            group.addButton(tool)
            grid.addWidget(tool, number // 3, number % 3)
            self.tools[name] = tool
        self._group = group
        self.polarity = RadioButtons(
            choices=["positive", "negative"],
            value="positive",
            orientation="horizontal",
            label=actions["toggle_polarity"].caption,
            tooltip=actions["toggle_polarity"].tip,
        )
        form = Container(widgets=[self.polarity], labels=True)
        form.margins = (0, 0, 0, 0)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(grid)
        layout.addWidget(form.native)
        # Not before: being put into its place makes the menu say that it changed.
        self.polarity.changed.connect(lambda value: actions.set_polarity(value == "positive"))
        state.events.session.connect(self._follow)
        state.events.mouse.connect(self._show_tool)
        self._show_tool()

    def _follow(self, session: Session) -> None:
        session.events.polarity_changed.connect(self._show_polarity)
        self._show_polarity(session.prompts.next_positive)
        self._show_tool()

    def _show_polarity(self, positive: bool) -> None:
        with self.polarity.changed.blocked():
            self.polarity.value = "positive" if positive else "negative"

    def _show_tool(self) -> None:
        """Mark the tool that the mouse really has, also when the user chose it in napari's own controls."""
        self._group.setExclusive(False)
        for key, tool in self.tools.items():
            tool.setChecked(key == self._state.mouse)
        self._group.setExclusive(True)


class SegmentPanel(QWidget):
    """``Segment Object`` (key ``s``)."""

    def __init__(self, state: WindowState, actions: Actions) -> None:
        super().__init__()
        self.run = action_button(actions, "segment")
        self.live = _switch(actions, "set_live", state.live)
        self.batched = _switch(actions, "set_batched", state.batched)
        layout = menu_layout(self)
        layout.addWidget(self.run.native)
        switches = [self.live, *([self.batched] if state.tool.has_batches else [])]
        if state.tool.has_hover:
            self.hover = _switch(actions, "set_hover", state.hover)
            state.events.hover.connect(self._show_hover)
            switches.append(self.hover)
        layout.addWidget(row(*switches).native)

    def _show_hover(self, on: bool) -> None:
        self.hover.value = on


def _switch(actions: Actions, name: str, on: bool) -> CheckBox:
    switch = CheckBox(text=actions[name].caption, value=on, tooltip=actions[name].tip)
    switch.changed.connect(getattr(actions, name))
    return switch
