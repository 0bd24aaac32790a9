"""A training in a process of its own: it goes on when the window is closed, and can be found again.

Everything about a run lies in one folder beside the model that it makes: the data, the command, how far it is
(``run.json``) and what it said (``messages.txt``).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from micro_sam.errors import InputError
from micro_sam.io.atomic import remove, replacing
from micro_sam.io.run_file import ask_to_stop, is_alive, read_run, stop_file
from micro_sam.sam_annotator.state.training import RunState

FOLDER = "_training"  # the folder of a run is called after its model


class BackgroundTraining:
    """One run.

    Parameters
    ----------
    output : Path
        The weight file that it makes.
    """

    def __init__(self, output: Path) -> None:
        self.output = output
        self.folder = output.with_name(output.stem + FOLDER)
        self.run_file = self.folder / "run.json"
        self._process: subprocess.Popen[bytes] | None = None

    @contextmanager
    def preparing(self, options: Sequence[str]) -> Iterator[Path]:
        """Makes the folder of a new run, with its command; it appears whole, when the data are in it.

        Parameters
        ----------
        options : Sequence[str]
            Of ``micro_sam.train``, except data and output.

        Yields
        ------
        Path
            The folder that becomes the run's: the data belong below ``images`` and ``labels``.

        Raises
        ------
        InputError
            When there is a model or a run of this name already.
        OutputError
            When the folder cannot be made.
        """
        if self.output.exists() or self.folder.exists():
            there = self.output if self.output.exists() else self.folder
            raise InputError(f"{there} exists already. Choose another name for the model.")
        data = ["-i", str(self.folder / "images"), "-l", str(self.folder / "labels")]
        command = [*data, "-o", str(self.output), "--run_file", str(self.run_file), *options]
        with replacing(self.folder, only_new=True) as (place,):
            place.mkdir()
            (place / "command.json").write_text(json.dumps(command))
            yield place

    def prepare(self, options: Sequence[str]) -> None:
        """Makes the folder of a new run without data; see `preparing`."""
        with self.preparing(options):
            pass

    def start(self) -> None:
        """Starts the process, or takes up a run that was interrupted.

        Raises
        ------
        InputError
            When the run is still going, or its folder holds no command.
        """
        if self.state().state == "running":
            raise InputError(f"The training of {self.output.name} is still running.")
        try:
            command = json.loads((self.folder / "command.json").read_text())
        except (OSError, ValueError) as error:
            raise InputError(f"{self.folder} holds no training that could go on.") from error
        for old in (self.run_file, stop_file(self.run_file)):
            remove(old)
        threads = str(max(1, (os.cpu_count() or 2) - 1))  # one core is left to the user
        environment = {"OMP_NUM_THREADS": threads, **os.environ}
        with open(self.folder / "messages.txt", "w") as messages:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "micro_sam.cli.train", *command],
                stdin=subprocess.DEVNULL,
                stdout=messages,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,  # Ctrl-C in the window's terminal, and its end, are not the training's
            )

    def stop(self) -> None:
        """Asks the run to keep its state and end after the step it is in."""
        ask_to_stop(self.run_file)

    def state(self) -> RunState:
        """How it stands now."""
        ended = self._process is not None and self._process.poll() is not None
        content = read_run(self.run_file)
        state = content.get("state", "")
        if state in ("", "starting", "running"):
            waits = self._process is not None and not ended
            state = "running" if waits or (not ended and is_alive(self.run_file)) else "killed"
        return RunState(
            state,
            int(content.get("step") or 0),
            int(content.get("steps") or 0),
            content.get("seconds_left"),
            tuple(content.get("validations") or ()),
            content.get("error") or "",
        )

    def last_words(self) -> str:
        """The last line that the process wrote, for a run that ended without a result."""
        try:
            lines = (self.folder / "messages.txt").read_text(errors="replace").replace("\r", "\n").splitlines()
        except OSError:
            return ""
        return next((line.strip() for line in reversed(lines) if line.strip()), "")


def find_runs(folder: Path) -> list[BackgroundTraining]:
    """The runs whose models are (or will be) in a folder, the latest first."""
    try:
        files = sorted(folder.glob(f"*{FOLDER}/command.json"), key=lambda path: path.stat().st_mtime, reverse=True)
    except OSError:
        return []
    names = (path.parent.name.removesuffix(FOLDER) for path in files)
    return [BackgroundTraining(folder / f"{name}.safetensors") for name in names]


def free_name(folder: Path, stem: str) -> Path:
    """A weight file that neither is there nor is being made."""
    number, name = 1, f"{stem}_model"
    while (folder / f"{name}.safetensors").exists() or (folder / (name + FOLDER)).exists():
        number += 1
        name = f"{stem}_model_{number}"
    return folder / f"{name}.safetensors"
