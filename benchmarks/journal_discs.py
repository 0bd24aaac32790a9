"""Sessions on discs that are full, read-only, or both in turn: real ones, for ``faults_journal.py --discs``.

Small file systems in memory (tmpfs) of several sizes, and read-only mounts. Needs Linux and the rights to mount.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from journal_sessions import SHAPES, digest, do_something, make_session, perform

SIZES = (4, 16, 32, 48, 64, 96, 128, 192)  # kB: from nothing at all to most of a journal


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)


@contextmanager
def small_disc(place: Path, kilobytes: int) -> Iterator[Path]:
    """A file system of its own in `place`."""
    place.mkdir(parents=True)
    _mount("-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(place))
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


@contextmanager
def read_only(place: Path) -> Iterator[Path]:
    """A folder that cannot be written, not even by root."""
    _mount("--bind", str(place), str(place))
    _mount("-o", "remount,bind,ro", str(place))
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def _work(session: Any, kind: str, seed: int, actions: int) -> None:
    from micro_sam.errors import InputError

    rng = random.Random(seed)
    for _ in range(actions):
        try:
            do_something(session, kind, rng)
        except InputError:
            pass


def full_disc(kind: str, seed: int, place: Path, kilobytes: int) -> str:
    """Fill a disc with a session, then make room: what is wrong, or ``""``."""
    from micro_sam.session.journal import store
    from micro_sam.session.journal.continuing import go_on
    from micro_sam.session.journal.recorder import Journal

    with small_disc(place, kilobytes):
        folder = place / "cells.session"
        session = make_session(kind)
        session.keeper.journal = Journal(folder, {"tool": kind, "image": {"shape": list(SHAPES[kind])}})
        alone = make_session(kind)
        _work(session, kind, seed, 400)
        _work(alone, kind, seed, 400)
        if digest(session) != digest(alone):
            return "the session is not what it is without a disc"
        journal = session.keeper.journal
        if journal.flush(20) or not journal.trouble:
            return "the disc was not full" if kilobytes < max(SIZES) else ""
        if "full" not in journal.trouble and "space" not in journal.trouble:
            return f"it says: {journal.trouble}"
        if journal.written:  # what was reported is there although the disc is full
            found = make_session(kind)
            found.restore(store.read(folder).rows)
            rows = store.read(folder).rows
            if not rows or rows[-1].id < journal.written:
                return f"reported {journal.written}, there is {rows[-1].id if rows else 0}"
        _mount("-o", "remount,size=8m", str(place))
        while not journal.flush(0.2):
            pass
        journal.close()
        continued = go_on(folder, lambda _shape: make_session(kind))
        continued.session.keeper.journal.close()
        if continued.note or digest(continued.session) != digest(session):
            return f"not all is there after room was made: {continued.note}"
    return ""


def full_disc_killed(kind: str, seed: int, place: Path, kilobytes: int) -> str:
    """As :func:`full_disc`, but the process is killed while the disc is full."""
    from micro_sam.errors import CacheError
    from micro_sam.session.journal import store
    from micro_sam.session.journal.continuing import go_on

    with small_disc(place, kilobytes):
        folder = place / "cells.session"
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            try:
                perform(folder, kind, seed, 0, lambda text: os.write(writing, f"{text}\n".encode()), close=False)
            finally:
                os.kill(os.getpid(), signal.SIGKILL)
        os.close(writing)
        with os.fdopen(reading, "rb") as pipe:
            lines = [line.split() for line in pipe.read().decode().splitlines()]
        os.waitpid(child, 0)
        told = {int(line[1]): line[2] for line in lines if line[0] == "P"}
        reported = max([int(line[1]) for line in lines if line[0] == "R"], default=0)
        if reported == 0:
            return ""
        try:
            rows = store.read(folder).rows
            continued = go_on(folder, lambda _shape: make_session(kind))
        except CacheError as error:
            return f"nothing comes back: {error}"
        continued.session.keeper.journal.close(0.1)
        last = rows[-1].id if rows else 0
        if last < reported:
            return f"reported {reported}, there is {last}"
        if last in told and digest(continued.session) != told[last]:
            return f"action {last} is not what it was"
    return ""


def session_on_a_read_only_disc(kind: str, source: Path, place: Path) -> str:
    """Go on with a session that cannot be written, one with a log that was not taken up, and begin one there."""
    from micro_sam.session.journal.continuing import go_on
    from micro_sam.session.journal.recorder import Journal

    expected = go_on(shutil.copytree(source, place / "look.session"), lambda _shape: make_session(kind))
    expected.session.keeper.journal.close()
    shutil.copytree(source, place / "cells.session")
    before = {path.name: path.read_bytes() for path in (place / "cells.session").iterdir()}
    with read_only(place):
        continued = go_on(place / "cells.session", lambda _shape: make_session(kind))
        if digest(continued.session) != digest(expected.session):
            return "not all comes back"
        if "copy" not in continued.note:
            return f"it says: {continued.note}"
        _work(continued.session, kind, 3, 20)
        if not continued.session.keeper.journal.close():
            return "the copy cannot be written"
        new = make_session(kind)
        new.keeper.journal = Journal(place / "new.session", {"tool": kind, "image": {"shape": list(SHAPES[kind])}})
        _work(new, kind, 4, 30)
        if new.keeper.journal.flush(5) or "ead-only" not in new.keeper.journal.trouble:
            return f"a new session there says: {new.keeper.journal.trouble}"
        new.keeper.journal.close(0.1)
    if {path.name: path.read_bytes() for path in (place / "cells.session").iterdir()} != before:
        return "the session there has changed"
    return ""


def all_full(kind: str, source: Path, place: Path) -> str:
    """Go on with a session where neither it nor a copy can be written: a sentence, and it stays as it is."""
    from micro_sam.errors import CacheError
    from micro_sam.session.journal import store
    from micro_sam.session.journal.continuing import go_on

    with small_disc(place, 512):
        folder = Path(shutil.copytree(source, place / "cells.session"))
        cache, os.environ["MICROSAM_CACHEDIR"] = os.environ.get("MICROSAM_CACHEDIR"), str(place / "cache")
        try:
            with (place / "filler").open("wb", buffering=0) as filler:
                try:
                    while True:
                        filler.write(b"0" * 1024)
                except OSError:
                    pass
            try:
                continued = go_on(folder, lambda _shape: make_session(kind))
            except CacheError as error:
                if "room" not in str(error):
                    return f"it says: {error}"
            else:
                continued.session.keeper.journal.close(0.1)
        finally:
            if cache is None:
                del os.environ["MICROSAM_CACHEDIR"]
            else:
                os.environ["MICROSAM_CACHEDIR"] = cache
        if store.read(folder) != store.read(source):  # the log of a killed process may have been taken up
            return "the session there has changed"
    return ""


def make_killed(folder: Path, kind: str, seed: int) -> None:
    """A session whose process was killed: its last actions are in the write-ahead log only."""
    child = os.fork()
    if child == 0:
        try:
            perform(folder, kind, seed, 0, lambda text: None, actions=150, close=False)
        finally:
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)


def check_discs(root: Path) -> list[tuple[str, str]]:
    """All of it: (what was tried, what was wrong); an empty text where all was well."""
    outcomes: list[tuple[str, str]] = []

    def check(name: str, function: Callable[..., str], *arguments: Any) -> None:
        try:
            outcomes.append((name, function(*arguments)))
        except Exception as error:  # whatever it is, it would have been a traceback of the user's
            outcomes.append((name, f"{type(error).__name__}: {error}"))

    for kind in SHAPES:
        whole, killed = root / f"sound_{kind}.session", root / f"killed_{kind}.session"
        perform(whole, kind, 12345, 0, lambda text: None)
        make_killed(killed, kind, 777)
        for n, kilobytes in enumerate(SIZES):
            name = f"{kind}_{kilobytes}"
            check("full disc", full_disc, kind, n, root / name, kilobytes)
            check("killed on a full disc", full_disc_killed, kind, n, root / f"{name}_killed", kilobytes)
        for name, source in (("closed", whole), ("killed", killed)):
            place = root / f"{kind}_{name}_ro"
            place.mkdir()
            check(f"read-only disc, {name} before", session_on_a_read_only_disc, kind, source, place)
            check(f"no room anywhere, {name} before", all_full, kind, source, root / f"{kind}_{name}_full")
    return outcomes
