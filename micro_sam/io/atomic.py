"""Files and folders that change whole or not at all, whenever the process is killed or the disc is full.

What is new is prepared in a hidden folder beside its place, ``.NAME.micro_sam-HOST-PID-RANDOM``, which holds

``new/``
    the new files while they are written;
``ready/``
    the same folder under another name: everything is on disc. This rename decides. Before it the old result counts,
    after it the new one, even if the process is killed before all files are in their places;
``old/`` or ``backup/``
    what was in the places before.

`recover` finishes what was decided and removes what was not; every reader and writer of results calls it first. One
file needs no such steps: a single rename puts it in its place.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import hashlib
import json
import logging
import os
import platform
import re
import shutil
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from micro_sam.errors import OutputError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]  # a module, or none: what uses it asks first

logger = logging.getLogger(__name__)

_STAGING = re.compile(r"\..+\.micro_sam-(?P<host>[0-9a-f]{8})-(?P<pid>\d+)-[0-9a-f]{8}", re.DOTALL)
_NEW, _READY, _OLD, _BACKUP, _BEFORE = "new", "ready", "old", "backup", "before.json"
_ABANDONED = 24 * 3600  # seconds after which what another machine left half written is not being written any more
_PATIENCE = 10.0  # seconds to wait for another process that is putting files in their places
_REMOVALS = 5  # attempts to remove a folder
_FLUSH_EACH = 100  # more files than these are flushed to disc together
_given_up: set[str] = set()  # staging folders of this process: threads of a writer that failed may write to them again
_NEXT_LOAD = "The new result is complete and is put in its place at the next load or save."


@contextlib.contextmanager
def replacing(
    *targets: str | os.PathLike[str],
    backup: bool = False,
    only_new: bool = False,
    durable: bool = True,
    check: Callable[[], object] | None = None,
) -> Iterator[tuple[Path, ...]]:
    """Prepare files or folders that replace others together.

    Parameters
    ----------
    *targets : path
        Files or folders, all in one folder, which is made if it is not there. A link to a file is followed.
    backup : bool
        Keep what is replaced as ``NAME.bak`` (``NAME.bak2`` when that exists, and so on).
    only_new : bool
        Replace nothing but an empty folder; with one target.
    durable : bool
        Wait until the disc has taken everything: for whatever cannot be made again in a moment.
    check : callable, optional
        Called when everything is written, before anything is replaced; an error that it raises leaves all as it was.

    Yields
    ------
    tuple of Path
        Where to write instead, one for each target and with the same names. One that is not written is left out, and
        other files beside them are removed.

    Raises
    ------
    OutputError
        When something cannot be written; what was there before is intact.
    """
    places = _places(targets)
    folder, staging = places[0].parent, None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        recover(places[0])
        staging = _new_staging(places[0])
        yield tuple(staging / _NEW / place.name for place in places)
        _drop_others(staging / _NEW, {place.name for place in places})
        if durable:
            _flush(staging / _NEW)
        if check is not None:
            check()
        _put_in_place(staging, folder, backup, only_new)
    except OutputError:
        raise
    except OSError as error:
        waits = staging is not None and (staging / _READY).exists()
        raise OutputError(
            f"{targets[0]} cannot be written: {error.strerror or error}. "
            + (_NEXT_LOAD if waits else "Nothing was lost; choose another place, or free some space, and save again.")
        ) from error
    finally:
        if staging is not None:
            _discard(staging)


def write_bytes(path: str | os.PathLike[str], content: bytes, durable: bool = True) -> None:
    """Write a file; see `replacing` for `durable` and the errors."""
    with replacing(path, durable=durable) as (new,):
        new.write_bytes(content)


def write_chunk(path: Path, content: bytes | memoryview) -> None:
    """Write one of the many files of an array, whole or not at all, in as few steps as zarr; OSError when it fails."""
    partial = path.with_name(f"{path.name}.{uuid.uuid4().hex}.partial")
    try:
        partial.write_bytes(content)
        os.replace(partial, path)
    except BaseException:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise


def move_into_place(prepared: Path, target: Path) -> None:
    """Rename a file that lies complete beside its target, such as a download; OSError when it fails."""
    _flush_file(prepared)
    os.replace(prepared, target)
    _flush_folder(target.parent)


def remove(path: str | os.PathLike[str], backup: bool = False) -> None:
    """Remove a file or folder whole, or with `backup` keep it as ``NAME.bak``; nothing when there is none.

    Raises
    ------
    OutputError
        When it cannot be removed.
    """
    place = _places([path])[0]
    try:
        recover(place)
        if not os.path.lexists(place):
            return
        if backup:
            os.rename(place, backup_name(place))
        elif place.is_dir() and not place.is_symlink():
            staging = _new_staging(place)
            os.rename(place, staging / _NEW / place.name)
            _discard(staging)
        else:
            place.unlink()
    except OSError as error:
        raise OutputError(f"{path} cannot be removed: {error.strerror or error}.") from error


def remove_folder(path: Path) -> None:
    """Remove a folder of one's own that nobody else knows of, as far as that is possible."""
    for _ in range(_REMOVALS):
        shutil.rmtree(path, ignore_errors=True)
        if not os.path.lexists(path):
            return
        time.sleep(0.05)  # after an error, threads of zarr still write what they had begun


