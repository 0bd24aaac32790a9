"""What a long run in a process of its own tells the window that started it, or another one that comes later.

A run writes one small JSON file: how far it is, its last figures, and how it ended. Whoever reads it needs no pipe, so
the run survives the window, and no process id, which another program may have got meanwhile: the file's time is the
heartbeat. A second file beside it asks the run to stop.
"""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path
from typing import Any

from micro_sam.io.atomic import write_bytes
from micro_sam.io.results import KEY, check_result, mark

HEARTBEAT = 2.0  # seconds between two signs of life
SILENCE = 30.0  # seconds without one after which a run is taken for killed


class RunFile:
    """The writer's side; use it as a context.

    Parameters
    ----------
    path : Path
        The file; its folder is made.

    Raises
    ------
    OutputError
        When something else than notes on an earlier run is there.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._stop = threading.Event()
        self._beat = threading.Thread(target=self._live, name="micro_sam heartbeat", daemon=True)

    def __enter__(self) -> RunFile:
        check_result(self.path, "run")
        self.write(state="starting")
        self._beat.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._beat.join()
        stop_file(self.path).unlink(missing_ok=True)

    def write(self, **content: Any) -> None:
        """Replaces the content (values that JSON knows); a reader sees the old or the new one, nothing between."""
        write_bytes(self.path, json.dumps({KEY: mark("run"), **content}).encode(), durable=False)

    @property
    def must_stop(self) -> bool:
        """Whether somebody asked the run to stop."""
        return stop_file(self.path).exists()

    def _live(self) -> None:
        while not self._stop.wait(HEARTBEAT):
            try:
                os.utime(self.path)
            except OSError:  # replaced or removed just now
                continue


def read_run(path: str | os.PathLike[str]) -> dict[str, Any]:
    """What a run wrote last; empty when there is none."""
    try:
        content = json.loads(Path(path).read_text())
    except (OSError, ValueError):
        return {}
    return {name: value for name, value in content.items() if name != KEY} if isinstance(content, dict) else {}


def is_alive(path: str | os.PathLike[str], silence: float = SILENCE) -> bool:
    """Whether a run gave a sign of life in the last ``silence`` seconds (a finished one gives none)."""
    try:
        return time.time() - Path(path).stat().st_mtime < silence
    except OSError:
        return False


def ask_to_stop(path: str | os.PathLike[str]) -> None:
    """Asks the run that writes ``path`` to keep its state and end after the step it is in."""
    stop_file(Path(path)).touch()


def stop_file(path: Path) -> Path:
    """The file that asks a run to stop."""
    return path.with_name(path.name + ".stop")
