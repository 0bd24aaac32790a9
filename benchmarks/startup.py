"""How long a user waits: from the start of the program to its window and to the first mask, beside micro-sam 1.8.

    xvfb-run -a -s "-screen 0 1600x1000x24" python benchmarks/startup.py --peer PYTHON --output startup.json

A real window of the 2D annotator opens on an image of 512 x 512 pixels, a point is clicked as soon as the window is
there, and the mask is waited for; nothing is in a cache. Times count from the start of the process; every start is a
new one, and the programs take turns. ``--peer PYTHON`` names the Python of an environment with micro-sam 1.8 (vit_t:
and mobile_sam), which is opened by its own ``annotator_2d``. Like is compared with like: both get the same random
weights of vit_b and vit_t from a file. nano_lm lies in our package, and the peer has nothing like it. "napari alone" is
its window with the image: what no tool in napari can be quicker than.

Also measured: ``import micro_sam``, ``-h`` of the command ``micro_sam.annotator_2d``, and the plugin's 2D tool in a
napari that is open, with and without an image. Without a screen (DISPLAY), the first two are all that is measured.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from measuring import describe_machine

from micro_sam.sample_data import open_sample

ROOT = Path(__file__).resolve().parents[1]
WINDOW_SCRIPT = Path(__file__).with_name("startup_window.py").resolve()
PLUGIN_SCRIPT = Path(__file__).with_name("startup_plugin.py").resolve()
SHIPPED = "nano_lm"
MODELS = (SHIPPED, "vit_t", "vit_b")
PEER = "micro-sam 1.8"
COMMAND = "annotator_2d"
TIMEOUT = 900


@dataclass(frozen=True)
class Case:
    """A program with a model (None: napari's window only)."""

    program: str
    python: str
    model: str | None

    @property
    def is_peer(self) -> bool:
        """Whether it is not ours."""
        return self.program == PEER


def main(arguments: list[str] | None = None) -> int:
    """Parse arguments, measure, print and write."""
    options = build_parser().parse_args(arguments)
    report = {**describe_machine("cpu"), "threads": options.threads, "image": options.image, "runs": options.runs}
    report["commands"] = measure_commands(options)
    print(commands_table(report["commands"]) + "\n", flush=True)
    if os.environ.get("DISPLAY"):
        with tempfile.TemporaryDirectory() as folder, window_manager():
            report["plugin"] = measure_plugin(options, Path(folder))
            print(plugin_table(report["plugin"]) + "\n", flush=True)
            report["starts"] = measure_starts(options, Path(folder), report)
        print(starts_table(report["starts"]))
    else:
        print("There is no screen (DISPLAY is not set), so no window was opened; use xvfb-run.", file=sys.stderr)
    write(options.output, report)
    return 0


def build_parser() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", metavar="PYTHON", help="Python of an environment with micro-sam 1.8")
    parser.add_argument("--runs", type=int, default=5, help="starts of each program, after one that is not counted")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--image", default="immunohistochemistry", help="a sample; this one has 512 x 512 pixels")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="threads of each program")
    parser.add_argument("--output", type=Path, help="JSON with all figures")
    return parser


def list_cases(models: list[str], peer: str | None) -> list[Case]:
    """What takes turns."""
    cases = [Case("napari alone", sys.executable, None)]
    for model in models:
        cases.append(Case("ours", sys.executable, model))
        if peer and model != SHIPPED:
            cases.append(Case(PEER, peer, model))
    return cases


def environment(peer: bool, threads: int, cache: str | Path | None = None) -> dict[str, str]:
    """Of a program that is measured: with the bytecode that an installed package has, and an empty cache."""
    own = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONDONTWRITEBYTECODE")}
    own["OMP_NUM_THREADS"] = str(threads)
    if not peer:
        own["PYTHONPATH"] = str(ROOT)  # this checkout, whichever one is installed
    if cache is not None:
        own["MICROSAM_CACHEDIR"] = str(cache)
    return own


# windows


def measure_starts(options: argparse.Namespace, folder: Path, report: dict) -> list[dict]:
    """Rows of the table, with the figures of all single starts."""
    from speed import write_checkpoint  # needs segment-anything, which the other measurements do not

    image = folder / "image.npy"
    np.save(image, open_sample(options.image).image)
    checkpoints = {model: write_checkpoint(folder, model) for model in options.models if model != SHIPPED}
    cases = list_cases(options.models, options.peer)
    rows = [{"case": asdict(case), "starts": [], "failed": None} for case in cases]
    for turn in range(-1, options.runs):
        for case, row in zip(cases, rows, strict=True):
            if row["failed"]:
                continue
            try:
                measured = start_once(case, image, checkpoints.get(case.model), options.threads)
            except RuntimeError as error:
                row["failed"] = str(error)
                print(f"{case.program}, {case.model}: {error}", file=sys.stderr)
                continue
            if turn >= 0:  # the first one also fills the page cache and compiles modules
                row["starts"].append(measured)
        write(options.output, report | {"starts": rows})
    return rows


def start_once(case: Case, image: Path, checkpoint: Path | None, threads: int) -> dict:
    """Open a window in a new process and read what it measured.

    Raises
    ------
    RuntimeError
        When there was no mask, with what the program said last.
    """
    with tempfile.TemporaryDirectory() as cache:
        order = {
            "image": str(image),
            "model": case.model,
            "checkpoint": None if checkpoint is None else str(checkpoint),
            "key": "s" if case.is_peer else None,
            "began": time.time(),
        }
        command = [case.python, str(WINDOW_SCRIPT), json.dumps(order)]
        own = environment(case.is_peer, threads, cache)
        run = subprocess.run(command, cwd=cache, env=own, capture_output=True, text=True, timeout=TIMEOUT)
    if run.returncode:
        raise RuntimeError((run.stderr.strip().splitlines() or [f"exit code {run.returncode}"])[-1])
    return json.loads(run.stdout.strip().splitlines()[-1])


@contextlib.contextmanager
def window_manager() -> Iterator[None]:
    """A window manager, where none runs, as in the tests of the window."""
    sys.path.insert(0, str(ROOT / "test" / "window"))
    import driver

    with driver.window_manager():
        yield


STARTS_HEADER = (
    "| program | model | starts | window, s | first mask, s | CPU s to the window | CPU s to the mask | peak GB |\n"
    "|---|---|---|---|---|---|---|---|"
)


def starts_table(rows: list[dict]) -> str:
    """Medians with ranges, one line per program and model."""
    lines = [STARTS_HEADER]
    for row in rows:
        starts, case = row["starts"], row["case"]
        name = f"| {case['program']} | {case['model'] or ''} | {len(starts)} |"
        if not starts:
            lines.append(f"{name} {row['failed'] or 'not measured'} | | | | |")
            continue
        last = "mask" if "mask" in starts[0] else "window"
        cells = [spread([s["window"]["seconds"] for s in starts])]
        cells.append(spread([s["mask"]["seconds"] for s in starts]) if last == "mask" else "")
        cells.append(spread([s["window"]["cpu"] for s in starts]))
        cells.append(spread([s["mask"]["cpu"] for s in starts]) if last == "mask" else "")
        memory = [s[last]["GB"] for s in starts]
        cells.append("" if None in memory else f"{max(memory):.2f}")
        lines.append(f"{name} {' | '.join(cells)} |")
    return "\n".join(lines)


def spread(values: list[float], digits: int = 1) -> str:
    """Median (least to largest)."""
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


# the plugin


def measure_plugin(options: argparse.Namespace, folder: Path) -> dict[str, list[dict[str, float]]]:
    """Processor seconds of the window's thread, of all runs: with an image in napari and without."""
    image = folder / "image_of_napari.npy"
    np.save(image, open_sample(options.image).image)
    runs: dict[str, list[dict[str, float]]] = {"with an image": [], "empty": []}
    with tempfile.TemporaryDirectory() as cache:
        own = environment(False, options.threads, cache)
        for turn in range(-1, options.runs):
            for name, row in runs.items():
                command = [sys.executable, str(PLUGIN_SCRIPT), *([] if name == "empty" else [str(image)])]
                measured = json.loads(run_quietly(command, own).strip().splitlines()[-1])
                if turn >= 0:
                    row.append(measured)
    return runs


def plugin_table(runs: dict[str, list[dict[str, float]]]) -> str:
    """Medians with ranges, one line with an image and one without."""
    lines = ["| napari | runs | tool seen, CPU s (goal 0.5) | image opened, CPU s |", "|---|---|---|---|"]
    for name, row in runs.items():
        cells = [spread([one[what] for one in row], 2) for what in ("seen", "opened")]
        lines.append(f"| {name} | {len(row)} | {' | '.join(cells)} |")
    return "\n".join(lines)


# commands

IMPORT = "import time; began = time.perf_counter(); import micro_sam; print(time.perf_counter() - began)"


def measure_commands(options: argparse.Namespace) -> list[dict]:
    """Seconds of ``import micro_sam`` and of ``-h``, per program, all runs."""
    programs = {"ours": sys.executable} | ({PEER: options.peer} if options.peer else {})
    rows = [{"program": program, "import": [], "help": [], "help_cpu": []} for program in programs]
    for turn in range(-1, options.runs):
        for row, python in zip(rows, programs.values(), strict=True):
            own = environment(row["program"] == PEER, options.threads)
            imported = run_quietly([python, "-c", IMPORT], own)
            began, cpu = time.perf_counter(), processor_time_of_children()
            run_quietly([*launcher(python, row["program"] == PEER), "-h"], own)
            wall, cpu = time.perf_counter() - began, processor_time_of_children() - cpu
            if turn >= 0:
                row["import"].append(float(imported))
                row["help"].append(wall)
                row["help_cpu"].append(cpu)
    return rows


def launcher(python: str, peer: bool) -> list[str]:
    """The command that opens the 2D annotator."""
    if peer:  # as its package installs it
        return [str(Path(python).with_name(f"micro_sam.{COMMAND}"))]
    return [python, "-m", f"micro_sam.cli.{COMMAND}"]


def run_quietly(command: list[str], own: dict[str, str]) -> str:
    """What a command prints."""
    with tempfile.TemporaryDirectory() as folder:  # not the checkout, which would be imported from there
        return subprocess.run(command, cwd=folder, env=own, check=True, capture_output=True, text=True).stdout


def processor_time_of_children() -> float:
    """Of all processes that were started and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


COMMANDS_HEADER = (
    f"| program | runs | import micro_sam, s (goal 0.2) | micro_sam.{COMMAND} -h, s (goal 1) | CPU s of -h |\n"
    "|---|---|---|---|---|"
)


def commands_table(rows: list[dict]) -> str:
    """Medians with ranges, one line per program."""
    lines = [COMMANDS_HEADER]
    for row in rows:
        cells = [spread(row["import"], 4), spread(row["help"], 2), spread(row["help_cpu"], 2)]
        lines.append(f"| {row['program']} | {len(row['help'])} | {' | '.join(cells)} |")
    return "\n".join(lines)


def write(path: Path | None, report: dict) -> None:
    """All figures and what a reader must know to compare them, as JSON."""
    if path is not None:
        path.write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    sys.exit(main())
