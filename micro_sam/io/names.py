"""Names for the results of many images, so that no two images share a file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any


def unique_names(images: Sequence[Any]) -> list[str]:
    """A name for each image: its stem where that is the only one, else with its suffix, its folders, its number.

    Parameters
    ----------
    images
        Paths; arrays get a number.
    """
    paths = [Path(str(image).removeprefix("sample:")) if isinstance(image, (str, Path)) else None for image in images]
    depth = max((len(path.parts) for path in paths if path is not None), default=0)
    names: list[str | None] = [None] * len(images)
    for way in (_stem, *(_with_folders(n) for n in range(depth))):
        wanted = {k: way(path) for k, path in enumerate(paths) if names[k] is None and path is not None}
        counts, taken = Counter(wanted.values()), set(names)
        for k, name in wanted.items():
            if counts[name] == 1 and name not in taken:
                names[k] = name
    given = {name for name in names if name is not None}
    for k, path in enumerate(paths):
        if names[k] is None:  # an array, or a path that is named twice
            stem, number = ("seg" if path is None else path.stem), k
            while f"{stem}_{number:05}" in given:
                number += len(images)
            names[k] = f"{stem}_{number:05}"
            given.add(f"{stem}_{number:05}")
    return [name for name in names if name is not None]


def _stem(path: Path) -> str:
    return path.stem


def _with_folders(count: int) -> Callable[[Path], str]:
    """A way to name a path: with its suffix, since a.tif and a.png are two images, and the folders it lies in."""

    def name(path: Path) -> str:
        folders = [part.lstrip(".") for part in path.parts[:-1] if part != path.anchor]
        folders = [part for part in folders if part]
        near = folders[max(0, len(folders) - count) :]
        return "_".join([*near, path.name.replace(".", "_")])

    return name
