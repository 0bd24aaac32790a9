"""Random sessions for ``faults_journal.py``: a network that draws discs, and actions of all kinds."""

from __future__ import annotations

import hashlib
import random
import sys
import time
import types
from pathlib import Path
from typing import Any

import numpy as np

SHAPES = {"2d": (48, 64), "3d": (7, 40, 48), "tracking": (7, 40, 48)}


# ---------------------------------------------------------------------- a network that draws discs


def stub(delay: float) -> None:
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
            yield types.SimpleNamespace(
                z=t, t=t, mask=mask, score=0.8, overlap=0.7, source=source, reason="", division=None
            )
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
        "micro_sam.segmentation.prompted.segment": {"segment_objects": segment_objects},
        "micro_sam.segmentation.prompted.readiness": {"missing_tiles": lambda *_, **__: ()},
        "micro_sam.segmentation.propagation.volume": {"iter_propagate_volume": propagate},
        "micro_sam.segmentation.propagation.tracking": {"iter_track": track},
    }.items():
        module = types.ModuleType(name)
        module.__dict__.update(content)
        sys.modules[name] = module


class Network:
    model_name, model_hash = "discs", "0123456789abcdef"

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape


def make_session(kind: str, shape: tuple[int, ...] | None = None) -> Any:
    """An empty session of a kind, with the network attached."""
    from micro_sam.session.session import Session, TrackingSession, VolumeSession

    shape = SHAPES[kind] if shape is None else shape
    session = {"2d": Session, "3d": VolumeSession, "tracking": TrackingSession}[kind](shape)
    session.model.attach(Network(shape), Network(shape))
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


def perform(
    folder: Path, kind: str, seed: int, delay: float, tell: Any, actions: int = 400, close: bool = True
) -> None:
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
    if not close:
        journal.flush(10)
        return
    journal.close()
    tell("E")
