"""What a folder of very many images costs besides the encoder: one command, workers or a part, killed in between.

Images of 48 x 48 pixels. The encoder is a stand-in: nano_lm sees one image, and its features are those of all others,
so what is measured is reading, signatures, stores, scheduler. Printed at intervals: images on disc, CPU seconds and MB
of client and workers.

    python benchmarks/many_images.py --images 10000 --workers 2 --kill 3000 --folder /scratch
    python benchmarks/many_images.py --images 10000 --part 3/20 --folder /scratch
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
import tifffile

ROOT = Path(__file__).resolve().parents[1]
COMMAND = "from micro_sam.cli.precompute_embeddings import main; sys.exit(main())"


def dask_setup(worker: object) -> None:
    """Dask loads this file into each worker."""
    stand_in()


def stand_in() -> None:
    """Let the features of one image be those of all others of its size."""
    from micro_sam.models.predictor import Predictor

    real, known = Predictor.encode_batch, {}

    def encode_batch(self, images):
        answers = []
        for image in images:
            if image.shape not in known:
                known[image.shape] = real(self, [image])[0]
            answers.append(known[image.shape])
        return answers

    Predictor.encode_batch = encode_batch


def main() -> int:
    """Parse arguments, run, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=300)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--part", help="a part instead of workers: K/N")
    parser.add_argument("--kill", type=int, help="kill the command (SIGKILL) after so many images, then start it again")
    parser.add_argument("--every", type=float, default=30.0, help="seconds between two lines")
    parser.add_argument("--folder", type=Path, help="where images and caches lie for the time")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as top:
        images, output = Path(top) / "images", Path(top) / "embeddings"
        images.mkdir()
        random = np.random.default_rng(0)
        for k in range(options.images):
            pixels = random.integers(0, 4000, (48, 48)).astype("uint16")
            tifffile.imwrite(images / f"image_{k:05d}.tif", pixels)
        how = ["--part", options.part] if options.part else ["--scheduler", "local", "--workers", str(options.workers)]
        call = ["-i", str(images), "--pattern", "*.tif", "-o", str(output), "-m", "nano_lm", "-d", "cpu", *how]
        if options.kill and follow(call, output, options.every, options.kill) is None:
            print("killed; once more", flush=True)
        status = follow(call, output, options.every)
        done = sum(1 for _ in output.iterdir())
        files = sum(len(found) for _, _, found in os.walk(output))
        print(f"exit code {status}, {done} caches, {files} files")
    return int(status or 0)


def follow(call: list[str], output: Path, every: float, kill: int | None = None) -> int | None:
    """Run the command, print what it has done and used; None when it was killed."""
    code = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import many_images; "
    own = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "DASK_DISTRIBUTED__WORKER__PRELOAD": str(Path(__file__).resolve()),
    }
    begin, before = time.monotonic(), count(output)
    code += f"many_images.stand_in(); {COMMAND}"
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen([sys.executable, "-c", code, *call], env=own, stdout=said, stderr=subprocess.STDOUT)
        last, used = 0.0, {}
        while process.poll() is None:
            time.sleep(0.5)
            used.update(usage(process.pid))
            done = count(output) - before if time.monotonic() - last > every or kill else 0
            if time.monotonic() - last > every:
                last = time.monotonic()
                cpu = sum(seconds for seconds, _ in used.values())
                client = used.get(process.pid, (0.0, 0.0))
                largest = max((megabytes for pid, (_, megabytes) in used.items() if pid != process.pid), default=0)
                print(
                    f"{last - begin:6.0f} s: {done:6} images, CPU {cpu:.0f} s ({1000 * cpu / max(done, 1):.0f} ms an "
                    f"image), client {client[0]:.0f} s and {client[1]:.0f} MB, largest other {largest:.0f} MB",
                    flush=True,
                )
            if kill and done >= kill:
                process.send_signal(signal.SIGKILL)
                process.wait()
                return None
        said.seek(0)
        print("".join(said.read().splitlines(keepends=True)[-3:])[-600:])
    cpu, done = sum(seconds for seconds, _ in used.values()), count(output) - before
    share = 1000 * cpu / max(done, 1)
    print(f"{time.monotonic() - begin:6.0f} s: {done} images, CPU {cpu:.0f} s, {share:.0f} ms an image", flush=True)
    return process.returncode


def usage(pid: int) -> dict[int, tuple[float, float]]:
    """CPU seconds and MB of a process and those that it started."""
    found = {}
    try:
        for one in (psutil.Process(pid), *psutil.Process(pid).children(recursive=True)):
            times = one.cpu_times()
            found[one.pid] = (times.user + times.system, one.memory_info().rss / 2**20)
    except psutil.Error:
        pass
    return found


def count(output: Path) -> int:
    """Caches on disc."""
    return sum(1 for _ in output.iterdir()) if output.is_dir() else 0


if __name__ == "__main__":
    sys.exit(main())
