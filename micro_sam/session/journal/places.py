"""Where sessions lie: beside their result, or in the program's own folder before there is one.

A session knows its image by a hash of samples of the pixels, not by a path, so that it is found again when image and
session were moved, and never offered for another image.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from micro_sam import __version__
from micro_sam.errors import CacheError
from micro_sam.io.addresses import is_address
from micro_sam.io.atomic import remove_folder
from micro_sam.models.cache import get_cache_directory
from micro_sam.models.sizes import Box
from micro_sam.session.journal import codec, moving, store
from micro_sam.session.journal.restoring import live_rows
from micro_sam.session.journal.rows import Row
from micro_sam.session.label_edits import union
from micro_sam.session.values import count

SUFFIX = ".session"
PACKAGES = ("torch", "numpy", "napari", "zarr")


@dataclass(frozen=True)
class Summary:
    """What a session holds, without its pixels.

    Attributes
    ----------
    folder
    header
    time
        Of the last action, in seconds since 1970.
    n_objects, n_prompts
        Committed objects, and prompts of the object that is open.
    damaged
        Number of rows that cannot be read.
    also
        Where there are neither: what else there is, in words.
    """

    folder: Path
    header: Mapping[str, Any]
    time: float
    n_objects: int
    n_prompts: int
    damaged: int = 0
    also: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing that a user could miss."""
        return not (self.n_objects or self.n_prompts or self.also)

    def __str__(self) -> str:
        """As in "Session of Thursday 14:10: 12 objects, 3 prompts"."""
        noun = "track" if self.header.get("tool") == "tracking" else "object"
        numbers = [count(self.n_objects, noun)]
        if self.n_prompts:
            numbers.append(count(self.n_prompts, "prompt"))
        return f"Session of {day_and_time(self.time)}: {', '.join((*numbers, *self.also))}"


def day_and_time(seconds: float) -> str:
    """``"today 14:10"``, ``"Thursday 14:10"``, ``"3 October 2026 14:10"``."""
    then, now = datetime.fromtimestamp(seconds), datetime.now()
    days = (now.date() - then.date()).days
    if 0 <= days < 7:
        day = {0: "today", 1: "yesterday"}.get(days, f"{then:%A}")
    else:
        day = f"{then.day} {then:%B %Y}"
    return f"{day} {then:%H:%M}"


def sessions_folder() -> Path:
    """Where sessions lie whose results were not saved yet."""
    return get_cache_directory() / "sessions"


def beside(result: str | os.PathLike[str]) -> Path:
    """The session that belongs to a result: ``cells_objects.session`` beside ``cells_objects.tif``."""
    result = Path(result)
    return result.with_name(f"{result.stem}{SUFFIX}")


def new_folder(name: str) -> Path:
    """A folder of the program for a new session on the image of this name; it is not made yet."""
    name = re.sub(r"[^\w-]+", "_", name)[:80]
    return sessions_folder() / f"{name}_{datetime.now():%Y%m%d-%H%M%S-%f}{SUFFIX}"


