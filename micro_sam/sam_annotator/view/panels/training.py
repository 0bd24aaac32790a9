"""Train a model on what was annotated so far."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from magicgui.widgets import CheckBox, ComboBox, Container, FileEdit, SpinBox
from qtpy.QtWidgets import QLabel, QProgressBar, QVBoxLayout, QWidget

from micro_sam.sam_annotator.controller.loading import duration
from micro_sam.sam_annotator.controller.training import TrainingOptions, figures
from micro_sam.sam_annotator.view.panels.parts import button, row

if TYPE_CHECKING:
    from micro_sam.sam_annotator.controller.annotator import Annotator

WHAT = {"whole model": "full", "decoder only": "decoder", "decoder and adapters": "lora"}


class TrainingMenu(QWidget):
    """``Train``: starts, stops and takes up a training, shows how far it is, and offers the model that it made."""

    def __init__(self, annotator: Annotator) -> None:
        super().__init__()
        self._annotator = annotator
        self._training = annotator.training
        self.output = FileEdit(label="model file", mode="w", tooltip="The weight file to make (.safetensors).")
        self.trainable = ComboBox(
            choices=list(WHAT.items()),
            label="learns",
            tooltip="The decoder alone is much faster with the large models (vit_b, vit_l, vit_h).",
        )
        self.steps = SpinBox(value=150, min=1, max=100_000, label="steps", tooltip="More steps learn more.")
        self.complete = CheckBox(
            text="all objects are committed",
            tooltip="In every annotated image or slice. If not, what is left is not taken for background.",
        )
        self.form = Container(widgets=[self.output, self.trainable, self.steps, self.complete], labels=True)
        self.form.margins = (0, 0, 0, 0)
        self.start = button("Train on what is committed", "In the background; you can go on annotating.", self._start)
        self.stop = button("Stop", "After this step. It can go on later.", annotator.stop_training)
        self.go_on = button("Go on", "Take the training up where it stopped.", annotator.continue_training)
        self.use = button(
            "Use the new model", "In this window, from now on.", annotator.use_trained_model, primary=True
        )
        self.progress = QProgressBar()
        self.text = QLabel()
        self.text.setWordWrap(True)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        for widget in (self.form.native, row(self.start, self.stop, self.go_on).native, self.progress, self.text):
            layout.addWidget(widget)
        layout.addWidget(self.use.native)
        annotator.session_changed.connect(lambda _session: self._suggest())
        self._training.changed.connect(self._show)
        self._show()

    def _suggest(self) -> None:
        self.output.value = self._training.suggested_output()
        shipped = (self._annotator.settings.model_type or "nano").startswith("nano")
        self.trainable.value = "full" if shipped else "decoder"
        self._training.find()

    def _start(self) -> None:
        options = TrainingOptions(
            Path(self.output.value), self.trainable.value, self.steps.value, bool(self.complete.value)
        )
        self._annotator.start_training(options)

    def _show(self) -> None:
        training, state = self._training, self._training.state
        running = training.is_running
        self.start.visible = not running
        self.stop.visible = running
        self.go_on.visible = state is not None and state.can_go_on
        self.use.visible = state is not None and state.state == "done" and not training.is_used
        self.progress.setVisible(running)
        self.text.setVisible(state is not None)
        if state is None:
            return
        self.progress.setRange(0, state.steps)
        self.progress.setValue(state.step)
        left = f", {duration(state.seconds_left)} left" if state.seconds_left else ""
        self.progress.setFormat(f"step {state.step} of {state.steps}{left}" if state.steps else "starting")
        self.text.setText(f"{training.run.output.name}: {_words(state)}")
        self.text.setToolTip(str(training.run.output))
        if not running and state.state == "done":
            self.output.value = training.suggested_output()


def _words(state) -> str:
    known = figures(state)
    if state.state == "running":
        return known or "training"
    if state.can_go_on:
        return f"stopped after {state.step} steps" if state.step else "interrupted before the first step"
    if state.state == "failed":
        return f"failed. {state.error}"
    return f"done. {known}"
