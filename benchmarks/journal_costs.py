"""What the journal costs: processor time of the window's thread for a click, a commit, a stroke and an undo.

Windows of this version and of another checkout are opened in turns (and two of this version's own columns: with the
journal and without it, round by round in the same window). The network's answer is a disc, given at once. The figures
hold all that the window does for an action: session, layers, panels, drawing. Needs a screen.

    xvfb-run -a python benchmarks/journal_costs.py --before ../checkout_before --windows 4 --output costs.json
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1]
ROUNDS = 40


def child(folder: Path) -> None:
    """Open a window, do actions in it, and print milliseconds for each."""
    os.environ["MICROSAM_CACHEDIR"] = str(folder)
    from qtpy.QtWidgets import QApplication

    from micro_sam.sam_annotator import annotator_2d, get_annotator

    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (512, 512), np.uint8)
    tool = get_annotator(annotator_2d(image, model_type="nano_lm", return_viewer=True))

    def process(seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            QApplication.processEvents()
            time.sleep(0.002)

    while tool.session.model.embeddings is None or tool.engine.busy:
        process(0.1)
    tool.state.live = False
    session = tool.session
    journal = getattr(session, "journal", None)
    found: dict[str, list[float]] = defaultdict(list)

    def measure(name: str, function: Any) -> None:
        began = time.thread_time()
        function()
        process(0.03)
        found[name].append(1000 * (time.thread_time() - began))

    for k in range(ROUNDS if journal is None else 2 * ROUNDS):
        mode = "without" if journal is None or k % 2 else "with"
        if journal is not None:
            session.keeper.journal = journal if mode == "with" else None
        y, x = 30 + 11 * (k % 40), 30 + 23 * (k % 20)
        process(0.05)

        def click(y: int = y, x: int = x) -> None:
            session.prompts.add_point((y, x))
            request = session.segment.plan()
            session.segment.apply(answer(request, y, x), preview=True)

        measure(f"click {mode}", click)
        measure(f"commit {mode}", session.objects.commit)
        corner = (slice(y, y + 20), slice(x, x + 20))
        measure(
            f"paint {mode}", lambda where=corner: session.labels.paint("committed", where, np.ones((20, 20), np.uint32))
        )
        measure(f"undo {mode}", session.undo)
        while session.undo() is not None:
            process(0.001)
    if journal is not None:
        session.keeper.journal = journal
        session.keeper.flush(20)
    tool.saving.unsaved = False
    sys.stdout.write("RESULT " + json.dumps({name: values[3:] for name, values in found.items()}) + "\n")
    sys.stdout.flush()
    os._exit(0)


def answer(request: Any, y: int, x: int) -> Any:
    """A disc as answer to a request, with logits as the network gives them."""
    from micro_sam.segmentation.values import ObjectMask
    from micro_sam.session.values import SliceResult

    rows, columns = np.mgrid[:512, :512]
    disc = (rows - y) ** 2 + (columns - x) ** 2 <= 12**2
    mask = ObjectMask.from_array(disc, score=0.9, logits=np.zeros((256, 256), np.float32))
    return SliceResult(request, (mask,))


def open_window(checkout: Path, folder: Path) -> dict[str, list[float]]:
    """Milliseconds per action in a window of a checkout."""
    environment = {**os.environ, "PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(Path(__file__).absolute()), "--child", str(folder)]
    done = subprocess.run(command, env=environment, cwd=checkout, capture_output=True, text=True, check=False)
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    if not lines:
        raise SystemExit(done.stderr[-3000:])
    return json.loads(lines[-1].removeprefix("RESULT "))


def main() -> None:
    """Open the windows in turns, and print medians and ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--before", type=Path, help="another checkout to compare with")
    parser.add_argument("--windows", type=int, default=4, help="windows of each checkout")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    if options.child is not None:
        child(options.child)
    figures: dict[str, list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as place:
        for k in range(options.windows):
            for name, values in open_window(ROOT, Path(place) / f"{k}").items():
                figures[name] += values
            if options.before is not None:
                for name, values in open_window(options.before.absolute(), Path(place) / f"{k} before").items():
                    figures[name.replace("without", "before")] += values
    medians = {name: statistics.median(values) for name, values in figures.items()}
    result = {}
    for action in ("click", "commit", "paint", "undo"):
        row = {
            kind: medians[f"{action} {kind}"] for kind in ("with", "without", "before") if f"{action} {kind}" in medians
        }
        row["with / without"] = row["with"] / row["without"]
        if "before" in row:
            row["with / before"] = row["with"] / row["before"]
        result[action] = {name: round(value, 3) for name, value in row.items()}
        print(action, result[action])
    if options.output:
        options.output.write_text(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
