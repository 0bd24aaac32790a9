"""Rows of the journal: what they hold, and the check sums that tell whether they are whole."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from micro_sam.models.sizes import Box

SCHEMA = 2
"""Version of the tables. One that is higher was written by a newer program; lower ones are migrated."""
TABLES = (
    "CREATE TABLE header (id INTEGER PRIMARY KEY, record TEXT, crc INTEGER)",
    "CREATE TABLE actions (id INTEGER PRIMARY KEY, time REAL, kind TEXT, name TEXT, parameters TEXT, of_action INTEGER,"
    " n_pixels INTEGER, state BLOB, crc INTEGER)",
    "CREATE TABLE pixels (id INTEGER PRIMARY KEY, action INTEGER, layer TEXT, z INTEGER, y0 INTEGER, x0 INTEGER,"
    " y1 INTEGER, x1 INTEGER, data BLOB, crc INTEGER)",
    "CREATE TABLE prompts (id INTEGER PRIMARY KEY, action INTEGER, record TEXT, crc INTEGER)",
)
MIGRATIONS: dict[int, Sequence[str]] = {1: ()}
"""Version -> statements that lead to the next one. 2: states may hold classes of objects."""
COLUMNS = {"header": 3, "prompts": 4, "actions": 9, "pixels": 10}

KINDS = ("start", "model", "do", "join", "undo", "redo", "base", "saved", "next")
"""What an action is: the window was opened; another model; a step of undo; more of the step before; that step taken
back or done again; all so far is the beginning (nothing of it can be undone); the results were saved; what the next
prompt will be (no step of undo)."""

USUAL = (
    b'["last_id",["auto_parents",["current_tracks",[1,null,0,null,null]],["tracks",["auto_in_pieces",true],'
    b'["reopened",null],["anchors",null],["anchors",[[[1,2],[]],{}]],["painted",0,null],["confidence",0,null],'
    b'["answers",0,null],["regions",0,null],["prompts",[[],[]]],["objects",{"1":null}],"model_name":"vit_b",'
    b'"painted":[0],"imposed":[0],"source":"auto","source":"painted","source":"merged","source":"loaded",'
    b'["objects",{"1":{"id":1,"source":"prompts","slices":[0,1],"box":[10,20,30,40],"area":1000,"prompts":[[1],[]],'
    b'"confidence":{"0":[0.9,null,"prompt"],"1":[0.8,0.9,"propagated"],"2":[0.8,null,"maps"]},'
    b'"model_name":"nano_lm","model_hash":"36d40be6"}}],["prompts",[[1,2,3],[]]],["regions",0,[10,20,30,40]],'
    b'["answers",0,{"masks":[{"box":[10,20,30,40],"runs":[3,5,12,8,10,9],"score":0.9123,"tile":[0,0,100,100]}],'
    b'"labels":[1],"drawn":[[1],[]],"flags":0}],["confidence",0,{"1":[0.9123,null,"prompt"]}],["painted",0,1]]'
)
"""What many states have in common: short texts compress badly without it. A part of the format."""


@dataclass(frozen=True)
class PixelRow:
    """The content of a rectangle of a layer after an action, as `codec.pixels_to_bytes` wrote it."""

    layer: str
    z: int
    box: Box
    data: bytes


@dataclass(frozen=True)
class Row:
    """An action.

    Attributes
    ----------
    id
        1, 2, 3, ... in the order in which they were done.
    time
        Seconds since 1970.
    kind
        One of ``KINDS``.
    name
        What the user did, as the window calls it.
    parameters
        Readable facts.
    of
        For a step that was joined, undone or redone: id of its first row.
    state
        What other values have after it; see `codec.edit_to_json`.
    pixels
        What other pixels have after it.
    prompts
        Number in the journal -> record of the prompts that are new.
    is_whole
        False where some of its pixels could not be read.
    """

    id: int
    time: float
    kind: str
    name: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    of: int = 0
    state: Sequence[Any] = ()
    pixels: Sequence[PixelRow] = ()
    prompts: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)
    is_whole: bool = True


def checksum(*values: Any) -> int:
    """CRC-32 of the values of a row."""
    parts = [value if isinstance(value, bytes) else repr(value).encode() for value in values]
    return zlib.crc32(b"\0".join(parts))


def pack_state(state: Sequence[Any]) -> bytes:
    """Compressed JSON; nothing for an empty list."""
    if not state:
        return b""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15, zdict=USUAL)
    return packer.compress(dumps(list(state)).encode()) + packer.flush()


def unpack_state(data: bytes) -> list[Any]:
    """Inverse of :func:`pack_state`."""
    return json.loads(zlib.decompressobj(-15, zdict=USUAL).decompress(data)) if data else []


def dumps(value: Any) -> str:
    """JSON without spaces; numbers of numpy are numbers."""
    from micro_sam.session.journal.codec import to_plain

    return json.dumps(value, separators=(",", ":"), default=to_plain)


def action_values(row: Row) -> tuple[Any, ...]:
    """What the table ``actions`` gets for a row."""
    values = (row.id, row.time, row.kind, row.name, dumps(row.parameters), row.of, len(row.pixels))
    state = pack_state(row.state)
    return (*values, state, checksum(*values, state))


def pixel_values(row: Row) -> list[tuple[Any, ...]]:
    """What the table ``pixels`` gets for a row, without ids."""
    found = ((row.id, p.layer, p.z, *p.box, p.data) for p in row.pixels)
    return [(*values, checksum(*values)) for values in found]


def prompt_values(row: Row) -> list[tuple[Any, ...]]:
    """What the table ``prompts`` gets for a row."""
    found = ((number, row.id, dumps(record)) for number, record in row.prompts.items())
    return [(*values, checksum(*values)) for values in found]


def assemble(
    actions: Sequence[tuple[Any, ...]], pixels: Sequence[tuple[Any, ...]], prompts: Sequence[tuple[Any, ...]]
) -> tuple[list[Row], int]:
    """Rows from the values of the tables, in order, and the number of rows that are damaged.

    Values whose check sum differs are left out.
    """
    by_action: dict[int, list[PixelRow]] = {}
    damaged = 0
    for _, *values, crc in sorted(pixels):
        if checksum(*values) != crc:
            damaged += 1
            continue
        action, layer, z, *box, data = values
        by_action.setdefault(action, []).append(PixelRow(layer, z, tuple(box), data))
    new: dict[int, dict[int, Any]] = {}
    for *values, crc in prompts:
        if checksum(*values) != crc:
            damaged += 1
            continue
        number, action, record = values
        new.setdefault(action, {})[number] = json.loads(record)
    rows = []
    for *values, crc in sorted(actions):
        if checksum(*values) != crc:
            damaged += 1
            continue
        number, time, kind, name, parameters, of, n_pixels, state = values
        mine = by_action.get(number, [])
        rows.append(
            Row(
                number,
                time,
                kind,
                name,
                json.loads(parameters),
                of,
                unpack_state(state),
                mine,
                new.get(number, {}),
                len(mine) == n_pixels,
            )
        )
        damaged += len(mine) != n_pixels
    damaged += (rows[-1].id - len(rows)) if rows else 0
    # prompts may have been defined by an action that is lost
    known = {row.id for row in rows}
    if rows and (orphans := {n: r for action in new.keys() - known for n, r in new[action].items()}):
        from dataclasses import replace

        rows[0] = replace(rows[0], prompts={**orphans, **rows[0].prompts})
    return rows, damaged
