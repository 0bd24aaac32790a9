"""Whole objects by the maps beside propagation as an earlier commit does it: the same clicks, in turns.

Run by ``volume_and_tracking.py --against WORKTREE``. The earlier commit works in a process of its own, with its own
weights (``earlier_commit.py``). CPU seconds are those of the click (the mask of its slice, close-ups included) and of
everything until the whole object is there.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tifffile
from scipy import ndimage

from micro_sam.embeddings.compute import iter_embeddings, open_embeddings
from micro_sam.embeddings.tiles import TileGrid
from micro_sam.prompt_generators import innermost
from micro_sam.sample_data.synthetic import nuclei_volume
from micro_sam.segmentation.volume.geometry import MapBlock, plan_geometry
from micro_sam.segmentation.volume.maps import VolumeMaps
from micro_sam.segmentation.volume.object import segment_volume_object
from micro_sam.segmentation.volume.scripts import decoded_slices, maps_of, segment_object_in_volume
from micro_sam.segmentation.volume.values import VolumePrompts

LARGE = (60, 1024, 1024)
MILLION = 1_000_000  # voxels
TURNS = 6


class EarlierCommit:
    """Propagation of another commit, one click at a time.

    Parameters
    ----------
    worktree : Path
        Where it is checked out.
    image : array (Z, Y, X)
    options
        Of ``volume_and_tracking.py``.
    """

    def __init__(self, worktree: Path, image: np.ndarray, options) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self.mask_file = Path(self._folder.name) / "mask.npy"
        picture = Path(self._folder.name) / "image.tif"
        tifffile.imwrite(picture, image)
        script = Path(__file__).with_name("earlier_commit.py").resolve()
        command = [sys.executable, str(script), str(picture), "nano_lm", str(options.threads)]
        self._process = subprocess.Popen(
            [*command, str(options.iou_threshold)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=self._folder.name,
            env=dict(os.environ, PYTHONPATH=str(worktree.resolve())),
            text=True,
        )
        self.weights = self._answer()["weights"]

    def click(self, point: tuple[int, int, int]) -> tuple[np.ndarray, float, float]:
        """The object (Z, Y, X) bool at a click, the CPU seconds of the click, and those until the object is there."""
        self._process.stdin.write(json.dumps({"point": [int(p) for p in point], "to": str(self.mask_file)}) + "\n")
        self._process.stdin.flush()
        answer = self._answer()
        return np.load(self.mask_file), answer["click"], answer["all"]

    def close(self) -> None:
        """End the process."""
        self._process.stdin.close()
        self._process.wait()
        self._folder.cleanup()

    def _answer(self) -> dict:
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"The earlier commit ended with {self._process.wait()}: see its messages above.")
        return json.loads(line)


def measure_stack(predictor, name: str, image, truth, scale, chosen, options) -> dict:
    """One row of a stack: IoU and CPU of both, for (object, middle slice) pairs."""
    path = options.cache / f"{name}_{predictor.model_hash[:8]}.zarr" if options.cache else None
    embeddings, store = open_embeddings(predictor, image, path, ndim=3, smooth_noise=True)
    for _ in iter_embeddings(predictor, image, store):
        pass
    earlier, pairs = EarlierCommit(options.against, image, options), []
    try:
        for value, z in chosen:
            point, wanted = (z, *innermost(truth[z] == value)), truth == value
            # the maps around the object are computed by the first question, as they are in the background of a window
            segment_object_in_volume(predictor, embeddings, [point], [1], scale=scale, method="maps")
            embeddings.derived = {key: kept for key, kept in embeddings.derived.items() if key[0] == "volume maps"}
            mine, *costs = our_click(predictor, embeddings, point, scale)
            theirs, *their_costs = earlier.click(point)
            pairs.append((iou(mine, wanted), *costs, iou(theirs, wanted), *their_costs))
    finally:
        earlier.close()
    return as_row(name, np.mean(pairs, 0), len(pairs), earlier.weights)


def our_click(predictor, embeddings, point, scale) -> tuple[np.ndarray, float, float]:
    """The object at a click with nothing kept from before, CPU seconds of the click and until the object is there."""
    maps = maps_of(predictor, embeddings, scale)
    maps.version += 1  # so that nothing derived from the maps is kept
    begin = time.process_time()
    prompts = VolumePrompts([point], [1])
    decoded = decoded_slices(predictor, embeddings, prompts)
    clicked = time.process_time() - begin
    found = segment_volume_object(maps, VolumePrompts([point], [1], decoded=decoded))
    return found.full(maps.shape), clicked, time.process_time() - begin


def as_row(name: str, means, n: int, weights: str) -> dict:
    """The row of the table."""
    ours, click, whole, theirs, their_click, their_whole = (float(v) for v in means)
    return {
        "set": name,
        "objects": n,
        "IoU 3D, maps": ours,
        f"propagation before ({weights[:8]})": theirs,
        "CPU s, click": click,
        "click before": their_click,
        "click and object": whole,
        "both before": their_whole,
        "times less": their_whole / whole,
        "times less after the click": (their_whole - their_click) / max(whole - click, 1e-9),
    }


def measure_sizes() -> Iterator[dict]:
    """CPU of one prompt for large objects: medians in ms of a click, and with one and two corrections.

    The maps are made, not computed, in three directions; nothing is kept from the prompt before.
    """
    cube = _ball((100, 100, 100), (49, 49, 49))
    flat = _ball(LARGE, (29.5, 100, 100))
    filled = np.zeros((120, 120, 120), bool)
    filled[10:110, 10:110, 10:110] = True
    for name, mask in (
        ("a ball in 100 x 100 x 100", cube),
        ("a cube of 100 x 100 x 100", filled),
        ("an ellipsoid in " + " x ".join(map(str, LARGE)), flat),
    ):
        geometry = plan_geometry(mask.shape, 512, 256, TileGrid(mask.shape[1:]), (1.0, 1.0, 1.0))
        maps = _maps_of(mask, geometry)
        middle = [int(np.mean(np.flatnonzero(mask.any(tuple(a for a in range(3) if a != axis))))) for axis in range(3)]
        side = [(middle[0], middle[1], middle[2] + 30), (middle[0] + 20, middle[1] - 20, middle[2])]
        row = {"object": name, "voxels": int(mask.sum())}
        for n in range(3):
            prompts = VolumePrompts([middle, *side[:n]], [1] + [0] * n)
            seconds = []
            for _ in range(TURNS):
                maps.version += 1
                begin = time.process_time()
                found = segment_volume_object(maps, prompts)
                seconds.append(time.process_time() - begin)
            if not n:
                row |= {"found": int(found.mask.sum())}
            row[("click", "+1", "+2")[n] + ", ms"] = 1000 * float(np.median(seconds))
        yield row


def measure_million(predictor, options) -> dict:
    """An object of more than a million voxels in a stack of 60 x 1024 x 1024, both ways, from the pixels on."""
    image, truth = nuclei_volume(LARGE, n_objects=4, radius=105, seed=1)
    value = int(np.bincount(truth[truth > 0]).argmax())
    size = int((truth == value).sum())
    if size < MILLION:
        raise RuntimeError(f"The object has {size} voxels only.")
    slices = np.flatnonzero((truth == value).any((1, 2)))
    chosen = [(value, int(slices[len(slices) // 2]))]
    return measure_stack(predictor, f"{size}_voxels", image, truth, None, chosen, options)


def _ball(shape, radii) -> np.ndarray:
    at = np.ogrid[tuple(slice(0, n) for n in shape)]
    return sum(((a - (n - 1) / 2) / r) ** 2 for a, n, r in zip(at, shape, radii, strict=True)) <= 1


def _maps_of(mask: np.ndarray, geometry) -> VolumeMaps:
    """Maps in all directions that show one object, with a soft border."""
    maps = VolumeMaps(geometry)
    steps = [round(a / b) for a, b in zip(mask.shape, geometry.work, strict=True)]
    coarse = mask[tuple(slice(None, None, step) for step in steps)]
    inside = ndimage.distance_transform_edt(coarse, sampling=steps)
    values = np.stack([np.clip(inside / 4, 0, 1), inside / inside.max()]).astype("float32")
    values += np.random.default_rng(0).normal(0, 0.02, values.shape).astype("float32")  # no map is flat
    for block in geometry.blocks():
        area = geometry.area(block)
        maps.add(MapBlock(block.axis, block.plane, block.tile), values[(slice(None), *area)])
    return maps


def iou(a: np.ndarray, b: np.ndarray) -> float:
    """Of two bool arrays."""
    return float((a & b).sum() / max((a | b).sum(), 1))
