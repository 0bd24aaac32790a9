"""Training on what was annotated so far, from inside the window.

The training is a process of its own (``background_training``); here its data are collected and written as images and
label images, and its progress is looked at from time to time.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from psygnal import Signal
from qtpy.QtCore import QTimer

from micro_sam.errors import InputError, OutputError
from micro_sam.io.checks import Tool
from micro_sam.sam_annotator.controller.background_training import BackgroundTraining, find_runs, free_name
from micro_sam.sam_annotator.controller.embedding.engine import Engine
from micro_sam.sam_annotator.controller.embedding.preparation import Preparation
from micro_sam.sam_annotator.controller.files.saving import Saving
from micro_sam.sam_annotator.runtime.jobs import WORK, Jobs, Progress
from micro_sam.sam_annotator.state.options import TrainingOptions
from micro_sam.sam_annotator.state.training import RunState, figures
from micro_sam.sam_annotator.state.window import WindowState

LOOK_MS = 500
"""Between two looks at a training in another process."""
POOL = 48
"""Crops that a large frozen encoder sees once, at seconds each on a CPU."""
MIN_OBJECTS = 4
"""Without other images: some to learn from, others to measure on."""


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
        state.events.session.connect(lambda _session: self._find())

    # ------------------------------------------------------------------ actions

    def start(self, **options: Any) -> None:
        """Collect what is committed and start to train on it, with fields of :class:`TrainingOptions`.

        Raises
        ------
        InputError
            When there is too little to learn from, the name is taken, or another training is still running.
        """
        self._state.needed()
        selected = TrainingOptions(**options)
        if self.run is not None and self.is_running:
            raise InputError(f"The training of {self.run.output.name} is still running. Stop it first, or wait.")
        if selected.output.suffix != ".safetensors":
            raise InputError(f"The model is saved as a .safetensors file; {selected.output.name!r} is named otherwise.")
        images = annotated_so_far(self._state)
        check_enough(images)
        run = BackgroundTraining(selected.output)
        self._jobs.start(
            "Collecting what to learn from",
            lambda _job: self._collect(run, images, self._command(selected)),
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

    def close(self) -> None:
        """Look no more; a training goes on."""
        self._timer.stop()

    # ------------------------------------------------------------------ inside

    def _find(self) -> None:
        """Follow the latest training beside the image, unless one is followed already."""
        if self.run is not None:
            return
        runs = find_runs(self._saving.suggested_path().parent)
        if runs:
            self._follow(runs[0])

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


@dataclass(frozen=True)
class Annotated:
    """An image with objects.

    Attributes
    ----------
    name : str
        Unique among those of one training.
    image
        (H, W), (H, W, C) or, of a stack or movie, the same with an axis in front; an array, maybe on disc, or a path.
    labels : numpy.ndarray or pathlib.Path
        (H, W) or (Z, H, W), 0 = background; or the file that they were saved to.
    """

    name: str
    image: Any
    labels: np.ndarray | Path


def annotated_so_far(state: WindowState) -> list[Annotated]:
    """The open image with its committed objects, and the saved results of the other images of a series."""
    found = []
    session, image, series = state.session, state.image, state.series
    if session is not None and image is not None and session.objects:
        found.append(Annotated(file_name(image.name), image.pixels, session.committed.copy()))
    if series is not None:
        for number, entry in enumerate(series.entries):
            if number != series.index and entry.output.exists():
                found.append(Annotated(entry.name, entry.raw, entry.output))
    return found


def file_name(name: str) -> str:
    """A name of an image (a layer may have any) as a file can have it."""
    return re.sub(r"[^\w.-]+", "_", name) or "image"


def write_training_set(folder: Path, images: Sequence[Annotated], tool: Tool) -> Iterator[int]:
    """Writes ``images/NAME.tif`` and ``labels/NAME.tif`` into a folder; yields how many are there.

    Of a stack only the slices with objects are written.

    Raises
    ------
    InputError
        When a saved result does not belong to its image any more.
    OutputError
        When the files cannot be written.
    """
    import tifffile

    from micro_sam.io.labels import load_labels
    from micro_sam.sam_annotator.state.images import open_any

    for done, one in enumerate(images, start=1):
        if isinstance(one.labels, Path):
            opened = open_any(one.image, tool)
            image, labels = opened.pixels, load_labels(one.labels, shape=opened.shape)
        else:
            image, labels = one.image, one.labels
        if labels.ndim == 3:
            slices = np.flatnonzero(labels.any((1, 2)))
            image, labels = np.stack([np.asarray(image[int(z)]) for z in slices]), labels[slices]
        try:
            for kind, array in (("images", np.asarray(image)), ("labels", labels)):
                (folder / kind).mkdir(parents=True, exist_ok=True)
                tifffile.imwrite(folder / kind / f"{one.name}.tif", array, bigtiff=array.nbytes > 2**31)
        except OSError as error:
            raise OutputError(
                f"The images to learn from cannot be written to {folder}: {error.strerror or error}. Choose another "
                "place for the model, or free some space."
            ) from error
        yield done


def count_objects(images: Sequence[Annotated]) -> int:
    """Objects of the open image (those of saved results are not counted: that would mean reading them)."""
    return sum(len(np.unique(one.labels[one.labels > 0])) for one in images if isinstance(one.labels, np.ndarray))


def check_enough(images: Sequence[Annotated]) -> None:
    """Whether there is something to learn from and something to measure on.

    Raises
    ------
    InputError
        One sentence on what is missing.
    """
    if not images:
        raise InputError("There are no committed objects to learn from. Segment some objects and commit them with C.")
    if len(images) == 1 and isinstance(images[0].labels, np.ndarray) and count_objects(images) < MIN_OBJECTS:
        raise InputError(
            f"There are only {count_objects(images)} committed objects in one image; at least {MIN_OBJECTS} are needed "
            "to learn from some and to measure on others. Commit a few more."
        )