def backup_name(path: Path) -> Path:
    """``NAME.bak``, or the next name like it that is free: a backup may be the only original and is never replaced."""
    number, name = 1, path.with_name(f"{path.name}.bak")
    while os.path.lexists(name):
        number += 1
        name = path.with_name(f"{path.name}.bak{number}")
    return name


def recover(path: str | os.PathLike[str]) -> None:
    """Finish saves in the folder of `path` that were decided when their process was killed, and clear the others.

    What a living process is writing stays, and so does every file that is not of this program.
    """
    folder = _places([path])[0].parent
    try:
        with os.scandir(folder) as entries:
            hidden = (entry.name for entry in entries if entry.name.startswith("."))  # folders may hold thousands
            found = [(name, match) for name in hidden if (match := _STAGING.fullmatch(name))]
    except OSError:
        return
    if not found:
        return
    with locked(folder) as has_lock:
        for name, owner in found:
            staging, alive = folder / name, _is_alive(folder / name, owner["host"], int(owner["pid"]))
            if (staging / _READY).is_dir() and (has_lock or not alive):
                try:
                    _place(staging, folder)
                except OSError as error:
                    logger.warning("A save in %s was interrupted and cannot be finished: %s", folder, error)
                    continue
                logger.info("A save in %s was interrupted and is finished now.", folder)
                _discard(staging)
            elif not alive:
                _discard(staging)


def _places(targets: Iterable[str | os.PathLike[str]]) -> list[Path]:
    """Where the targets really lie. Parts of one result stay together: of them only the folder's links are followed."""
    paths = [Path(os.path.abspath(Path(target).expanduser())) for target in targets]
    if len(paths) == 1:
        return [Path(os.path.realpath(paths[0]))]
    folders = {Path(os.path.realpath(path.parent)) for path in paths}
    if len(folders) != 1:
        raise ValueError("parts of one result must lie in one folder")
    folder = folders.pop()
    return [folder / path.name for path in paths]


def _new_staging(place: Path) -> Path:
    # a file's name has 255 bytes at most
    name = place.name.encode()[:120].decode(errors="ignore")
    staging = place.with_name(f".{name}.micro_sam-{_host()}-{os.getpid()}-{uuid.uuid4().hex[:8]}")
    staging.mkdir()
    (staging / _NEW).mkdir()
    return staging


def _drop_others(new: Path, names: set[str]) -> None:
    for other in set(os.listdir(new)) - names:
        path = new / other
        if path.is_dir():
            remove_folder(path)
        else:
            path.unlink()


def _put_in_place(staging: Path, folder: Path, backup: bool, only_new: bool) -> None:
    new = staging / _NEW
    names = sorted(os.listdir(new))
    if only_new:
        target = folder / names[0]
        with contextlib.suppress(OSError):
            target.rmdir()
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, "it exists already", str(target))
        os.rename(new / names[0], target)
        _flush_folder(folder)
        return
    if len(names) == 1 and not backup:
        target = folder / names[0]
        if not os.path.lexists(target) or not (target.is_dir() or (new / names[0]).is_dir()):
            os.replace(new / names[0], target)
            _flush_folder(folder)
            return
    (staging / (_BACKUP if backup else _OLD)).mkdir()
    with locked(folder):
        before = {name: _state(folder / name) for name in names}  # another process may have been quicker
        (staging / _BEFORE).write_text(json.dumps(before))
        _flush_file(staging / _BEFORE)
        _flush_folder(staging)
        os.rename(new, staging / _READY)
        try:
            _flush_folder(staging)
            _place(staging, folder)
        except OSError:
            _take_back(staging, folder, names)
            raise


