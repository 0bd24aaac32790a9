"""Hashes of weight files, remembered so that gigabytes are not read again at every start."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable
from pathlib import Path

import xxhash

from micro_sam.errors import OutputError
from micro_sam.io.atomic import write_bytes

logger = logging.getLogger(__name__)

BLOCK = 1 << 20
REMEMBER_FROM = 64 * BLOCK  # smaller files are hashed faster than the record is read and written


def new_digests(*algorithms: str) -> dict[str, hashlib._Hash | xxhash.xxh3_128]:
    """Empty digests for "sha256" and "xxh128"."""
    makers: dict[str, Callable[[], hashlib._Hash | xxhash.xxh3_128]] = {
        "sha256": hashlib.sha256,
        "xxh128": xxhash.xxh3_128,
    }
    return {name: makers[name]() for name in algorithms}


def file_hash(path: Path, record: Path | None = None, algorithm: str = "xxh128") -> str:
    """The hash of a file, as hexadecimal digits.

    Parameters
    ----------
    path : Path
        The file.
    record : Path | None
        A JSON file that remembers the hashes of large files under path, length and time of change. A record that
        cannot be read or written is done without.
    algorithm : str
        "xxh128" or "sha256".
    """
    key = _key(path, algorithm)
    if record is not None and key is not None and (known := _read(record).get(key)) is not None:
        return known
    digest = new_digests(algorithm)[algorithm]
    with open(path, "rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
    value = digest.hexdigest()
    if record is not None:
        remember_hash(path, record, algorithm, value)
    return value


def remember_hash(path: Path, record: Path, algorithm: str, value: str) -> None:
    """Note the hash of a large file; those of earlier contents of it are forgotten."""
    key = _key(path, algorithm)
    if key is not None:
        now, others = _key(path, "xxh128"), f"{path.resolve()}|"
        kept = {k: v for k, v in _read(record).items() if k.startswith(str(now)) or not k.startswith(others)}
        _write(record, {**kept, key: value})


def _key(path: Path, algorithm: str) -> str | None:
    """Under what a hash is remembered; None for a file that is hashed faster than the record is read."""
    stat = os.stat(path)
    if stat.st_size < REMEMBER_FROM:
        return None
    key = f"{path.resolve()}|{stat.st_size}|{stat.st_mtime_ns}"
    return key if algorithm == "xxh128" else f"{key}|{algorithm}"


def _read(record: Path) -> dict[str, str]:
    try:
        content = json.loads(record.read_text())
        return {k: v for k, v in content.items() if isinstance(v, str)} if isinstance(content, dict) else {}
    except (OSError, ValueError):
        return {}


def _write(record: Path, content: dict[str, str]) -> None:
    try:
        write_bytes(record, json.dumps(content, indent=1).encode(), durable=False)
    except OutputError as error:
        logger.debug("The hashes of the weights cannot be remembered in %s: %s", record, error)
