"""What was annotated so far, written as images and label images that a training can read."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from micro_sam.errors import InputError, OutputError
from micro_sam.io.checks import Tool
from micro_sam.sam_annotator.state.window import WindowState


@dataclass(frozen=True)
class Annotated:
    """An image with objects.

    Attributes
    ----------
    name : str
        Unique among those of one training.
    image
        (H, W), (H, W, C) or, of a stack or movie, the same with an axis in front; an array, maybe on disc, or a path.
    labels : numpy.ndarray or pathlib.Path
        (H, W) or (Z, H, W), 0 = background; or the file that they were saved to.
    """

    name: str
    image: Any
    labels: np.ndarray | Path


def annotated_so_far(state: WindowState) -> list[Annotated]:
    """The open image with its committed objects, and the saved results of the other images of a series."""
    found = []
    session, image, series = state.session, state.image, state.series
    if session is not None and image is not None and session.objects:
        found.append(Annotated(file_name(image.name), image.pixels, session.committed.copy()))
    if series is not None:
        for number, entry in enumerate(series.entries):
            if number != series.index and entry.output.exists():
                found.append(Annotated(entry.name, entry.raw, entry.output))
    return found


def file_name(name: str) -> str:
    """A name of an image (a layer may have any) as a file can have it."""
    return re.sub(r"[^\w.-]+", "_", name) or "image"


def write_training_set(folder: Path, images: Sequence[Annotated], tool: Tool) -> Iterator[int]:
    """Writes ``images/NAME.tif`` and ``labels/NAME.tif`` into a folder; yields how many are there.

    Of a stack only the slices with objects are written.

    Raises
    ------
    InputError
        When a saved result does not belong to its image any more.
    OutputError
        When the files cannot be written.
    """
    import tifffile

    from micro_sam.io.labels import load_labels
    from micro_sam.sam_annotator.state.images import open_any

    for done, one in enumerate(images, start=1):
        if isinstance(one.labels, Path):
            opened = open_any(one.image, tool)
            image, labels = opened.pixels, load_labels(one.labels, shape=opened.shape)
        else:
            image, labels = one.image, one.labels
        if labels.ndim == 3:
            slices = np.flatnonzero(labels.any((1, 2)))
            image, labels = np.stack([np.asarray(image[int(z)]) for z in slices]), labels[slices]
        try:
            for kind, array in (("images", np.asarray(image)), ("labels", labels)):
                (folder / kind).mkdir(parents=True, exist_ok=True)
                tifffile.imwrite(folder / kind / f"{one.name}.tif", array, bigtiff=array.nbytes > 2**31)
        except OSError as error:
            raise OutputError(
                f"The images to learn from cannot be written to {folder}: {error.strerror or error}. Choose another "
                "place for the model, or free some space."
            ) from error
        yield done


def count_objects(images: Sequence[Annotated]) -> int:
    """Objects of the open image (those of saved results are not counted: that would mean reading them)."""
    return sum(len(np.unique(one.labels[one.labels > 0])) for one in images if isinstance(one.labels, np.ndarray))


def check_enough(images: Sequence[Annotated]) -> None:
    """Whether there is something to learn from and something to measure on.

    Raises
    ------
    InputError
        One sentence on what is missing.
    """
    if not images:
        raise InputError("There are no committed objects to learn from. Segment some objects and commit them with C.")
    if len(images) == 1 and isinstance(images[0].labels, np.ndarray) and count_objects(images) < MIN_OBJECTS:
        raise InputError(
            f"There are only {count_objects(images)} committed objects in one image; at least {MIN_OBJECTS} are needed "
            "to learn from some and to measure on others. Commit a few more."
        )


MIN_OBJECTS = 4
