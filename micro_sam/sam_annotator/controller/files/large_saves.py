"""Saving labels that lie in a file: in a thread what was written is copied, and saved, and the window goes on."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from micro_sam.errors import InputError
from micro_sam.io.label_arrays import new_labels, written_pieces
from micro_sam.io.labels import save_labels
from micro_sam.sam_annotator.runtime.jobs import Jobs, Progress
from micro_sam.sam_annotator.state.window import WindowState, image_of

LANE = "autosave"  # both never write at the same time
ROWS = 256  # of the labels, that are copied at once


class LargeSave:
    """Saves the committed objects of a window in a job.

    Parameters
    ----------
    state, jobs
        Of the window.
    on_written
        Called in the window's thread with the path, when the file holds all objects as they are.
    plan_also
        Called in the window's thread; what it returns writes in the job what lies beside the labels.
    """

    def __init__(
        self,
        state: WindowState,
        jobs: Jobs,
        on_written: Callable[[Path], object],
        plan_also: Callable[[], Callable[[Path, np.ndarray], object]] | None = None,
    ) -> None:
        self._state, self._jobs = state, jobs
        self._on_written = on_written
        self._plan_also = plan_also
        self._changes = 0
        self._number = 0  # of the save that counts
        self._writing = threading.Lock()

    def labels_changed(self) -> None:
        """Committed objects changed: what is being copied is no longer one state."""
        self._changes += 1

    @contextlib.contextmanager
    def given_up(self) -> Iterator[None]:
        """While something else writes the file: a running job ends first, and one that has not begun leaves it."""
        self._number += 1
        with self._writing:
            yield

    def start(self, path: Path, replace_unmarked: bool) -> None:
        """Begin to save.

        Raises
        ------
        InputError
            When objects are being saved.
        """
        if self._jobs.running(LANE) is not None:
            raise InputError("The objects are being saved already. Wait a moment, then save again.")
        self._number += 1
        self._state.status.say(f"Saving the objects in {path.name}. You can go on meanwhile.")
        self._copy(path, replace_unmarked)

    def _copy(self, path: Path, replace_unmarked: bool) -> None:
        session, changes, number = self._state.needed(), self._changes, self._number

        def steps(_job: Any) -> Generator[Any, None, np.ndarray]:
            yield Progress("Copying the objects")
            return copied(session.committed)

        def done(copy: np.ndarray) -> None:
            if not self._state.shows(session) or number != self._number:
                return
            if changes != self._changes or session.steps.is_writing:
                self._copy(path, replace_unmarked)
            else:
                self._write(path, copy, changes, replace_unmarked)

        self._jobs.start("Saving", steps, lane=LANE, on_done=done)

    def _write(self, path: Path, copy: np.ndarray, changes: int, replace_unmarked: bool) -> None:
        state, number = self._state, self._number
        session, scale = state.needed(), image_of(state).scale
        write_also = None if self._plan_also is None else self._plan_also()

        def steps(_job: Any) -> Generator[Any, None, Path | None]:
            yield Progress("Saving")
            with self._writing:
                if number != self._number:
                    return None
                written = write_labels(path, copy, scale, replace_unmarked=replace_unmarked)
                if write_also is not None:
                    write_also(written, copy)
                return written

        def done(written: Path | None) -> None:
            if written is None or not state.shows(session):
                return
            if changes == self._changes:
                self._on_written(written)
            else:
                state.status.say(f"Saved in {written}, without what you changed meanwhile: save again for that.")

        self._jobs.start("Saving", steps, lane=LANE, on_done=done)


def copied(labels: np.ndarray) -> np.ndarray:
    """The same labels in an array of their own; of one that lies in a file, only what was written is read."""
    copy = new_labels(labels.shape, labels.dtype)
    for where, part in written_pieces(labels, ROWS):
        np.copyto(copy[where], part, where=part != 0)
    return copy


def with_suffix(path: Path) -> Path:
    """The path of labels; a name without suffix means tif."""
    return path if path.suffix else path.with_suffix(".tif")


def write_labels(
    path: Path,
    labels: np.ndarray,
    scale: tuple[float, ...] | None = None,
    kind: str = "labels",
    replace_unmarked: bool = False,
) -> Path:
    """Write labels; the suffix chooses the format, none means tif. See `save_labels`."""
    return save_labels(with_suffix(path), labels, scale, kind=kind, replace_unmarked=replace_unmarked)
