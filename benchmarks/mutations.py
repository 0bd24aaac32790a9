"""Damaged files: every kind of input is changed at random, and must be read or refused with one sentence.

    python benchmarks/mutations.py --count 150 --output mutations.json

Each kind is written once, small, and changed `count` times: bytes are flipped, zeroed, doubled or cut off; in folders
one file is changed or removed. The seed is fixed, so that every run makes the same files. A worker process reads them;
it is watched from outside, because a reader may hang or die in C code.

Counted are inputs that were read, those that were refused (``MicroSamError``), and what must not be: other exceptions
("traceback"), more than `--seconds` for one file ("hang"), the end of the process ("died"), and a peak of memory above
`--gigabytes` ("memory"). The exit code is 1 when there are any of these.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import random
import resource
import selectors
import shutil
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

SEED = 20261128
GOOD = ("read", "refused")
Make = Callable[[Path], Path]


def volume() -> np.ndarray:
    """A small stack that does not compress to nothing."""
    data = np.random.default_rng(0).integers(0, 200, (4, 40, 56)).astype("uint16")
    data[:, 10:20, 10:30] += 300
    return data


def label_stack() -> np.ndarray:
    """Labels of the same shape."""
    labels = np.zeros((4, 40, 56), "uint16")
    labels[:, 10:20, 10:30], labels[1:, 25:30, 5:15] = 1, 2
    return labels


# ---------------------------------------------------------------- how each kind is written


def tif(**options: Any) -> Make:
    def make(folder: Path) -> Path:
        import tifffile

        path = folder / ("a.ome.tif" if options.get("ome") else "a.tif")
        tifffile.imwrite(path, volume(), **options)
        return path

    return make


def picture(suffix: str) -> Make:
    def make(folder: Path) -> Path:
        from PIL import Image

        path = folder / f"a.{suffix}"
        Image.fromarray(np.stack([volume()[0] % 256] * 3, -1).astype("uint8")).save(path)
        return path

    return make


def npy(folder: Path) -> Path:
    np.save(folder / "a.npy", volume())
    return folder / "a.npy"


def mrc(folder: Path) -> Path:
    import struct

    data = volume().astype("int16")
    head = bytearray(1024)
    head[:16], head[28:40] = struct.pack("<4i", 56, 40, 4, 1), struct.pack("<3i", 56, 40, 4)
    head[40:52], head[64:76] = struct.pack("<3f", 56, 40, 8), struct.pack("<3i", 1, 2, 3)
    head[208:214] = b"MAP DD"
    (folder / "a.mrc").write_bytes(bytes(head) + data.tobytes())
    return folder / "a.mrc"


def hdf5(folder: Path) -> Path:
    import h5py

    with h5py.File(folder / "a.h5", "w") as file:
        file.create_dataset("raw", data=volume(), chunks=(1, 20, 28), compression="gzip")
    return folder / "a.h5"


def n5(compression: str) -> Make:
    def make(folder: Path) -> Path:
        import gzip

        data, block = volume(), (2, 20, 28)
        root = folder / "a.n5"
        root.mkdir()
        attributes = {"dimensions": [56, 40, 4], "blockSize": [28, 20, 2], "dataType": "uint16"}
        (root / "attributes.json").write_text(json.dumps(attributes | {"compression": {"type": compression}}))
        for place in np.ndindex(2, 2, 2):
            part = data[tuple(slice(p * b, (p + 1) * b) for p, b in zip(place, block, strict=True))]
            head = np.array([0, 3], ">u2").tobytes() + np.array(part.shape[::-1], ">u4").tobytes()
            body = np.ascontiguousarray(part, ">u2").tobytes()
            file = root.joinpath(*(str(p) for p in reversed(place)))
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(head + (gzip.compress(body) if compression == "gzip" else body))
        return root

    return make


def zarr_array(version: int, compressor: str = "default") -> Make:
    def make(folder: Path) -> Path:
        import zarr

        options: dict[str, Any] = {}
        if compressor == "blosc":
            import numcodecs

            blosc = zarr.codecs.BloscCodec() if version == 3 else numcodecs.Blosc()
            options["compressors"] = blosc
        path = folder / "a.zarr"
        array = zarr.create_array(
            str(path), shape=(4, 40, 56), chunks=(1, 40, 56), dtype="uint16", zarr_format=version, **options
        )
        array[...] = volume()
        return path

    return make


def ome_zarr(folder: Path) -> Path:
    import zarr

    group = zarr.open_group(str(folder / "a.zarr"), mode="w", zarr_format=2)
    group.create_array("0", data=volume(), chunks=(1, 40, 56))
    axes = [{"name": n, "type": "space", "unit": "micrometer"} for n in "zyx"]
    level = {"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [2.0, 0.5, 0.5]}]}
    group.attrs["multiscales"] = [{"version": "0.4", "axes": axes, "datasets": [level]}]
    return folder / "a.zarr"


def embedding_cache(folder: Path) -> Path:
    import torch

    from micro_sam.embeddings.cache_key import CacheKey
    from micro_sam.embeddings.signature import compute_signature
    from micro_sam.embeddings.zarr_store import ZarrStore
    from micro_sam.io.normalization import Normalization
    from micro_sam.models.predictor import ImageFeatures

    signature = compute_signature(volume()[:2])
    key = CacheKey(signature, (2, 40, 56), 3, "vit_b", "vit_b", None, "fp32", None, None, None)
    store = ZarrStore.create(folder / "a.zarr", key, (1, 8, 4, 4), Normalization((0.0,), (255.0,)))
    for i in range(2):
        store.write(i, 0, ImageFeatures(torch.rand(1, 8, 4, 4), (731, 1024), (40, 56)))
    store.finish()
    return folder / "a.zarr"


def label_tif(folder: Path) -> Path:
    from micro_sam.io.labels import save_labels

    return save_labels(folder / "labels.tif", label_stack())


def cellpose(folder: Path) -> Path:
    np.save(folder / "a_seg.npy", {"masks": label_stack(), "outlines": label_stack()}, allow_pickle=True)
    return folder / "a_seg.npy"


def geojson(folder: Path) -> Path:
    from micro_sam.io.formats.geojson import geojson_bytes

    (folder / "a.geojson").write_bytes(geojson_bytes(label_stack()[1]))
    return folder / "a.geojson"


# ---------------------------------------------------------------- how each kind is read


def read_image(path: Path) -> None:
    """As the commands do: opened, understood, all pixels read."""
    from micro_sam.io.checks import check_any
    from micro_sam.io.images import open_image
    from micro_sam.io.lazy import in_memory

    source = open_image(path)
    in_memory(source.data, path)
    in_memory(check_any(source).data, path)


def read_labels(path: Path) -> None:
    from micro_sam.io.labels import load_labels

    load_labels(path)


def read_cache(path: Path) -> None:
    from micro_sam.embeddings.zarr_store import ZarrStore

    store = ZarrStore.open(path)
    for item in store.items():
        store.load(*item)


KINDS: dict[str, tuple[Make, Callable[[Path], None]]] = {
    "tif": (tif(), read_image),
    "tif, compressed": (tif(compression="zlib"), read_image),
    "tif, ImageJ": (tif(imagej=True, metadata={"axes": "ZYX", "unit": "um", "spacing": 2}), read_image),
    "OME-TIFF": (tif(ome=True, metadata={"axes": "ZYX", "PhysicalSizeX": 0.5}), read_image),
    "png": (picture("png"), read_image),
    "jpg": (picture("jpg"), read_image),
    "npy": (npy, read_image),
    "mrc": (mrc, read_image),
    "hdf5": (hdf5, read_image),
    "n5, raw": (n5("raw"), read_image),
    "n5, gzip": (n5("gzip"), read_image),
    "zarr 2": (zarr_array(2), read_image),
    "zarr 2, Blosc": (zarr_array(2, "blosc"), read_image),
    "zarr 3": (zarr_array(3), read_image),
    "OME-Zarr": (ome_zarr, read_image),
    "embedding cache": (embedding_cache, read_cache),
    "label tif": (label_tif, read_labels),
    "Cellpose": (cellpose, read_labels),
    "GeoJSON": (geojson, read_labels),
}


# ---------------------------------------------------------------- damage


def damage(path: Path, rng: random.Random) -> str:
    """Change a file, or one file of a folder; returns what was done."""
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    file = rng.choice(files)
    if len(files) > 1 and rng.random() < 0.1:
        file.unlink()
        return f"{file.name} removed"
    raw = bytearray(file.read_bytes())
    if not raw:
        return f"{file.name} is empty already"
    # the beginning, where sizes and offsets stand, is worth more looks than the pixels
    place = rng.randrange(len(raw)) if rng.random() < 0.5 else rng.randrange(min(len(raw), 400))
    length = rng.choice((1, 1, 2, 4, 8, 64))
    kind = rng.choice(("flip", "flip", "byte", "zero", "ones", "cut", "insert", "delete", "double"))
    if kind == "flip":
        raw[place] ^= 1 << rng.randrange(8)
    elif kind == "byte":
        raw[place] = rng.randrange(256)
    elif kind in ("zero", "ones"):
        raw[place : place + length] = bytes([0 if kind == "zero" else 255]) * len(raw[place : place + length])
    elif kind == "cut":
        del raw[rng.randrange(len(raw)) :]
    elif kind == "insert":
        raw[place:place] = rng.randbytes(length)
    elif kind == "delete":
        del raw[place : place + length]
    else:
        raw[place:place] = raw[place : place + length]
    file.write_bytes(raw)
    return f"{kind} of {length} at {place} of {file.name}"


def cases(kind: str, count: int, folder: Path) -> Iterable[tuple[str, Path]]:
    """Damaged copies of one kind, each with what was done to it."""
    original = folder / "original"
    original.mkdir()
    source = KINDS[kind][0](original)
    for number in range(count):
        rng = random.Random(f"{SEED} {kind} {number}")
        place = folder / "case"
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(original, place)
        copy = place / source.name
        yield "; ".join(damage(copy, rng) for _ in range(rng.choice((1, 1, 1, 2, 5))) if copy.exists()), copy


def work(kinds: list[str], count: int) -> None:
    """The worker: one line of JSON before and after each file."""
    import logging
    import warnings

    from micro_sam.errors import MicroSamError

    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    for kind in kinds:
        with tempfile.TemporaryDirectory() as folder:
            for number, (what, path) in enumerate(cases(kind, count, Path(folder))):
                say({"kind": kind, "number": number, "what": what})
                try:
                    KINDS[kind][1](path)
                    result, error = "read", None
                except MicroSamError as problem:
                    result, error = "refused", str(problem)[:300]
                except BaseException:
                    result, error = "traceback", traceback.format_exc()[-1500:]
                peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
                say({"result": result, "error": error, "peak": peak})


def say(line: dict[str, Any]) -> None:
    print("#" + json.dumps(line), flush=True)


# ---------------------------------------------------------------- from outside


def run(kinds: list[str], count: int, seconds: float, gigabytes: float) -> list[dict[str, Any]]:
    """Results of all kinds: what happened to each file."""
    found: list[dict[str, Any]] = []
    for kind in kinds:
        found += _run_kind(kind, count, seconds, gigabytes)
    return found


def _run_kind(kind: str, count: int, seconds: float, gigabytes: float) -> list[dict[str, Any]]:
    command = [sys.executable, str(Path(__file__).resolve()), "--work", kind, "--count", str(count)]
    root = str(Path(__file__).resolve().parents[1])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])}
    worker = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True)
    found: list[dict[str, Any]] = []
    current: dict[str, Any] | None = None
    base: float | None = None
    selector = selectors.DefaultSelector()
    selector.register(worker.stdout, selectors.EVENT_READ)
    while True:
        # the first file waits for imports
        if not selector.select(timeout=seconds if found else max(seconds, 180)):
            worker.kill()
            found.append({**(current or {"kind": kind, "what": "start"}), "result": "hang"})
            break
        line = worker.stdout.readline()
        if not line:
            if worker.wait() != 0:
                found.append({**(current or {"kind": kind, "what": "start"}), "result": "died"})
            break
        if not line.startswith("#"):
            continue
        said = json.loads(line[1:])
        if "what" in said:
            current = said
            continue
        base = said["peak"] if base is None else base
        if said["peak"] - base > gigabytes:
            said["result"], base = "memory", said["peak"]
        found.append({**current, **said})
    selector.close()
    return found


def table(found: list[dict[str, Any]]) -> str:
    """One line per kind."""
    names = (*GOOD, "traceback", "hang", "died", "memory")
    lines = ["| kind | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    counts: dict[str, collections.Counter] = {}
    for one in found:
        counts.setdefault(one["kind"], collections.Counter())[one["result"]] += 1
    lines += [f"| {kind} | " + " | ".join(str(c[name]) for name in names) + " |" for kind, c in counts.items()]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description="Damaged files are read or refused, never a traceback.")
    parser.add_argument("--count", type=int, default=150, help="damaged files of each kind")
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=list(KINDS))
    parser.add_argument("--seconds", type=float, default=30, help="for one file")
    parser.add_argument("--gigabytes", type=float, default=1.0, help="growth of memory at one file")
    parser.add_argument("--output", help="JSON file for all results")
    parser.add_argument("--work", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        work([options.work], options.count)
        return 0
    found = run(options.kinds, options.count, options.seconds, options.gigabytes)
    if options.output:
        Path(options.output).write_text(json.dumps(found, indent=1))
    print(table(found))
    bad = [one for one in found if one["result"] not in GOOD]
    for one in bad[:20]:
        print(f"\n{one['kind']} {one.get('number')}: {one['result']} ({one['what']})\n{one.get('error') or ''}")
    return 1 if bad else 0


if __name__ == "__main__":
    raise SystemExit(main())
