"""The one rule of replacing: what exists stays, unless it is an earlier result of this program and of the same kind.

A file without the mark of this program (``io/marks.py``) is replaced only where the user chose it
(``replace_unmarked``); it is then kept as ``NAME.bak``. A folder or container that holds anything else is never
replaced. Nothing is ever written onto an input (``io/collisions.py``).
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from micro_sam.errors import NotOurs, OutputError
from micro_sam.io import atomic
from micro_sam.io.addresses import is_address, path_of
from micro_sam.io.atomic import recover, replacing
from micro_sam.io.collisions import Inputs, check_not_input
from micro_sam.io.marks import KEY, KINDS, is_zarr, mark, read_kind, strangers

__all__ = [
    "KEY",
    "Inputs",
    "check_not_input",
    "check_place",
    "check_result",
    "mark",
    "read_kind",
    "recover",
    "remove_result",
    "write_result",
]


def check_result(path: str | os.PathLike[str], kind: str, *, replace_unmarked: bool = False) -> bool:
    """Whether a result may be written at a path; read only, so it is asked before anything is computed.

    Parameters
    ----------
    path : path
        File or folder.
    kind : str
        One of ``micro_sam.io.marks.KINDS``.
    replace_unmarked : bool
        The user chose this very file: it is replaced even if it does not carry the mark of this program.

    Returns
    -------
    bool
        Whether what exists must be kept as ``NAME.bak``.

    Raises
    ------
    NotOurs
        When something without the mark is there, which the user may choose to replace.
    OutputError
        When something else is there, or nothing can be written there.
    """
    path = Path(path).expanduser()
    check_place(path)
    recover(path)
    if not os.path.lexists(path) or (path.is_dir() and not any(path.iterdir())):
        return False
    found = read_kind(path)
    if found is not None and found != kind:
        raise OutputError(
            f"{path} exists and holds {KINDS[found]} of this program, which {KINDS[kind]} do not replace. Choose "
            "another name."
        )
    other = strangers(path, kind)
    if other:
        raise OutputError(
            f"{path} holds something else ({other[0]}{', ...' if len(other) > 1 else ''}), which saving would remove. "
            "Choose a new name."
        )
    if found == kind:
        return False
    if not replace_unmarked:
        raise NotOurs(
            f"{path} exists and was not written by this program, or by an earlier version of it, or was changed since: "
            "it is not replaced. Choose another name, or remove it first."
        )
    return True


@contextlib.contextmanager
def write_result(
    path: str | os.PathLike[str], kind: str, *, parts: Sequence[Path] = (), replace_unmarked: bool = False
) -> Iterator[tuple[Path, ...]]:
    """Write a result by the rule: all its parts change together, or nothing does.

    Parameters
    ----------
    path, kind, replace_unmarked
        See `check_result`. The writer puts the mark into the files.
    parts : sequence of Path
        Further files of the result in the same folder. They obey the same rule, and are replaced unmarked only
        together with an existing result.

    Yields
    ------
    tuple of Path
        Where to write the result and its parts.

    Raises
    ------
    OutputError
        When it may not or cannot be written; what was there before is intact.
    """
    path = Path(path).expanduser()
    check = functools.partial(_check_parts, path, kind, parts, replace_unmarked)
    with replacing(path, *parts, backup=check(), check=check) as places:
        yield places


def _check_parts(path: Path, kind: str, parts: Sequence[Path], replace_unmarked: bool) -> bool:
    """`check_result` of a result and its parts."""
    keep, exists = check_result(path, kind, replace_unmarked=replace_unmarked), os.path.lexists(path)
    for part in parts:
        try:
            keep |= check_result(part, kind, replace_unmarked=replace_unmarked and exists)
        except NotOurs as error:
            if exists:
                raise
            # the user chose a new name, not a file that happens to be called like a part of the result
            raise OutputError(
                f"{part} is in the way: it was not written by this program. Choose another name."
            ) from error
    return keep


def remove_result(path: Path, kind: str, *, replace_unmarked: bool = False) -> None:
    """Remove a result that no longer holds anything; what is not ours is kept as ``NAME.bak``, see `check_result`."""
    if os.path.lexists(path):
        atomic.remove(path, backup=check_result(path, kind, replace_unmarked=replace_unmarked))


def check_place(path: Path) -> None:
    """Whether something could be written at a path: its folder allows it, and is no part of a zarr.

    Raises
    ------
    OutputError
    """
    if is_address(path):
        raise OutputError(f"{path_of(path)} is an address, from which this program only reads. Choose a place here.")
    holder = next((folder for folder in Path(os.path.abspath(path)).parents if is_zarr(folder)), None)
    if holder is not None:
        raise OutputError(f"{path} lies inside the zarr {holder}, to which nothing is added. Choose a place outside.")
    parent = next((folder for folder in Path(os.path.abspath(path)).parents if folder.exists()), None)
    if parent is None or not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
        why = "does not exist" if parent is None else "is a file" if parent.is_file() else "may not be written to"
        raise OutputError(f"{path} cannot be written, because {parent or path.anchor} {why}. Choose another place.")
