"""Hashes of weight files, remembered so that gigabytes are not read again at every start."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from pathlib import Path

import xxhash

from micro_sam.errors import OutputError
from micro_sam.io.atomic import write_bytes

logger = logging.getLogger(__name__)

BLOCK = 1 << 20
REMEMBER_FROM = 64 * BLOCK  # smaller files are hashed faster than the record is read and written


def new_digests(*algorithms: str) -> dict[str, hashlib._Hash | xxhash.xxh3_128]:
    """Empty digests for "sha256" and "xxh128"."""
    makers = {"sha256": hashlib.sha256, "xxh128": xxhash.xxh3_128}
    return {name: makers[name]() for name in algorithms}


def file_hash(path: Path, record: Path | None = None) -> str:
    """The xxh128 of a file, as hexadecimal digits.

    Parameters
    ----------
    path : Path
        The file.
    record : Path | None
        A JSON file that remembers the hashes of large files under path, length and time of change. A record that
        cannot be read or written is done without.
    """
    stat = os.stat(path)
    key = f"{path.resolve()}|{stat.st_size}|{stat.st_mtime_ns}"
    remembered = _read(record) if record is not None and stat.st_size >= REMEMBER_FROM else None
    if remembered is not None and key in remembered:
        return remembered[key]
    digest = xxhash.xxh3_128()
    with open(path, "rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
    value = digest.hexdigest()
    if remembered is not None:
        _write(record, {**{k: v for k, v in remembered.items() if not k.startswith(f"{path.resolve()}|")}, key: value})
    return value


def _read(record: Path) -> dict[str, str]:
    try:
        content = json.loads(record.read_text())
        return content if isinstance(content, dict) else {}
    except (OSError, ValueError):
        return {}


def _write(record: Path, content: dict[str, str]) -> None:
    try:
        write_bytes(record, json.dumps(content, indent=1).encode(), durable=False)
    except OutputError as error:
        logger.debug("The hashes of the weights cannot be remembered in %s: %s", record, error)
