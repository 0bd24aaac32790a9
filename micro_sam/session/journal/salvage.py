"""Rows of a damaged SQLite file: read from its pages, without its help.

A page of a table ("leaf") says itself where its rows lie, and a row what its columns are, so that rows are found even
where the first page, or the pages that lead to them, are destroyed. Pages in the write-ahead log count, too. Rows whose
check sum differs are for the caller to leave out. The format: https://www.sqlite.org/fileformat2.html
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from micro_sam.session.journal.rows import COLUMNS, checksum

PAGE = 1024  # as `store` makes them
LEAF = 0x0D
WAL_HEAD, FRAME_HEAD = 32, 24
_NAMES = {number: name for name, number in COLUMNS.items()}


@dataclass
class Found:
    """Values of the rows of each table, as SQLite would give them, and the header."""

    header: dict[str, Any] = field(default_factory=dict)
    actions: list[tuple[Any, ...]] = field(default_factory=list)
    pixels: list[tuple[Any, ...]] = field(default_factory=list)
    prompts: list[tuple[Any, ...]] = field(default_factory=list)


def scan(path: Path) -> Found:
    """All rows of a journal that can be read."""
    data = path.read_bytes()
    pages = {number: data[begin : begin + PAGE] for number, begin in enumerate(range(0, len(data), PAGE), start=1)}
    versions = [pages]
    log = Path(f"{path}-wal")
    if log.is_file():
        newer = dict(pages)
        for number, page in _frames(log.read_bytes()):
            newer[number] = page
        versions.append(newer)
    best: dict[str, dict[int, tuple[Any, ...]]] = {name: {} for name in COLUMNS}
    for version in versions:
        for page in version.values():
            for row_id, values in _rows(page, version):
                name = _NAMES.get(len(values))
                if name is not None and _is_whole(name, row_id, values):
                    best[name][row_id] = (row_id, *values[1:])
    header = best["header"].get(1)
    # sorted by id, as SQLite gives them
    tables = {name: [rows[k] for k in sorted(rows)] for name, rows in best.items() if name != "header"}
    return Found(json.loads(header[1]) if header else {}, **tables)


def _is_whole(name: str, row_id: int, values: list[Any]) -> bool:
    if values[0] is not None:  # the id is not stored twice
        return False
    *rest, crc = values[1:]
    if name == "actions" and isinstance(rest[0], int):
        values[1] = rest[0] = float(rest[0])  # SQLite keeps whole numbers as such
    return bool((checksum(*rest) if name in ("header", "pixels") else checksum(row_id, *rest)) == crc)


def _frames(log: bytes) -> Iterator[tuple[int, bytes]]:
    """Number and content of the pages in a write-ahead log of which the last writer says that they count."""
    salts = log[16:24]
    for begin in range(WAL_HEAD, len(log) - FRAME_HEAD - PAGE + 1, FRAME_HEAD + PAGE):
        number = struct.unpack(">I", log[begin : begin + 4])[0]
        if log[begin + 8 : begin + 16] == salts and 0 < number < 2**31:
            yield number, log[begin + FRAME_HEAD : begin + FRAME_HEAD + PAGE]


def _rows(page: bytes, pages: dict[int, bytes]) -> Iterator[tuple[int, list[Any]]]:
    """Id and columns of the rows of a leaf page; nothing of other pages."""
    if len(page) < PAGE or page[0] != LEAF:
        return
    number = min(struct.unpack(">H", page[3:5])[0], (PAGE - 8) // 2)
    for k in range(number):
        begin = struct.unpack(">H", page[8 + 2 * k : 10 + 2 * k])[0]
        try:
            yield _cell(page, begin, pages)
        except (IndexError, struct.error, KeyError, ValueError, UnicodeDecodeError):
            continue


def _cell(page: bytes, begin: int, pages: dict[int, bytes]) -> tuple[int, list[Any]]:
    size, begin = _varint(page, begin)
    row_id, begin = _varint(page, begin)
    most = PAGE - 35
    if size <= most:
        payload = page[begin : begin + size]
    else:
        least = (PAGE - 12) * 32 // 255 - 23
        here = least + (size - least) % (PAGE - 4)
        here = here if here <= most else least
        parts, left = [page[begin : begin + here]], size - here
        following = struct.unpack(">I", page[begin + here : begin + here + 4])[0]
        while left > 0:
            more = pages[following]
            parts.append(more[4 : 4 + left])
            left -= PAGE - 4
            following = struct.unpack(">I", more[:4])[0]
        payload = b"".join(parts)
    if len(payload) != size:
        raise ValueError("the row is cut")
    return row_id, _columns(payload)


def _columns(payload: bytes) -> list[Any]:
    head, begin = _varint(payload, 0)
    kinds = []
    while begin < head:
        kind, begin = _varint(payload, begin)
        kinds.append(kind)
    if len(kinds) > max(COLUMNS.values()):
        raise ValueError("not one of our rows")
    values: list[Any] = []
    for kind in kinds:
        size = (0, 1, 2, 3, 4, 6, 8, 8, 0, 0)[kind] if kind < 10 else (kind - 12) // 2
        raw = payload[begin : begin + size]
        begin += size
        if len(raw) != size:
            raise ValueError("the row is cut")
        if kind == 0:
            values.append(None)
        elif kind == 7:
            values.append(struct.unpack(">d", raw)[0])
        elif kind < 7:
            values.append(int.from_bytes(raw, "big", signed=True))
        elif kind in (8, 9):
            values.append(kind - 8)
        else:
            values.append(raw.decode() if kind % 2 else raw)
    return values


def _varint(data: bytes, begin: int) -> tuple[int, int]:
    value = 0
    for k in range(9):
        byte = data[begin + k]
        if k == 8:
            value = value << 8 | byte
            return value - 2**64 if value >= 2**63 else value, begin + 9
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, begin + k + 1
    raise ValueError("no number")
