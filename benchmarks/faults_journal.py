"""Kill sessions at random moments, and damage their journals: what was reported must be there after the restart.

A child process does random actions in a session without a window, with a network that draws discs (at once, or slowly):
clicks, boxes, segmentation, commits, painting, propagation, tracking, divisions, track edits, undo, redo. After each
action it tells what the session looks like (a check sum), and what is on disc. It is killed at a random moment; what
the journal then gives back must be exactly what the child had told of that action, at least the last one that was
reported, and undoing everything must lead back to the start. Needs Linux.

    python benchmarks/faults_journal.py --kills 2000 --damages 200 --output journal.json
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import signal
import sys
import tempfile
import time
import types
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

SHAPES = {"2d": (48, 64), "3d": (7, 40, 48), "tracking": (7, 40, 48)}


# ---------------------------------------------------------------------- a network that draws discs


def _stub(delay: float) -> None:
    """Put discs in place of the network, so that no torch is needed."""
    from micro_sam.segmentation.values import ObjectMask

    def disc(shape: tuple[int, int], centre: Any, radius: float = 6) -> np.ndarray:
        y, x = np.mgrid[: shape[0], : shape[1]]
        return (y - centre[0]) ** 2 + (x - centre[1]) ** 2 <= radius**2

    def segment_objects(predictor, prompts, embeddings, i=None, *, batched=False, previous=None):
        time.sleep(delay)
        shape = embeddings.shape[-2:]
        masks = []
        for y0, x0, y1, x1 in np.asarray(prompts.boxes).astype(int):
            mask = np.zeros(shape, bool)
            mask[y0 : y1 + 1, x0 : x1 + 1] = True
            masks.append(mask)
        if not masks:
            discs = [disc(shape, point) for point in prompts.positive]
            masks = discs if batched else [np.any(discs, axis=0)]
        for point in prompts.negative:
            masks = [mask & ~disc(shape, point, 3) for mask in masks]
        return [ObjectMask.from_array(mask, score=0.9) for mask in masks]

    def steps(known: dict, indices: list[int], reach: int):
        for t in indices:
            time.sleep(delay)
            nearest = min(known, key=lambda other: abs(other - t))
            far = abs(nearest - t) > reach
            source = "prompt" if t in known else "propagated"
            mask = None if far else known[nearest]
            yield types.SimpleNamespace(z=t, t=t, mask=mask, score=0.8, overlap=0.7, source=source, reason="")
            if far:
                return

    def propagate(predictor, embeddings, masks, *, stops=(), z_range=None, **_):
        yield from steps(dict(masks), list(range(z_range[0], z_range[1] + 1)), 9)

    def track(predictor, embeddings, masks, *, stops=(), last=None, backward=False, **_):
        first, n = min(masks), embeddings.shape[0]
        if backward:
            yield from steps(dict(masks), list(range(first, (last or 0) - 1, -1)), 4)
        else:
            yield from steps(dict(masks), list(range(first, n if last is None else last + 1)), 4)

    for name, content in {
        "micro_sam.segmentation.prompted": {"segment_objects": segment_objects},
        "micro_sam.segmentation.readiness": {"missing_tiles": lambda *_, **__: ()},
        "micro_sam.segmentation.volume": {"iter_propagate_volume": propagate},
        "micro_sam.segmentation.tracking": {"iter_track": track},
    }.items():
        module = types.ModuleType(name)
        module.__dict__.update(content)
        sys.modules[name] = module


class _Network:
    model_name, model_hash = "discs", "0123456789abcdef"

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape


def make_session(kind: str) -> Any:
    """An empty session of a kind, with the network attached."""
    from micro_sam.session.session import Session, TrackingSession, VolumeSession

    session = {"2d": Session, "3d": VolumeSession, "tracking": TrackingSession}[kind](SHAPES[kind])
    session.model.attach(_Network(SHAPES[kind]), _Network(SHAPES[kind]))
    return session


def digest(session: Any) -> str:
    """A check sum of all that a session knows, without what guides the network only."""
    state = session.state
    answers = {
        z: ([(m.box, m.mask.tobytes(), m.score) for m in a.masks], a.labels, repr(a.drawn), a.batched, a.imposed)
        for z, a in sorted(state.answers.items())
    }
    values = [
        [state.layer(name).tobytes() for name in ("current", "committed", "auto")],
        repr(state.prompts),
        sorted((i, repr(o.prompts), sorted(o.record().items(), key=str)) for i, o in state.objects.items()),
        state.last_id,
        sorted(state.regions.items()),
        answers,
        sorted((z, sorted(c.items(), key=str)) for z, c in state.confidence.items()),
        sorted(state.painted.items()),
        repr(state.anchors and (state.anchors.prompts, sorted(state.anchors.painted.items()))),
        state.reopened and (state.reopened.id, state.reopened.parent, state.reopened.daughters),
        sorted(state.tracks.items()),
        sorted(state.current_tracks.items()),
        sorted(state.auto_parents.items()),
        state.auto_in_pieces,
    ]
    return hashlib.sha1(repr(values).encode(), usedforsecurity=False).hexdigest()


# ---------------------------------------------------------------------- random actions


def do_something(session: Any, kind: str, rng: random.Random) -> None:
    """One random action; what cannot be done is refused with an InputError and changes nothing."""
    shape = SHAPES[kind]
    z = rng.randrange(shape[0]) if len(shape) == 3 else None
    place = tuple(rng.randrange(size) for size in shape[-2:])
    at = place if z is None else (z, *place)
    ids = sorted(session.objects)

    def box() -> None:
        y, x = place
        corners = [(y, x), (y + 9, x + 11)]
        session.prompts.add_shape("rectangle", [c if z is None else (z, *c) for c in corners])

    def paint(name: str) -> None:
        y, x = (min(v, size - 8) for v, size in zip(place, shape[-2:], strict=True))
        region = (slice(y, y + 7), slice(x, x + 6))
        values = np.full((7, 6), rng.choice([0, 1, 1, 2, *ids]), np.uint32)
        session.labels.paint(
            name, region if z is None else (slice(z, z + 1), *region), values if z is None else values[None]
        )

    def run() -> None:
        session.propagation.segment() if kind == "3d" else session.propagation.segment()

    def automatic() -> None:
        labels = np.zeros(shape[-2:], np.uint32)
        for k in range(1, 5):
            y, x = rng.randrange(shape[-2] - 9), rng.randrange(shape[-1] - 9)
            labels[y : y + 9, x : x + 9] = k
        session.automatic.show(labels, z)
        session.objects.commit("auto", preserve=rng.choice(["pixels", "none"]), min_size=1)

    def segment() -> None:
        session.segment.slice(
            z if z is None or not session.prompts.drawn.slices else rng.choice(session.prompts.drawn.slices)
        )

    def divide() -> None:
        session.tracks.set_next_state("division")
        session.prompts.add_point(at)

    def track_edit() -> None:
        some = rng.choice(ids) if ids else 1
        if rng.random() < 0.5:
            session.tracks.split(some, z, link=rng.random() < 0.5)
        else:
            session.tracks.relink(some, rng.choice([None, *ids]))

    choices = [
        (lambda: session.prompts.add_point(at, rng.random() < 0.8), 6),
        (box, 2),
        (segment, 8),
        (session.objects.commit, 5),
    ]
    choices += [(session.undo, 4), (session.redo, 2), (lambda: paint("current"), 2), (lambda: paint("committed"), 1)]
    choices += [(automatic, 1), (session.prompts.clear, 1)]
    if ids:
        choices += [
            (lambda: session.objects.delete([rng.choice(ids)]), 1),
            (lambda: session.objects.reopen(rng.choice(ids)), 2),
        ]
        choices += [(lambda: session.objects.merge(rng.sample(ids, min(2, len(ids)))), 1)]
    if len(session.prompts.drawn):
        choices += [(lambda: session.prompts.remove([next(iter(session.prompts.drawn)).id]), 1)]
    if kind != "2d":
        choices += [(run, 5)]
    if kind == "tracking":
        choices += [(divide, 2), (track_edit, 2)]
    functions, weights = zip(*choices, strict=True)
    rng.choices(functions, weights)[0]()


def act(folder: Path, kind: str, seed: int, delay: float, tell: Any, actions: int = 400) -> None:
    """What the child does: random actions, each of which is told (P) and, once it is on disc, reported (R)."""
    from micro_sam.errors import InputError
    from micro_sam.session.journal.recorder import Journal

    rng = random.Random(seed)
    session = make_session(kind)
    journal = Journal(folder, {"tool": kind, "image": {"shape": list(SHAPES[kind])}})
    session.keeper.journal = journal
    journal.on_written = lambda: tell(f"R {journal.written}")
    for _ in range(actions):
        try:
            do_something(session, kind, rng)
        except InputError:
            pass
        tell(f"P {journal.last_id} {digest(session)}")
        if rng.random() < 0.1:
            session.keeper.flush(5)
    journal.close()
    tell("E")


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
            _stub(delay)
            act(folder, kind, seed, delay, lambda text: os.write(writing, f"{text}\n".encode()))
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


def compare(kind: str, folder: Path, lines: list[bytes]) -> dict[str, Any]:
    """Whether the journal holds what the child told."""
    from micro_sam.session.journal import store

    told, reported = {0: digest(make_session(kind))}, 0
    for line in lines:
        first, *rest = line.decode().split()
        if first == "P":
            told[int(rest[0])] = rest[1]
        elif first == "R":
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
    session = make_session(kind)
    session.restore(contents.rows)  # all of it, also where the kill fell into the middle of a propagation
    known = max(number for number in told if number <= last)
    if last in told and digest(session) != told[last]:
        return {"ok": False, "why": f"action {last} is not what it was", "rows": last}
    if known != last:
        session = make_session(kind)
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


def main() -> None:
    """Run the kills and damages, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--damages", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    result: dict[str, Any] = {}
    _stub(0)
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
            act(source, kind, 12345, 0, lambda text: None)
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
    result["failures"] = failures
    print(json.dumps(result, indent=2))
    if options.output:
        options.output.write_text(json.dumps(result, indent=2))
    if failures or any(name.startswith("FAILED") for name in outcomes):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
