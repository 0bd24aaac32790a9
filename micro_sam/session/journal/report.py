"""What a session tells afterwards: the sentences of a methods section, and a table of objects."""

from __future__ import annotations

import csv
import io
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from micro_sam.errors import InputError
from micro_sam.session.journal import moving, places, series, store
from micro_sam.session.journal.restoring import live_rows, renumbered
from micro_sam.session.journal.rows import Row
from micro_sam.session.values import count

IDLE = 120.0  # seconds: a longer pause between two actions is no work


@dataclass(frozen=True)
class ObjectFacts:
    """How one committed object came about.

    Attributes
    ----------
    id, source
    prompts
        Number of prompts it was made with.
    corrections
        How often prompts were added or changed, or something was painted, after its first mask.
    painted
        Whether a brush took part.
    seconds
        Of work since the commit before, without pauses of more than two minutes.
    pixels
        Its size at its commit.
    model
    """

    id: int
    source: str
    prompts: int
    corrections: int
    painted: bool
    seconds: float
    pixels: int
    model: str


@dataclass(frozen=True)
class SessionFacts:
    """What is known of a session; times in seconds."""

    folder: Path
    header: Mapping[str, Any]
    models: tuple[str, ...]
    first: float
    last: float
    worked: float
    actions: Mapping[str, int]
    undone: int
    objects: tuple[ObjectFacts, ...]
    damaged: int


def sessions_in(path: str | os.PathLike[str]) -> list[Path]:
    """A session itself, or all that lie in a folder (those of a series).

    Raises
    ------
    InputError
        When there is none.
    """
    path = Path(path).expanduser()
    if path.name == moving.FILE:
        path = path.parent
    if (path / moving.FILE).is_file():
        return [path]
    found = sorted(folder for folder in path.glob(f"*{places.SUFFIX}") if (folder / moving.FILE).is_file())
    index = series.read(path)
    if index is not None:  # in the order of the series, then what else is there
        first = [folder for folder in index.sessions(path) if folder in found]
        found = list(dict.fromkeys([*first, *found]))
    if not found:
        raise InputError(
            f"There is no session in {path}. Give the folder whose name ends in {places.SUFFIX}, or the folder of the "
            "results of a series."
        )
    return found


def facts_of(folder: Path) -> SessionFacts:
    """Read a session and sum it up.

    Raises
    ------
    CacheError
        When nothing of it can be read.
    """
    contents = store.read(folder)
    rows = contents.rows
    counted = live_rows(rows)
    times = [row.time for row in rows]
    pauses = [b - a for a, b in zip(times, times[1:], strict=False)]
    models = dict.fromkeys(_model_name(row.parameters) for row in rows if row.kind == "model")
    steps = Counter(row.name for row in counted if row.kind == "do")
    live = {row.id for row in counted}
    undone = sum(row.kind == "do" and row.id not in live for row in rows)
    return SessionFacts(
        Path(folder),
        contents.header,
        tuple(name for name in models if name),
        times[0] if times else 0.0,
        times[-1] if times else 0.0,
        sum(pause for pause in pauses if 0 <= pause < IDLE),
        dict(steps),
        undone,
        tuple(_objects(counted)),
        contents.damaged,
    )


def methods_text(facts: Sequence[SessionFacts]) -> str:
    """Sentences for a methods section, then the figures of each session."""
    return "\n\n".join(_text_of(one) for one in facts)


def as_table(facts: Sequence[SessionFacts]) -> str:
    """CSV: one line an object."""
    out = io.StringIO()
    names = ["session", "image", *ObjectFacts.__dataclass_fields__]
    writer = csv.DictWriter(out, names, lineterminator="\n")
    writer.writeheader()
    for one in facts:
        for found in one.objects:
            record = {**asdict(found), "seconds": round(found.seconds, 1)}
            writer.writerow({"session": one.folder.name, "image": one.header.get("image", {}).get("name"), **record})
    return out.getvalue()


def compact(folder: Path) -> tuple[int, int]:
    """Drop what was undone from a session; bytes before and after.

    Raises
    ------
    CacheError
        When a window has it open, or it is damaged: then it stays as it is.
    """
    path = folder / moving.FILE
    file = store.JournalFile(folder, {})
    lock = file.close_but_lock()
    try:
        before = path.stat().st_size
        contents = store.read(folder)
        if contents.damaged:
            raise InputError(f"The session {folder} is damaged. Open it in a window first, which recovers it.")
        kept = live_rows(contents.rows)
        gone = {row.id for row in contents.rows} - {row.id for row in kept}
        lost = {n: record for row in contents.rows if row.id in gone for n, record in row.prompts.items()}
        store.write_all(folder, contents.header, _with_prompts(renumbered(kept), lost))
        return before, path.stat().st_size
    finally:
        if lock is not None:
            lock.release()


# ---------------------------------------------------------------------- inside


