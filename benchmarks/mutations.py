"""Damaged files: every kind of input is changed at random, and must be read or refused with one sentence.

    python benchmarks/mutations.py --count 150 --output mutations.json

Each kind is written once, small, and changed `count` times: bytes are flipped, zeroed, doubled or cut off; in folders
one file is changed or removed. The seed is fixed, so that every run makes the same files. A worker process reads them;
it is watched from outside, because a reader may hang or die in C code.

Counted are inputs that were read, those that were refused (``MicroSamError``), and what must not be: other exceptions
("traceback"), more than `--seconds` for one file ("hang"), the end of the process ("died"), and a peak of memory above
`--gigabytes` ("memory"). The exit code is 1 when there are any of these.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import random
import resource
import selectors
import shutil
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mutation_kinds import KINDS

SEED = 20261128
GOOD = ("read", "refused")


# ---------------------------------------------------------------- damage


def damage(path: Path, rng: random.Random) -> str:
    """Change a file, or one file of a folder; returns what was done."""
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    file = rng.choice(files)
    if len(files) > 1 and rng.random() < 0.1:
        file.unlink()
        return f"{file.name} removed"
    raw = bytearray(file.read_bytes())
    if not raw:
        return f"{file.name} is empty already"
    # the beginning, where sizes and offsets stand, is worth more looks than the pixels
    place = rng.randrange(len(raw)) if rng.random() < 0.5 else rng.randrange(min(len(raw), 400))
    length = rng.choice((1, 1, 2, 4, 8, 64))
    kind = rng.choice(("flip", "flip", "byte", "zero", "ones", "cut", "insert", "delete", "double"))
    if kind == "flip":
        raw[place] ^= 1 << rng.randrange(8)
    elif kind == "byte":
        raw[place] = rng.randrange(256)
    elif kind in ("zero", "ones"):
        raw[place : place + length] = bytes([0 if kind == "zero" else 255]) * len(raw[place : place + length])
    elif kind == "cut":
        del raw[rng.randrange(len(raw)) :]
    elif kind == "insert":
        raw[place:place] = rng.randbytes(length)
    elif kind == "delete":
        del raw[place : place + length]
    else:
        raw[place:place] = raw[place : place + length]
    file.write_bytes(raw)
    return f"{kind} of {length} at {place} of {file.name}"


def cases(kind: str, count: int, folder: Path) -> Iterable[tuple[str, Path]]:
    """Damaged copies of one kind, each with what was done to it."""
    original = folder / "original"
    original.mkdir()
    source = KINDS[kind][0](original)
    for number in range(count):
        rng = random.Random(f"{SEED} {kind} {number}")
        place = folder / "case"
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(original, place)
        copy = place / source.name
        yield "; ".join(damage(copy, rng) for _ in range(rng.choice((1, 1, 1, 2, 5))) if copy.exists()), copy


def work(kinds: list[str], count: int) -> None:
    """The worker: one line of JSON before and after each file."""
    import logging
    import warnings

    from micro_sam.errors import MicroSamError

    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    for kind in kinds:
        with tempfile.TemporaryDirectory() as folder:
            for number, (what, path) in enumerate(cases(kind, count, Path(folder))):
                say({"kind": kind, "number": number, "what": what})
                try:
                    KINDS[kind][1](path)
                    result, error = "read", None
                except MicroSamError as problem:
                    result, error = "refused", str(problem)[:300]
                except BaseException:
                    result, error = "traceback", traceback.format_exc()[-1500:]
                peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
                say({"result": result, "error": error, "peak": peak})


def say(line: dict[str, Any]) -> None:
    print("#" + json.dumps(line), flush=True)


# ---------------------------------------------------------------- from outside


def run(kinds: list[str], count: int, seconds: float, gigabytes: float) -> list[dict[str, Any]]:
    """Results of all kinds: what happened to each file."""
    found: list[dict[str, Any]] = []
    for kind in kinds:
        found += _run_kind(kind, count, seconds, gigabytes)
    return found


def _run_kind(kind: str, count: int, seconds: float, gigabytes: float) -> list[dict[str, Any]]:
    command = [sys.executable, str(Path(__file__).resolve()), "--work", kind, "--count", str(count)]
    root = str(Path(__file__).resolve().parents[1])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])}
    worker = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True)
    found: list[dict[str, Any]] = []
    current: dict[str, Any] | None = None
    base: float | None = None
    selector = selectors.DefaultSelector()
    selector.register(worker.stdout, selectors.EVENT_READ)
    while True:
        # the first file waits for imports
        if not selector.select(timeout=seconds if found else max(seconds, 180)):
            worker.kill()
            found.append({**(current or {"kind": kind, "what": "start"}), "result": "hang"})
            break
        line = worker.stdout.readline()
        if not line:
            if worker.wait() != 0:
                found.append({**(current or {"kind": kind, "what": "start"}), "result": "died"})
            break
        if not line.startswith("#"):
            continue
        said = json.loads(line[1:])
        if "what" in said:
            current = said
            continue
        base = said["peak"] if base is None else base
        if said["peak"] - base > gigabytes:
            said["result"], base = "memory", said["peak"]
        found.append({**current, **said})
    selector.close()
    return found


def table(found: list[dict[str, Any]]) -> str:
    """One line per kind."""
    names = (*GOOD, "traceback", "hang", "died", "memory")
    lines = ["| kind | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    counts: dict[str, collections.Counter] = {}
    for one in found:
        counts.setdefault(one["kind"], collections.Counter())[one["result"]] += 1
    lines += [f"| {kind} | " + " | ".join(str(c[name]) for name in names) + " |" for kind, c in counts.items()]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description="Damaged files are read or refused, never a traceback.")
    parser.add_argument("--count", type=int, default=150, help="damaged files of each kind")
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=list(KINDS))
    parser.add_argument("--seconds", type=float, default=30, help="for one file")
    parser.add_argument("--gigabytes", type=float, default=1.0, help="growth of memory at one file")
    parser.add_argument("--output", help="JSON file for all results")
    parser.add_argument("--work", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        work([options.work], options.count)
        return 0
    found = run(options.kinds, options.count, options.seconds, options.gigabytes)
    if options.output:
        Path(options.output).write_text(json.dumps(found, indent=1))
    print(table(found))
    bad = [one for one in found if one["result"] not in GOOD]
    for one in bad[:20]:
        print(f"\n{one['kind']} {one.get('number')}: {one['result']} ({one['what']})\n{one.get('error') or ''}")
    return 1 if bad else 0


if __name__ == "__main__":
    raise SystemExit(main())
