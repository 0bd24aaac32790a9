"""Memory and time of embeddings, maps and one object of a large volume.

    python benchmarks/volume_memory.py --shape 200 1024 1024

The volume lies on disc and is read in parts, as large files are in the window; embeddings and maps are kept on disc.
Prints CPU seconds per plane and direction (embedding: per slice) and the peak memory of the process after each step;
run it with two numbers of slices to see that it does not grow with them.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import zarr

from micro_sam.embeddings.compute import iter_embeddings, open_embeddings
from micro_sam.models.build import get_sam_model
from micro_sam.segmentation.volume.automatic import segment_volume
from micro_sam.segmentation.volume.compute import iter_volume_maps
from micro_sam.segmentation.volume.maps import open_volume_maps
from micro_sam.segmentation.volume.object import segment_volume_object
from micro_sam.segmentation.volume.values import VolumePrompts

SPACING, RADIUS = 64, 20  # pixels between the middles of nuclei, and how large they are


def main() -> None:
    """Parse arguments, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", type=int, nargs=3, default=(200, 1024, 1024))
    parser.add_argument("--model", default="nano_lm")
    parser.add_argument("--automatic", action="store_true", help="segment all objects, too (labels in memory)")
    options = parser.parse_args()
    predictor = get_sam_model(options.model)
    with tempfile.TemporaryDirectory() as folder:
        image = nuclei(Path(folder) / "image.zarr", tuple(options.shape))
        print(f"{image.shape} {image.dtype}, {image.nbytes / 2**30:.2f} GB on disc; {memory()} before", flush=True)
        embeddings, store = open_embeddings(predictor, image, Path(folder) / "cache.zarr", ndim=3)
        begin = time.process_time()
        n = sum(1 for _ in iter_embeddings(predictor, image, store))
        per_slice = (time.process_time() - begin) / image.shape[0]
        print(f"embedding: {n} parts, {per_slice:.3f} CPU-s per slice; {memory()}", flush=True)
        maps = open_volume_maps(predictor, embeddings, (1, 1, 1))
        seconds: dict[int, list[float]] = {axis: [] for axis in maps.geometry.axes}
        begin = time.process_time()
        for block in iter_volume_maps(predictor, embeddings, maps, focus=lambda: (0, 512, 512)):
            seconds[block.axis].append(time.process_time() - begin)
            begin = time.process_time()
        for axis, each in seconds.items():
            per_plane = sum(each) / maps.geometry.planes(axis)
            print(
                f"maps along {'zyx'[axis]}: {len(each)} blocks of {maps.geometry.planes(axis)} planes, "
                f"{per_plane:.3f} CPU-s per plane, {per_plane / per_slice:.2f} of embedding a slice; {memory()}"
            )
        middle = SPACING // 2
        begin = time.process_time()
        found = segment_volume_object(maps, VolumePrompts([(middle, middle, middle)], [1]))
        print(f"one object: {int(found.mask.sum())} voxels, {time.process_time() - begin:.3f} CPU-s; {memory()}")
        if options.automatic:
            begin = time.process_time()
            labels = segment_volume(maps)
            print(f"all objects: {labels.max()}, {time.process_time() - begin:.1f} CPU-s; {memory()}")


def nuclei(path: Path, shape: tuple[int, int, int]) -> zarr.Array:
    """Balls on a lattice in noise, written slice by slice."""
    image = zarr.create_array(str(path), shape=shape, chunks=(1, *shape[1:]), dtype="uint8")
    random = np.random.default_rng(0)
    y, x = (np.abs(np.arange(n) % SPACING - SPACING // 2) for n in shape[1:])
    for z in range(shape[0]):
        away = abs(z % SPACING - SPACING // 2)
        inside = away**2 + y[:, None] ** 2 + x**2 <= RADIUS**2
        image[z] = np.clip(random.normal(25, 6, shape[1:]) + 120 * inside, 0, 255).astype("uint8")
    return image


def memory() -> str:
    """Peak of this process so far."""
    return f"peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GB"


if __name__ == "__main__":
    main()
