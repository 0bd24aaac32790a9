"""What single steps cost with very many objects, beside an earlier commit: merging of slices, suppression, commit.

    python benchmarks/large_steps.py --base CHECKOUT --output large_steps.json

Merging: slices of 512 x 512 with squares that move a little; the labels of both trees are compared. Suppression: boxes
with sides of 2 to 3,000 pixels, of both trees with ``--base``. Commit: squares in a session without a window, as the
window does it: found in a thread, then written in bands, each of which holds the window's thread up.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

BOXES, OBJECT, CELL = 40_000, 40, 48
ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    """Parse arguments, measure each tree in a process of its own, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path, help="check-out of an earlier commit")
    parser.add_argument("--slices", type=int, default=30)
    parser.add_argument("--side", type=int, default=10_000, help="pixels of the image whose objects are committed")
    parser.add_argument("--output", type=Path, help="JSON file for the figures")
    parser.add_argument("--child", nargs=2, metavar=("STEP", "LABELS"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        step, file = options.child
        print(json.dumps(STEPS[step](options, Path(file))))
        return
    results: dict[str, dict] = {}
    with tempfile.TemporaryDirectory() as folder:
        for step in STEPS:
            trees = {"now": ROOT} | ({"base": options.base.resolve()} if options.base and step != "commit" else {})
            for name, tree in trees.items():
                labels = Path(folder) / f"{step}_{name}.npy"
                results[f"{step}, {name}"] = measured(tree, step, labels, options)
                print(f"{step}, {name}: {results[f'{step}, {name}']}", flush=True)
        if options.base:
            merged = [np.load(Path(folder) / f"merging_{name}.npy") for name in ("now", "base")]
            results["merging"] = {"same labels": bool(np.array_equal(*merged))}
            print(results["merging"])
    if options.output:
        options.output.write_text(json.dumps(results, indent=2))


def measured(tree: Path, step: str, labels: Path, options: argparse.Namespace) -> dict:
    """One step in a process that imports from a tree."""
    command = [sys.executable, __file__, "--child", step, str(labels), "--slices", str(options.slices)]
    done = subprocess.run(
        [*command, "--side", str(options.side)],
        env=dict(os.environ, PYTHONPATH=str(tree), OMP_NUM_THREADS="1"),
        stdout=subprocess.PIPE,
        check=True,
        text=True,
        cwd=labels.parent,
    )
    return json.loads(done.stdout.splitlines()[-1])


def merging(options: argparse.Namespace, file: Path) -> dict:
    """CPU per slice of merging the objects of slices into a volume."""
    from micro_sam.multi_dimensional_segmentation import merge_instance_segmentation_3d

    rng = np.random.default_rng(0)
    slices = np.zeros((options.slices, 512, 512), "uint32")
    corners = np.stack(np.meshgrid(np.arange(2, 500, 54), np.arange(2, 500, 54), indexing="ij"), -1).reshape(-1, 2)
    for plane in slices:
        for k, (y, x) in enumerate(corners + rng.integers(0, 4, corners.shape), 1):
            plane[y : y + OBJECT, x : x + OBJECT] = k
    merge_instance_segmentation_3d(slices[:3], verbose=False)  # imports
    begin = time.process_time()
    found = merge_instance_segmentation_3d(slices, verbose=False)
    seconds = time.process_time() - begin
    np.save(file, found)
    return {"objects in slices": options.slices * len(corners), "CPU ms per slice": 1000 * seconds / options.slices}


def suppression(options: argparse.Namespace, file: Path) -> dict:
    """CPU of the non-maximum suppression of very many boxes."""
    try:
        from micro_sam.segmentation.suppression import nms
    except ImportError:  # an earlier commit
        from micro_sam.segmentation.labels import nms
    rng = np.random.default_rng(0)
    sides = np.exp(rng.uniform(np.log(2), np.log(3000), (BOXES, 2)))
    low = rng.uniform(0, 20_000, (BOXES, 2))
    boxes, scores = np.concatenate([low, low + sides], 1), rng.random(BOXES)
    row = {}
    for threshold in (0.3, 0.7, 0.9):
        begin = time.process_time()
        kept = nms(boxes, scores, threshold)
        row[f"CPU s at {threshold}"] = round(time.process_time() - begin, 2)
        row[f"kept at {threshold}"] = len(kept)
    return row


def commit(options: argparse.Namespace, file: Path) -> dict:
    """How long the thread of the window is held up by a commit of very many objects, its undo and redo."""
    from micro_sam.session.large_commits import apply_commit, plan_commit, run_commit
    from micro_sam.session.session import Session

    side = options.side
    session = Session((side, side))
    session.steps.writes_later = True
    n = side // CELL
    ids = np.arange(1, n * n + 1, dtype="uint32").reshape(n, n)
    labels = np.zeros((side, side), "uint32")
    labels[: n * CELL, : n * CELL] = np.kron(ids, np.pad(np.ones((OBJECT, OBJECT), "uint32"), (CELL - OBJECT) // 2))
    session.automatic.show(labels)
    held(session)
    begin = time.perf_counter()
    request = plan_commit(session)
    planning = time.perf_counter() - begin
    begin = time.perf_counter()
    planned = run_commit(request)
    row = {"objects": n * n, "found in a thread, s": time.perf_counter() - begin, "planned, s": planning}
    begin = time.perf_counter()
    apply_commit(planned)
    first = time.perf_counter() - begin
    row["commit: first, longest band, bands"] = [first, *held(session)]
    for name in ("undo", "redo"):
        begin = time.perf_counter()
        getattr(session, name)()
        first = time.perf_counter() - begin
        row[f"{name}: first, longest band, bands"] = [first, *held(session)]
    return row


def held(session) -> tuple[float, int]:
    """Seconds of the longest band that is still to be written, and how many there were."""
    longest, count = 0.0, 0
    while session.steps.is_writing:
        begin = time.perf_counter()
        session.steps.write_some()
        longest, count = max(longest, time.perf_counter() - begin), count + 1
    return longest, count


STEPS = {"merging": merging, "suppression": suppression, "commit": commit}


if __name__ == "__main__":
    main()
