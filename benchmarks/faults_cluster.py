"""Kill clients and workers that embed a stack, again and again: the cache must be as if nothing had happened.

``micro_sam.precompute_embeddings`` runs with workers (processes) on nano_lm. At random moments the client or a worker
is killed, or a worker kills itself between storing an item and noting that it is complete; a client that is gone is
started again. In the end everything must be there, equal bit for bit to an undisturbed run, and no item may have been
computed again unless it was in progress when its process was killed. Then: workers that end in order, one after the
other; a damaged image among good ones; two clients on one cache; a full disc; a model that cannot be loaded.
Needs Linux and the extra ``cluster``.

    python benchmarks/faults_cluster.py --kills 20 --output faults_cluster.json
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import tifffile

KINDS = ("client", "worker", "mark")
SHAPE = (96, 128)
WAIT = 600  # seconds for anything

# What workers run when they start (dask's preload): they tell what they do, and die when they are told to.
PRELOAD = """
import os, signal
from pathlib import Path
import micro_sam.embeddings.compute as compute
from micro_sam.embeddings.zarr_store import ZarrStore

FOLDER = Path(os.environ["FAULTS_FOLDER"])

def tell(*words):
    with open(FOLDER / "log.txt", "a") as file:
        file.write(" ".join(map(str, words)) + "\\n")

def network_image(image, i, area, store, real=compute.network_image):
    tell("begin", os.getpid(), i)
    return real(image, i, area, store)

def set_mark(self, i, tile, value, real=ZarrStore._set_mark):
    try:
        os.remove(FOLDER / "kill_at_mark")
        tell("killed", os.getpid())
        os.kill(os.getpid(), signal.SIGKILL)
    except FileNotFoundError:
        pass
    if (FOLDER / "full").exists() and i is not None and i >= 3:
        raise OSError(28, "No space left on device")
    real(self, i, tile, value)
    tell("mark", os.getpid(), i)

if not hasattr(compute, "told"):  # dask runs this twice
    compute.told = True
    compute.network_image = network_image
    ZarrStore._set_mark = set_mark
    tell("start", os.getpid())
