"""How far one click goes: objects through volumes and through time, on real data with ground truth.

    python benchmarks/volume_and_tracking.py --data DATA --model nano_lm --output result.json

Volumes: one click at the innermost pixel of an object's middle slice, then one correcting click in the slice that is
worst; mean 3D IoU over objects. Tracking: one click in the first frame of a track; the fraction of tracks that are
followed to their end, and TRA, DET and SEG of all tracks together (py-ctcmetrics).

What we do by default stands beside the scheme as it was published (the box, or the single innermost point, of the last
mask is the only prompt, and the answer with the highest predicted IoU is taken), with the same weights, features and
first masks. ``--peer PYTHON`` names the Python of an environment with micro-sam 1.8 and adds what its own propagation
makes of them. ``--against WORKTREE`` (with ``--only objects``: nothing else) adds whole objects by the maps beside
propagation as an earlier commit does it with its own weights, click by click in turns, and how long a prompt takes for
large objects.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import io
import json
import os
import platform
import resource
import subprocess
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import tifffile
import torch

from micro_sam.embeddings.compute import iter_embeddings, open_embeddings, precompute_image_embeddings
from micro_sam.evaluation.interactive import next_click
from micro_sam.io.tracks import TrackRow, load_tracks, tracks_from_labels
from micro_sam.io.tracks.ctc import save_ctc
from micro_sam.models.build import get_sam_model
from micro_sam.prompt_generators import innermost
from micro_sam.sample_data.synthetic import nuclei_volume
from micro_sam.segmentation.prompted import projection as projections
from micro_sam.segmentation.prompted.close_ups import segment_object
from micro_sam.segmentation.prompted.objects import segment_in_tiles
from micro_sam.segmentation.prompted.segment import segment_objects
from micro_sam.segmentation.propagation.tracking import TrackStep, iter_track
from micro_sam.segmentation.propagation.volume import iter_propagate_volume
from micro_sam.segmentation.values import ObjectMask, Prompts

VOLUMES = {"nuclei3d_ovule": "1136", "cells3d_ovule": "sample_ovule"}
ISOTROPIC = (1.0, 1.0, 1.0)
STACKS = {  # set -> stack, voxel size: those that figures of whole objects are quoted on
    "nuclei3d_ovule": ("1136", ISOTROPIC),
    "cells3d_ovule": ("sample_ovule", ISOTROPIC),
    "nuclei3d_mouse_embryo": ("embryo_16cell", ISOTROPIC),
    "organelles3d_chloroplast_em": ("leaf_w2", None),
}
MOVIES = ("track_h2b_mitocheck",)
MODES = ("default", *projections.PROJECTION_MODES)
PEER_MODES = ("box", "single_point")
PEER_TRACK_MODES = ("box", "mask", "single_point")
TRACK_THRESHOLD = 0.5  # overlap below which a track ends, in both programs


def main() -> None:
    """Parse arguments, measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the development images")
    parser.add_argument("--model", default="nano_lm")
    parser.add_argument("--checkpoint", help="weights of one's own")
    parser.add_argument("--device")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--modes", nargs="*", default=["default"], choices=MODES, help="projections to compare")
    parser.add_argument("--iou-threshold", type=float, default=0.8, help="of volumes")
    parser.add_argument("--only", choices=["volume", "tracking", "memory", "objects"])
    parser.add_argument("--peer", help="Python of an environment with micro-sam 1.8")
    parser.add_argument("--against", type=Path, help="worktree of an earlier commit, for its propagation")
    parser.add_argument("--cache", type=Path, help="folder for embeddings and maps of whole objects")
    parser.add_argument("--quick", action="store_true", help="what we do by default only, no other scheme beside it")
    parser.add_argument("--output", type=Path, help="JSON file")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    predictor = get_sam_model(options.model, device=options.device, checkpoint_path=options.checkpoint)
    results: dict[str, list[dict]] = {}
    if options.only in (None, "volume"):
        results["volume"] = [row for name in VOLUMES for row in measure_volume(predictor, name, options)]
    if options.only in (None, "tracking"):
        results["tracking"] = [row for name in MOVIES for row in measure_tracking(predictor, name, options)]
    if options.against is not None and options.only in (None, "objects"):
        results |= measure_against(predictor, options)
    if options.only in (None, "memory"):
        results["memory"] = [measure_memory(predictor)]
    print(f"\n{options.model}, weights {predictor.model_hash[:16]}, {predictor.device}\n")
    for rows in results.values():
        print(as_markdown(rows) + "\n")
    if options.output:
        about = {
            "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "machine": f"{platform.platform()}, {os.cpu_count()} cores, torch {torch.__version__}, {predictor.device}",
            "model": options.model,
            "weights": predictor.model_hash,
            "iou_threshold": options.iou_threshold,
        }
        options.output.write_text(json.dumps(about | results, indent=1))


