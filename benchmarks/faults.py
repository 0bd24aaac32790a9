"""Kill every writer of results at every step, and fill the disc: the next load must find the old or the new whole.

Each writer runs in a process of its own that replaces an earlier result. It is killed before an operation on the disc
(open, rename, mkdir, remove, ...; before one is after the one before), or in the middle of writing a file, where the
kernel ends a process that writes more than it may. A second process then loads the result. In the same places the disc
is then said to be full instead (and with ``--disc`` a small disc really is): the old result must stay, with a sentence.
Needs Linux.

    python benchmarks/faults.py --kills 50 --output faults.json
"""

from __future__ import annotations

import argparse
import errno
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

KILLED = 77
EVENTS = ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.truncate")
NEED_SPACE = ("os.rename", "os.mkdir", "os.link")  # and opening a file to write it
OLD, NEW = 1, 2
DISC_KIB = (8, 16, 24, 32, 48, 64, 96, 128)


@dataclass(frozen=True)
class Format:
    """A result: its name, how to write value 1 or 2, and how to read which of them it holds."""

    name: str
    write: Callable[[Path, int], object]
    read: Callable[[Path], int]


def _labels(path: Path, value: int) -> None:
    from micro_sam.io.labels import save_labels

    save_labels(path, _objects(value)[0] if path.suffix == ".png" else _objects(value), scale=None)


def _read_labels(path: Path) -> int:
    from micro_sam.io.labels import load_labels

    return _which(load_labels(path), path.suffix == ".png")


def _tracks(path: Path, value: int) -> None:
    from micro_sam.io.tracks import save_tracks

    save_tracks(path, _objects(value))


def _read_tracks(path: Path) -> int:
    from micro_sam.io.tracks import load_tracks

    tracks = load_tracks(path)
    value = _which(tracks.labels)
    if len(tracks.rows) != value:
        raise ValueError(f"{len(tracks.rows)} tracks in the table, {value} in the masks")
    return value


def _objects(value: int) -> np.ndarray:
    """1 or 2 objects in 4 frames, with outlines that do not compress to nothing."""
    rng = np.random.default_rng(value)
    labels = np.zeros((4, 200, 220), np.uint16)
    for k in range(value):
        labels[:, 10 + 90 * k : 90 + 90 * k, 20:200] = (k + 1) * (rng.random((4, 80, 180)) < 0.5)
    return labels


def _which(labels: np.ndarray, first: bool = False) -> int:
    """Whose objects these are; an error unless every pixel is as it was written."""
    value = int(labels.max())
    expected = _objects(value)
    if not np.array_equal(labels, expected[0] if first else expected):
        raise ValueError("some pixels are of another result")
    return value


def _table(path: Path, value: int) -> None:
    from micro_sam.evaluation.metrics import run_evaluation

    truth = np.ones((8, 8), np.uint16)
    run_evaluation([truth] * 200 * value, [truth] * 200 * value, path, verbose=False, per_image=True)


def _read_table(path: Path) -> int:
    import pandas

    from micro_sam.io.results import recover

    recover(path)  # as the next evaluation does
    table = pandas.read_csv(path)
    return len(table["mSA"]) // 200 if list(table)[0] == "image" else 0


def _weights(path: Path, value: int) -> None:
    import torch

    from micro_sam.models.build import build_model
    from micro_sam.models.checkpoints import save_checkpoint

    torch.set_num_threads(1)
    save_checkpoint(path, build_model("nano"), {"name": value}, parts={path.with_suffix(".md"): _card(value)})


def _card(value: int) -> bytes:
    from micro_sam.io.marks import mark

    return f"# {value}\n<!-- {mark('weights')} -->\n".encode()


def _read_weights(path: Path) -> int:
    from micro_sam.io.results import recover
    from micro_sam.models.checkpoints import load_checkpoint

    recover(path)
    value = load_checkpoint(path).metadata["name"]
    if path.with_suffix(".md").read_bytes() != _card(value):
        raise ValueError("the card belongs to other weights")
    return value


def _state(path: Path, value: int) -> None:
    import torch

    from micro_sam.training.state import TrainState, save_state

    save_state(path, TrainState(settings="{}", step=value, model={"a": torch.full((200, 200), float(value))}))


