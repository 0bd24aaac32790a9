"""Going on with a session that is on disc: read it, do its actions again, and write on in the same place.

All of it may be done in any thread, before anybody sees the session.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from micro_sam.errors import CacheError
from micro_sam.session.commands import Draft, Edit
from micro_sam.session.journal import codec, moving, places, store
from micro_sam.session.journal.recorder import Journal
from micro_sam.session.journal.rows import Row
from micro_sam.session.state import LAYERS, State


@dataclass(frozen=True, eq=False)
class Continued:
    """A session that goes on.

    Attributes
    ----------
    session
        With everything that was done, and its journal.
    note
        What the user should know: a copy, or damage. Empty when all is well.
    saved
        Where its results were saved last, if they were.
    unsaved
        Whether committed objects changed since.
    """

    session: Any
    note: str = ""
    saved: Path | None = None
    unsaved: bool = False


def go_on(folder: str | os.PathLike[str], make_session: Callable[[tuple[int, ...]], Any]) -> Continued:
    """Go on with a session.

    Parameters
    ----------
    folder
        The session on disc. Where another window has it open, a copy goes on.
    make_session
        Makes an empty session for an image of a shape.

    Raises
    ------
    CacheError
        When nothing of it can be read, it was written by a newer program, or a copy is needed and has no room.
    """
    folder = Path(folder)
    notes, file = [], None
    is_damaged = bool(store.read(folder).damaged)
    try:
        if not is_damaged:
            file = store.JournalFile(folder, {})
        elif store.is_taken(folder):
            raise store.Taken("")
    except (store.Taken, OSError, sqlite3.Error) as error:
        is_taken = isinstance(error, store.Taken)
        why = "Another window has this session open" if is_taken else f"{folder}: {store.why_not(error, folder)}"
        folder, file = _copy(folder, why)
        notes.append(f"{why}, so this one goes on with a copy.")
    contents = store.read(folder)
    shape = tuple(contents.header.get("image", {}).get("shape", ()))
    if not shape:
        raise CacheError(f"The session in {folder} does not say what its image was. It stays as it is.")
    session = make_session(shape)
    try:
        result = session.restore(contents.rows, bool(contents.damaged))
    except CacheError:
        if contents.damaged:
            raise
        session = make_session(shape)
        contents = store.Contents(contents.header, contents.rows, 1)
        result = session.restore(contents.rows, is_damaged=True)
    if contents.damaged:
        if file is not None:
            file.close()
        journal, kept = _begin_anew(folder, contents.header, session.state, result.next)
        notes.append(
            f"The session on disc was damaged. What could be read is here: {len(session.objects)} objects; "
            f"{contents.damaged} records are lost, and nothing of before can be undone. The old file is {kept.name}."
        )
    else:
        journal = Journal(folder, contents.header, file=file, last_id=result.last_id, known=result.known)
    session.keeper.journal = journal
    saved, unsaved = _saved(contents.rows, folder)
    return Continued(session, " ".join(notes), saved, unsaved or bool(contents.damaged and session.objects))


def as_edits(state: State) -> list[Edit]:
    """The edits that lead from nothing to a state."""
    draft = Draft(State.empty(state.labels["current"].shape))
    n_slices = state.labels["current"].shape[0] if state.labels["current"].ndim == 3 else 1
    for name in LAYERS:
        for z in range(n_slices):
            plane = state.plane(name, z)
            if plane.any():
                draft.paint(name, z, (0, 0, *plane.shape), plane)
    for key in codec.SINGLE:
        draft.set(key, getattr(state, key))
    for key in ("objects", "regions", "answers", "confidence", "painted", "tracks", "current_tracks", "auto_parents"):
        draft.put_all(key, dict(getattr(state, key)))
    return draft.edits


def _copy(folder: Path, why: str) -> tuple[Path, store.JournalFile]:
    """A copy of a session in the program's folder, open for writing."""
    copy = places.new_folder(folder.name.removesuffix(places.SUFFIX))
    try:
        places.copy_to(copy, store.read(folder))
        return copy, store.JournalFile(copy, {})
    except (OSError, sqlite3.Error) as error:
        raise CacheError(
            f"{why}. Nor can a copy of it be written to {copy}: {store.why_not(error, copy)}. Make room there, then "
            "open the session again; it stays as it is."
        ) from error


def _begin_anew(
    folder: Path, header: Mapping[str, Any], state: State, following: Mapping[str, Any]
) -> tuple[Journal, Path]:
    """Put the damaged journal aside, and begin another one with what could be read."""
    journal = Journal(folder, header)
    try:
        kept = moving.put_aside(folder)
    except OSError:  # a disc that cannot be written: go on elsewhere, and leave all as it is
        journal, kept = (
            Journal(places.new_folder(folder.name.removesuffix(places.SUFFIX)), header),
            folder / moving.FILE,
        )
    journal.record("do", "Recover", edits=as_edits(state))
    journal.record("base")
    if following:
        journal.record("next", parameters=following)
    return journal, kept


def _saved(rows: tuple[Row, ...], folder: Path) -> tuple[Path | None, bool]:
    """Where results were saved last, and whether committed objects may have changed since."""
    saved, unsaved = None, False
    for row in rows:
        if row.kind == "saved" and row.parameters.get("path"):
            saved, unsaved = Path(os.path.normpath(folder / row.parameters["path"])), False
        elif row.kind in ("undo", "redo") or any(pixel.layer == "committed" for pixel in row.pixels):
            unsaved = True
        elif any(key in ("objects", "classes") for key, *_ in row.state):
            unsaved = True
    return saved if saved is not None and saved.exists() else None, unsaved