# volumes


def measure_volume(predictor, name: str, options) -> Iterator[dict]:
    """One row per method: mean 3D IoU per object from one click, and with one correction."""
    folder = options.data / name
    image = tifffile.imread(folder / f"{VOLUMES[name]}_image.tif")
    truth = tifffile.imread(folder / f"{VOLUMES[name]}_labels.tif")
    embeddings = embed(predictor, image)
    starts = dict(first_clicks(predictor, embeddings, truth))
    middle = np.mean([iou2d(mask, truth, value, z) for value, (z, mask) in starts.items()])
    print(f"{name}: {len(starts)} objects, IoU of the clicked slice {middle:.3f}", flush=True)

    def ours(mode: str) -> Callable:
        def run(masks: dict[int, ObjectMask], stops=()) -> np.ndarray:
            volume = np.zeros(truth.shape, bool)
            steps = iter_propagate_volume(
                predictor, embeddings, masks, stops=stops, projection=mode, iou_threshold=options.iou_threshold
            )
            for step in steps:
                if step.mask is not None:
                    step.mask.paint(volume[step.z], True)
            return volume

        return run

    methods = {f"ours, {mode}": ours(mode) for mode in options.modes}
    methods |= {f"published scheme, {mode}": as_published(ours(mode)) for mode in published_modes(options)}
    for label, run in methods.items():
        begin, first, second, reached = time.process_time(), [], [], []
        for value, (z, mask) in starts.items():
            volume = run({z: mask}) if not mask.is_empty else np.zeros(truth.shape, bool)
            first.append(iou(volume, truth == value))
            reached.append(volume.any((1, 2)).sum() / (truth == value).any((1, 2)).sum())
            second.append(max_of_correction(predictor, embeddings, truth == value, volume, z, mask, run))
        yield {
            "set": name,
            "method": label,
            "objects": len(starts),
            "IoU 3D, one click": np.mean(first),
            "IoU 3D, one correction": np.mean(second),
            "slices reached / true": np.mean(reached),
            "CPU s per object": (time.process_time() - begin) / len(starts),
        }
        print(label, flush=True)
    if options.peer:
        for mode in PEER_MODES:
            first = {v: {z: m} for v, (z, m) in starts.items()}
            volumes, seconds = run_peer(options, predictor, embeddings, first, truth.shape, "volume", mode)
            yield {
                "set": name,
                "method": f"micro-sam 1.8, {mode}",
                "objects": len(starts),
                "IoU 3D, one click": np.mean([iou(volumes[v], truth == v) for v in starts]),
                "IoU 3D, one correction": np.nan,
                "slices reached / true": np.mean(
                    [volumes[v].any((1, 2)).sum() / (truth == v).any((1, 2)).sum() for v in starts]
                ),
                "CPU s per object": seconds,
            }


def measure_against(predictor, options) -> dict[str, list[dict]]:
    """Whole objects by the maps beside propagation of an earlier commit, and the time of a prompt for large ones."""
    from volume_against import measure_million, measure_sizes, measure_stack

    rows = []
    for name, (stem, scale) in STACKS.items():
        image, truth = (tifffile.imread(options.data / name / f"{stem}_{kind}.tif") for kind in ("image", "labels"))
        rows.append(measure_stack(predictor, name, image, truth, scale, list(middle_slices(truth)), options))
        print(rows[-1], flush=True)
    rows.append(measure_million(predictor, options))
    print(rows[-1], flush=True)
    return {"objects": rows, "sizes": list(measure_sizes())}


