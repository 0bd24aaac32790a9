"""Segment the prompts; live preview; several objects at once."""

from __future__ import annotations

from magicgui.widgets import CheckBox
from qtpy.QtWidgets import QVBoxLayout, QWidget

from micro_sam.sam_annotator.actions import Actions
from micro_sam.sam_annotator.state.window import WindowState
from micro_sam.sam_annotator.view.panels.parts import action_button, row


class SegmentPanel(QWidget):
    """``Segment Object`` (key ``s``)."""

    def __init__(self, state: WindowState, actions: Actions) -> None:
        super().__init__()
        self.run = action_button(actions, "segment")
        self.live = _switch(actions, "set_live", state.live)
        self.batched = _switch(actions, "set_batched", state.batched)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
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
