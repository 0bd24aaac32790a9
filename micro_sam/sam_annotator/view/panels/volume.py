"""The whole object, its parameters, the certainty of each slice, and corrections."""

from __future__ import annotations

from typing import TYPE_CHECKING

from magicgui.widgets import ComboBox, Container, FloatSlider, FloatSpinBox
from qtpy.QtWidgets import QHBoxLayout, QPushButton, QVBoxLayout, QWidget

from micro_sam.sam_annotator.controller.automatic_volume import PARAMETERS
from micro_sam.sam_annotator.view.panels.automatic import threshold
from micro_sam.sam_annotator.view.panels.confidence_strip import ConfidenceStrip
from micro_sam.sam_annotator.view.panels.parts import button, folded
from micro_sam.sam_annotator.view.panels.prompts import CHECKED

if TYPE_CHECKING:
    from micro_sam.sam_annotator.annotator_3d import Annotator3D

PROJECTIONS = [
    ("default", "default"),
    ("box", "box"),
    ("mask", "mask"),
    ("points", "points"),
    ("points and mask", "points_and_mask"),
    ("single point", "single_point"),
]
METHODS = [("auto", "auto"), ("maps", "maps"), ("propagation", "propagation")]
INTERPOLATIONS = [("where the object is lost", "lost"), ("never", "never"), ("always", "always")]


class VolumeMenu(QWidget):
    """``Whole object`` (key ``v``); the strip shows how certain each slice is, and the object growing."""

    title = "Volume"

    def __init__(self, annotator: Annotator3D) -> None:
        super().__init__()
        self._annotator = annotator
        self.run = button(
            "Whole object [V]",
            "The current object(s) in all slices: at once where whole objects are prepared, else from slice to slice.",
            annotator.segment_volume,
            primary=True,
        )
        self.strip = ConfidenceStrip(annotator)
        self.weakest = QPushButton("Least certain [W]")
        self.weakest.setToolTip("Go to the slice of the current object that is worth a look first.")
        self.weakest.clicked.connect(lambda: annotator.go_to_weakest_slice())
        self.correct = QPushButton("Correct object [O]")
        self.correct.setCheckable(True)
        self.correct.setStyleSheet(CHECKED)
        self.correct.setToolTip(
            "Then click a committed object: it opens again with its prompts. Key O does it for the object under the "
            "mouse."
        )
        self.correct.clicked.connect(lambda checked: annotator.correct_by_click(checked))
        self.all_slices = button(
            "Segment All in Volume",
            "Find the objects of the whole volume: by its maps where the model has them, else slice by slice with the "
            "method and thresholds of Segment All Objects.",
            annotator.segment_all_slices,
        )
        options = annotator.volume_options
        self.method = ComboBox(
            choices=METHODS,
            value=options.method,
            label="method",
            tooltip="maps: the whole object at once, from all slices together. propagation: from slice to slice. "
            "auto: maps where they are ready, else propagation.",
        )
        self.iou_threshold = FloatSlider(
            value=options.iou_threshold,
            min=0.0,
            max=1.0,
            step=0.01,
            label="stop below overlap",
            tooltip="The object ends where its overlap with the slice before is lower. Lower it to go further.",
        )
        self.projection = ComboBox(
            choices=PROJECTIONS,
            value=options.projection,
            label="projection",
            tooltip="How the object in one slice prompts the next one.",
        )
        self.box_extension = FloatSpinBox(
            value=options.box_extension,
            min=0.0,
            max=500.0,
            step=0.05,
            label="grow boxes by",
            tooltip="Below 1: a fraction of the box; from 1 on: pixels. For objects that grow fast.",
        )
        self.interpolation = ComboBox(
            choices=INTERPOLATIONS,
            value=options.interpolation,
            label="interpolate",
            tooltip="Between two prompted slices, the shape is interpolated where the model loses the object, never, "
            "or always (no model is asked).",
        )
        self.form = Container(
            widgets=[self.method, self.iou_threshold, self.projection, self.box_extension, self.interpolation],
            labels=True,
        )
        self.form.margins = (0, 0, 0, 0)
        for name in ("method", "iou_threshold", "projection", "box_extension", "interpolation"):
            getattr(self, name).changed.connect(lambda value, name=name: self._set(name, value))
        self.parameters = folded("Parameters of the whole object", self.form.native)
        automatic = annotator.automatic_volume
        self.thresholds = {p.name: threshold(p, automatic.set_value) for p in PARAMETERS}
        self.all_form = Container(widgets=list(self.thresholds.values()), labels=True)
        self.all_form.margins = (0, 0, 0, 0)
        self.all_parameters = folded("Parameters of Segment All in Volume", self.all_form.native)
        annotator.automatic.method_changed.connect(lambda _: self._show_thresholds())
        beside = QHBoxLayout()
        beside.setSpacing(3)
        beside.addWidget(self.weakest)
        beside.addWidget(self.correct)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(3)
        layout.addWidget(self.run.native)
        layout.addWidget(self.strip)
        layout.addLayout(beside)
        layout.addWidget(self.parameters)
        layout.addWidget(self.all_slices.native)
        layout.addWidget(self.all_parameters)
        annotator.tool_changed.connect(self._show_tool)
        self._show_thresholds()

    def _set(self, name: str, value: object) -> None:
        self._annotator.set_volume_option(name, value)
        self._show_thresholds()

    def _show_thresholds(self) -> None:
        self.all_parameters.setVisible(self._annotator.automatic_volume.by_maps)

    def _show_tool(self) -> None:
        self.correct.setChecked(self._annotator.corrects_by_click)
