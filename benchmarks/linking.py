"""Our linker of label series beside laptrack and motile: right and wrong links and divisions, CPU seconds.

    python benchmarks/linking.py --data DATA --output result.json

Needs laptrack and, for its rows, motile. All get the same objects (centres and areas), the same reach and, where their
interface takes it, the same cost of a link; their divisions are also filtered by our gates ("gates"). Movies: real ones
with tracks (every frame, every second, every third one, and with objects left out at random), and generated ones.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import platform
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
from scipy.spatial import cKDTree

from micro_sam.io.tracks import load_tracks
from micro_sam.segmentation.propagation import frame_linking
from micro_sam.segmentation.propagation.frame_linking import FrameObjects, link_frames

REACH = 1.5  # diameters, as by default
Spot = tuple[int, int]  # frame, index of the object
Links = set[tuple[Spot, Spot]]


@dataclass
class Movie:
    """Objects of frames; ``objects.ids`` are tracks, ``parents`` daughter -> mother."""

    name: str
    frames: list[FrameObjects]
    parents: dict[int, int]
    gap: int = 0

    def links(self) -> Links:
        """Spots of one track, and of a mother's end and her daughters' beginnings."""
        seen: dict[int, list[Spot]] = defaultdict(list)
        for t, objects in enumerate(self.frames):
            for k, track in enumerate(objects.ids.tolist()):
                seen[track].append((t, k))
        found = {pair for spots in seen.values() for pair in zip(spots, spots[1:], strict=False)}
        found |= {(seen[m][-1], seen[d][0]) for d, m in self.parents.items() if d in seen and m in seen}
        return {(a, b) for a, b in found if b[0] - a[0] <= self.gap + 1}


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--cells", type=int, nargs="*", default=[300, 1000, 3000], help="of generated movies")
    parser.add_argument("--frames", type=int, default=20, help="of generated movies")
    parser.add_argument("--limit", type=int, default=120, help="CPU seconds for one movie and one linker")
    parser.add_argument("--methods", nargs="*", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--imports", action="store_true", help="measure the seconds of the imports, too")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    versions = {name: version_of(name) for name in ("laptrack", "motile", "ilpy", "pyscipopt", "numpy", "scipy")}
    about = {"machine": platform.platform(), "versions": versions}
    print(about)
    if options.imports:
        about["imports"] = {name: import_seconds(name) for name in IMPORTS}
        print(about["imports"])
    for name in ("laptrack", "motile", "motile.costs"):
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    movies = [*real_movies(options.data), *(m for n in options.cells for m in generated(n, options.frames))]
    rows, too_slow = [], set()
    for movie in movies:
        for method in options.methods:
            if method in too_slow and movie.name.startswith("generated"):
                continue
            row = measured(movie, method, options.limit)
            if "stopped" in row:
                too_slow.add(method)
            rows.append(row)
            print(" ".join(f"{key}={value}" for key, value in row.items()), flush=True)
            if options.output:
                options.output.write_text(json.dumps({**about, "rows": rows}, indent=1))


def measured(movie: Movie, method: str, limit: int) -> dict:
    """One row: what was linked right and wrong, and how long it took."""
    truth = movie.links()
    row = {"movie": movie.name, "method": method, "objects": sum(len(f.ids) for f in movie.frames), "links": len(truth)}
    before = time.process_time()
    try:
        with alarm(limit):
            links = METHODS[method](movie, limit)
    except TimeoutError:
        return row | {"stopped": limit}
    seconds = time.process_time() - before
    wanted, made = divisions(truth), divisions(links)
    return row | {
        "right": len(links & truth),
        "wrong": len(links - truth),
        "divisions": len(wanted),
        "divisions_right": len(wanted & made),
        "divisions_wrong": len(made - wanted),
        "cpu_seconds": round(seconds, 3),
    }


def divisions(links: Links) -> set[tuple[Spot, Spot, Spot]]:
    """Each mother with two daughters."""
    after = defaultdict(list)
    for a, b in links:
        after[a].append(b)
    return {(a, *sorted(b)) for a, b in after.items() if len(b) > 1}


# movies


def real_movies(data: Path) -> Iterator[Movie]:
    """Every n-th frame, and some objects left out."""
    for name in ("track_h2b_mitocheck", "track_yeast_yeastvision"):
        tracks = load_tracks(data / name / "01_GT")
        parents = {row.track_id: row.parent for row in tracks.rows if row.parent}
        frames = [FrameObjects.of(plane) for plane in tracks.labels]
        for step in (1, 2, 3):
            yield Movie(f"{name}, step {step}", frames[::step], parents)
        yield Movie(f"{name}, 5 % missing, gaps", without(frames, 0.05, 0), parents, 1)


def without(frames: list[FrameObjects], share: float, seed: int) -> list[FrameObjects]:
    """The frames, with a share of their objects not found."""
    rng = np.random.default_rng(seed)
    return [frame_linking._select(f, np.flatnonzero(rng.random(len(f.ids)) >= share).tolist()) for f in frames]


def generated(n: int, n_frames: int) -> Iterator[Movie]:
    """Slow cells, fast ones, and slow ones with gaps."""
    for step in (0.1, 0.3):
        frames, parents = crowd(n, n_frames, step)
        yield Movie(f"generated, {n} cells, step {step}", frames, parents)
    frames, parents = crowd(n, n_frames, 0.1)
    yield Movie(f"generated, {n} cells, step 0.1, 2 % missing, gaps", without(frames, 0.02, 1), parents, 1)


def crowd(n: int, n_frames: int, step: float, seed: int = 0) -> tuple[list[FrameObjects], dict[int, int]]:
    """Cells that walk (``step``: deviation along each axis, in diameters), push each other aside, grow and divide."""
    rng, diameter = np.random.default_rng(seed), 20.0
    columns = int(np.ceil(n**0.5))
    grid = np.stack(np.divmod(np.arange(n), columns), 1) * 1.4 * diameter
    side = columns * 1.4 * diameter
    at = grid + rng.normal(0, 0.2 * diameter, (n, 2))
    size = rng.uniform(0.6, 1.0, n)  # area, of that of a whole cell
    ids, last = np.arange(1, n + 1), n
    frames, parents = [], {}
    for _ in range(n_frames):
        inside = ((at > 0) & (at < side)).all(1)
        at, size, ids = at[inside], size[inside], ids[inside]
        seen = size * np.exp(rng.normal(0, 0.07, len(size))) * np.pi / 4 * diameter**2
        frames.append(FrameObjects(ids.copy(), at + rng.normal(0, 0.03 * diameter, at.shape), seen))
        ready = (size > 0.95) & (rng.random(len(size)) < 0.15)
        turn = rng.uniform(0, np.pi, ready.sum())
        away = 0.4 * diameter * np.stack([np.sin(turn), np.cos(turn)], 1)
        share = rng.uniform(0.42, 0.58, ready.sum())
        new = last + 1 + np.arange(2 * ready.sum())
        last += 2 * int(ready.sum())
        parents |= dict(zip(new.tolist(), [*ids[ready].tolist()] * 2, strict=True))
        at = np.concatenate(
            [at[~ready] + rng.normal(0, step * diameter, at[~ready].shape), at[ready] - away, at[ready] + away]
        )
        ids = np.concatenate([ids[~ready], new])
        size = np.concatenate([np.minimum(size[~ready] * 1.03, 1.0), size[ready] * share, size[ready] * (1 - share)])
        for _ in range(3):  # who overlaps moves apart
            pairs = cKDTree(at).query_pairs(diameter, output_type="ndarray")
            line = at[pairs[:, 1]] - at[pairs[:, 0]]
            apart = np.linalg.norm(line, axis=1, keepdims=True) + 1e-9
            room = diameter / 2 * (np.sqrt(size[pairs[:, 0]]) + np.sqrt(size[pairs[:, 1]]))[:, None]
            push = 0.25 * np.maximum(room - apart, 0) * line / apart
            np.add.at(at, pairs[:, 0], -push)
            np.add.at(at, pairs[:, 1], push)
    return frames, parents


# linkers


def ours(mode: str) -> Callable[[Movie, int], Links]:
    """Our own."""

    def link(movie: Movie, limit: int) -> Links:
        linked = link_frames(movie.frames, mode, REACH, movie.gap)
        frames = [
            FrameObjects(np.array([tracks[int(i)] for i in f.ids], int), f.centres, f.areas)
            for f, tracks in zip(movie.frames, linked.track_of, strict=True)
        ]
        return Movie("", frames, linked.parents, movie.gap).links()

    return link


def cost_of(a: np.ndarray, b: np.ndarray) -> float:
    """Our cost of a link between two objects (y, x, area), infinite beyond the reach."""
    diameter = 2 * np.sqrt(a[2] / np.pi)
    distance = np.hypot(a[0] - b[0], a[1] - b[1]) / diameter
    return 2 * distance**2 + abs(np.log(a[2] / b[2])) if distance <= REACH else np.inf


def split_cost(daughter: np.ndarray, mother: np.ndarray) -> float:
    """What laptrack can be told of a division: one daughter, and what may be the mother."""
    share = daughter[2] / mother[2]
    return cost_of(mother, daughter) if 0.15 <= share <= 1.05 else np.inf


def by_laptrack(builtin: bool, gates: bool) -> Callable[[Movie, int], Links]:
    """With our costs as Python functions, or with scipy's squared distance of (y, x, log area) in one unit."""

    def link(movie: Movie, limit: int) -> Links:
        from laptrack import LapTrack

        objects = movie.frames
        if builtin:
            unit = 2**0.5 / np.median(np.concatenate([f.diameters for f in objects]))
            coords = [np.column_stack([f.centres * unit, np.log(f.areas)]) for f in objects]
            cutoff = 2 * REACH**2
            options = {"cutoff": cutoff, "gap_closing_cutoff": cutoff, "splitting_cutoff": cutoff}
        else:
            coords = [np.column_stack([f.centres, f.areas]) for f in objects]
            cutoff = 1e6
            options = {
                "metric": cost_of,
                "gap_closing_metric": cost_of,
                "splitting_metric": split_cost,
                "cutoff": cutoff,
                "gap_closing_cutoff": cutoff,
                "splitting_cutoff": cutoff,
            }
        if not movie.gap:
            options["gap_closing_cutoff"] = False
        tree = LapTrack(**options, gap_closing_max_frame_count=movie.gap + 1).predict(coords)
        links = {((int(a[0]), int(a[1])), (int(b[0]), int(b[1]))) for a, b in tree.edges}
        return gated(movie, links) if gates else links

    return link