def _with_prompts(rows: list[Row], prompts: Mapping[int, Any]) -> list[Row]:
    """Prompts that were first drawn in an action that is gone may be those of a later one: the first row has them."""
    from dataclasses import replace

    return [replace(rows[0], prompts={**prompts, **rows[0].prompts}), *rows[1:]] if rows else rows


def _objects(rows: Sequence[Row]) -> list[ObjectFacts]:
    found: dict[int, ObjectFacts] = {}
    seconds, masks, corrections, painted, model, last = 0.0, 0, 0, False, "", None
    for row in rows:
        if row.kind == "model":
            model = _model_name(row.parameters)
        if row.kind not in ("do", "join"):
            last = row.time if last is None else last
            continue
        pause = 0.0 if last is None else row.time - last
        seconds += pause if 0 <= pause < IDLE else 0.0
        last = row.time
        kind = row.parameters.get("kind", "")
        masks += kind in ("answer", "run")
        is_paint = row.name.startswith(("Paint current", "Replace current"))
        painted |= is_paint
        corrections += bool(masks) and row.kind == "do" and (is_paint or kind == "prompts")
        changed = _changed_objects(row)
        new = [(i, record) for i, record in changed.items() if record is not None and i not in found]
        for i, record in new:
            n_prompts = sum(len(numbers) for numbers in record.get("prompts", ()))
            found[i] = ObjectFacts(
                i,
                record["source"],
                n_prompts,
                corrections if record["source"] == "prompts" else 0,
                painted or bool(record.get("painted")),
                seconds / len(new),
                record["area"],
                record.get("model_name", "") or (model if record["source"] in ("prompts", "auto") else ""),
            )
        for i in [i for i, record in changed.items() if record is None]:
            found.pop(i, None)
        if row.name in ("Commit", "Clear"):
            seconds, masks, corrections, painted = 0.0, 0, 0, False
    return [found[i] for i in sorted(found)]


def _changed_objects(row: Row) -> dict[int, Mapping[str, Any] | None]:
    changed: dict[int, Mapping[str, Any] | None] = {}
    for key, *rest in row.state:
        if key == "objects":
            entries = {rest[0]: rest[1]} if len(rest) == 2 else rest[0]
            changed.update({int(i): record for i, record in entries.items()})
    return changed


def _model_name(parameters: Mapping[str, Any]) -> str:
    name, digest = (str(parameters.get(key, "") or "") for key in ("model_name", "model_hash"))
    return f"{name} ({digest[:12]})" if digest else name


def _text_of(one: SessionFacts) -> str:
    header, image = one.header, one.header.get("image", {})
    noun = "track" if header.get("tool") == "tracking" else "object"
    versions = ", ".join(f"{name} {version}" for name, version in header.get("versions", {}).items())
    by_source = Counter(found.source for found in one.objects)
    prompted = [found for found in one.objects if found.source == "prompts"]
    how = ", ".join(f"{number} {_HOW.get(source, source)}" for source, number in by_source.most_common())
    model = " and ".join(one.models) or "no model"
    text = [
        f"{count(len(one.objects), noun)} of {image.get('name', 'the image')} annotated with micro_sam "
        f"{header.get('micro_sam', '')} and {model}" + (f": {how}." if how else ".")
    ]
    if prompted:
        n, n_prompts = len(prompted), sum(found.prompts for found in prompted)
        corrections = sum(found.corrections for found in prompted)
        seconds = sum(found.seconds for found in prompted)
        painted = sum(found.painted for found in prompted)
        text.append(
            f"A prompted {noun} took {n_prompts / n:.1f} prompts, {corrections / n:.1f} corrections and "
            f"{seconds / n:.0f} s on average; {painted} of {n} were corrected with a brush."
        )
    settings = ", ".join(f"{key} {value}" for key, value in header.get("settings", {}).items())
    lines = {
        "session": str(one.folder),
        "image": f"{image.get('path') or image.get('name')}, shape {image.get('shape')}, {image.get('axes', '')}"
        + (f", pixel size {image['scale']}" if image.get("scale") else ""),
        "settings": settings or "defaults",
        "versions": versions,
        "time": f"{_when(one.first)} to {_when(one.last)}, {one.worked / 60:.0f} min of work",
        "actions": ", ".join(f"{number} x {name}" for name, number in sorted(one.actions.items(), key=lambda p: -p[1]))
        or "none",
        "undone": str(one.undone),
    }
    if one.damaged:
        lines["damaged"] = f"{one.damaged} records cannot be read"
    return "\n".join([" ".join(text), "", *(f"{name:<10}{value}" for name, value in lines.items())])


_HOW = {
    "prompts": "from prompts",
    "auto": "automatic",
    "loaded": "from an earlier result",
    "painted": "painted by hand",
    "merged": "merged from several",
    "split": "split from another",
    "recovered": "recovered from a damaged session",
}


def _when(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds):%Y-%m-%d %H:%M}" if seconds else "?"
