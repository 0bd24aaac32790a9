"""A real window that works at random until it is killed, for ``faults_journal.py --windows``.

As a program (with a screen; ``MICRO_SAM_TEST_WM=1`` starts a window manager): opens a window with the shipped model and
clicks, commits, paints, propagates, undoes and redoes with mouse and keys. It tells each state that is in the journal
(``P ID CHECKSUM``), what is on disc (``R ID``), and which commits the status line has reported (``S ID``).

    python benchmarks/journal_windows.py KIND SEED FOLDER [--again]
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from journal_sessions import digest, make_session

ROOT = Path(__file__).parents[1]
FUNCTIONS = {"2d": "annotator_2d", "3d": "annotator_3d", "tracking": "annotator_tracking"}
READY = 180.0  # seconds within which a window must be ready on a busy machine


def image_of(kind: str) -> np.ndarray:
    """What the window shows: a part of real coins, of a volume of nuclei, of a made movie."""
    from micro_sam.sample_data import open_sample

    if kind == "2d":
        return open_sample("coins").image[:160, :200]
    if kind == "3d":
        return open_sample("nuclei_volume").image[10:15, :128, :128]
    from micro_sam.sample_data.synthetic import dividing_cells

    return dividing_cells((20, 128, 128), n_cells=4, n_divisions=1, seed=1)[0][:5]


# ---------------------------------------------------------------------- in the window's process


def work(kind: str, seed: int, folder: Path, again: bool) -> None:
    """Open the window and work in it, or tell what came back (`again`)."""
    sys.path.insert(0, str(ROOT / "test"))
    import napari
    from qtpy.QtCore import QTimer
    from window import driver

    from micro_sam import sam_annotator
    from micro_sam.sam_annotator import get_annotator
    from micro_sam.sam_annotator import launch as starting

    run = starting.napari.run

    def start() -> None:
        tool = get_annotator(napari.current_viewer())
        assert driver.wait_until(lambda: tool.session.model.embeddings is not None and not tool.engine.busy, READY)
        if again:
            tell(f"P {tool.session.keeper.journal.last_id} {digest(tool.session)}")
            os._exit(0)
        driver.place(tool.viewer)
        _listen(tool)
        rng = random.Random(seed)
        tell("READY")
        while True:
            _do_something(driver, tool, kind, rng)

    def run_later() -> None:
        QTimer.singleShot(0, start)
        run()

    starting.napari.run = run_later
    with driver.window_manager():
        getattr(sam_annotator, FUNCTIONS[kind])(
            image_of(kind), model_type="nano_lm", session=folder, resume=True if again else None
        )


def tell(text: str) -> None:
    """One line to the process that started this one."""
    os.write(1, f"{text}\n".encode())


def _listen(tool: Any) -> None:
    """Tell every state of the session once, what is on disc, and what the status line says of it."""
    from qtpy.QtCore import QTimer

    journal, commits, last = tool.session.keeper.journal, [], [0]

    def look() -> None:
        if journal.last_id != last[0]:
            last[0] = journal.last_id
            tell(f"P {journal.last_id} {digest(tool.session)}")

    def said(text: str, _kind: str) -> None:
        if " committed" in text and commits:
            tell(f"S {commits.pop(0)}")

    on_written, commit = journal.on_written, tool.session.objects.commit

    def written() -> None:
        tell(f"R {journal.written}")
        on_written()

    def committing(*arguments: Any, **options: Any) -> Any:
        report = commit(*arguments, **options)
        commits.append(journal.last_id)
        return report

    journal.on_written, tool.session.objects.commit = written, committing
    tool.status.changed.connect(said)
    tool.kept_for_the_benchmark = timer = QTimer()
    timer.timeout.connect(look)
    timer.start(5)


def _do_something(driver: Any, tool: Any, kind: str, rng: random.Random) -> None:
    shape = tool.session.shape
    margin = 12
    place = tuple(rng.randrange(margin, size - margin) for size in shape[-2:])
    viewer = tool.viewer

    def at(position: tuple[int, int]) -> tuple[int, ...]:
        return position if len(shape) == 2 else (tool.state.z, *position)

    def click() -> None:
        tool.actions.use_tool("point")
        driver.click(tool, at(place))

    def drag(name: str) -> Callable[[], None]:
        def draw() -> None:
            tool.actions.use_tool(name)
            driver.drag(tool, at(place), at((min(place[0] + 25, shape[-2] - 5), min(place[1] + 30, shape[-1] - 5))))
            tool.actions.use_tool("point")

        return draw

    def press(name: str) -> Callable[[], None]:
        return lambda: driver.key(viewer, name)

    def move() -> None:
        tool.actions.go_to_slice(rng.randrange(shape[0]))

    choices = [(click, 6), (drag("box"), 1), (drag("paint"), 2), (press("c"), 4), (press("t"), 1)]
    choices += [(press("ctrl+z"), 3), (press("ctrl+shift+z"), 1), (press("s"), 1), (press("shift+c"), 1)]
    if kind != "2d":
        choices += [(move, 4), (press("v"), 3), (press("o"), 1)]
    if kind == "tracking":
        choices += [(press("d"), 1), (press("e"), 1), (press("n"), 1)]
    functions, weights = zip(*choices, strict=True)
    rng.choices(functions, weights)[0]()
    driver.process(rng.random() * 0.15)


# ---------------------------------------------------------------------- in the process that kills


def _start(kind: str, seed: int, folder: Path, *more: str) -> subprocess.Popen:
    command = [sys.executable, __file__, kind, str(seed), str(folder), *more]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    environment["XDG_CACHE_HOME"] = str(folder.parent / "cache")  # napari's files, which a kill may leave half written
    return subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, start_new_session=True)


def kill_window(kind: str, seed: int, folder: Path) -> list[bytes]:
    """Start a window, kill it at a random moment; the lines that it told.

    Raises
    ------
    RuntimeError
        When it did not begin to work.
    """
    rng = random.Random(seed * 104729 + 5)
    child = _start(kind, seed, folder)
    lines: list[bytes] = []
    wanted, told = rng.randrange(2, 90), threading.Event()

    def listen() -> None:
        for line in child.stdout:
            lines.append(line)
            if len(lines) >= wanted:
                told.set()
        told.set()

    thread = threading.Thread(target=listen)
    thread.start()
    try:
        told.wait(2 * READY)
        time.sleep(rng.random() ** 2)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)  # the window and its window manager
        child.wait()
        thread.join()
    if len(lines) < wanted or child.returncode != -signal.SIGKILL:
        raise RuntimeError(f"the {kind} window of seed {seed} ended by itself: {child.returncode}")
    return [line for line in lines if line.endswith(b"\n") and line[:2] in (b"P ", b"R ", b"S ")]


def open_again(kind: str, seed: int, folder: Path) -> str:
    """Check sum of what another window shows on the same session."""
    child = _start(kind, seed, folder, "--again")
    try:
        out = child.communicate(timeout=READY)[0]
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
    told = [line.split()[2] for line in out.decode().splitlines() if line.startswith("P ")]
    return told[0] if told else "nothing came back"


def as_restored(kind: str, folder: Path) -> str:
    """Check sum of what a process without a window reads."""
    from micro_sam.session.journal import store

    contents = store.read(folder)
    session = make_session(kind, tuple(contents.header["image"]["shape"]))
    session.restore(contents.rows)
    return digest(session)


if __name__ == "__main__":
    work(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), "--again" in sys.argv)
