"""Files of sessions get other names and places here, and nowhere else; none of them is ever replaced by another."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from micro_sam.io.atomic import move_into_place

FILE, LOCK = "journal.sqlite", "journal.lock"
BESIDE = ("-wal", "-shm", "-journal")  # what SQLite keeps beside its file


def free_name(path: Path, suffix: str = "") -> Path:
    """The path, or the next one like it that is free: ``NAME-2SUFFIX``."""
    stem, name, k = path.name.removesuffix(suffix), path, 1
    while os.path.lexists(name):
        k += 1
        name = path.with_name(f"{stem}-{k}{suffix}")
    return name


def give_name(folder: Path, target: Path) -> None:
    """Give a session another name beside the one it has."""
    os.rename(folder, target)


def move(folder: Path, target: Path) -> None:
    """Let a session lie elsewhere, also on another disc; `target` must not be there."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if os.path.lexists(target):
        raise FileExistsError(f"{target} is there already")
    shutil.move(folder, target)


def put_aside(folder: Path) -> Path:
    """Keep a damaged journal under another name in its session, and return that."""
    kept = free_name(folder / f"{FILE}.damaged")
    for suffix in (*BESIDE, ""):
        if (source := folder / f"{FILE}{suffix}").exists():
            os.rename(source, f"{kept}{suffix}")
    return kept


def new_file(folder: Path) -> Path:
    """Where a journal is prepared that is to take the place of the one in its session."""
    new = folder / f"{FILE}.new"
    for suffix in ("", *BESIDE):
        Path(f"{new}{suffix}").unlink(missing_ok=True)
    return new


def take_place(new: Path) -> None:
    """Let a prepared journal take the place of the one in its session, all of which it holds.

    Raises
    ------
    OSError
        Also when the old one has been written meanwhile.
    """
    old = new.with_name(FILE)
    log = old.with_name(f"{FILE}-wal")
    if log.exists() and log.stat().st_size:
        raise OSError(f"{old} has been written meanwhile")
    log.unlink(missing_ok=True)
    move_into_place(new, old)