def middle_slices(truth: np.ndarray) -> Iterator[tuple[int, int]]:
    """The objects of 4 slices (2 in thin stacks) and 30 pixels or more, each with its middle slice."""
    least = 4 if len(truth) > 15 else 2
    for value in np.unique(truth)[1:].tolist():
        slices = np.flatnonzero((truth == value).any((1, 2)))
        z = int(slices[len(slices) // 2])
        if len(slices) >= least and (truth[z] == value).sum() >= 30:
            yield value, z


def first_clicks(predictor, embeddings, truth: np.ndarray) -> Iterator[tuple[int, tuple[int, ObjectMask]]]:
    """Object -> its middle slice and the mask of one click there, for objects of 4 slices and 30 pixels or more."""
    for value in np.unique(truth)[1:].tolist():
        slices = np.flatnonzero((truth == value).any((1, 2)))
        z = int(slices[len(slices) // 2])
        if len(slices) >= 4 and (truth[z] == value).sum() >= 30:
            yield value, (z, click(predictor, embeddings, z, [innermost(truth[z] == value)], [1]))


def max_of_correction(predictor, embeddings, truth, volume, z, mask, run) -> float:
    """IoU after a click where the slice with most wrong pixels is most wrong, or a stop where there should be none."""
    wrong = (volume ^ truth).sum((1, 2))
    worst = int(wrong.argmax())
    masks, stops = ({z: mask} if not mask.is_empty else {}), []
    found, wanted = ObjectMask.from_array(volume[worst]), ObjectMask.from_array(truth[worst])
    if wanted.is_empty:
        stops = [worst]
    else:
        points, labels, previous = [innermost(truth[worst])], [1], None
        if not found.is_empty:
            points, labels = [innermost(volume[worst])], [1]
            correction = next_click(wanted, found)
            points, labels = [*points, correction[0]], [*labels, correction[1]]
            previous = found
        corrected = click(predictor, embeddings, worst, points, labels, previous)
        if not corrected.is_empty:
            masks[worst] = corrected
    if not masks:
        return 0.0
    return iou(run(masks, [s for s in stops if not min(masks) <= s <= max(masks)]), truth)


# tracking


def measure_tracking(predictor, name: str, options) -> Iterator[dict]:
    """One row per method: fraction of tracks followed to their end, and the challenge's figures."""
    folder = options.data / name
    image = np.stack([tifffile.imread(file) for file in sorted((folder / "01").glob("t*.tif"))])
    truth = load_tracks(folder / "01_GT")
    embeddings = embed(predictor, image)
    starts = {}
    for row in truth.rows:
        point = innermost(truth.labels[row.start] == row.track_id)
        starts[row.track_id] = click(predictor, embeddings, row.start, [point], [1])

    def ours(mode: str, search: bool = True) -> Callable:
        def run(masks, last, occupied):
            taken = occupied if search else None
            return iter_track(
                predictor,
                embeddings,
                masks,
                last=last,
                iou_threshold=TRACK_THRESHOLD,
                projection=mode,
                search=search,
                occupied=taken,
            )

        return run

    methods = {f"ours, {mode}": ours(mode) for mode in options.modes}
    methods |= {f"published scheme, {mode}": as_published(ours(mode, False)) for mode in published_modes(options)}
    for label, run in methods.items():
        begin = time.process_time()
        marked, labels, rows = follow_marked(run, truth, starts)
        unmarked = follow_unmarked(run, truth, starts)
        seconds = time.process_time() - begin
        yield {
            "set": name,
            "method": label,
            "tracks": len(truth.rows),
            "to the end, divisions marked": marked,
            "to the end, unmarked": unmarked,
            **challenge_figures(labels, rows, truth),
            "CPU s per track": seconds / (2 * len(truth.rows)),
        }
        print(label, flush=True)
    if options.peer:
        first = {row.track_id: {row.start: starts[row.track_id]} for row in truth.rows}
        for mode in PEER_TRACK_MODES:
            found, seconds = run_peer(options, predictor, embeddings, first, truth.labels.shape, "tracking", mode)

            def peer(masks, last, _occupied, found=found):
                """The steps of the peer's track that begins with this mask, up to a division that is marked."""
                ((begin, mask),) = masks.items()
                track = next(i for i, start in first.items() if start.get(begin) is mask)
                for t in range(begin, truth.labels.shape[0] if last is None else last + 1):
                    if not found[track][t].any():
                        return
                    yield TrackStep(t, ObjectMask.from_array(found[track][t]), 0.0, 0.0, "propagated")

            marked, labels, rows = follow_marked(peer, truth, starts)
            yield {
                "set": name,
                "method": f"micro-sam 1.8, {mode}",
                "tracks": len(truth.rows),
                "to the end, divisions marked": marked,
                "to the end, unmarked": follow_unmarked(peer, truth, starts),
                **challenge_figures(labels, rows, truth),
                "CPU s per track": seconds,
            }
            print(f"micro-sam 1.8, {mode}", flush=True)


def follow_marked(run: Callable, truth, starts) -> tuple[float, np.ndarray, list[TrackRow]]:
    """Each track from one click in its first frame to its marked end, one after the other as a user would."""
    result, rows, complete = np.zeros(truth.labels.shape, np.uint32), [], []
    for row in truth.rows:
        frames = []
        for step in (
            run({row.start: starts[row.track_id]}, row.end, result) if not starts[row.track_id].is_empty else ()
        ):
            if step.mask is None:
                break
            window = result[step.t][step.mask.slices]
            window[step.mask.mask & (window == 0)] = row.track_id
            frames.append((step.t, shows(step.mask, truth.labels[step.t]) == row.track_id))
        complete.append(bool(frames) and frames[-1][0] == row.end and all(right for _, right in frames))
        present = np.flatnonzero((result == row.track_id).any((1, 2)))
        if len(present):
            rows.append(TrackRow(row.track_id, int(present[0]), int(present[-1]), row.parent))
    known = {row.track_id: row for row in rows}
    # A track that was lost before its end keeps no daughters: the table of the challenge has no gaps.
    ends = {row.track_id: row.end for row in truth.rows}
    keep = {i for i in known if known[i].end == ends[i]}
    return float(np.mean(complete)), result, [r if r.parent in keep else replace(r, parent=0) for r in rows]


def follow_unmarked(run: Callable, truth, starts) -> float:
    """Founders only, from one click each and without any further word: which tracks do they pass through to the end?"""
    reached: set[int] = set()
    for founder in truth.rows:
        if founder.parent or starts[founder.track_id].is_empty:
            continue
        current = founder
        for step in run({founder.start: starts[founder.track_id]}, None, None):
            if step.mask is None:
                break
            seen = shows(step.mask, truth.labels[step.t])
            if seen != current.track_id:
                daughter = next((r for r in truth.rows if r.track_id == seen and r.parent == current.track_id), None)
                if daughter is None:
                    break
                current = daughter
            if step.t == current.end:
                reached.add(current.track_id)
    return len(reached) / len(truth.rows)


def challenge_figures(labels: np.ndarray, rows: list[TrackRow], truth) -> dict[str, float]:
    """TRA, DET and SEG by py-ctcmetrics."""
    from ctc_metrics.scripts.evaluate import evaluate_sequence

    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of frames in which nothing is left
        result, reference = Path(folder) / "01_RES", Path(folder) / "01_GT"
        save_ctc(result, without_gaps(labels, rows))
        save_ctc(reference, truth, ground_truth=True)
        figures = evaluate_sequence(str(result), str(reference), metrics=["TRA", "DET", "SEG"], threads=1)
    return {name: float(figures[name]) for name in ("TRA", "DET", "SEG")}


def without_gaps(labels: np.ndarray, rows: list[TrackRow]):
    """A track that another one covers for a frame is cut there, since the format has no gaps."""
    labels, rows, last = labels.copy(), list(rows), int(labels.max())
    for row in list(rows):
        frames = np.flatnonzero((labels == row.track_id).any((1, 2)))
        for piece in np.split(frames, np.flatnonzero(np.diff(frames) > 1) + 1)[1:]:
            last += 1
            labels[piece] = np.where(labels[piece] == row.track_id, last, labels[piece])
            rows.append(TrackRow(last, int(piece[0]), int(piece[-1]), 0))
    extents = {int(i): np.flatnonzero((labels == i).any((1, 2))) for i in np.unique(labels)[1:]}
    rows = [TrackRow(r.track_id, int(extents[r.track_id][0]), int(extents[r.track_id][-1]), r.parent) for r in rows]
    ends = {row.track_id: row.end for row in rows}
    return tracks_from_labels(
        labels, rows=[r if ends.get(r.parent, r.start) < r.start else replace(r, parent=0) for r in rows]
    )


# baselines


def published_modes(options) -> tuple[str, ...]:
    """Projections of the published scheme that are measured beside ours."""
    return () if options.quick else ("box", "single_point")


def as_published(run: Callable) -> Callable:
    """The same run, but the model's answer is the one it is surest of, not the one most like the last mask."""

    def by_score(predictor, embeddings, i, prompt, multimask=None, choose=None):
        del choose
        return segment_in_tiles(
            predictor, embeddings, i, prompt, multimask, lambda answers: max(answers, key=lambda answer: answer.score)
        )

    def published(*args, **kwargs):
        projections.segment_object = by_score
        try:
            result = run(*args, **kwargs)
            return result if isinstance(result, np.ndarray) else list(result)
        finally:
            projections.segment_object = segment_object

    return published


def run_peer(
    options, predictor, embeddings, starts: dict[int, dict[int, ObjectMask]], shape, task: str, mode: str
) -> tuple[dict[int, np.ndarray], float]:
    """What micro-sam 1.8 makes of the same features, weights and first masks, and the CPU seconds per object."""
    images = [embeddings.load(z) for z in range(shape[0])]
    from micro_sam.models.stock import to_segment_anything

    state = to_segment_anything(predictor.model).state_dict()
    arrays = {
        "features": np.concatenate([image.features.cpu().numpy() for image in images]),
        "input_size": np.array(images[0].input_size),
        "original_size": np.array(images[0].original_size),
        "image_size": np.array(predictor.model.image_size),
        "iou_threshold": np.array(options.iou_threshold if task == "volume" else TRACK_THRESHOLD),
        "projection": np.array(mode),
        "task": np.array(task),
    }
    arrays |= {
        f"weights/{name}": values.cpu().numpy()
        for name, values in state.items()
        if name.startswith(("prompt_encoder.", "mask_decoder."))
    }
    for value, masks in starts.items():
        volume = np.zeros(shape, np.uint8)
        for z, mask in masks.items():
            mask.paint(volume[z], 1)
        if volume.any():
            arrays[f"start/{value:05d}"] = volume
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "in.npz", Path(folder) / "out.npz"
        np.savez(source, **arrays)
        script = Path(__file__).with_name("micro_sam_1_8.py").resolve()
        own = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}  # its micro_sam, not ours
        subprocess.run([options.peer, str(script), str(source), str(target)], check=True, cwd=folder, env=own)
        with np.load(target) as found:
            volumes = {v: found[f"{v:05d}"] if f"{v:05d}" in found else np.zeros(shape, bool) for v in starts}
            return volumes, float(found["seconds"]) / max(len(starts), 1)


# memory


def measure_memory(predictor, shape: tuple[int, int, int] = (60, 1024, 1024)) -> dict:
    """Peak memory of this process while one object is extended through a large volume."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    image, truth = nuclei_volume(shape, n_objects=12, radius=60, seed=1)
    with tempfile.TemporaryDirectory() as folder:
        embeddings = precompute_image_embeddings(predictor, image, save_path=folder, ndim=3, verbose=False)
        value = np.bincount(truth[truth > 0]).argmax()
        z = int(np.median(np.nonzero((truth == value).any((1, 2)))[0]))
        mask = click(predictor, embeddings, z, [innermost(truth[z] == value)], [1])
        steps = list(iter_propagate_volume(predictor, embeddings, {z: mask}, iou_threshold=0.0))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {"volume": "x".join(map(str, shape)), "steps": len(steps), "GB before": before, "GB peak": peak}


# small things


def embed(predictor, image: np.ndarray):
    """The features of a stack as the tools compute them: noisy ones are smoothed first."""
    embeddings, store = open_embeddings(predictor, image, ndim=3, tile_shape="whole", smooth_noise=True)
    for _ in iter_embeddings(predictor, image, store):
        pass
    return embeddings


def click(predictor, embeddings, z: int, points, labels, previous: ObjectMask | None = None) -> ObjectMask:
    """The object at some clicks in slice ``z``."""
    prompts = Prompts(points=np.array(points, float), labels=np.array(labels))
    return segment_objects(predictor, prompts, embeddings, z, previous=None if previous is None else [previous])[0]


def iou(a: np.ndarray, b: np.ndarray) -> float:
    """Of two bool arrays."""
    return float((a & b).sum() / max((a | b).sum(), 1))


def iou2d(mask: ObjectMask, truth: np.ndarray, value: int, z: int) -> float:
    """Of a mask and an object of the truth in its slice."""
    return mask.iou(ObjectMask.from_array(truth[z] == value))


def shows(mask: ObjectMask, truth: np.ndarray) -> int:
    """The true object that most of the mask's pixels lie on (0 where they lie on none)."""
    counts = np.bincount(truth[mask.slices][mask.mask].astype(int), minlength=1)
    counts[0] = 0
    return int(counts.argmax()) if counts.any() else 0


def as_markdown(rows: list[dict]) -> str:
    """A table."""
    columns = list(rows[0])
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    for row in rows:
        cells = [f"{value:.3f}" if isinstance(value, float) else str(value) for value in row.values()]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