def gated(movie: Movie, links: Links) -> Links:
    """Without the longer link of each division that does not pass our gates."""
    links = set(links)
    for mother, *daughters in divisions(links):
        if len(daughters) == 2 and not passes(movie, mother, *daughters):
            at = {spot: movie.frames[spot[0]].centres[spot[1]] for spot in (mother, *daughters)}
            links.discard((mother, max(daughters, key=lambda spot: float(np.linalg.norm(at[spot] - at[mother])))))
    return links


def passes(movie: Movie, mother: Spot, first: Spot, second: Spot) -> bool:
    """Whether sizes and places are those of a division."""
    spots = (mother, first, second)
    m, a, b = (movie.frames[t].centres[k] for t, k in spots)
    areas = [movie.frames[t].areas[k] for t, k in spots]
    apart = np.linalg.norm((a + b) / 2 - m) / (2 * np.sqrt(areas[0] / np.pi))
    low, high = frame_linking._DIVISION_AREA
    return (
        low <= (areas[1] + areas[2]) / areas[0] <= high
        and min(areas[1:]) / max(areas[1:]) >= frame_linking._DIVISION_BALANCE
        and apart <= frame_linking._DIVISION_CENTRE
    )


def by_motile(movie: Movie, limit: int) -> Links:
    """All frames as one integer program, with our costs; a pair that does not pass the gates is no division."""
    import motile
    from motile.constraints import MaxChildren, MaxParents, Pin
    from motile.costs import Cost, EdgeSelectedCost, NodeAppearCost, NodeDisappearCost, Weight
    from motile.variables import EdgeSelected, EdgeSplitPair

    graph, spots = motile.TrackGraph(), []
    first = np.cumsum([0, *(len(f.ids) for f in movie.frames)])
    for t, objects in enumerate(movie.frames):
        for k in range(len(objects.ids)):
            graph.add_node(len(spots), {"t": t, "there": True})
            spots.append((t, k))
    for t, a in enumerate(movie.frames):
        for gap in range(1, movie.gap + 2):
            if t + gap >= len(movie.frames) or not len(a.ids) or not len(movie.frames[t + gap].ids):
                continue
            b = movie.frames[t + gap]
            for i, near in enumerate(cKDTree(b.centres).query_ball_point(a.centres, REACH * a.diameters)):
                for j in near:
                    cost = cost_of(np.array([*a.centres[i], a.areas[i]]), np.array([*b.centres[j], b.areas[j]]))
                    if np.isfinite(cost):
                        graph.add_edge((int(first[t] + i), int(first[t + gap] + j)), {"cost": cost + 4 * (gap - 1)})

    class PairCost(Cost):
        def __init__(self) -> None:
            self.weight = Weight(1.0)

        def apply(self, solver: motile.Solver) -> None:
            for (e1, e2), index in solver.get_variables(EdgeSplitPair).items():
                three = [spots[node] for node in (e1[0], e1[1], e2[1])]
                good = three[1][0] == three[2][0] == three[0][0] + 1 and passes(movie, *three)
                solver.add_variable_cost(index, 0.0 if good else 100.0, self.weight)

    solver = motile.Solver(graph)
    solver.add_cost(EdgeSelectedCost(weight=1.0, attribute="cost"))
    solver.add_cost(NodeAppearCost(constant=4.0))
    solver.add_cost(NodeDisappearCost(constant=4.0))
    solver.add_cost(PairCost())
    solver.add_constraint(MaxParents(1))
    solver.add_constraint(MaxChildren(2))
    solver.add_constraint(Pin("there"))
    solution = solver.solve(timeout=limit)
    return {
        (spots[a], spots[b]) for (a, b), index in solver.get_variables(EdgeSelected).items() if solution[index] > 0.5
    }


METHODS = {
    "ours, optimal": ours("optimal"),
    "ours, greedy": ours("greedy"),
    "laptrack, our costs": by_laptrack(False, False),
    "laptrack, our costs, gates": by_laptrack(False, True),
    "laptrack, its metric": by_laptrack(True, False),
    "laptrack, its metric, gates": by_laptrack(True, True),
    "motile": by_motile,
}

IMPORTS = ("micro_sam.segmentation.propagation.frame_linking", "laptrack", "motile")


def import_seconds(module: str) -> float:
    """CPU seconds of an import after numpy and scipy, the least of five."""
    code = (
        "import time, numpy, scipy.optimize, scipy.spatial, scipy.sparse.csgraph; t = time.process_time();"
        f"import {module}; print(time.process_time() - t)"
    )
    seconds = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout for _ in range(5)]
    return round(min(map(float, seconds)), 3)


def version_of(name: str) -> str:
    """The version, or "" if it is not installed."""
    with contextlib.suppress(Exception):
        return version(name)
    return ""


@contextlib.contextmanager
def alarm(seconds: int) -> Iterator[None]:
    """TimeoutError after so many CPU seconds."""

    def stop(*_: object) -> None:
        raise TimeoutError

    signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


if __name__ == "__main__":
    main()
