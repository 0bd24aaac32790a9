"""Training on what was annotated so far, from inside the window.

The run is a process of its own (``background_training``); here its data are collected, and its progress is looked at
from time to time.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from psygnal import Signal
from qtpy.QtCore import QTimer

from micro_sam.errors import InputError
from micro_sam.sam_annotator.controller.background_training import BackgroundTraining, RunState, find_runs, free_name
from micro_sam.sam_annotator.controller.training_set import (
    Annotated,
    annotated_so_far,
    check_enough,
    file_name,
    write_training_set,
)
from micro_sam.sam_annotator.runtime.jobs import WORK, Progress

if TYPE_CHECKING:
    from micro_sam.sam_annotator.controller.annotator import Annotator

LOOK_MS = 500
"""Between two looks at a run in another process."""
POOL = 48
"""Crops that a large frozen encoder sees once, at seconds each on a CPU."""


@dataclass(frozen=True)
class TrainingOptions:
    """What the person chose.

    Attributes
    ----------
    output : Path
        The weight file to make.
    trainable : str
        "full", "decoder" or "lora", see ``micro_sam.training.TrainConfig``.
    steps : int
        Optimiser steps.
    complete : bool
        Whether every object of the annotated images (slices) is committed.
    """

    output: Path
    trainable: str = "full"
    steps: int = 150
    complete: bool = False


class Training:
    """The training of one window.

    Attributes
    ----------
    run : BackgroundTraining | None
        The run that is followed.
    state : RunState | None
        How it stood at the last look.

    Signals
    -------
    changed
        A run was started or found, moved on, or ended.
    """

    changed = Signal()

    def __init__(self, annotator: Annotator) -> None:
        self._annotator = annotator
        self.run: BackgroundTraining | None = None
        self.state: RunState | None = None
        self._timer = QTimer()
        self._timer.setInterval(LOOK_MS)
        self._timer.timeout.connect(self._look)

    # ------------------------------------------------------------------ acts

    def start(self, options: TrainingOptions) -> None:
        """Collect what is committed and start to train on it.

        Raises
        ------
        InputError
            When there is too little to learn from, the name is taken, or another training is still running.
        """
        if self.is_running:
            raise InputError(f"The training of {self.run.output.name} is still running. Stop it first, or wait.")
        if options.output.suffix != ".safetensors":
            raise InputError(f"The model is saved as a .safetensors file; {options.output.name!r} is named otherwise.")
        images = annotated_so_far(self._annotator)
        check_enough(images)
        run = BackgroundTraining(options.output)
        self._annotator.jobs.start(
            "Collecting what to learn from",
            lambda _job: self._collect(run, images, self._command(options)),
            lane=WORK,
            on_done=lambda _: self._begin(run),
        )

    def go_on(self) -> None:
        """Take up a run that was stopped or killed."""
        if self.run is None or self.state is None or not self.state.can_go_on:
            raise InputError("There is no training that was interrupted.")
        self._begin(self.run)

    def stop(self) -> None:
        """Ask the run to end after the step it is in; it can go on later."""
        if self.is_running:
            self.run.stop()
            self._annotator.status.say("The training stops after this step. It can go on later where it stopped.")

    def use(self) -> None:
        """Work with the model that was trained, in this window."""
        if self.run is None or self.state is None or self.state.state != "done":
            raise InputError("There is no trained model yet.")
        # embeddings on disc belong to the former model and would be refused
        settings = self._annotator.settings.changed(
            model_type=None, checkpoint_path=str(self.run.output), embedding_path=None
        )
        settings.check()
        if self._annotator.series is not None:
            self._annotator.series.keep_embeddings_in_memory()
        self._annotator.change_settings(settings)
        self.changed.emit()

    # ------------------------------------------------------------------ for the menu

    @property
    def is_running(self) -> bool:
        """Whether a run is at work."""
        return self.state is not None and self.state.state == "running"

    @property
    def is_used(self) -> bool:
        """Whether the model of the run is the one in use."""
        used = self._annotator.settings.checkpoint_path
        return self.run is not None and used is not None and Path(used) == self.run.output

    def suggested_output(self) -> Path:
        """A free name beside the image."""
        suggestion = self._annotator.saving.suggested_path()
        image = self._annotator.image
        return free_name(suggestion.parent, file_name(image.name) if image is not None else "my")

    def find(self) -> None:
        """Follow the latest run beside the image, unless one is followed already."""
        if self.run is not None:
            return
        runs = find_runs(self._annotator.saving.suggested_path().parent)
        if runs:
            self._follow(runs[0])

    def close(self) -> None:
        """Look no more; a run goes on."""
        self._timer.stop()

    # ------------------------------------------------------------------ inside

    def _command(self, options: TrainingOptions) -> list[str]:
        settings, predictor = self._annotator.settings, self._annotator.engine.predictor
        command = ["--trainable", options.trainable, "--steps", str(options.steps), "--batch_size", "2"]
        if settings.checkpoint_path:
            command += ["-c", str(settings.checkpoint_path)]
        else:
            command += ["-m", str(settings.model_type)]
        if settings.device:
            command += ["-d", settings.device]
        if not options.complete:
            command.append("--incomplete")
        on_cpu = predictor is not None and predictor.device.type == "cpu"
        if options.trainable == "decoder" and on_cpu:
            command += ["--pool", str(POOL)]
        return command

    def _collect(
        self, run: BackgroundTraining, images: Sequence[Annotated], command: list[str]
    ) -> Generator[Any, None, None]:
        with run.preparing(command) as folder:
            for done in write_training_set(folder, images, self._annotator.tool):
                yield Progress("Collecting what to learn from", done, len(images))

    def _begin(self, run: BackgroundTraining) -> None:
        run.start()
        self._follow(run)
        self._annotator.status.say(
            f"The training has started; you can go on annotating. It goes on when this window is closed, and makes "
            f"{run.output.name}."
        )

    def _follow(self, run: BackgroundTraining) -> None:
        self.run, self.state = run, run.state()
        if self.is_running:
            self._timer.start()
        self.changed.emit()

    def _look(self) -> None:
        before, self.state = self.state, self.run.state()
        if not self.is_running:
            self._timer.stop()
            self._tell(self.state)
        if self.state != before:
            self.changed.emit()

    def _tell(self, state: RunState) -> None:
        say, name = self._annotator.status.say, self.run.output.name
        if state.state == "done":
            say(f"{name} is trained: {figures(state)}. Press 'Use the new model' to work with it.", "good")
        elif state.state == "failed":
            say(f"The training of {name} failed: {state.error}", "error")
        elif state.state == "stopped":
            say(f"The training of {name} stopped after {state.step} of {state.steps} steps; 'Go on' takes it up again.")
        else:
            words = self.run.last_words()
            say(f"The training of {name} ended without a result ({words or 'it was killed'}). 'Go on' takes it up.")


def figures(state: RunState) -> str:
    """How good the model is on what it did not learn from, before and now; empty without measurements."""
    from micro_sam.training.validation import score

    rows = [row for row in state.validations if row.get("click") is not None]
    if not rows:
        return ""
    best = max(rows[1:] or rows, key=score)
    parts = (f"{text} {rows[0][name]:.2f} → {best[name]:.2f}" for name, text in NAMES.items())
    return "IoU of " + ", ".join(parts)


NAMES = {"click": "a click", "box": "a box", "corrected": "two corrections"}
