"""What the commands cost for larger and larger images, beside another check-out: CPU, memory, files.

    python benchmarks/scale.py --sides 1000 2000 5000 10000 --slices 10 100 --base CHECKOUT --output scale.json

Squares of real texture (mirrored copies of the sample ``coins`` with noise of their own) as tiled tif and as OME-Zarr,
and stacks of 512 x 512. Each is embedded (``precompute_embeddings``) and segmented (``automatic_segmentation``) by
commands in processes of their own. CPU is that of the process and its children; memory the peak of all of them
together, pages of files that they look into included.
A square of 20,000 needs about 10 GB of disc, and 15 minutes of CPU per tree.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import psutil
from measuring import describe_machine

ROOT = Path(__file__).resolve().parents[1]
BLOCK, CHUNK, SLICE = 1024, 512, 512
COMMANDS = ("precompute_embeddings", "automatic_segmentation")


@dataclass
class Cost:
    """One command on one image."""

    tree: str
    image: str
    command: str
    pixels: int
    cpu: float  # seconds
    peak: float  # MB of all processes together
    files: int  # of the cache, afterwards
    megabytes: float

    @property
    def row(self) -> str:
        """A line of the table."""
        per = self.cpu / self.pixels * 1e6
        return (
            f"| {self.image} | {self.command} | {self.tree} | {self.cpu:.1f} | {per:.2f} | {self.peak:.0f} | "
            f"{self.files} | {self.megabytes:.0f} |"
        )


HEADER = (
    "| image | command | tree | CPU s | CPU s per megapixel | peak MB | files of the cache | MB of the cache |\n"
    "|---|---|---|---|---|---|---|---|"
)


def main(arguments: list[str] | None = None) -> int:
    """Parse arguments, measure, print and write."""
    options = build_parser().parse_args(arguments)
    trees = {"this": ROOT} | ({"base": options.base.resolve()} if options.base is not None else {})
    costs: list[Cost] = []
    print(HEADER)
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        images = [(f"{side} {kind}", (side, side), kind) for side in options.sides for kind in options.formats]
        images += [(f"{number} slices", (number, SLICE, SLICE), "tif") for number in options.slices]
        for title, shape, kind in images:
            path = make_image(folder, shape, kind)
            for tree, root in trees.items():
                for cost in measure(root, path, shape):
                    costs.append(Cost(tree, title, *cost))
                    print(costs[-1].row, flush=True)
            remove(path)
    if options.output is not None:
        report = {**describe_machine("cpu"), "model": "nano_lm", "costs": [asdict(cost) for cost in costs]}
        options.output.write_text(json.dumps(report, indent=1))
    return 0


def build_parser() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sides", type=int, nargs="*", default=[1000, 2000, 5000], help="pixels (1000 2000 5000)")
    parser.add_argument("--formats", nargs="+", choices=("tif", "zarr"), default=["tif", "zarr"], help="of squares")
    parser.add_argument("--slices", type=int, nargs="*", default=[10, 100], help="slices of stacks (10 100)")
    parser.add_argument("--base", type=Path, help="another check-out to compare with")
    parser.add_argument("--folder", type=Path, help="where images and caches lie for the time; the temporary folder")
    parser.add_argument("--output", type=Path, help="JSON file for the figures")
    return parser


def make_image(folder: Path, shape: tuple[int, ...], kind: str) -> Path:
    """Write an image block by block; none is ever in memory as a whole."""
    path = folder / f"image_{'_'.join(map(str, shape))}.{'tif' if kind == 'tif' else 'zarr'}"
    if kind == "zarr":
        import zarr

        group = zarr.open_group(str(path), mode="w", zarr_format=2)
        array = group.create_array("0", shape=shape, chunks=(CHUNK, CHUNK), dtype="uint8")
        for y in range(0, shape[0], BLOCK):
            for x in range(0, shape[1], BLOCK):
                array[y : y + BLOCK, x : x + BLOCK] = texture(shape, y, x)
        axes = [{"name": letter, "type": "space"} for letter in "yx"]
        level = {"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [1.0, 1.0]}]}
        group.attrs["multiscales"] = [{"version": "0.4", "axes": axes, "datasets": [level]}]
        return path
    import tifffile

    if len(shape) == 3:
        tifffile.imwrite(path, (texture(shape[1:], 0, 0, z) for z in range(shape[0])), shape=shape, dtype="uint8")
        return path
    places = ((y, x) for y in range(0, shape[0], BLOCK) for x in range(0, shape[1], BLOCK))
    blocks = (padded(texture(shape, y, x)) for y, x in places)
    tifffile.imwrite(path, blocks, shape=shape, dtype="uint8", tile=(BLOCK, BLOCK), compression="zlib")
    return path


def texture(shape: tuple[int, ...], y: int, x: int, z: int = 0) -> np.ndarray:
    """A block of the image: coins, mirrored at random, with noise."""
    from micro_sam.sample_data import open_sample

    random = np.random.default_rng((y, x, z))
    coins = open_sample("coins").image
    copies = [[coins[:: random.choice([-1, 1]), :: random.choice([-1, 1])] for _ in range(3)] for _ in range(4)]
    block = np.block(copies)[:BLOCK, :BLOCK]
    block = block[: shape[0] - y, : shape[1] - x]
    return (block + random.normal(0, 3, block.shape)).clip(0, 255).astype("uint8")


def padded(block: np.ndarray) -> np.ndarray:
    """A tile of a tif is always whole."""
    return np.pad(block, [(0, BLOCK - size) for size in block.shape])


def measure(tree: Path, image: Path, shape: tuple[int, ...]):
    """Embed and segment an image; yields command, pixels, CPU, peak, files and size of the cache."""
    cache, labels = image.with_name("cache.zarr"), image.with_name("labels.tif")
    for command in COMMANDS:
        call = ["-i", str(image), "-e", str(cache), "-m", "nano_lm", "-d", "cpu", "-n", str(len(shape))]
        call += ["-o", str(labels)] if command == "automatic_segmentation" else []
        own = {**os.environ, "PYTHONPATH": str(tree)}
        with open(os.devnull, "w") as nowhere, tempfile.TemporaryFile("w+") as errors:
            process = subprocess.Popen(
                [sys.executable, "-m", f"micro_sam.cli.{command}", *call],
                cwd=image.parent,  # with -m, a micro_sam in the folder of the caller would be taken
                env=own,
                stdout=nowhere,
                stderr=errors,
            )
            peak, status, used = follow(process)
            if status:
                errors.seek(0)
                raise RuntimeError(f"{command} failed: {(errors.read().strip().splitlines() or [''])[-1]}")
        files = [file for file in cache.rglob("*") if file.is_file()]
        size = sum(file.stat().st_size for file in files) / 2**20
        peak = max(peak, used.ru_maxrss / 1024)
        yield command, int(np.prod(shape)), used.ru_utime + used.ru_stime, peak, len(files), size
    remove(cache)
    remove(labels)


def follow(process: subprocess.Popen) -> tuple[float, int, resource.struct_rusage]:
    """Wait for a process; MB of it and its children at most, its status, and what it used."""
    peak, whole = 0.0, psutil.Process(process.pid)
    while True:
        pid, status, used = os.wait4(process.pid, os.WNOHANG)
        if pid:
            return peak, status, used
        held = 0
        for one in (whole, *whole.children(recursive=True)):
            with contextlib.suppress(psutil.Error):
                held += one.memory_info().rss
        peak = max(peak, held / 2**20)
        time.sleep(0.2)


def remove(path: Path) -> None:
    """A file or folder, if it is there."""
    import shutil

    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(main())
