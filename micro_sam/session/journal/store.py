"""The file of a session: SQLite, opened, locked, read and written.

Rows are only ever added, each action with all that belongs to it in one transaction, and each row with a check sum:
what a damaged disc has spared is found again (:mod:`~micro_sam.session.journal.salvage`).
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import shutil
import sqlite3
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from micro_sam import __version__
from micro_sam.errors import CacheError
from micro_sam.session.journal import moving, salvage
from micro_sam.session.journal.moving import FILE, LOCK
from micro_sam.session.journal.rows import (
    MIGRATIONS,
    SCHEMA,
    TABLES,
    Row,
    action_values,
    assemble,
    checksum,
    dumps,
    pixel_values,
    prompt_values,
)

if TYPE_CHECKING:
    from filelock import FileLock

log = logging.getLogger(__name__)

PAGE = 1024  # bytes; pictures of small objects leave little of a small page empty
FULL = 64 * 1024  # bytes that are free where no journal can begin: two of SQLite's files and a few pages
NETWORK = (
    "nfs",
    "cifs",
    "smb",
    "sshfs",
    "afs",
    "lustre",
    "gpfs",
    "beegfs",
    "ceph",
    "9p",
    "glusterfs",
    "davfs",
    "webdav",
)


@dataclass(frozen=True)
class Contents:
    """What was read from a journal.

    Attributes
    ----------
    header
        About image, model and program; empty where that could not be read.
    rows
        All actions that could be read, in order.
    damaged
        Number of rows that could not be read; 0: all is whole.
    """

    header: Mapping[str, Any]
    rows: tuple[Row, ...]
    damaged: int = 0


class JournalFile:
    """A journal that is open for writing. One process at a time has it.

    Parameters
    ----------
    folder
        The session; made if it is not there.
    header
        Written into a new journal.

    Raises
    ------
    Taken
        When another window has it.
    OSError, sqlite3.Error
        When it cannot be written.
    """

    def __init__(self, folder: Path, header: Mapping[str, Any]) -> None:
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = take_lock(self.folder)
        try:
            self._connection = _connect(self.folder / FILE)
            with self._connection:
                _bring_up_to_date(self._connection, header)
        except BaseException:
            self._release()
            raise

    def append(self, rows: Iterable[Row]) -> None:
        """Write some actions, as one transaction that is on disc when this returns."""
        rows = list(rows)
        with self._connection as connection:
            connection.executemany("INSERT INTO actions VALUES (?,?,?,?,?,?,?,?,?)", map(action_values, rows))
            pixels = [values for row in rows for values in pixel_values(row)]
            connection.executemany("INSERT INTO pixels VALUES (NULL,?,?,?,?,?,?,?,?,?)", pixels)
            prompts = [values for row in rows for values in prompt_values(row)]
            connection.executemany("INSERT INTO prompts VALUES (?,?,?,?)", prompts)

    def write_header(self, header: Mapping[str, Any]) -> None:
        """Put another header in place of the one that is there."""
        with self._connection as connection:
            _write_header(connection, header)

    def close(self) -> None:
        """Bring everything into the one file, and let others have it."""
        try:
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.Error as error:
            log.debug("no checkpoint of %s: %s", self.folder, error)
        try:
            self._connection.close()
        finally:
            self._release()

    def close_but_lock(self) -> FileLock | None:
        """Close the file, and keep others away from it until the lock that is returned is released."""
        lock, self._lock = self._lock, None
        self.close()
        return lock

    def move(self, folder: Path) -> None:
        """Move the session to another folder, which must not be there."""
        self.close()
        try:
            moving.move(self.folder, folder)
            self.folder = folder
        finally:
            self._lock = take_lock(self.folder)
            self._connection = _connect(self.folder / FILE)

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.release()
            self._lock = None


class Newer(CacheError):
    """A newer program has written this session."""


class Taken(CacheError):
    """Another window has this session."""


def take_lock(folder: Path) -> FileLock | None:
    """A lock on a session that ends with the process; None where the disc knows no locks."""
    from filelock import FileLock, Timeout

    lock = FileLock(str(folder / LOCK), timeout=0, thread_local=False)
    try:
        lock.acquire()
    except Timeout:
        raise Taken(f"Another window has the session {folder} open.") from None
    except NotImplementedError:
        return None
    return lock


def is_taken(folder: Path) -> bool:
    """Whether a window has this session open."""
    if not (folder / LOCK).exists():
        return False
    try:
        lock = take_lock(folder)
    except Taken:
        return True
    except OSError:
        return False
    if lock is not None:
        lock.release()
    return False


def read(folder: str | os.PathLike[str]) -> Contents:
    """Read a whole journal, also while a window has it open.

    Raises
    ------
    CacheError
        When it is not there, was written by a newer program, or nothing of it can be read.
    """
    path = Path(folder) / FILE
    if not path.is_file():
        raise CacheError(f"There is no session in {folder}: it has no {FILE}.")
    try:
        header, tables, is_sound = _read_tables(path)
        rows, damaged = assemble(*tables)
    except Newer:
        raise
    except (sqlite3.Error, ValueError, TypeError, KeyError, OverflowError) as error:
        log.debug("%s: %s", path, error)
        header, rows, damaged, is_sound = {}, [], 0, False
    if is_sound and not damaged and header:
        return Contents(header, tuple(rows))
    found = salvage.scan(path)
    rows, damaged = assemble(found.actions, found.pixels, found.prompts)
    header = header or found.header or next((dict(row.parameters) for row in rows if row.kind == "start"), {})
    if not rows and path.stat().st_size > 0 and not header:
        raise CacheError(f"The session in {folder} is damaged, and nothing of it can be read. It stays as it is.")
    return Contents(header, tuple(rows), max(damaged, 1))


def read_header(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """The header alone; empty when it cannot be read."""
    try:
        connection = _connect_to_read(Path(folder) / FILE)
        try:
            return _header_of(connection)
        finally:
            connection.close()
    except (sqlite3.Error, OSError, ValueError, CacheError):
        return {}


def write_all(folder: Path, header: Mapping[str, Any], rows: Iterable[Row]) -> None:
    """Write a journal of these rows in place of the one that is there; all or nothing."""
    folder.mkdir(parents=True, exist_ok=True)
    new = moving.new_file(folder)
    connection = sqlite3.connect(new, isolation_level="IMMEDIATE")
    try:
        connection.execute(f"PRAGMA page_size={PAGE}")
        with connection:
            _bring_up_to_date(connection, header)
            for row in rows:
                connection.execute("INSERT INTO actions VALUES (?,?,?,?,?,?,?,?,?)", action_values(row))
                connection.executemany("INSERT INTO pixels VALUES (NULL,?,?,?,?,?,?,?,?,?)", pixel_values(row))
                connection.executemany("INSERT INTO prompts VALUES (?,?,?,?)", prompt_values(row))
    finally:
        connection.close()
    moving.take_place(new)


def why_not(error: Exception, path: Path) -> str:
    """Why a disc took nothing; of a full one, SQLite may say "disk I/O error" only."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    if getattr(error, "errno", None) == errno.EROFS or "readonly" in text:
        return "the disc is read-only"
    with contextlib.suppress(OSError, StopIteration):
        there = next(folder for folder in (path, *path.parents) if folder.exists())
        if shutil.disk_usage(there).free < FULL:
            return "the disc is full"
    return text


