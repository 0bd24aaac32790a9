"""Whole objects of volumes from one click, with corrections, and from one exact slice: maps beside propagation.

    python benchmarks/volume_maps.py --data DATA --cache /tmp/volumes --output result.json

One click at the innermost pixel of an object's middle slice; then twice a click in the slice and at the place where the
largest connected error is deepest; apart from that, the middle slice painted exactly instead of the click. Mean 3D IoU
over objects of at least 4 slices (2 in thin stacks) and 30 pixels. "upper half": objects whose middle slice lies there.
Embeddings and maps stay in ``--cache`` and are found again.

``--peer PYTHON`` (an environment with micro-sam 1.8, see ``volume_and_tracking.py``) adds what its propagation makes of
the same weights, features and first masks, from one click and from one exact slice. Automatic segmentation (mSA) is
measured by the maps and slice by slice.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tifffile
from scipy import ndimage
from volume_and_tracking import PEER_MODES, STACKS, iou, middle_slices, run_peer

from micro_sam.embeddings.compute import iter_embeddings, open_embeddings
from micro_sam.errors import InputError
from micro_sam.evaluation.metrics import compare_labels
from micro_sam.models.build import get_sam_model
from micro_sam.prompt_generators import innermost
from micro_sam.segmentation.automatic.dense import DenseInstanceSegmenter
from micro_sam.segmentation.prompted.segment import segment_objects
from micro_sam.segmentation.values import ObjectMask, Prompts
from micro_sam.segmentation.volume.automatic import segment_stack
from micro_sam.segmentation.volume.compute import iter_volume_maps
from micro_sam.segmentation.volume.maps import open_volume_maps
from micro_sam.segmentation.volume.object import segment_volume_object
from micro_sam.segmentation.volume.scripts import segment_object_in_volume
from micro_sam.segmentation.volume.values import VolumePrompts

# The upper half in z is quoted separately. The shipped weights have learned from slices of the lower 70 % of the ovule
# stacks, later trainings from the lower half only.
HALVES = ("nuclei3d_ovule", "cells3d_ovule")
CORRECTIONS = 2


def main() -> None:
    """Parse arguments, measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the development images")
    parser.add_argument("--cache", type=Path, required=True, help="folder for embeddings and maps")
    parser.add_argument("--model", default="nano_lm")
    parser.add_argument("--checkpoint", help="weights of one's own")
    parser.add_argument("--sets", nargs="*", default=list(STACKS), choices=list(STACKS))
    parser.add_argument("--methods", nargs="*", default=["maps", "propagation"], choices=["maps", "propagation"])
    parser.add_argument("--peer", help="Python of an environment with micro-sam 1.8")
    parser.add_argument("--iou-threshold", type=float, default=0.8, help="of propagation")
    parser.add_argument("--output", type=Path, help="JSON file")
    options = parser.parse_args()
    predictor = get_sam_model(options.model, checkpoint_path=options.checkpoint)
    rows = [row for name in options.sets for row in measure(predictor, name, options)]
    if options.output:
        options.output.write_text(json.dumps({"weights": predictor.model_hash, "rows": rows}, indent=1))


def measure(predictor, name: str, options) -> Iterator[dict]:
    """A row for each method and part of a stack."""
    stem, scale = STACKS[name]
    image = tifffile.imread(options.data / name / f"{stem}_image.tif")
    truth = tifffile.imread(options.data / name / f"{stem}_labels.tif")
    path = options.cache / f"{name}_{predictor.model_hash[:8]}.zarr"
    embeddings, store = open_embeddings(predictor, image, path, ndim=3, smooth_noise=True)
    per_slice = per_item(iter_embeddings(predictor, image, store))
    maps = open_volume_maps(predictor, embeddings, scale)
    costs = {axis: [] for axis in maps.geometry.axes}
    begin = time.process_time()
    for block in iter_volume_maps(predictor, embeddings, maps):
        costs[block.axis].append(time.process_time() - begin)
        begin = time.process_time()
    costs = {axis: round(float(np.mean(c)), 3) if c else None for axis, c in costs.items()}
    print(f"{name}: {image.shape}, CPU-s per slice: embedding {per_slice}, maps along z, y, x {costs}. {maps.note}")

    def segment(method: str, prompts: VolumePrompts) -> np.ndarray:
        if method == "maps":
            return segment_volume_object(maps, prompts).full(truth.shape)
        masks = {z: mask.full(truth.shape[1:]) for z, mask in prompts.masks.items()} or None
        try:
            return segment_object_in_volume(
                predictor, embeddings, prompts.points, prompts.labels, masks=masks, method="propagation"
            )
        except InputError:  # a negative click between prompted slices is refused: the object stays as it was
            return segment(method, VolumePrompts(prompts.points[:-1], prompts.labels[:-1], masks=prompts.masks))

    for method in options.methods:
        results = [(z, *one) for z, *one in trials(truth, lambda prompts, m=method: segment(m, prompts))]
        parts = {"whole stack": results}
        if name in HALVES:
            parts |= {"upper half": [one for one in results if one[0] >= truth.shape[0] / 2]}
        for part, chosen in parts.items():
            ious, exact, seconds = (np.mean([one[k] for one in chosen], 0) for k in (1, 2, 3))
            row = {"set": name, "part": part, "method": method, "objects": len(chosen)}
            row |= {f"+{k}" if k else "one click": round(float(v), 3) for k, v in enumerate(ious)}
            row |= {"exact slice": round(float(exact), 3), "CPU s per prompt": round(float(seconds), 4)}
            print(row, flush=True)
            yield row | {"CPU s per slice": {"embedding": per_slice, "maps": costs}}
    if options.peer:
        yield from measure_peer(predictor, embeddings, truth, name, options)
    yield from measure_automatic(predictor, embeddings, truth, name, scale)


