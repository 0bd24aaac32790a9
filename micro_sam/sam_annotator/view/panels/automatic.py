"""Segment All Objects and its thresholds."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from magicgui.widgets import ComboBox, Container, FloatSlider, SpinBox
from qtpy.QtWidgets import QVBoxLayout, QWidget

from micro_sam.sam_annotator.controller.automatic import METHODS, PARAMETERS, Parameter
from micro_sam.sam_annotator.view.panels.parts import button, folded

if TYPE_CHECKING:
    from micro_sam.sam_annotator.controller.annotator import Annotator


def threshold(parameter: Parameter, changed: Callable[[str, float], object]) -> FloatSlider | SpinBox:
    """The slider of a parameter; `changed` is called with its name and value."""
    kind = SpinBox if isinstance(parameter.default, int) else FloatSlider
    widget = kind(
        value=parameter.default,
        min=parameter.low,
        max=parameter.high,
        step=parameter.step,
        label=parameter.label,
        tooltip=parameter.tip,
    )
    widget.changed.connect(lambda value: changed(parameter.name, value))
    return widget


class AutomaticMenu(QWidget):
    """``Segment All Objects``; its parameters act at once when the network has seen the image."""

    def __init__(self, annotator: Annotator) -> None:
        super().__init__()
        self._annotator = annotator
        self.run = button(
            "Segment All Objects", "Find all objects of the image, into auto_segmentation.", annotator.segment_all
        )
        self.method = ComboBox(choices=[], label="method", tooltip="How objects are found.", nullable=False)
        self.method.changed.connect(self._set_method)
        self.values: dict[str, FloatSlider | SpinBox] = {}
        for group in PARAMETERS.values():
            for parameter in group:
                self.values[parameter.name] = threshold(parameter, annotator.automatic.set_value)
        self.form = Container(widgets=[self.method, *self.values.values()], labels=True)
        self.form.margins = (0, 0, 0, 0)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        layout.addWidget(self.run.native)
        self.parameters = folded("Parameters of Segment All", self.form.native)
        layout.addWidget(self.parameters)
        annotator.automatic.methods_changed.connect(self._show_methods)
        self._show_methods(annotator.automatic.methods)

    def _set_method(self, method: str | None) -> None:
        if method:
            self._annotator.automatic.set_method(method)
            self._show_parameters()

    def _show_methods(self, methods: tuple[str, ...]) -> None:
        with self.method.changed.blocked():
            self.method.choices = [(METHODS[method], method) for method in methods]
            if methods:
                self.method.value = self._annotator.automatic.method
        self._show_parameters()

    def _show_parameters(self) -> None:
        method = self._annotator.automatic.method
        shown = {parameter.name for parameter in PARAMETERS.get(method, ())}
        for name, widget in self.values.items():
            widget.visible = name in shown
