"""What scheduler and store cost beside the encoder, and two workers against one, in CPU time.

An image in tiles, as many as asked, with nano_lm (the cheapest encoder, so the worst case). The store: CPU of a run in
one process, beside that of its passes through the encoder, and of writing the same bytes as plain files in alternation:
on a virtual machine whose memory is given to it page by page, that alone takes ten times as long where the pages are
new. The scheduler: CPU of client and workers for tasks that do nothing, and while they wait for a worker that computes,
each on a core of its own. Workers: CPU of all processes for the same image with one worker and with two. Ratios of CPU
time, so that the machine may be busy otherwise.

    python benchmarks/cluster.py --tiles 36 --output cluster.json
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import tifffile

TILE, HALO = 384, 64
NOTHING = 300  # tasks
WAIT = 10.0  # seconds in which a cluster has nothing to do


def nothing(predictor: Any, task: int) -> int:
    """A task."""
    return task


def textured(tiles: int) -> np.ndarray:
    """An image of about so many tiles of spots, uint16."""
    from scipy.ndimage import gaussian_filter

    side = TILE * max(1, round(tiles**0.5))
    noise = np.random.default_rng(0).random((side, side)).astype("float32")
    return (gaussian_filter(noise, 4) * 60000).astype("uint16")


def of_store(image: np.ndarray, folder: Path, shard: int | None) -> dict[str, float]:
    """CPU seconds of a run in this process: of its encoder, its store, the same bytes as plain files, and the rest."""
    from micro_sam.embeddings.compute import iter_embeddings, open_embeddings
    from micro_sam.models.build import get_sam_model

    predictor = get_sam_model("nano_lm", device="cpu")
    predictor.encode(np.zeros((512, 512, 3), "uint8"))
    small, first = image[: 2 * TILE, : 2 * TILE], folder.with_name(f"{folder.name}_first")
    _, store = open_embeddings(predictor, small, first, 2, (TILE, TILE), (HALO, HALO), shard=shard)
    next(iter(iter_embeddings(predictor, small, store)))  # imports are paid once, and not by the image
    plain = folder.with_name(f"{folder.name}_plain")
    plain.mkdir()
    spent = {"encoder": 0.0, "store": 0.0, "plain": 0.0}

    def timed(name: str, real: Callable) -> Callable:
        def call(*args: Any) -> Any:
            before, start = spent[name], time.process_time()
            result = real(*args)
            spent[name] = before + time.process_time() - start  # what it calls in turn counts once
            return result

        return call

    def write_plain(tile: int, features: Any) -> None:
        for name, values, dtype in (("features", features.features, "float32"), ("dense", features.dense, "float16")):
            if values is not None:
                content = values.numpy().astype(dtype)  # not timed
                timed("plain", (plain / f"{tile}_{name}").write_bytes)(content.data)

    predictor.encode_batch = timed("encoder", predictor.encode_batch)
    start = time.process_time()
    _, store = open_embeddings(predictor, image, folder, 2, (TILE, TILE), (HALO, HALO), shard=shard)
    for name in ("is_complete", "missing", "finish", "write"):
        setattr(store, name, timed("store", getattr(store, name)))
    write, beside = store.write, 0.0

    def write_both(i: int | None, tile: int, features: Any) -> None:
        nonlocal beside
        write(i, tile, features)
        begin = time.process_time()
        write_plain(tile, features)
        beside += time.process_time() - begin

    store.write = write_both
    done = sum(1 for _ in iter_embeddings(predictor, image, store))
    rest = time.process_time() - start - beside - spent["encoder"] - spent["store"]
    shares = {f"{name}_per_encoder": spent[name] / spent["encoder"] for name in ("store", "plain")}
    return {"tiles": done, **spent, "rest": rest, **shares, "rest_per_encoder": rest / spent["encoder"]}


def of_workers(path: Path, folder: Path, workers: int) -> dict[str, float]:
    """CPU seconds of client and workers for an image, and for tasks that do nothing."""
    from micro_sam.distributed.clusters import open_cluster
    from micro_sam.distributed.options import ClusterOptions
    from micro_sam.distributed.tasks import iter_tasks
    from micro_sam.distributed.worker import ModelSource
    from micro_sam.embeddings.jobs import EmbeddingJob
    from micro_sam.embeddings.tasks import EmbeddingSettings, EmbeddingTask, embed

    source = ModelSource.prepare("nano_lm", device="cpu")
    with open_cluster(ClusterOptions(scheduler="local", workers=workers, cores=workers)) as cluster:
        list(iter_tasks(cluster, nothing, source, range(4 * workers)))  # the model is loaded
        before = _cpu()
        time.sleep(WAIT)
        waiting = (_cpu() - before) / WAIT
        before, start = _cpu(), time.monotonic()
        list(iter_tasks(cluster, nothing, source, range(NOTHING)))
        a_task = (_cpu() - before - waiting * (time.monotonic() - start)) / NOTHING
        settings = EmbeddingSettings(2, (TILE, TILE), (HALO, HALO), workers=workers)
        before, start, tasks = _cpu(), time.monotonic(), 0
        first = [EmbeddingTask(EmbeddingJob(path, folder), settings)]
        for _, answer in iter_tasks(cluster, embed, source, first, follow=lambda task, answer: answer.value.more):
            assert answer.error is None, answer.error
            tasks += 1
        return {
            "cpu": _cpu() - before,
            "wall": time.monotonic() - start,
            "tasks": tasks,
            "cpu_of_a_task_that_does_nothing": a_task,
            "cpu_of_a_second_of_waiting": waiting,
        }


def _cpu() -> float:
    """Of this process and those that it started."""
    total = 0.0
    for process in (psutil.Process(), *psutil.Process().children(recursive=True)):
        try:
            used = process.cpu_times()
        except psutil.Error:
            continue
        total += used.user + used.system
    return total


def main() -> int:
    """Parse arguments, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tiles", type=int, default=36)
    parser.add_argument("--output", type=Path, help="JSON file for the numbers")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    image, results = textured(options.tiles), {}
    with tempfile.TemporaryDirectory() as top:
        path = Path(top) / "image.tif"
        tifffile.imwrite(path, image, tile=(256, 256))
        for name, shard in (("a file for each tile", None), ("16 tiles in a file", 16)):
            found = of_store(image, Path(top) / f"store_{shard}", shard)
            results[name] = found
            print(
                f"store, {name}: {100 * found['store_per_encoder']:.1f} % of the encoder's CPU "
                f"({1000 * found['store'] / found['tiles']:.1f} ms a tile; its bytes as plain files "
                f"{100 * found['plain_per_encoder']:.1f} %); signature and pixels "
                f"{100 * found['rest_per_encoder']:.1f} %",
                flush=True,
            )
        encoder = results["a file for each tile"]["encoder"]
        for workers in (1, 2):
            found = of_workers(path, Path(top) / f"workers_{workers}", workers)
            tasks = found["cpu_of_a_task_that_does_nothing"] * found["tasks"] / encoder
            found["scheduler_per_encoder"] = share = tasks + found["cpu_of_a_second_of_waiting"] / workers
            results[f"{workers} workers"] = found
            print(
                f"{workers} workers: {found['cpu']:.1f} s CPU, {found['wall']:.1f} s; scheduler {100 * share:.2f} % of "
                f"the encoder's CPU ({1000 * found['cpu_of_a_task_that_does_nothing']:.1f} ms a task, "
                f"{1000 * found['cpu_of_a_second_of_waiting']:.0f} ms a second of waiting)",
                flush=True,
            )
        one, two = results["1 workers"], results["2 workers"]
        print(f"CPU of two workers by that of one: {two['cpu'] / one['cpu']:.3f}; time {two['wall'] / one['wall']:.3f}")
    if options.output is not None:
        options.output.write_text(json.dumps(results, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
