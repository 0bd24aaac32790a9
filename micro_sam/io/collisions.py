"""No output is an input, compared as files: links, other spellings and the case of names are seen through."""

from __future__ import annotations

import fnmatch
import glob
import os
from collections.abc import Iterator
from pathlib import Path

from micro_sam.errors import OutputError
from micro_sam.io.addresses import is_address, path_of

_CONTAINER_FILES = (".zgroup", ".zarray", ".zattrs", "zarr.json", "attributes.json")
_NEVER_READ = (".csv", ".md", ".json", ".safetensors", ".pt", ".zip")  # files in a folder that are no images of it

_Identity = tuple[int, int] | str


def check_not_input(output: str | os.PathLike[str] | None, *sources: object, pattern: str | None = None) -> None:
    """Whether an output is apart from all inputs; for many outputs of the same inputs see `Inputs`.

    Raises
    ------
    OutputError
        See `Inputs.check`.
    """
    Inputs(*sources, pattern=pattern).check(output)


class Inputs:
    """What is read, so that nothing is written onto it.

    Parameters
    ----------
    *sources
        Inputs as they were given: paths, globs, samples; arrays and None are passed over.
    pattern : str, optional
        The sources are folders of which the files that match are the inputs.
    """

    def __init__(self, *sources: object, pattern: str | None = None) -> None:
        self._inputs: dict[_Identity, Path] = {}
        self._above: dict[_Identity, Path] = {}  # folders that hold an input
        self._patterns: list[tuple[_Identity, str]] = []
        seen: set[Path] = set()
        for source in sources:
            if not isinstance(source, (str, os.PathLike)) or str(source).startswith("sample:") or is_address(source):
                continue
            for path in self._files_of(Path(source).expanduser(), pattern):
                self._inputs[_identity(path)] = path
                for folder in (path.absolute().parent, Path(os.path.realpath(path)).parent):
                    if folder not in seen:  # images of one folder share it
                        seen.add(folder)
                        self._above |= {_identity(above): path for above in (folder, *folder.parents)}

    def check(self, output: str | os.PathLike[str] | None) -> None:
        """Whether an output, a file or a folder to be written, is apart from all inputs; None is fine.

        Raises
        ------
        OutputError
            When it is an input, lies inside one (only a new group ``labels/NAME`` may be added to a zarr), holds one,
            or would be taken for one the next time.
        """
        if output is None:
            return
        if is_address(output):
            raise OutputError(
                f"{path_of(output)} is an address, from which this program only reads. Give the name of a file or "
                "folder on this machine."
            )
        if str(output).startswith("sample:"):
            raise OutputError(f"{output} names a sample, which is an image to read. Give the name of a file or folder.")
        place = Path(os.path.abspath(Path(output).expanduser()))
        same = self._inputs.get(_identity(place))
        if same is not None:
            raise OutputError(
                f"The output {output} is the input {same}: it would be overwritten. Choose another output."
            )
        for folder in _folders_above(place):
            source = self._inputs.get(_identity(folder))
            if source is not None and not _may_lie_inside(place, source):
                raise OutputError(f"The output {output} lies inside the input {source}. Choose a place outside.")
        if place.is_dir() and _identity(place) in self._above:
            held = self._above[_identity(place)]
            raise OutputError(f"The output {output} is a folder that holds the input {held}. Choose another output.")
        for identity, pattern in self._patterns:
            above = _folders_above(place) if "**" in pattern else [place.parent]
            matches = fnmatch.fnmatch(place.name, pattern.rpartition("/")[2])
            if matches and any(_identity(one) == identity for one in above):
                raise OutputError(
                    f"The output {output} matches the pattern {pattern!r} of the inputs and would be taken for one of "
                    "them, or overwritten. Choose another folder or name."
                )

    def _files_of(self, source: Path, pattern: str | None) -> Iterator[Path]:
        if pattern is None and (not glob.has_magic(str(source)) or source.exists()):
            yield source
            return
        folder, pattern = (source, pattern) if pattern is not None else (source.parent, source.name)
        if folder.exists():
            self._patterns.append((_identity(folder), pattern))
        start = glob.escape(str(folder)) if folder.exists() else str(folder)
        yield from (Path(found) for found in glob.glob(os.path.join(start, pattern), recursive=True))


def _identity(path: Path) -> _Identity:
    """What two paths of one file have in common."""
    try:
        found = os.stat(path)
        return found.st_dev, found.st_ino
    except OSError:
        return os.path.normcase(os.path.realpath(path))


def _folders_above(path: Path) -> list[Path]:
    """Folders that hold a path, as it is spelled and as it really lies."""
    spelled = list(path.absolute().parents)
    return spelled + [folder for folder in Path(os.path.realpath(path)).parents if folder not in spelled]


def _may_lie_inside(place: Path, source: Path) -> bool:
    """A new group of labels in a zarr group; and in a folder of images, what is never read as one of them."""
    if not any((source / name).exists() for name in _CONTAINER_FILES):
        return place.suffix.lower() in _NEVER_READ
    in_labels = place.parent.name == "labels" and _identity(place.parent.parent) == _identity(source)
    return in_labels and not (source / ".zarray").exists() and not os.path.lexists(place)
