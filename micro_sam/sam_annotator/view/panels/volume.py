"""The whole object, its parameters, the certainty of each slice, and corrections."""

from __future__ import annotations

from typing import Protocol

from psygnal import SignalInstance
from qtpy.QtWidgets import QHBoxLayout, QVBoxLayout, QWidget

from micro_sam.sam_annotator.actions import Actions
from micro_sam.sam_annotator.state.options import VolumeOptions, VolumeThresholds
from micro_sam.sam_annotator.state.window import WindowState
from micro_sam.sam_annotator.view.forms import Form
from micro_sam.sam_annotator.view.panels.confidence_strip import ConfidenceStrip
from micro_sam.sam_annotator.view.panels.parts import action_button, action_switch, folded


class MethodState(Protocol):
    """What the panel reads of the automatic segmentation."""

    @property
    def by_maps(self) -> bool:
        """Whether all slices are segmented by the maps of the volume."""

    @property
    def method_changed(self) -> SignalInstance:
        """Another method was chosen."""


class VolumePanel(QWidget):
    """``Whole object``; the strip shows how certain each slice is, and the object growing."""

    title = "Volume"

    def __init__(self, state: WindowState, actions: Actions, strip: ConfidenceStrip, automatic: MethodState) -> None:
        super().__init__()
        self._state, self._automatic, self.strip = state, automatic, strip
        self.run = action_button(actions, "segment_volume")
        self.weakest = action_button(actions, "go_to_weakest_slice")
        self.correct = action_switch(actions, "correct_by_click", lambda: state.corrects)
        self.all_slices = action_button(actions, "segment_all_slices")
        self.form = Form([VolumeOptions], actions.set_option, dict(state.options or VolumeOptions()))
        self.method, self.iou_threshold = self.form.widgets["method"], self.form.widgets["iou_threshold"]
        self.parameters = folded("Parameters of the whole object", self.form.native)
        self.all_form = Form([VolumeThresholds], actions.set_volume_threshold)
        self.thresholds = self.all_form.widgets
        self.all_parameters = folded("Parameters of Segment All in Volume", self.all_form.native)
        beside = QHBoxLayout()
        beside.setSpacing(3)
        beside.addWidget(self.weakest.native)
        beside.addWidget(self.correct)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(3)
        layout.addWidget(self.run.native)
        layout.addWidget(strip)
        layout.addLayout(beside)
        layout.addWidget(self.parameters)
        layout.addWidget(self.all_slices.native)
        layout.addWidget(self.all_parameters)
        state.events.options.connect(self._show_thresholds)
        automatic.method_changed.connect(self._show_thresholds)
        state.events.corrects.connect(self._show_corrects)
        self._show_thresholds()

    def _show_thresholds(self) -> None:
        self.all_parameters.setVisible(self._automatic.by_maps)

    def _show_corrects(self, on: bool) -> None:
        self.correct.setChecked(on)
