"""What a click in the far corner of a large image costs until its mask is there, beside another check-out.

    xvfb-run -a -s "-screen 0 1600x1000x24" python benchmarks/far_click.py --base CHECKOUT --output far_click.json

A window of the 2D annotator opens on an image of many tiles, nothing is in a cache, and a disc in the far corner is
clicked as soon as the window is painted. The processor time of the process counts, from the first paint of the window
to the mask: it hardly depends on what else the machine does. Both trees run by turns, each in new processes.
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
from pathlib import Path

import numpy as np
from measuring import describe_machine

ROOT = Path(__file__).resolve().parents[1]
WINDOW_SCRIPT = Path(__file__).with_name("startup_window.py").resolve()
TIMEOUT = 3600
RADIUS, FROM_BORDER = 30, 60  # pixels


def main(arguments: list[str] | None = None) -> int:
    """Parse arguments, measure, print and write."""
    options = build_parser().parse_args(arguments)
    trees = {"this": ROOT} | ({"base": options.base.resolve()} if options.base is not None else {})
    report = {**describe_machine("cpu"), "size": options.size, "runs": options.runs, "model": "nano_lm", "seconds": {}}
    with tempfile.TemporaryDirectory() as folder:
        image, position = make_image(options.size)
        path = Path(folder) / "image.npy"
        np.save(path, image)
        found: dict[str, list[dict]] = {name: [] for name in trees}
        for _ in range(options.runs):
            for name, tree in trees.items():
                found[name].append(measure(tree, path, position, Path(folder) / "cache"))
    for name, runs in found.items():
        report["seconds"][name] = {
            "window to mask": [run["mask"]["cpu"] - run["window"]["cpu"] for run in runs],
            "click to mask": [run["mask"]["cpu"] - run["click"]["cpu"] for run in runs],
        }
    print(table(report["seconds"]))
    if options.output is not None:
        options.output.write_text(json.dumps(report, indent=2))
    return 0


def build_parser() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--base", type=Path, help="another check-out to compare with")
    parser.add_argument("--size", type=int, default=5000, help="pixels per side (5000)")
    parser.add_argument("--runs", type=int, default=1, help="starts of each (1)")
    parser.add_argument("--output", type=Path, help="JSON file for the figures")
    return parser


def make_image(size: int) -> tuple[np.ndarray, tuple[int, int]]:
    """Noise with a disc in the far corner, uint8, and the middle of the disc."""
    image = np.random.default_rng(0).normal(40, 4, (size, size)).clip(0, 255).astype("uint8")
    centre = size - FROM_BORDER
    y, x = np.ogrid[:size, :size]
    image[(y - centre) ** 2 + (x - centre) ** 2 <= RADIUS**2] += 140
    return image, (centre, centre)


def measure(tree: Path, image: Path, position: tuple[int, int], cache: Path) -> dict:
    """One start; see ``startup_window.py``."""
    cache.mkdir(exist_ok=True)
    order = {"image": str(image), "model": "nano_lm", "checkpoint": None, "key": None, "position": position}
    own = {**os.environ, "PYTHONPATH": str(tree), "MICROSAM_CACHEDIR": str(cache), "LIBGL_ALWAYS_SOFTWARE": "1"}
    command = [sys.executable, str(WINDOW_SCRIPT), json.dumps({**order, "began": time.time()})]
    run = subprocess.run(command, cwd=cache, env=own, capture_output=True, text=True, timeout=TIMEOUT)
    if run.returncode:
        raise RuntimeError((run.stderr.strip().splitlines() or [f"exit code {run.returncode}"])[-1])
    return json.loads(run.stdout.strip().splitlines()[-1])


def table(seconds: dict[str, dict[str, list[float]]]) -> str:
    """Medians, and how many times less this tree takes."""
    lines = ["| CPU s | this | base | base / this |", "|---|---|---|---|"]
    for what in ("window to mask", "click to mask"):
        own = statistics.median(seconds["this"][what])
        line = f"| {what} | {own:.2f} |"
        if "base" in seconds:
            base = statistics.median(seconds["base"][what])
            line += f" {base:.2f} | {base / own:.1f} |"
        lines.append(line)
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
