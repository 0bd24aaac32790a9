"""Segment All Objects and its thresholds."""

from __future__ import annotations

from typing import Any, Protocol

from magicgui.widgets import ComboBox
from psygnal import SignalInstance
from qtpy.QtWidgets import QHBoxLayout, QLabel, QWidget

from micro_sam.sam_annotator.actions import Actions
from micro_sam.sam_annotator.state.options import AUTOMATIC_METHODS, THRESHOLDS, LookOptions
from micro_sam.sam_annotator.state.window import WindowState
from micro_sam.sam_annotator.view.forms import Form, make_widget
from micro_sam.sam_annotator.view.panels.parts import FoldedMenu, action_button, menu_layout
from micro_sam.session.session import Session


class AutomaticState(Protocol):
    """What the panel reads."""

    method: str | None
    methods: tuple[str, ...]
    values: dict[str, Any]

    @property
    def look(self) -> str:
        """How closely the image is looked at."""

    @property
    def can_look_closer(self) -> bool:
        """Whether the option `look_closer` changes anything."""

    @property
    def methods_changed(self) -> SignalInstance:
        """Another model has other methods."""


class AutomaticParameters(QWidget):
    """How objects are found; what is changed acts at once when the network has seen the image."""

    def __init__(self, automatic: AutomaticState, actions: Actions) -> None:
        super().__init__()
        self._automatic, self._actions = automatic, actions
        self.method = ComboBox(choices=[], label="method", tooltip="How objects are found.", nullable=False)
        self.method.changed.connect(self._set_method)
        self._form = Form(THRESHOLDS.values(), actions.set_threshold, automatic.values)
        self.look = make_widget(LookOptions.model_fields["look_closer"], automatic.look)
        self.look.changed.connect(actions.set_look_closer)
        self._form.insert(0, self.method)
        self._form.insert(1, self.look)
        self.values = self._form.widgets
        menu_layout(self).addWidget(self._form.native)
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
        self.look.visible = self._automatic.can_look_closer
        self._form.show(THRESHOLDS[method].model_fields if method is not None else ())


class AutomaticPanel(QWidget):
    """``Segment All Objects``, in a region or everywhere, and its parameters."""

    def __init__(self, state: WindowState, automatic: AutomaticState, actions: Actions) -> None:
        super().__init__()
        self._state, self._actions = state, actions
        self.run = action_button(actions, "segment_all")
        self.parameters = FoldedMenu("Parameters of Segment All", lambda: AutomaticParameters(automatic, actions))
        layout = menu_layout(self)
        layout.addWidget(self.run.native)
        layout.addLayout(self._region_row())
        layout.addWidget(self.parameters)
        state.events.session.connect(self._follow)

    def _region_row(self) -> QHBoxLayout:
        """``Segment All`` in a region only: draw it, or clear it."""
        self.region_text = QLabel()
        names = ("draw_region_box", "draw_region_polygon", "clear_region")
        self.region_box, self.region_polygon, self.region_clear = (action_button(self._actions, name) for name in names)
        layout = QHBoxLayout()
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.region_text, 1)
        for button in (self.region_box, self.region_polygon, self.region_clear):
            layout.addWidget(button.native)
        self._show_region()
        return layout

    def _follow(self, session: Session) -> None:
        session.events.region_changed.connect(self._show_region)
        self._show_region()

    def _show_region(self) -> None:
        session = self._state.session
        has_region = session is not None and session.automatic.region is not None
        self.region_text.setText("in the region" if has_region else "in a region:")
        self.region_clear.enabled = has_region