def _place(staging: Path, folder: Path) -> None:
    """Put every file that is ready in its place; goes on where it was interrupted."""
    ready = staging / _READY
    is_backup = (staging / _BACKUP).is_dir()
    aside = staging / (_BACKUP if is_backup else _OLD)
    before = json.loads((staging / _BEFORE).read_text())
    for name in sorted(os.listdir(ready)):
        target = folder / name
        if os.path.lexists(target):
            if _state(target) != before.get(name) or os.path.lexists(aside / name):
                # it came after the save was interrupted, and is not ours
                os.rename(target, backup_name(target))
            else:
                os.rename(target, aside / name)
        os.rename(ready / name, target)
    if is_backup:
        for name in sorted(os.listdir(aside)):
            os.rename(aside / name, backup_name(folder / name))
    _flush_folder(folder)
    ready.rmdir()


def _take_back(staging: Path, folder: Path, names: list[str]) -> None:
    """Put the old files back after a failure; what fails here as well is finished by `recover`."""
    ready = staging / _READY
    aside = next(staging / name for name in (_BACKUP, _OLD) if (staging / name).is_dir())
    with contextlib.suppress(OSError):
        for name in names:
            if not os.path.lexists(ready / name):
                os.rename(folder / name, ready / name)
            if os.path.lexists(aside / name):
                os.rename(aside / name, folder / name)
        os.rename(ready, staging / _NEW)


def _discard(staging: Path) -> None:
    """Remove a staging folder, unless the save in it is decided and waits."""
    if not (staging / _READY).exists():
        _given_up.add(staging.name)
        remove_folder(staging)


def _state(path: Path) -> list[int] | None:
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return [found.st_dev, found.st_ino, 0 if os.path.isdir(path) else found.st_mtime_ns]


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[bool]:
    """One process at a time changes what lies in a folder; False where the file system has no locks."""
    descriptor, locked = None, False
    try:
        if fcntl is not None:
            with contextlib.suppress(OSError):
                descriptor = os.open(folder, os.O_RDONLY)
                end = time.monotonic() + _PATIENCE
                while not locked and time.monotonic() < end:
                    try:
                        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                        locked = True
                    except BlockingIOError:
                        time.sleep(0.01)
        yield locked
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _host() -> str:
    """This machine since it was started, and its list of processes (a container has its own)."""
    parts = [platform.node()]
    with contextlib.suppress(OSError):
        parts += [Path("/proc/sys/kernel/random/boot_id").read_text(), os.readlink("/proc/self/ns/pid")]
    return hashlib.sha256("|".join(parts).encode()).hexdigest()[:8]


def _is_alive(staging: Path, host: str, pid: int) -> bool:
    """Whether the process that made a staging folder may still be at work."""
    if staging.name in _given_up:
        return False
    if host != _host():
        try:
            return time.time() - staging.stat().st_mtime < _ABANDONED
        except OSError:
            return True
    if os.name == "nt":
        handle = ctypes.windll.kernel32.OpenProcess(0x1000, False, pid)  # type: ignore[attr-defined]
        if handle:
            ctypes.windll.kernel32.CloseHandle(handle)  # type: ignore[attr-defined]
        return bool(handle)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _flush(folder: Path) -> None:
    """Have the disc take everything below a folder."""
    files = [Path(root) / name for root, _, names in os.walk(folder) for name in names]
    if len(files) > _FLUSH_EACH and hasattr(os, "sync"):
        os.sync()
        return
    for file in files:
        _flush_file(file)
    for root, _, _ in os.walk(folder):
        _flush_folder(Path(root))


def _flush_file(path: Path) -> None:
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


def _flush_folder(path: Path) -> None:
    with contextlib.suppress(OSError):  # Windows and some network file systems cannot
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
