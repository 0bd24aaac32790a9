"""The images of a series: their names, results and caches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from micro_sam.errors import InputError, OutputError
from micro_sam.io.checks import Tool
from micro_sam.io.names import unique_names
from micro_sam.io.results import Inputs, recover
from micro_sam.sam_annotator.state.images import OpenImage, from_array, from_path

Progress = Literal["open", "done", "empty", "left out", "to do"]


@dataclass(frozen=True)
class SeriesEntry:
    """One image of a series.

    Attributes
    ----------
    raw
        Array or path.
    name
        Unique in the series.
    output
        Where its objects are saved.
    embedding_path
        Its cache; None: its embeddings are kept in memory.
    initial
        Labels (array or path) to begin with while it has no result.
    key
        Which image of the file, where it holds several; see `from_path`.
    """

    raw: Any
    name: str
    output: Path
    embedding_path: Path | None = None
    initial: Any = None
    key: str | None = None

    def open(self, tool: Tool) -> OpenImage:
        """Load and check the image."""
        if isinstance(self.raw, (str, Path)):
            image = from_path(self.raw, tool, self.key).renamed(self.name)
        else:
            image = from_array(self.raw, tool, self.name)
        return replace(image, result=self.output)


@dataclass(frozen=True)
class SeriesState:
    """A series, and which of its images is open.

    Attributes
    ----------
    entries
        All images, in order.
    index
        Position of the image that is open; -1 before the first.
    seen
        Positions of the images that have been open.
    left_out
        Position -> why the image could not be opened.
    """

    entries: tuple[SeriesEntry, ...]
    index: int = -1
    seen: frozenset[int] = frozenset()
    left_out: Mapping[int, str] = field(default_factory=dict)

    @property
    def entry(self) -> SeriesEntry:
        """The image that is open."""
        return self.entries[self.index]

    @property
    def n_done(self) -> int:
        """How many images have a result."""
        return sum(entry.output.exists() for entry in self.entries)

    def progress(self, index: int) -> Progress:
        """How far an image is."""
        if index == self.index:
            return "open"
        if self.entries[index].output.exists():
            return "done"
        return "left out" if index in self.left_out else "empty" if index in self.seen else "to do"

    def at(self, index: int, left_out: Mapping[int, str] | None = None) -> SeriesState:
        """The same series with another image open, and more of them left out."""
        known = {k: why for k, why in (dict(self.left_out) | dict(left_out or {})).items() if k != index}
        return replace(self, index=index, seen=self.seen | {index}, left_out=known)

    def without_caches(self) -> SeriesState:
        """The same series without embeddings on disc, which belong to the model that they were made with."""
        return replace(self, entries=tuple(replace(entry, embedding_path=None) for entry in self.entries))


def plan_series(
    images: Sequence[np.ndarray | str | Path],
    output_folder: str | Path,
    embedding_path: str | Path | None = None,
    key: str | None = None,
) -> list[SeriesEntry]:
    """Names and files of a series: images with the same stem do not share a file.

    Parameters
    ----------
    images
        Arrays or paths.
    output_folder
        For one tif per image.
    embedding_path
        Folder for one cache per image, or None.
    key
        Which image of each file, where it holds several.

    Raises
    ------
    InputError
        When there are no images, or one of the files is not there.
    OutputError
        When the output folder is a file, or a result or cache would be one of the images or lie inside one.
    """
    images = list(images)
    if not images:
        raise InputError("There are no images to annotate.")
    output_folder = Path(output_folder).expanduser()
    for folder in (output_folder, *([Path(embedding_path)] if embedding_path is not None else [])):
        if folder.is_file():
            raise OutputError(f"{folder} is a file, but a folder is needed. Choose another one.")
    for image in images:
        if isinstance(image, (str, Path)) and not str(image).startswith("sample:") and not Path(image).exists():
            raise InputError(f"There is no image {image}.")
    entries = [
        SeriesEntry(
            image,
            name,
            output_folder / f"{name}.tif",
            None if embedding_path is None else Path(embedding_path) / f"{name}.zarr",
            key=key,
        )
        for image, name in zip(images, unique_names(images), strict=True)
    ]
    inputs = Inputs(*images)
    for entry in entries:
        inputs.check(entry.output)
        inputs.check(entry.embedding_path)
    recover(output_folder / "inside")
    return entries


def with_initial(entries: list[SeriesEntry], initial: Sequence[Any] | None) -> list[SeriesEntry]:
    """Entries with the labels to begin with, in the same order; InputError when their numbers differ."""
    if initial is None:
        return entries
    if len(initial) != len(entries):
        raise InputError(f"There are {len(entries)} images, but {len(initial)} initial segmentations.")
    return [replace(entry, initial=labels) for entry, labels in zip(entries, initial, strict=True)]
