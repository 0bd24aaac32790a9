"""Train a model on what was annotated so far."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from psygnal import SignalInstance
from qtpy.QtWidgets import QLabel, QProgressBar, QWidget

from micro_sam.sam_annotator.actions import Actions
from micro_sam.sam_annotator.state.options import TrainingOptions
from micro_sam.sam_annotator.state.status import duration
from micro_sam.sam_annotator.state.training import RunState, figures
from micro_sam.sam_annotator.state.window import WindowState
from micro_sam.sam_annotator.view.forms import Form
from micro_sam.sam_annotator.view.panels.parts import action_button, button, menu_layout, row


class TrainingState(Protocol):
    """What the panel reads."""

    state: RunState | None

    @property
    def output(self) -> Path | None:
        """The weight file that the training makes."""

    @property
    def is_running(self) -> bool:
        """Whether it goes on."""

    @property
    def is_used(self) -> bool:
        """Whether its model is the one in use."""

    @property
    def changed(self) -> SignalInstance:
        """It was started or found, moved on, or ended."""

    def suggested_output(self) -> Path:
        """A free name for a weight file."""


class TrainingPanel(QWidget):
    """``Train``: starts, stops and takes up a training, shows how far it is, and offers the model that it made."""

    def __init__(self, state: WindowState, actions: Actions, training: TrainingState) -> None:
        super().__init__()
        self._state, self._actions, self._training = state, actions, training
        self.form = Form([TrainingOptions])
        self.output, self.trainable = self.form.widgets["output"], self.form.widgets["trainable"]
        self.steps = self.form.widgets["steps"]
        start = actions["start_training"]
        self.start = button(start.caption, start.tip, self._start)
        self.stop = action_button(actions, "stop_training")
        self.go_on = action_button(actions, "continue_training")
        self.use = action_button(actions, "use_trained_model")
        self.progress = QProgressBar()
        self.text = QLabel()
        self.text.setWordWrap(True)
        layout = menu_layout(self)
        for widget in (self.form.native, row(self.start, self.stop, self.go_on).native, self.progress, self.text):
            layout.addWidget(widget)
        layout.addWidget(self.use.native)
        state.events.session.connect(self._suggest)
        training.changed.connect(self._show)
        if state.session is not None:
            self._suggest()
        self._show()

    def _suggest(self) -> None:
        self.output.value = self._training.suggested_output()
        is_nano = (self._state.settings.model_type or "nano").startswith("nano")
        self.trainable.value = "full" if is_nano else "decoder"

    def _start(self) -> None:
        self._actions.start_training(**self.form.values())

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
        self.text.setText(f"{training.output.name if training.output else ''}: {_words(state)}")
        self.text.setToolTip(str(training.output or ""))
        if not running and state.state == "done":
            self.output.value = training.suggested_output()


def _words(state: RunState) -> str:
    known = figures(state)
    if state.state == "running":
        return known or "training"
    if state.can_go_on:
        return f"stopped after {state.step} steps" if state.step else "interrupted before the first step"
    if state.state == "failed":
        return f"failed. {state.error}"
    return f"done. {known}"
