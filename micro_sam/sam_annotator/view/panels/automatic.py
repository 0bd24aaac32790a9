"""Segment All Objects and its thresholds."""

from __future__ import annotations

from typing import Protocol

from magicgui.widgets import ComboBox
from psygnal import SignalInstance
from qtpy.QtWidgets import QVBoxLayout, QWidget

from micro_sam.sam_annotator.actions import Actions
from micro_sam.sam_annotator.state.options import AUTOMATIC_METHODS, THRESHOLDS
from micro_sam.sam_annotator.view.forms import Form
from micro_sam.sam_annotator.view.panels.parts import action_button, folded


class AutomaticState(Protocol):
    """What the panel reads."""

    method: str | None
    methods: tuple[str, ...]

    @property
    def methods_changed(self) -> SignalInstance:
        """Another model has other methods."""


class AutomaticPanel(QWidget):
    """``Segment All Objects``; its parameters act at once when the network has seen the image."""

    def __init__(self, automatic: AutomaticState, actions: Actions) -> None:
        super().__init__()
        self._automatic, self._actions = automatic, actions
        self.run = action_button(actions, "segment_all")
        self.method = ComboBox(choices=[], label="method", tooltip="How objects are found.", nullable=False)
        self.method.changed.connect(self._set_method)
        self.form = Form(THRESHOLDS.values(), actions.set_threshold)
        self.form.insert(0, self.method)
        self.values = self.form.widgets
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        layout.addWidget(self.run.native)
        self.parameters = folded("Parameters of Segment All", self.form.native)
        layout.addWidget(self.parameters)
        automatic.methods_changed.connect(self._show_methods)
        self._show_methods(automatic.methods)

    def _set_method(self, method: str | None) -> None:
        if method:
            self._actions.set_method(method)
            self._show_parameters()

    def _show_methods(self, methods: tuple[str, ...]) -> None:
        with self.method.changed.blocked():
            self.method.choices = [(AUTOMATIC_METHODS[method], method) for method in methods]
            if methods:
                self.method.value = self._automatic.method
        self._show_parameters()

    def _show_parameters(self) -> None:
        method = self._automatic.method
        self.form.show(THRESHOLDS[method].model_fields if method is not None else ())
