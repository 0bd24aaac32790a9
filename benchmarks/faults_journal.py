"""Kill sessions at random moments, and damage their journals: what was reported must be there after the restart.

A child process does random actions in a session without a window, with a network that draws discs (at once, or slowly):
clicks, boxes, segmentation, commits, painting, propagation, tracking, divisions, track edits, undo, redo. After each
action it tells what the session looks like (a check sum), and what is on disc. It is killed at a random moment; what
the journal then gives back must be exactly what the child had told of that action, at least the last one that was
reported, and undoing everything must lead back to the start. Needs Linux. With ``--windows`` real windows are killed
(``journal_windows.py``), with ``--discs`` sessions lie on full and read-only discs (``journal_discs.py``).

    python benchmarks/faults_journal.py --kills 2000 --damages 200 --output journal.json
    xvfb-run -a -s "-screen 0 1600x1000x24 -r" python benchmarks/faults_journal.py --kills 0 --damages 0 --windows 30
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from journal_sessions import SHAPES, digest, make_session, perform, stub

# ---------------------------------------------------------------------- kills


def kill_once(kind: str, seed: int, delay: float, folder: Path) -> dict[str, Any]:
    """Start a child, kill it at a random moment, and compare; returns what was found."""
    rng = random.Random(seed * 7919 + 1)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        code = 1
        try:
            stub(delay)
            perform(folder, kind, seed, delay, lambda text: os.write(writing, f"{text}\n".encode()))
            code = 0
        finally:
            os._exit(code)
    os.close(writing)
    second = None
    with os.fdopen(reading, "rb") as pipe:
        wanted = rng.randrange(1, 120)
        lines: list[bytes] = []
        while len(lines) < wanted and (line := pipe.readline()):
            lines.append(line)
        if rng.random() < 0.1:
            second = second_window(folder)
        time.sleep(rng.random() ** 4 * 0.05)
        os.kill(child, signal.SIGKILL)
        lines += pipe.readlines()
    os.waitpid(child, 0)
    return {**compare(kind, folder, [line for line in lines if line.endswith(b"\n")]), "second": second}


def second_window(folder: Path) -> str:
    """What a second process finds while the first is at work: it must not get the journal, and can read it."""
    from micro_sam.errors import CacheError
    from micro_sam.session.journal import store

    if not (folder / store.FILE).exists():
        return "nothing yet"
    try:
        store.JournalFile(folder, {}).close()
        return "got the journal of another process"
    except store.Taken:
        pass
    try:
        contents = store.read(folder)
    except CacheError as error:
        return f"could not read: {error}" if (folder / store.FILE).stat().st_size > 8192 else "nothing yet"
    return "read" if not contents.damaged else "read as damaged"


def compare(kind: str, folder: Path, lines: list[bytes], shape: tuple[int, ...] | None = None) -> dict[str, Any]:
    """Whether the journal holds what the child told."""
    from micro_sam.session.journal import store

    told, reported = {0: digest(make_session(kind, shape))}, 0
    for line in lines:
        first, *rest = line.decode().split() or [""]
        if first == "P":
            told[int(rest[0])] = rest[1]
        elif first in ("R", "S"):
            reported = max(reported, int(rest[0]))
    if not (folder / store.FILE).exists():
        return {"ok": reported == 0, "why": "no journal", "rows": 0}
    if reported == 0 and not store.read_header(folder):
        return {"ok": True, "why": "killed while the journal was made", "rows": 0}
    contents = store.read(folder)
    if contents.damaged:
        return {"ok": False, "why": f"{contents.damaged} damaged rows", "rows": len(contents.rows)}
    last = contents.rows[-1].id if contents.rows else 0
    if last < reported:
        return {"ok": False, "why": f"reported {reported}, there is {last}", "rows": last}
    session = make_session(kind, shape)
    session.restore(contents.rows)  # all of it, also where the kill fell into the middle of a propagation
    known = max(number for number in told if number <= last)
    if last in told and digest(session) != told[last]:
        return {"ok": False, "why": f"action {last} is not what it was", "rows": last}
    if known != last:
        session = make_session(kind, shape)
        session.restore(contents.rows[:known])
        if known and digest(session) != told[known]:
            return {"ok": False, "why": f"action {known} is not what it was", "rows": last}
    while session.undo() is not None:
        pass
    if digest(session) != told[0]:
        return {"ok": False, "why": "undo does not lead back to the start", "rows": last}
    file = store.JournalFile(folder, {})  # the lock has died with the process
    file.close()
    return {"ok": True, "why": "", "rows": last}


# ---------------------------------------------------------------------- damage


def damage_once(source: Path, folder: Path, kind: str, rng: random.Random) -> dict[str, Any]:
    """Overwrite some bytes of a journal, and go on with it: what is readable is recovered, the rest is said."""
    import shutil

    from micro_sam.errors import CacheError
    from micro_sam.session.journal import store
    from micro_sam.session.journal.continuing import go_on

    shutil.copytree(source, folder)
    path = folder / store.FILE
    data = bytearray(path.read_bytes())
    place, length = rng.randrange(len(data)), rng.choice([1, 1, 16, 600, 3000])
    for k in range(place, min(place + length, len(data))):
        data[k] = rng.randrange(256)
    path.write_bytes(data)
    whole = store.read(source)
    try:
        continued = go_on(folder, lambda _shape: make_session(kind))
    except CacheError as error:
        return {"ok": False, "why": f"nothing recovered: {error}"}
    session = continued.session
    is_same = digest(session) == _digest_of(source, kind)
    if not is_same and not continued.note:
        return {"ok": False, "why": "other objects, and not a word of it"}
    values, counts = np.unique(session.committed, return_counts=True)
    areas = {int(v): int(n) for v, n in zip(values, counts, strict=True) if v}
    if areas != {i: o.area for i, o in session.objects.items()}:
        return {"ok": False, "why": "records and pixels differ"}
    session.keeper.journal.close()
    again = go_on(folder, lambda _shape: make_session(kind))
    again.session.keeper.journal.close()
    if again.note or digest(again.session) != digest(session):
        return {"ok": False, "why": "what was recovered is not kept"}
    lost = len(whole.rows) - len(store.read(source).rows)
    return {"ok": True, "why": "as it was" if is_same else "recovered in part", "lost": lost}


_digests: dict[Path, str] = {}


def _digest_of(folder: Path, kind: str) -> str:
    from micro_sam.session.journal import store

    if folder not in _digests:
        session = make_session(kind)
        session.restore(store.read(folder).rows)
        _digests[folder] = digest(session)
    return _digests[folder]


def size_of(folder: Path) -> dict[str, float]:
    """Bytes of a journal against 1.5 times its compressed changed pixels plus 200 bytes an action."""
    import zlib

    from micro_sam.session.journal import store
    from micro_sam.session.journal.codec import pixels_from_bytes

    rows = store.read(folder).rows
    pixels = 0
    for row in rows:
        for p in row.pixels:
            shape = (p.box[2] - p.box[0], p.box[3] - p.box[1])
            pixels += len(zlib.compress(pixels_from_bytes(p.data, shape).array(0).tobytes(), 6))
    size = (folder / store.FILE).stat().st_size
    return {"bytes": size, "allowed": 1.5 * pixels + 200 * len(rows), "actions": len(rows), "pixels": pixels}


def windows(number: int, seed: int, root: Path) -> tuple[dict[str, Any], list[tuple[Any, ...]]]:
    """Kill real windows; counts, and what was lost."""
    from journal_windows import as_restored, image_of, kill_window, open_again

    counts: Counter = Counter()
    failures: list[tuple[Any, ...]] = []
    for k in range(number):
        kind, folder = list(SHAPES)[k % 3], root / f"window_{k}.session"
        lines = kill_window(kind, seed + k, folder)
        found = compare(kind, folder, lines, image_of(kind).shape)
        told = Counter(line[:1].decode() for line in lines)
        counts.update({"states told": told["P"], "commits said": told["S"], "actions on disc": found["rows"]})
        if found["ok"] and found["rows"] and k % 5 == 0:
            shown = open_again(kind, seed + k, folder)
            counts["opened again in a window"] += 1
            if shown != as_restored(kind, folder):
                found = {"ok": False, "why": f"another window shows something else: {shown}"}
        counts[f"{kind}: {'as reported' if found['ok'] else 'LOST'}"] += 1
        print(k, kind, dict(told), found, flush=True)
        if not found["ok"]:
            failures.append((kind, seed + k, found["why"]))
    return dict(counts), failures


def discs(root: Path) -> tuple[dict[str, Any], list[tuple[Any, ...]]]:
    """Full and read-only discs; counts, and what was wrong."""
    from journal_discs import check_discs

    outcomes = check_discs(root)
    counts = Counter(f"{name}: {'FAILED' if wrong else 'well'}" for name, wrong in outcomes)
    return dict(counts), [outcome for outcome in outcomes if outcome[1]]


def main() -> None:
    """Run the kills and damages, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--damages", type=int, default=200)
    parser.add_argument("--windows", type=int, default=0, help="how many real windows are killed (needs a screen)")
    parser.add_argument(
        "--discs", action="store_true", help="small and read-only file systems (needs the right to mount)"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    result: dict[str, Any] = {}
    stub(0)
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        os.environ["MICROSAM_CACHEDIR"] = str(root / "cache")
        failures, counts, rows = [], Counter(), 0
        for k in range(options.kills):
            kind, delay = list(SHAPES)[k % 3], (0, 0, 0.004)[k // 3 % 3]
            found = kill_once(kind, options.seed + k, delay, root / f"{k}.session")
            counts[f"{kind}: {'as reported' if found['ok'] else 'LOST'}"] += 1
            counts[f"second process: {found['second']}"] += found["second"] is not None
            rows += found["rows"]
            if not found["ok"]:
                failures.append((kind, options.seed + k, found["why"]))
                print("FAILED", *failures[-1], flush=True)
        result["kills"] = {**counts, "actions on disc": rows}
        for kind in SHAPES:
            source = root / f"whole_{kind}.session"
            perform(source, kind, 12345, 0, lambda text: None)
            size = result[f"size {kind}"] = size_of(source)
            if size["bytes"] > size["allowed"]:
                failures.append((kind, 12345, "the journal is larger than it may be"))
        outcomes: Counter = Counter()
        rng = random.Random(options.seed)
        for k in range(options.damages):
            kind = list(SHAPES)[k % 3]
            found = damage_once(root / f"whole_{kind}.session", root / f"damaged_{k}.session", kind, rng)
            outcomes[found["why"] if found["ok"] else f"FAILED: {found['why']}"] += 1
        result["damages"] = dict(outcomes)
        if options.windows:
            result["windows"], lost = windows(options.windows, options.seed, root)
            failures += lost
        if options.discs:
            result["discs"], wrong = discs(root)
            failures += wrong
    result["failures"] = failures
    print(json.dumps(result, indent=2))
    if options.output:
        options.output.write_text(json.dumps(result, indent=2))
    if failures or any(name.startswith("FAILED") for name in outcomes):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
