"""Several processes begin the same thing at the same moment: each must end well, and nothing of the others be lost.

    python benchmarks/at_once.py --rounds 10
    python benchmarks/at_once.py --scenes volume "groups of labels" --processes 4

What they do: the cache of a tiled image and of a stack, with and without shards; the maps of a large image and of a
volume (``precompute_embeddings -p``); groups of labels in one OME-Zarr, under names of their own and under one name;
one result. Random pixels and nano_lm; needs Linux (processes are forked).
"""

from __future__ import annotations

import argparse
import functools
import json
import logging
import multiprocessing
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from micro_sam.errors import OutputError

TILES = {"tile_shape": (64, 64), "halo": (16, 16)}
SCALE = (1.0, 1.0, 1.0)


def pixels(*shape: int) -> np.ndarray:
    """The same in every process."""
    return np.random.default_rng(0).integers(0, 255, shape).astype("uint8")


@functools.cache
def predictor() -> Any:
    """nano_lm, loaded before processes are forked."""
    from micro_sam.models.build import get_sam_model

    return get_sam_model("nano_lm", device="cpu")


def embedded(folder: Path, image: np.ndarray, **how: Any) -> Any:
    """The embeddings of an image, in a cache that all processes make; all of it is read again."""
    from micro_sam.embeddings.compute import iter_embeddings, open_embeddings
    from micro_sam.embeddings.zarr_store import ZarrStore

    embeddings, store = open_embeddings(predictor(), image, folder / "cache.zarr", **how)
    for _ in iter_embeddings(predictor(), image, store):
        pass
    assert store.finish(), "the cache is not complete"
    again = ZarrStore.open(folder / "cache.zarr")
    for item in again.items():
        again.load(*item)  # compares with the checksum
    return embeddings


def cache(folder: Path, number: int, shard: int = 1) -> None:
    """Embed a stack and a tiled image."""
    embedded(folder / "stack", pixels(4, 48, 64), ndim=3, shard=shard)
    embedded(folder / "tiled", pixels(160, 160), ndim=2, shard=shard, **TILES)


def large_image(folder: Path, number: int) -> None:
    """Prepare the blocks of an image of 25 tiles, then segment it."""
    from micro_sam.segmentation.automatic.dense import DenseInstanceSegmenter
    from micro_sam.segmentation.volume.keeping import is_kept, keep_automatic

    embeddings = embedded(folder, pixels(320, 320), ndim=2, **TILES)
    for _ in keep_automatic(predictor(), embeddings):
        pass
    assert is_kept(predictor(), embeddings), "blocks are missing"
    segmenter = DenseInstanceSegmenter(predictor())
    segmenter.initialize(None, embeddings)
    segmenter.generate()


def volume(folder: Path, number: int) -> None:
    """Prepare the maps of a volume, and those for micro-sam 1.x."""
    from micro_sam.compat.states import keep_maps
    from micro_sam.segmentation.volume.keeping import is_kept, keep_automatic

    embeddings = embedded(folder, pixels(4, 48, 64), ndim=3)
    for _ in keep_automatic(predictor(), embeddings, SCALE):
        pass
    assert is_kept(predictor(), embeddings, SCALE), "maps are missing"
    keep_maps(predictor(), embeddings)


def save(path: Path, number: int) -> None:
    """Labels that tell who wrote them."""
    from micro_sam.io.labels import save_labels

    save_labels(path, np.full((64, 64), number + 1, "uint16"))


def groups(folder: Path, number: int) -> None:
    """A group of labels for each process."""
    save(folder / "image.zarr" / "labels" / f"of_{number}", number)


def one_group(folder: Path, number: int) -> None:
    """All want the same group: one gets it, the others are refused."""
    try:
        save(folder / "image.zarr" / "labels" / "cells", number)
    except OutputError:
        (folder / f"refused_{number}").touch()