def on_network(path: Path) -> bool:
    """Whether a path lies on another machine, as far as the operating system tells."""
    try:
        path = Path(path).resolve()
        if sys.platform == "win32":
            import ctypes

            return str(path).startswith("\\\\") or ctypes.windll.kernel32.GetDriveTypeW(path.anchor) == 4
        best, kind = "", ""
        for line in Path("/proc/self/mounts").read_text().splitlines():
            _, mount, name, *_ = line.split()
            mount = mount.encode().decode("unicode_escape")
            inside = path == Path(mount) or Path(mount) in path.parents
            if inside and len(mount) >= len(best):
                best, kind = mount, name
        return any(name in kind.lower() for name in NETWORK)
    except (OSError, ValueError, AttributeError):
        return False


# ---------------------------------------------------------------------- inside


def _connect(path: Path) -> sqlite3.Connection:
    # Used by one thread at a time, but not always by the same.
    connection = sqlite3.connect(path, isolation_level="IMMEDIATE", check_same_thread=False, timeout=5)
    try:
        connection.execute(f"PRAGMA page_size={PAGE}")
        connection.execute(f"PRAGMA journal_mode={'DELETE' if on_network(path.parent) else 'WAL'}")
        connection.execute("PRAGMA synchronous=FULL")
    except BaseException:
        connection.close()
        raise
    return connection


def _connect_to_read(path: Path) -> sqlite3.Connection:
    if not path.is_file():
        raise CacheError(f"There is no {path}.")
    address = f"file:{str(path.absolute()).replace('%', '%25').replace('?', '%3f').replace('#', '%23')}"
    try:
        connection = sqlite3.connect(f"{address}?mode=ro", uri=True, timeout=5)
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.OperationalError:  # a disc that cannot be written, where there can be no file of shared memory
        connection = sqlite3.connect(f"{address}?mode=ro&immutable=1", uri=True)
    return connection


def _bring_up_to_date(connection: sqlite3.Connection, header: Mapping[str, Any]) -> None:
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    _check_version(version)
    if version == 0:
        for statement in TABLES:
            connection.execute(statement)
        _write_header(connection, header)
    else:
        for old in range(version, SCHEMA):
            for statement in MIGRATIONS[old]:
                connection.execute(statement)
    if version != SCHEMA:
        connection.execute(f"PRAGMA user_version={SCHEMA}")


def _check_version(version: int) -> None:
    if version > SCHEMA:
        raise Newer(
            f"This session was written by a newer version of micro_sam (format {version}; {__version__} knows "
            f"{SCHEMA}). Update micro_sam to go on with it."
        )


def _write_header(connection: sqlite3.Connection, header: Mapping[str, Any]) -> None:
    text = dumps(header)
    connection.execute("INSERT OR REPLACE INTO header VALUES (1,?,?)", (text, checksum(text)))


def _header_of(connection: sqlite3.Connection) -> dict[str, Any]:
    found = connection.execute("SELECT record, crc FROM header WHERE id=1").fetchone()
    return json.loads(found[0]) if found is not None and checksum(found[0]) == found[1] else {}


def _read_tables(path: Path) -> tuple[dict[str, Any], Sequence[list[Any]], bool]:
    connection = _connect_to_read(path)
    try:
        _check_version(connection.execute("PRAGMA user_version").fetchone()[0])
        is_sound = connection.execute("PRAGMA quick_check(1)").fetchone() == ("ok",)
        header = _header_of(connection)
        tables = tuple(
            connection.execute(f"SELECT * FROM {name}").fetchall() for name in ("actions", "pixels", "prompts")
        )
        return header, tables, is_sound
    finally:
        connection.close()