def make_header(
    tool: str,
    image: Mapping[str, Any],
    path: Path | None,
    folder: Path,
    settings: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The header of a new session.

    Parameters
    ----------
    tool
        ``"2d"``, ``"3d"`` or ``"tracking"``.
    image
        Name, shape, axes, scale, signature, channel, key.
    path
        Of the image file, if it is one; only the way from the session to it is written down.
    folder
        Of the session.
    settings
        Of the window.
    """
    return {
        "micro_sam": __version__,
        "tool": tool,
        "created": time.time(),
        "image": {**image, "path": relative(path, folder)},
        "settings": {key: value for key, value in (settings or {}).items() if value not in (None, "", False)},
        "versions": _versions(),
    }


def relative(path: str | os.PathLike[str] | None, folder: Path) -> str | None:
    """The way from a session to a file; only its name where there is none (another drive). Addresses stay."""
    if path is None:
        return None
    if is_address(path):
        return str(path)
    try:
        return Path(os.path.relpath(Path(path).absolute(), Path(folder).absolute())).as_posix()
    except ValueError:
        return Path(path).name


def find(signature: str, results: Iterable[str | os.PathLike[str]] = ()) -> list[Path]:
    """The sessions on an image, the newest first.

    Parameters
    ----------
    signature
        Hash of the samples of the image.
    results
        Where its results may lie: sessions are looked for beside them, and in the program's folder.
    """
    found: dict[Path, float] = {}
    for folder in _candidates(results):
        if store.read_header(folder).get("image", {}).get("signature") == signature:
            found[folder] = _changed(folder)
    return sorted(found, key=lambda folder: -found[folder])


def summarise(folder: Path, contents: store.Contents | None = None) -> Summary:
    """What a session holds.

    Raises
    ------
    CacheError
        When nothing of it can be read.
    """
    contents = store.read(folder) if contents is None else contents
    objects, n_prompts = count_objects(contents.rows)
    also = () if objects or n_prompts else _besides(contents.rows)
    last = contents.rows[-1].time if contents.rows else float(contents.header.get("created", 0))
    return Summary(Path(folder), contents.header, last, len(objects), n_prompts, contents.damaged, also)


def count_objects(rows: Sequence[Row]) -> tuple[dict[int, Mapping[str, Any]], int]:
    """Committed id -> its record as JSON, and the number of prompts of the object that is open."""
    objects: dict[int, Mapping[str, Any]] = {}
    n_prompts = 0
    for row in live_rows(rows):
        for key, *rest in row.state:
            if key == "prompts":
                n_prompts = sum(len(numbers) for numbers in rest[0])
            if key == "objects":
                changed = {rest[0]: rest[1]} if len(rest) == 2 else rest[0]
                objects.update({int(i): record for i, record in changed.items()})
    return {i: record for i, record in objects.items() if record is not None}, n_prompts


def _besides(rows: Sequence[Row]) -> tuple[str, ...]:
    """What else than objects and prompts a session holds, in words."""
    region: Any = None
    classes: Sequence[Any] = ()
    pixels: dict[tuple[str, int], Box] = {}  # layer and slice -> rectangle outside which it is empty
    for row in live_rows(rows):
        values = {key: rest[0] for key, *rest in row.state}
        region, classes = values.get("region_of_interest", region), values.get("classes", classes)
        for one in row.pixels:
            place, (y0, x0, y1, x1) = (one.layer, one.z), one.box
            if any(labels.any() for labels in codec.pixels_from_bytes(one.data, (y1 - y0, x1 - x0)).values):
                pixels[place] = union(pixels.get(place), one.box)
            elif union(pixels.get(place), one.box) == one.box:
                pixels.pop(place, None)
    layers = {layer for layer, _ in pixels}
    found = {
        "a painted object": "current" in layers,
        "an automatic segmentation": "auto" in layers,
        "a region": region is not None,
        count(len(classes), "class", "classes"): bool(classes),
    }
    return tuple(words for words, is_there in found.items() if is_there)


def set_aside(folder: Path) -> Path | None:
    """Give a session that is there another name, because a new one begins in its place; the new name.

    None when there is none, or another window has it open: then it stays.
    """
    if not (folder / moving.FILE).exists() or store.is_taken(folder):
        return None
    stamp = f"{datetime.fromtimestamp(_changed(folder)):%Y-%m-%d_%H%M%S}"
    target = moving.free_name(folder.with_name(f"{folder.name.removesuffix(SUFFIX)}.{stamp}{SUFFIX}"), SUFFIX)
    moving.give_name(folder, target)
    return target


def copy_to(folder: Path, contents: store.Contents) -> Path:
    """Write a session anew in another folder; returns that."""
    store.write_all(folder, contents.header, contents.rows)
    return folder


def all_sessions() -> list[Path]:
    """The sessions in the program's folder, the newest first."""
    return sorted(_inside(sessions_folder()), key=lambda folder: -_changed(folder))


def prune(days: float) -> list[Path]:
    """Remove the sessions in the program's folder whose last action is older, unless a window has them open."""
    gone = []
    for folder in all_sessions():
        if time.time() - _changed(folder) > days * 86400 and not store.is_taken(folder):
            remove_folder(folder)
            gone.append(folder)
    return gone


def check_image(header: Mapping[str, Any], signature: str, tool: str, folder: Path) -> None:
    """Whether a session is of this image and tool.

    Raises
    ------
    CacheError
        When it is not.
    """
    known = header.get("image", {})
    if known.get("signature") not in (None, signature):
        raise CacheError(
            f"The session {folder} belongs to another image ({known.get('name')}, shape {known.get('shape')}). Open "
            "that image, or start a new session in another folder."
        )
    if header.get("tool") not in (None, tool):
        raise CacheError(
            f"The session {folder} was made with the {header['tool']} tool. Open it there, or start a new session."
        )


def _candidates(results: Iterable[str | os.PathLike[str]]) -> list[Path]:
    folders = _inside(sessions_folder())
    for result in results:
        place = beside(result)
        stem = place.name.removesuffix(SUFFIX)
        folders += [folder for folder in _inside(place.parent, f"{stem}*") if (folder / moving.FILE).exists()]
    return list(dict.fromkeys(folders))


def _inside(folder: Path, pattern: str = "*") -> list[Path]:
    import glob

    try:
        pattern = glob.escape(pattern[:-1]) + "*" if pattern != "*" else pattern
        return [path for path in folder.glob(f"{pattern}{SUFFIX}") if (path / moving.FILE).is_file()]
    except OSError:
        return []


def _changed(folder: Path) -> float:
    times = [0.0]
    for name in (moving.FILE, f"{moving.FILE}-wal"):
        try:
            times.append((folder / name).stat().st_mtime)
        except OSError:
            continue
    return max(times)


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