def _read_state(path: Path) -> int:
    from micro_sam.training.state import load_state

    state = load_state(path, "{}")
    return state.step if (state.model["a"] == state.step).all() else 0


def _run_file(path: Path, value: int) -> None:
    from micro_sam.io.run_file import RunFile

    RunFile(path).write(state="running", step=value)


def _read_run_file(path: Path) -> int:
    from micro_sam.io.results import recover
    from micro_sam.io.run_file import read_run

    recover(path)  # as the next run does
    return read_run(path)["step"]


FORMATS = [
    *(Format(f"labels{suffix}", _labels, _read_labels) for suffix in (".tif", ".zarr", ".h5", ".npy", ".png")),
    *(Format(f"tracks{suffix}", _tracks, _read_tracks) for suffix in ("", ".geff", ".xml", ".csv")),
    Format("table.csv", _table, _read_table),
    Format("model.safetensors", _weights, _read_weights),
    Format("model.state.pt", _state, _read_state),
    Format("run.json", _run_file, _read_run_file),
]


def _in_child(work: Callable[[], int]) -> int:
    """Exit code of a copy of this process that does the work; negative: ended by a signal."""
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        code = 3
        try:
            code = work()
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _watch(folder: Path, act: Callable[[int], None], space_only: bool = False) -> None:
    """Call `act` with a number before every operation on the disc that concerns the folder."""
    number = 0

    def hook(event: str, arguments: tuple) -> None:
        nonlocal number
        if event not in EVENTS or not arguments or not isinstance(arguments[0], (str, bytes, os.PathLike)):
            return
        # functions that work inside an open folder name no more than the file
        name = os.fsdecode(arguments[0])
        if name.startswith(str(folder)) or (event != "open" and not os.path.isabs(name)):
            writes = event == "open" and (arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            number += 1
            if writes or event in NEED_SPACE or not space_only:
                act(number)

    sys.addaudithook(hook)


def _write(
    one: Format,
    folder: Path,
    act: Callable[[int], None],
    limit: int | None = None,
    kill: bool = True,
    space_only: bool = False,
) -> int:
    from micro_sam.errors import OutputError

    if limit is not None:
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL if kill else signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    _watch(folder, act, space_only)
    try:
        one.write(folder / one.name, NEW)
    except OutputError:
        return 4
    return 0


def _count(one: Format, folder: Path) -> tuple[int, int]:
    """Operations of a save, and bytes of the largest file that it writes."""
    pipe = os.pipe()

    def work() -> int:
        seen = [0]
        _write(one, folder, lambda number: seen.__setitem__(0, number))
        os.write(pipe[1], str(seen[0]).encode())
        return 0

    assert _in_child(work) == 0, one.name
    number = int(os.read(pipe[0], 20))
    for end in pipe:
        os.close(end)
    return number, max(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _load(one: Format, folder: Path) -> str:
    """What the next process finds, and what it leaves behind."""
    code = _in_child(lambda: 10 + one.read(folder / one.name))
    found = {10 + OLD: "old", 10 + NEW: "new"}.get(code, "lost")
    if (folder / "notes.txt").read_text() != "mine":
        return "lost"
    if any(".micro_sam-" in path.name for path in folder.iterdir()):
        return f"{found}, leftovers"
    return found


def faults(one: Format, kills: int) -> dict[str, Counter]:
    """What is found after kills, and after errors, at as many places each."""
    result = {"killed": Counter(), "full": Counter()}
    with tempfile.TemporaryDirectory() as top:
        start, work = Path(top).resolve() / "start", Path(top).resolve() / "work"
        start.mkdir()
        (start / "notes.txt").write_text("mine")
        _first(one, start)

        def again() -> Path:
            shutil.rmtree(work, ignore_errors=True)
            shutil.copytree(start, work)
            return work

        operations, largest = _count(one, again())
        in_files = kills // 4
        before = _places(operations, kills - in_files)
        limits = _places(max(1, largest - 1), in_files)
        for at in before:
            code = _in_child(lambda at=at: _write(one, again(), lambda n: os._exit(KILLED) if n == at else None))
            assert code == KILLED, (one.name, at, code)
            result["killed"][_load(one, work)] += 1
        for limit in limits:
            code = _in_child(lambda limit=limit: _write(one, again(), lambda n: None, limit))
            assert code in (-signal.SIGXFSZ, 0), (one.name, limit, code)
            result["killed"][_load(one, work)] += 1

        def full(at: int, n: int) -> None:
            if n >= at:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        for at in before:
            code = _in_child(lambda at=at: _write(one, again(), lambda n: full(at, n), space_only=True))
            result["full"][_load(one, work) + _words(code)] += 1
        for limit in limits:
            code = _in_child(lambda limit=limit: _write(one, again(), lambda n: None, limit, kill=False))
            result["full"][_load(one, work) + _words(code)] += 1
    return result


def _words(code: int) -> str:
    return {4: "", 0: " (saved)"}.get(code, f" (ended with {code})")


def _places(number: int, wanted: int) -> list[int]:
    """So many numbers from 1 to `number`, evenly spread; all of them again and again when there are fewer."""
    return [1 + (k * number) // wanted if number >= wanted else 1 + k % number for k in range(wanted)]


def on_small_discs(one: Format) -> Counter:
    """What is found after a save on discs that are too small for it, and on some that are not; needs root."""
    result = Counter()
    for size in DISC_KIB:
        with tempfile.TemporaryDirectory() as top:
            result[_on_small_disc(one, Path(top).resolve(), size)] += 1
    return result


def _on_small_disc(one: Format, folder: Path, size: int) -> str:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256m", "tmpfs", str(folder)], check=True)
    try:
        (folder / "notes.txt").write_text("mine")
        _first(one, folder)
        free = shutil.disk_usage(folder).free
        (folder / "ballast").write_bytes(b"x" * max(0, free - size * 1024))
        code = _in_child(lambda: _write(one, folder, lambda n: None))
        return _load(one, folder) + _words(code)
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def _first(one: Format, folder: Path) -> None:
    """Write the old result."""

    def work() -> int:
        one.write(folder / one.name, OLD)
        return 0

    assert _in_child(work) == 0, one.name


def run(formats: Iterable[Format], kills: int, disc: bool = False) -> dict[str, dict[str, Counter]]:
    """All formats; prints a table while it goes."""
    print("| result | killed | disc full |" + (" small disc |" if disc else ""))
    print("|---|---|---|" + ("---|" if disc else ""))
    results = {}
    for one in formats:
        results[one.name] = faults(one, kills)
        if disc:
            results[one.name]["disc"] = on_small_discs(one)
        cells = [", ".join(f"{n} {what}" for what, n in sorted(c.items())) for c in results[one.name].values()]
        print(f"| {one.name} | " + " | ".join(cells) + " |", flush=True)
    return results


def main() -> int:
    """Parse arguments, kill, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=50, help="of each format")
    parser.add_argument("--formats", nargs="+", choices=[one.name for one in FORMATS])
    parser.add_argument("--disc", action="store_true", help="also small discs (mounts tmpfs; needs root)")
    parser.add_argument("--output", type=Path, help="JSON file for the numbers")
    options = parser.parse_args()
    import_all()
    chosen = [one for one in FORMATS if options.formats is None or one.name in options.formats]
    results = run(chosen, options.kills, options.disc)
    if options.output is not None:
        options.output.write_text(json.dumps(results, indent=1))
    return int(any(not is_whole(one) for one in results.values()))


def import_all() -> None:
    """What the writers import, once: the copies of this process need not do it again."""
    import geff.core_io  # noqa: F401
    import geff_spec  # noqa: F401
    import h5py  # noqa: F401
    import imageio.v3  # noqa: F401
    import pandas  # noqa: F401
    import tifffile  # noqa: F401
    import zarr  # noqa: F401
    from PIL import PngImagePlugin  # noqa: F401

    import micro_sam.evaluation.metrics
    import micro_sam.io.images
    import micro_sam.io.tracks
    import micro_sam.models.build
    import micro_sam.training.state  # noqa: F401


def is_whole(result: dict[str, Counter]) -> bool:
    """Whether every load found the old or the new result and no leftovers, and every full disc ended in a sentence."""
    return all(what in ("old", "new", "new (saved)", "old (saved)") for found in result.values() for what in found)


if __name__ == "__main__":
    sys.exit(main())
