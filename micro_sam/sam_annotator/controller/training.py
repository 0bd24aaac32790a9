"""Training on what was annotated so far, from inside the window.

The training is a process of its own (``background_training``); here its data are collected, and its progress is looked
at from time to time.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

from psygnal import Signal
from qtpy.QtCore import QTimer

from micro_sam.errors import InputError
from micro_sam.sam_annotator.controller.background_training import BackgroundTraining, find_runs, free_name
from micro_sam.sam_annotator.controller.engine import Engine
from micro_sam.sam_annotator.controller.preparation import Preparation
from micro_sam.sam_annotator.controller.saving import Saving
from micro_sam.sam_annotator.controller.training_set import (
    Annotated,
    annotated_so_far,
    check_enough,
    file_name,
    write_training_set,
)
from micro_sam.sam_annotator.runtime.jobs import WORK, Jobs, Progress
from micro_sam.sam_annotator.state.options import TrainingOptions
from micro_sam.sam_annotator.state.training import RunState, figures
from micro_sam.sam_annotator.state.window import WindowState

LOOK_MS = 500
"""Between two looks at a training in another process."""
POOL = 48
"""Crops that a large frozen encoder sees once, at seconds each on a CPU."""


class Training:
    """The training of one window.

    Attributes
    ----------
    run : BackgroundTraining | None
        The training that is followed.
    state : RunState | None
        How it stood at the last look.

    Signals
    -------
    changed
        A training was started or found, moved on, or ended.
    """

    changed = Signal()

    def __init__(
        self, state: WindowState, jobs: Jobs, engine: Engine, saving: Saving, preparation: Preparation
    ) -> None:
        self._state, self._jobs, self._engine = state, jobs, engine
        self._saving, self._preparation = saving, preparation
        self.run: BackgroundTraining | None = None
        self.state: RunState | None = None
        self._timer = QTimer()
        self._timer.setInterval(LOOK_MS)
        self._timer.timeout.connect(self._look)

    # ------------------------------------------------------------------ actions

    def start(self, **options: Any) -> None:
        """Collect what is committed and start to train on it, with fields of :class:`TrainingOptions`.

        Raises
        ------
        InputError
            When there is too little to learn from, the name is taken, or another training is still running.
        """
        self._state.needed()
        chosen = TrainingOptions(**options)
        if self.run is not None and self.is_running:
            raise InputError(f"The training of {self.run.output.name} is still running. Stop it first, or wait.")
        if chosen.output.suffix != ".safetensors":
            raise InputError(f"The model is saved as a .safetensors file; {chosen.output.name!r} is named otherwise.")
        images = annotated_so_far(self._state)
        check_enough(images)
        run = BackgroundTraining(chosen.output)
        self._jobs.start(
            "Collecting what to learn from",
            lambda _job: self._collect(run, images, self._command(chosen)),
            lane=WORK,
            on_done=lambda _: self._begin(run),
        )

    def go_on(self) -> None:
        """Take up a training that was stopped or killed."""
        if self.run is None or self.state is None or not self.state.can_go_on:
            raise InputError("There is no training that was interrupted.")
        self._begin(self.run)

    def stop(self) -> None:
        """Ask the training to end after the step it is in; it can go on later."""
        if self.run is not None and self.is_running:
            self.run.stop()
            self._state.status.say("The training stops after this step. It can go on later where it stopped.")

    def use(self) -> None:
        """Work with the model that was trained, in this window."""
        if self.run is None or self.state is None or self.state.state != "done":
            raise InputError("There is no trained model yet.")
        # embeddings on disc belong to the former model and would be refused
        path = str(self.run.output)
        settings = self._state.settings.changed(model_type=None, checkpoint_path=path, embedding_path=None)
        settings.check()
        if self._state.series is not None:
            self._state.series = self._state.series.without_caches()
        self._preparation.change_settings(settings)
        self.changed.emit()

    # ------------------------------------------------------------------ for the menu

    @property
    def output(self) -> Path | None:
        """The weight file that the training makes."""
        return None if self.run is None else self.run.output

    @property
    def is_running(self) -> bool:
        """Whether a training goes on."""
        return self.state is not None and self.state.state == "running"

    @property
    def is_used(self) -> bool:
        """Whether the model of the training is the one in use."""
        used = self._state.settings.checkpoint_path
        return self.run is not None and used is not None and Path(used) == self.run.output

    def suggested_output(self) -> Path:
        """A free name beside the image."""
        suggestion = self._saving.suggested_path()
        image = self._state.image
        return free_name(suggestion.parent, file_name(image.name) if image is not None else "my")

    def find(self) -> None:
        """Follow the latest training beside the image, unless one is followed already."""
        if self.run is not None:
            return
        runs = find_runs(self._saving.suggested_path().parent)
        if runs:
            self._follow(runs[0])

    def close(self) -> None:
        """Look no more; a training goes on."""
        self._timer.stop()

    # ------------------------------------------------------------------ inside

    def _command(self, options: TrainingOptions) -> list[str]:
        settings, predictor = self._state.settings, self._engine.predictor
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
            for done in write_training_set(folder, images, self._state.tool.name):
                yield Progress("Collecting what to learn from", done, len(images))

    def _begin(self, run: BackgroundTraining) -> None:
        run.start()
        self._follow(run)
        self._state.status.say(
            f"The training has started; you can go on annotating. It goes on when this window is closed, and makes "
            f"{run.output.name}."
        )

    def _follow(self, run: BackgroundTraining) -> None:
        self.run, self.state = run, run.state()
        if self.is_running:
            self._timer.start()
        self.changed.emit()

    def _look(self) -> None:
        if self.run is None:
            return
        before, self.state = self.state, self.run.state()
        if not self.is_running:
            self._timer.stop()
            self._tell(self.run, self.state)
        if self.state != before:
            self.changed.emit()

    def _tell(self, run: BackgroundTraining, state: RunState) -> None:
        say, name = self._state.status.say, run.output.name
        if state.state == "done":
            say(f"{name} is trained: {figures(state)}. Press 'Use the new model' to work with it.", "good")
        elif state.state == "failed":
            say(f"The training of {name} failed: {state.error}", "error")
        elif state.state == "stopped":
            say(f"The training of {name} stopped after {state.step} of {state.steps} steps; 'Go on' takes it up again.")
        else:
            words = run.last_words()
            say(f"The training of {name} ended without a result ({words or 'it was killed'}). 'Go on' takes it up.")