"""


class Scene:
    """A folder with images, and clients and workers that work on them."""

    def __init__(self, folder: Path, slices: int, extra: tuple[str, ...] = ()) -> None:
        self.folder, self.extra = folder, extra
        rng = np.random.default_rng(0)
        (folder / "images").mkdir(parents=True)
        tifffile.imwrite(folder / "stack.tif", (rng.random((slices, *SHAPE)) * 4000).astype("uint16"))
        for k in range(5):
            tifffile.imwrite(folder / "images" / f"{k}.tif", (rng.random(SHAPE) * 4000).astype("uint16"))
        (folder / "preload.py").write_text(PRELOAD)
        self.log = folder / "log.txt"

    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "FAULTS_FOLDER": str(self.folder),
            "DASK_DISTRIBUTED__WORKER__PRELOAD": f'["{self.folder / "preload.py"}"]',
        }

    def client(self, *more: str, scheduler: str = "local", cache: str = "cache.zarr") -> subprocess.Popen:
        """Start the command with workers."""
        call = [sys.executable, "-m", "micro_sam.cli.precompute_embeddings", "-m", "nano_lm", "-d", "cpu"]
        source = () if "-i" in more else ("-i", str(self.folder / "stack.tif"), "-o", str(self.folder / cache))
        call += [*source, "--scheduler", scheduler, *more, *self.extra]
        if scheduler == "local" and "--workers" not in more:
            call += ["--workers", "2"]
        return subprocess.Popen(
            call, env=self.environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def events(self, what: str) -> list[list[str]]:
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [line.split()[1:] for line in lines if line.startswith(what)]

    def workers(self) -> list[int]:
        pids = {int(pid) for (pid,) in self.events("start")} - {int(pid) for (pid,) in self.events("killed")}
        return [pid for pid in pids if psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie"]


def kills(folder: Path, number: int, slices: int, seed: int = 0, extra: tuple[str, ...] = ()) -> dict[str, Any]:
    """Kill so many times, over as many runs as that takes; returns counts and what was wrong."""
    scene = Scene(folder, slices, extra)
    undisturbed(scene)
    expected = content(folder / "undisturbed.zarr")
    rng, done, wrong, again, runs = random.Random(seed), 0, [], 0, 0
    killed_in_all = dict.fromkeys(KINDS, 0)
    while done < number:
        runs += 1
        scene.log.unlink(missing_ok=True)
        cache = f"cache_{runs}.zarr"
        client = scene.client(cache=cache)
        killed: set[int] = set()
        for kind in rng.sample(KINDS * 2, min(2 * len(KINDS), number - done)):
            marks = len(scene.events("mark"))
            begun = len(scene.events("begin"))
            _wait(lambda: len(scene.events("begin")) > begun or client.poll() is not None)  # noqa: B023
            if client.poll() is not None or marks >= slices - 1:
                break
            time.sleep(rng.random())
            workers = scene.workers()
            if kind == "client":
                client.kill()
                client.wait()
                killed |= set(workers)  # they end with it
                client = scene.client(cache=cache)
            elif kind == "worker" and workers:
                victim = rng.choice(workers)
                with open(scene.log, "a") as file:
                    file.write(f"killed {victim}\n")
                os.kill(victim, signal.SIGKILL)
                killed.add(victim)
            else:
                (folder / "kill_at_mark").touch()
                _wait(lambda: not (folder / "kill_at_mark").exists() or client.poll() is not None)  # noqa: B023
                (folder / "kill_at_mark").unlink(missing_ok=True)
            killed_in_all[kind] += 1
            done += 1
        code, text = _end(client)
        killed |= {int(pid) for (pid,) in scene.events("killed")}
        if code != 0:
            wrong.append(f"run {runs} ended with {code}: {text[-300:]}")
        if content(folder / cache) != expected:
            wrong.append(f"run {runs}: the cache differs from the undisturbed one")
        repeated, marked = _repeated(scene, slices), scene.events("mark")
        again += sum(len(pids) - 1 for pids in repeated.values())
        for item, pids in repeated.items():
            if not set(pids[:-1]) <= killed or any([str(pid), item] in marked for pid in pids[:-1]):
                wrong.append(f"run {runs}: slice {item} was computed {len(pids)} times, by {pids}; killed {killed}")
    return {"kills": killed_in_all, "runs": runs, "slices": slices, "computed_again": again, "wrong": wrong}


def undisturbed(scene: Scene) -> None:
    """The same work in this process, which imports the network anyway to compare; on one thread, as workers do it."""
    import torch

    from micro_sam.cli.precompute_embeddings import main as precompute

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    source = ["-i", str(scene.folder / "stack.tif"), "-o", str(scene.folder / "undisturbed.zarr")]
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        code = precompute([*source, "-m", "nano_lm", "-d", "cpu", *scene.extra])
    torch.set_num_threads(threads)
    assert code == 0


def _repeated(scene: Scene, slices: int) -> dict[str, list[int]]:
    """Which processes began each item."""
    begun: dict[str, list[int]] = {}
    for pid, item in scene.events("begin"):
        begun.setdefault(item, []).append(int(pid))
    assert len(begun) <= slices
    return begun


def content(cache: Path) -> dict[str, str]:
    """Every file of a cache that holds features or marks, by its bytes; what is damaged or missing is an error."""
    import xxhash

    from micro_sam.embeddings.embeddings import as_embeddings

    embeddings = as_embeddings(cache)
    assert embeddings.is_complete(), f"{cache} is not complete"
    for i in range(embeddings.n_slices or 0):
        embeddings.load(i)  # compares with the checksum
    assert not list(cache.rglob("*.partial.*")), "leftovers"
    folders = (cache / "features", cache / "state")
    files = sorted(file for folder in folders for file in folder.rglob("*") if file.is_file())
    names = [file for file in files if not file.name.endswith(".partial")]
    return {str(file.relative_to(cache)): xxhash.xxh3_128_hexdigest(file.read_bytes()) for file in names}


def orderly_ends(folder: Path, ends: int, slices: int) -> dict[str, Any]:
    """Workers of a running scheduler that leave after a few tasks, each replaced by another."""
    scene = Scene(folder, slices)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "env": scene.environment()}
    port = address.rpartition(":")[2]
    scheduler = subprocess.Popen(
        [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", port]
        + ["--no-dashboard"],
        **quiet,
    )

    def worker() -> subprocess.Popen:
        command = [sys.executable, "-m", "distributed.cli.dask_worker", address, "--nthreads", "1", "--no-dashboard"]
        return subprocess.Popen(command, **quiet)

    ended = 0
    try:
        time.sleep(3)
        current = worker()
        client = scene.client(scheduler=address)
        while ended < ends and client.poll() is None:
            begun = len(scene.events("begin"))
            _wait(lambda: len(scene.events("begin")) > begun or client.poll() is not None)  # noqa: B023
            current.send_signal(signal.SIGTERM)
            current.wait(60)
            ended += 1
            current = worker()
        code, text = _end(client)
    finally:
        for process in (current, scheduler):
            process.terminate()
            process.wait(60)
    wrong = [] if code == 0 else [f"ended with {code}: {text[-300:]}"]
    content(folder / "cache.zarr")
    return {"orderly_ends": ended, "wrong": wrong}


def poisoned(folder: Path) -> dict[str, Any]:
    """A damaged file and one that is no image among good ones."""
    scene = Scene(folder, 1)
    good = (folder / "images" / "1.tif").read_bytes()
    (folder / "images" / "1.tif").write_bytes(good[:100])
    (folder / "images" / "notes.tif").write_text("no image")
    arguments = ("-i", str(folder / "images"), "--pattern", "*.tif", "-o", str(folder / "out"), "--workers", "1")
    code, text = _end(scene.client(*arguments))
    stored = sorted(path.stem for path in (folder / "out").iterdir())
    wrong = []
    if code != 1 or stored != ["0", "2", "3", "4"] or "2 of 6 images" not in text or "Traceback" in text:
        wrong.append(f"code {code}, stored {stored}: {text[-400:]}")
    wrong += [f"{name} is not named" for name in ("1.tif:", "notes.tif:") if name not in text]
    (folder / "images" / "1.tif").write_bytes(good)
    (folder / "images" / "notes.tif").unlink()
    code, text = _end(scene.client(*arguments))
    if code != 0 or "1 slices and tiles" not in text:
        wrong.append(f"when mended: {code}, {text[-300:]}")
    return {"poisoned": 2, "wrong": wrong}


def two_clients(folder: Path, slices: int) -> dict[str, Any]:
    """Two clients at once on one cache."""
    scene = Scene(folder, slices)
    clients = [scene.client("--workers", "1") for _ in range(2)]
    ends = [_end(client) for client in clients]
    content(folder / "cache.zarr")
    begun = Counter(item for _, item in scene.events("begin"))
    wrong = [f"ended with {code}: {text[-400:]}" for code, text in ends if code != 0]
    # Both may have begun an item before one of them had stored it; how often that is depends on how few are left.
    wrong += [f"slice {item} was computed {times} times" for item, times in begun.items() if times > len(clients)]
    return {"two_clients": {"slices": slices, "computed": begun.total()}, "wrong": wrong}


def full_disc(folder: Path) -> dict[str, Any]:
    """Nothing can be stored after three slices; then there is room again."""
    scene, wrong = Scene(folder, 6), []
    (folder / "full").touch()
    code, text = _end(scene.client("--workers", "1"))
    if code != 1 or "No space left on device" not in text or "Traceback" in text:
        wrong.append(f"code {code}: {text[-400:]}")
    (folder / "full").unlink()
    stored = len(scene.events("mark"))
    code, text = _end(scene.client("--workers", "1"))
    content(folder / "cache.zarr")
    if code != 0 or len(scene.events("mark")) != 6 or stored == 0:
        wrong.append(f"afterwards {code}, {stored} stored: {text[-300:]}")
    return {"full_disc": {"stored": stored}, "wrong": wrong}


def no_model(folder: Path) -> dict[str, Any]:
    """A checkpoint that no worker can load."""
    scene = Scene(folder, 2)
    (folder / "damaged.pt").write_bytes(b"no weights" * 100)
    code, text = _end(scene.client("-c", str(folder / "damaged.pt"), "--workers", "1"))
    wrong = [] if code == 2 and "No worker can work" in text and "damaged.pt" in text else [f"{code}: {text[-400:]}"]
    if "Traceback" in text:
        wrong.append(text[-600:])
    return {"no_model": "one sentence", "wrong": wrong}


def _end(process: subprocess.Popen) -> tuple[int, str]:
    text, _ = process.communicate(timeout=WAIT)
    return process.returncode, text


def _wait(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + WAIT
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError("nothing happens")
        time.sleep(0.05)


SCENES: dict[str, Callable[[Path, argparse.Namespace], dict[str, Any]]] = {
    "kills": lambda folder, options: kills(folder, options.kills, options.slices, options.seed),
    "kills of shards": lambda folder, options: kills(
        folder, max(1, options.kills // 4), options.slices, options.seed, ("--shard", "4")
    ),
    "orderly ends": lambda folder, options: orderly_ends(folder, options.ends, options.slices),
    "poisoned": lambda folder, options: poisoned(folder),
    "two clients": lambda folder, options: two_clients(folder, options.slices),
    "full disc": lambda folder, options: full_disc(folder),
    "no model": lambda folder, options: no_model(folder),
}


def main() -> int:
    """Parse arguments, disturb, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--ends", type=int, default=6, help="workers that end in order (a task of dask survives 3)")
    parser.add_argument("--slices", type=int, default=24)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scenes", nargs="+", choices=list(SCENES), default=list(SCENES))
    parser.add_argument("--output", type=Path, help="JSON file for the numbers")
    options = parser.parse_args()
    results = {}
    for name in options.scenes:
        with tempfile.TemporaryDirectory(prefix="faults_") as folder:
            results[name] = SCENES[name](Path(folder).resolve() / "scene", options)
        print(f"{name}: {json.dumps(results[name])}", flush=True)
    if options.output is not None:
        options.output.write_text(json.dumps(results, indent=1))
    return int(any(result["wrong"] for result in results.values()))


if __name__ == "__main__":
    sys.exit(main())
