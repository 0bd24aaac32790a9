"""The one rule of replacing: what exists stays, unless it is an earlier result of this program and of the same kind.

A file without the mark of this program (``io/marks.py``) is replaced only where the user chose it
(``replace_unmarked``); it is then kept as ``NAME.bak``. A folder or container that holds anything else is never
replaced, and nothing is ever written onto an input.
"""

from __future__ import annotations

import contextlib
import fnmatch
import functools
import glob
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from micro_sam.errors import NotOurs, OutputError
from micro_sam.io import atomic
from micro_sam.io.atomic import recover, replacing
from micro_sam.io.marks import KEY, KINDS, mark, read_kind, strangers

__all__ = [
    "KEY",
    "check_not_input",
    "check_result",
    "inputs_of",
    "mark",
    "read_kind",
    "recover",
    "remove_result",
    "write_result",
]


def check_result(path: str | os.PathLike, kind: str, *, replace_unmarked: bool = False) -> bool:
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
    _check_place(path)
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
            f"{path} exists and was not written by this program, or was changed since; it is not replaced. Choose "
            "another name, or remove it first."
        )
    return True


@contextlib.contextmanager
def write_result(
    path: str | os.PathLike, kind: str, *, parts: Sequence[Path] = (), replace_unmarked: bool = False
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


def inputs_of(source: object, pattern: str | None = None) -> list[Path]:
    """The files and folders that an input means: itself, or what a pattern finds; none for arrays and samples."""
    if not isinstance(source, (str, os.PathLike)) or str(source).startswith("sample:"):
        return []
    path = Path(source).expanduser()
    if pattern is not None:
        return [Path(found) for found in glob.glob(str(Path(glob.escape(str(path))) / pattern), recursive=True)]
    if glob.has_magic(str(path)) and not path.exists():
        return [Path(found) for found in glob.glob(str(path))]
    return [path]


def check_not_input(output: str | os.PathLike | None, *sources: object, pattern: str | None = None) -> None:
    """Whether an output is apart from all inputs, compared as files: links and other spellings are seen through.

    Parameters
    ----------
    output : path or None
        A file or folder to be written; None is fine.
    *sources
        Inputs as they were given: paths, globs, samples; arrays and None are passed over.
    pattern : str, optional
        The sources are folders of which the files that match are the inputs.

    Raises
    ------
    OutputError
        When the output is an input, lies inside one (only a new group ``labels/NAME`` may be added to a zarr), holds
        one, or would be taken for one in the next run.
    """
    if output is None:
        return
    if str(output).startswith("sample:"):
        raise OutputError(f"{output} names a sample, which is an image to read. Give the name of a file or folder.")
    place = Path(os.path.abspath(Path(output).expanduser()))
    for source in sources:
        for found in inputs_of(source, pattern):
            _check_apart(output, place, found)
        if isinstance(source, (str, os.PathLike)) and not str(source).startswith("sample:"):
            _check_not_matched(output, place, Path(source).expanduser(), pattern)


def _check_apart(output: object, place: Path, source: Path) -> None:
    if _is_same(place, source):
        raise OutputError(f"The output {output} is the input {source}: it would be overwritten. Choose another output.")
    if any(_is_same(folder, source) for folder in _folders_above(place)):
        if _is_new_label_group(place, source):
            return
        raise OutputError(f"The output {output} lies inside the input {source}. Choose a place outside.")
    if place.is_dir() and any(_is_same(folder, place) for folder in _folders_above(source)):
        raise OutputError(f"The output {output} is a folder that holds the input {source}. Choose another output.")


def _check_not_matched(output: object, place: Path, source: Path, pattern: str | None) -> None:
    """Whether the next run would take the output for one of its inputs."""
    if pattern is None:
        if not glob.has_magic(str(source)) or source.exists():
            return
        source, pattern = Path(os.path.abspath(source)).parent, source.name
        if glob.has_magic(str(source)):
            return
    inside = (
        place.parent if "**" not in pattern else next((f for f in _folders_above(place) if _is_same(f, source)), "")
    )
    if inside and _is_same(Path(inside), source) and fnmatch.fnmatch(place.name, Path(pattern).name):
        raise OutputError(
            f"The output {output} matches the pattern {pattern!r} of the inputs and would be taken for one of them. "
            "Choose another folder or name."
        )


def _is_same(a: Path, b: Path) -> bool:
    """Whether two paths are one file: also by links, other spellings, or in another case where that is the same."""
    try:
        return os.path.samefile(a, b)
    except OSError:
        return os.path.normcase(os.path.realpath(a)) == os.path.normcase(os.path.realpath(b))


def _folders_above(path: Path) -> list[Path]:
    """Folders that hold a path, as it is spelled and as it really lies."""
    real = Path(os.path.realpath(path))
    return [*path.absolute().parents, *(folder for folder in real.parents if folder not in path.absolute().parents)]


def _is_new_label_group(place: Path, source: Path) -> bool:
    is_group = any((source / name).is_file() for name in (".zgroup", "zarr.json", ".zattrs"))
    return is_group and place.parent.name == "labels" and _is_same(place.parent.parent, source) and not place.exists()


def _check_place(path: Path) -> None:
    """Whether something could be written beside a path."""
    parent = next((folder for folder in Path(os.path.abspath(path)).parents if folder.exists()), None)
    if parent is None or not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
        why = "does not exist" if parent is None else "is a file" if parent.is_file() else "may not be written to"
        raise OutputError(f"{path} cannot be written, because {parent or path.anchor} {why}. Choose another place.")