def measure_automatic(predictor, embeddings, truth: np.ndarray, name: str, scale) -> Iterator[dict]:
    """Segmentation of all objects, by the maps and slice by slice."""
    for method in ("maps", "slices"):
        begin = time.process_time()
        labels = segment_stack(DenseInstanceSegmenter(predictor), embeddings, method, scale)
        row = {"set": name, "method": f"automatic, {method}"} | compare_labels(labels, truth)
        row |= {"CPU s": time.process_time() - begin}
        print({key: round(v, 3) if isinstance(v, float) else v for key, v in row.items()}, flush=True)
        yield row


def measure_peer(predictor, embeddings, truth: np.ndarray, name: str, options) -> Iterator[dict]:
    """Propagation of micro-sam 1.8 from one click (the mask that our model gives for it) and from an exact slice."""
    clicks, exact = {}, {}
    for value, z in middle_slices(truth):
        one = Prompts(np.array([innermost(truth[z] == value)], float), np.array([1]))
        clicks[value] = {z: segment_objects(predictor, one, embeddings, z)[0]}
        exact[value] = {z: ObjectMask.from_array(truth[z] == value)}
    for mode in PEER_MODES:
        row = {"set": name, "part": "whole stack", "method": f"micro-sam 1.8, {mode}", "objects": len(clicks)}
        for start, masks in (("one click", clicks), ("exact slice", exact)):
            found, seconds = run_peer(options, predictor, embeddings, masks, truth.shape, "volume", mode)
            row[start] = round(float(np.mean([iou(found[v], truth == v) for v in masks])), 3)
        row["CPU s per prompt"] = round(seconds, 4)
        print(row, flush=True)
        yield row


def per_item(run: Iterator) -> float | None:
    """CPU seconds per item of a run; None when there was nothing to do."""
    begin, n = time.process_time(), sum(1 for _ in run)
    return round((time.process_time() - begin) / n, 3) if n else None


def trials(truth: np.ndarray, segment) -> Iterator[tuple[int, list[float], float, float]]:
    """Of each object: its middle slice, IoU after each click, IoU from an exact slice, CPU seconds per prompt."""
    for value, z in middle_slices(truth):
        wanted = truth == value
        points, labels, ious, seconds = [(z, *innermost(wanted[z]))], [1], [], []
        for step in range(CORRECTIONS + 1):
            begin = time.process_time()
            found = segment(VolumePrompts(points, labels))
            seconds.append(time.process_time() - begin)
            ious.append(iou(found, wanted))
            click = next_click(wanted, found) if step < CORRECTIONS else None
            if click is None:
                ious += [ious[-1]] * (CORRECTIONS - step)
                break
            points.append(click[0])
            labels.append(click[1])
        found = segment(VolumePrompts(masks={z: ObjectMask.from_array(wanted[z])}))
        yield z, ious, iou(found, wanted), float(np.mean(seconds))


def next_click(truth: np.ndarray, found: np.ndarray) -> tuple[tuple[int, ...], int] | None:
    """The deepest place (z, y, x) of the largest connected error, and the label of a click there."""
    box = ndimage.find_objects((truth | found).astype("uint8"))[0]
    best = None
    for wrong, label in ((truth[box] & ~found[box], 1), (found[box] & ~truth[box], 0)):
        parts, n = ndimage.label(wrong)
        if n:
            sizes = np.bincount(parts.ravel())[1:]
            if best is None or sizes.max() > best[0]:
                best = (sizes.max(), parts == sizes.argmax() + 1, label)
    if best is None:
        return None
    depth = ndimage.distance_transform_edt(np.pad(best[1], 1))[1:-1, 1:-1, 1:-1]
    place = np.unravel_index(depth.argmax(), depth.shape)
    return tuple(int(p) + s.start for p, s in zip(place, box, strict=True)), best[2]


if __name__ == "__main__":
    main()
