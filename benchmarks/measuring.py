"""How two ways of doing a thing are compared: in one process, in turns, with their processor time and memory."""

from __future__ import annotations

import ctypes
import json
import os
import platform
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

import torch
from torch.utils._python_dispatch import TorchDispatchMode


@dataclass
class Result:
    """One task; times in seconds per unit of work, memory in MB beyond what the process held before."""

    task: str
    precision: str
    turns: int
    stock_cpu: float
    ours_cpu: float
    stock_wall: float
    ours_wall: float
    ratio: float  # stock / ours, of CPU time on a CPU and of wall time on a GPU
    ratio_min: float
    ratio_max: float
    stock_memory: float | None
    ours_memory: float | None


class PeakMemory:
    """Peak resident memory of the process while a block runs, beyond what it held before; None where unknown."""

    def __enter__(self) -> PeakMemory:
        self.extra: float | None = None
        self._before = None
        try:
            Path("/proc/self/clear_refs").write_text("5")  # resets the peak
            self._before = _status("VmRSS")
        except OSError:
            pass
        return self

    def __exit__(self, *_) -> None:
        if self._before is not None:
            self.extra = (_status("VmHWM") - self._before) / 1024


def _status(key: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return float(next(line for line in lines if line.startswith(key)).split()[1])


def compare(
    task: str,
    stock: Callable,
    ours: Callable,
    turns: int,
    *,
    precision: str = "fp32",
    units: int = 1,
    device: str = "cpu",
    warm_up: bool = True,
) -> Result:
    """Runs both in turns, once more before to warm up, and summarises; ``units`` divides the times."""
    times: dict[str, list[tuple[float, float]]] = {"stock": [], "ours": []}
    memory: dict[str, float | None] = {}
    for turn in range(-1 if warm_up else 0, turns):
        for name, function in (("stock", stock), ("ours", ours)):
            with PeakMemory() as peak:
                cpu, wall = time.process_time(), time.perf_counter()
                function()
                if device != "cpu":
                    torch.cuda.synchronize()
                cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
            memory.setdefault(name, peak.extra)
            if turn >= 0:
                times[name].append((cpu / units, wall / units))
    clock = 0 if device == "cpu" else 1
    ratios = [s[clock] / o[clock] for s, o in zip(times["stock"], times["ours"], strict=True)]
    cpu = {name: statistics.median(t[0] for t in values) for name, values in times.items()}
    wall = {name: statistics.median(t[1] for t in values) for name, values in times.items()}
    return Result(
        task,
        precision,
        turns,
        cpu["stock"],
        cpu["ours"],
        wall["stock"],
        wall["ours"],
        statistics.median(ratios),
        min(ratios),
        max(ratios),
        memory["stock"],
        memory["ours"],
    )


def malloc_as_it_comes() -> None:
    """Sets glibc's thresholds to what they reach by themselves, to measure a program that leaves them alone.

    They start at 128 KB and rise with the blocks that are freed, to 32 MB for mapping and twice that for trimming (man
    mallopt); these are the values of a process that has run for a while. That comes near to a malloc that was never
    touched, but is not the same: measure with ``--no-keep-memory``, too, before quoting a ratio. Nothing happens
    elsewhere than on Linux.
    """
    if sys.platform.startswith("linux"):
        mallopt = ctypes.CDLL(None).mallopt
        for parameter, value in ((-3, 32 * 2**20), (-1, 64 * 2**20), (-2, 128 * 2**10)):  # mmap, trim, top pad
            mallopt(parameter, value)


HEADER = (
    "| task | precision | stock CPU | ours CPU | ratio (range) | stock wall | ours wall | extra MB, stock / ours |\n"
    "|---|---|---|---|---|---|---|---|"
)


def format_row(r: Result) -> str:
    """One line of the table."""
    memory = "" if r.ours_memory is None else f"{r.stock_memory:.0f} / {r.ours_memory:.0f}"
    times = [f"{t * 1e3:.0f} ms" for t in (r.stock_cpu, r.ours_cpu, r.stock_wall, r.ours_wall)]
    ratio = f"{r.ratio:.2f} ({r.ratio_min:.2f} to {r.ratio_max:.2f})"
    return f"| {r.task} | {r.precision} | {times[0]} | {times[1]} | {ratio} | {times[2]} | {times[3]} | {memory} |"


def write_report(path: Path, device: str, results: list[Result], **details) -> None:
    """All figures and what a reader must know to compare them, as JSON."""
    report = {**describe_machine(device), **details, "results": [asdict(result) for result in results]}
    path.write_text(json.dumps(report, indent=1))


def describe_machine(device: str) -> dict:
    """Processor, versions, threads, load."""
    cpu = platform.processor()
    try:
        info = Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next(line.split(":")[1].strip() for line in info if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return {
        "date": datetime.now().astimezone().isoformat(timespec="seconds"),
        "cpu": cpu,
        "cores": os.cpu_count(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name() if device.startswith("cuda") else device,
        "load_average": os.getloadavg() if hasattr(os, "getloadavg") else None,
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


# Of a report; reports that differ in one of these compare two ways of measuring. A default: what older reports did.
CONDITIONS = {"threads": None, "device": None, "keep_memory": True, "same_malloc": True}


def other_conditions(old: dict, new: dict) -> list[str]:
    """In what two reports were not measured alike, so that their ratios cannot be compared."""
    values = [(name, old.get(name, default), new.get(name, default)) for name, default in CONDITIONS.items()]
    return [f"{name}: {before} before, {now} now" for name, before, now in values if before != now]


def regressions(old: dict, new: dict, tolerance: float = 0.1) -> list[tuple[str, float, float]]:
    """Tasks whose ratio to stock fell by more than ``tolerance``: (task, ratio before, ratio now).

    Ratios are compared, not times: stock ran beside ours both times, so another machine or load hits both.
    """
    before = {(r["task"], r.get("precision", old.get("precision"))): r["ratio"] for r in old["results"]}
    fallen = []
    for r in new["results"]:
        known = before.get((r["task"], r.get("precision", new.get("precision"))))
        if known is not None and r["ratio"] < (1 - tolerance) * known:
            fallen.append((f"{r['task']}, {r['precision']}", known, r["ratio"]))
    return fallen


class OpProfile(TorchDispatchMode):
    """Processor time of every operation of torch in a block, by operation, shapes and type.

    torch's own profiler counts wall time, which says nothing on a machine that has other work too.
    """

    def __init__(self) -> None:
        super().__init__()
        self.seconds: dict[tuple[str, str, str], float] = defaultdict(float)
        self.calls: dict[tuple[str, str, str], int] = defaultdict(int)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        start = time.process_time()
        out = func(*args, **(kwargs or {}))
        taken = time.process_time() - start
        tensors = [a for a in args if isinstance(a, torch.Tensor)]
        shapes = " ".join("x".join(map(str, t.shape)) for t in tensors[:3])
        key = (str(func).removeprefix("aten."), shapes, str(tensors[0].dtype)[6:] if tensors else "")
        self.seconds[key] += taken
        self.calls[key] += 1
        return out

    def table(self, rows: int = 20) -> str:
        """The costliest operations, as a markdown table."""
        total = sum(self.seconds.values())
        lines = [f"{total * 1e3:.1f} ms in all"]
        lines += ["| ms | share | calls | operation | type | shapes |", "|---|---|---|---|---|---|"]
        for key, taken in sorted(self.seconds.items(), key=lambda item: -item[1])[:rows]:
            name, shapes, kind = key
            share = f"{taken / total:.1%}"
            lines.append(f"| {taken * 1e3:.2f} | {share} | {self.calls[key]} | {name} | {kind} | {shapes} |")
        return "\n".join(lines)
