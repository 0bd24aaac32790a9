"""What workers do in the tests; workers import this by its name."""

import contextlib
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from micro_sam.errors import InputError, ModelError


@dataclass(frozen=True)
class Source:
    """In place of a model: a number, or an error in the first processes that load it."""

    folder: str
    unfit: int = 0

    def load(self):
        (Path(self.folder) / f"loaded_{os.getpid()}").touch()
        for k in range(self.unfit):
            with contextlib.suppress(FileExistsError):
                (Path(self.folder) / f"unfit_{k}").touch(exist_ok=False)  # one process alone succeeds
                raise ModelError("The weights are not here.")
        return 7


def double(model, task):
    assert model == 7
    return 2 * task


def fail_at_odd(model, task):
    if task % 4 == 1:
        raise InputError(f"{task} cannot be read.")
    if task % 4 == 3:
        raise ZeroDivisionError("by zero\nin detail")
    return task


def die_often(model, task):
    """Ends its process the first five times."""
    folder, number = task
    times = Path(folder) / f"times_{number}"
    with open(times, "a") as file:
        file.write("x")
    if len(times.read_text()) <= 5:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def slow(model, task):
    time.sleep(0.02)
    return task


def pid_and_threads(model, task):
    import torch

    return os.getpid(), os.environ["OMP_NUM_THREADS"], torch.get_num_threads()