def one_result(folder: Path, number: int) -> None:
    """One result for all: the last one counts."""
    for name in ("labels.ome.zarr", "labels.tif"):
        save(folder / name, number)


def make_image(folder: Path) -> None:
    """An OME-Zarr without labels."""
    import zarr

    zarr.open_group(str(folder / "image.zarr"), mode="w", zarr_format=2)


def all_listed(folder: Path, processes: int) -> str | None:
    """Whether each group of labels is listed."""
    listed = json.loads((folder / "image.zarr" / "labels" / ".zattrs").read_text())["labels"]
    return None if len(listed) == processes else f"{len(listed)} of {processes} groups are listed"


def one_succeeded(folder: Path, processes: int) -> str | None:
    """Whether all but one were refused."""
    refused = len(list(folder.glob("refused_*")))
    return None if refused == processes - 1 else f"{processes - refused} of {processes} wrote the same group"


def nothing_set_aside(folder: Path, processes: int) -> str | None:
    """Whether nothing was taken for damaged, and no staging folder was left."""
    left = [path.name for path in folder.rglob("*") if ".bak" in path.name or ".micro_sam-" in path.name]
    return f"{left[0]} is there" if left else None


@dataclass(frozen=True)
class Scene:
    """What the processes do, what is there before, and what must hold afterwards (None: it does)."""

    work: Callable[[Path, int], None]
    check: Callable[[Path, int], str | None] = nothing_set_aside
    prepare: Callable[[Path], None] | None = None


SCENES = {
    "cache": Scene(cache),
    "cache with shards": Scene(functools.partial(cache, shard=3)),
    "large image": Scene(large_image),
    "volume": Scene(volume),
    "groups of labels": Scene(groups, all_listed, make_image),
    "one group of labels": Scene(one_group, one_succeeded, make_image),
    "one result": Scene(one_result),
}


def apart(work: Callable[[], Any], answers: Any) -> Any:
    """Begin something in a process of its own, which puts None or its error into `answers`."""

    def run() -> None:
        logging.disable()
        try:
            answers.put(work())
        except BaseException:
            answers.put(traceback.format_exc().strip().splitlines()[-1])

    process = multiprocessing.get_context("fork").Process(target=run)
    process.start()
    return process


def rounds_of(scene: Scene, rounds: int, processes: int) -> Counter[str]:
    """How often something went wrong, by what it was."""
    context, wrong = multiprocessing.get_context("fork"), Counter[str]()
    for _ in range(rounds):
        with tempfile.TemporaryDirectory(prefix="at_once_") as name:
            folder, answers, barrier = Path(name), context.Queue(), context.Barrier(processes)

            def together(number: int) -> None:
                barrier.wait()  # noqa: B023  # called in this round
                scene.work(folder, number)  # noqa: B023

            steps: list[list[Callable[[], Any]]] = [[functools.partial(together, k) for k in range(processes)]]
            if scene.prepare is not None:  # not here: threads of zarr do not survive a fork
                steps.insert(0, [functools.partial(scene.prepare, folder)])
            steps.append([functools.partial(scene.check, folder, processes)])
            for step in steps:
                begun = [apart(work, answers) for work in step]
                wrong.update(answer for answer in [answers.get() for _ in begun] if answer is not None)
                for process in begun:
                    process.join()
    return wrong


def main() -> int:
    """Parse arguments, begin, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--processes", type=int, default=3)
    parser.add_argument("--scenes", nargs="+", choices=list(SCENES), default=list(SCENES))
    options = parser.parse_args()
    torch.set_num_threads(1)  # threads do not survive a fork
    predictor()
    failed = False
    for name in options.scenes:
        wrong = rounds_of(SCENES[name], options.rounds, options.processes)
        failed |= bool(wrong)
        print(f"{name}, {options.rounds} rounds: {'nothing wrong' if not wrong else ''}", flush=True)
        for words, times in wrong.items():
            print(f"    {times} times: {words}", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
