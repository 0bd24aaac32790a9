"""Pixels and labels of training images, with their axes in the same order."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from micro_sam.errors import InputError
from micro_sam.io.checks import check_any, check_network_input
from micro_sam.io.images import open_source
from micro_sam.io.label_reading import is_labels_only, load_labels
from micro_sam.io.lazy import in_memory
from micro_sam.io.source import ImageSource
from micro_sam.io.tracks.ctc import is_ctc


def is_tracks(path: Path) -> bool:
    """Whether a path is one of the formats that hold tracks."""
    return path.suffix.lower() in (".geff", ".xml", ".csv") or is_ctc(path)


def read_pixels(image: ImageSource, ndim: int) -> np.ndarray:
    """The pixels; axes that the file names are brought into the order of labels.

    Raises
    ------
    InputError
        When it has other axes, or cannot be read.
    """
    if image.axes is None or image.axes.startswith("S"):  # a few slices of bytes are written as if they were colours
        return in_memory(image.data, image.path)
    return np.asarray(check_network_input(image, ndim).data)


def read_labels(path: Path | list[Path], image: ImageSource) -> np.ndarray:
    """Labels of an image, or of the slices of one; outlines are drawn in the shape of the image.

    Raises
    ------
    InputError
        When they cannot be read, or the slices differ in size.
    """
    if isinstance(path, list):
        slices = [np.squeeze(load_labels(p)) for p in path]
        wrong = next((p for p, one in zip(path, slices, strict=True) if one.shape != slices[0].shape), None)
        if wrong is not None:
            raise InputError(f"{wrong} is of another size than {path[0]}; label images of one stack must be alike.")
        return np.stack(slices)
    if is_labels_only(path):
        return load_labels(path, shape=check_any(image).shape)
    if not is_tracks(path):
        opened = open_source(path, as_labels=True)
        is_picture = (opened.axes or "").endswith("S")  # refused with a sentence of its own
        return np.asarray(opened.data) if is_picture else load_labels(opened)
    from micro_sam.io.tracks import load_tracks

    labels = load_tracks(path).labels
    if labels is None:
        raise InputError(f"{path} holds positions of tracks only; masks are needed to learn from.")
    return labels
