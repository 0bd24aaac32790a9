"""Label images in: of this program and of its neighbours. 0 is background, every object has a number of its own."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any

import numpy as np

from micro_sam.errors import InputError
from micro_sam.io.checks import check_positions
from micro_sam.io.formats.cellpose import is_cellpose, read_cellpose
from micro_sam.io.inputs import as_array, is_path
from micro_sam.io.label_arrays import LARGEST_RESULT, new_labels, release
from micro_sam.io.lazy import in_memory, reading
from micro_sam.io.source import ImageSource

log = logging.getLogger(__name__)

LARGEST_ID = np.iinfo(np.uint32).max
ORDER = "RTZYX"
ROWS = 1024  # of a large label image that are read at once
_SMALL = (np.dtype("uint8"), np.dtype("uint16"), np.dtype("uint32"))


def load_labels(source: Any, key: str | None = None, shape: tuple[int, ...] | None = None) -> np.ndarray:
    """A label image as uint32.

    Parameters
    ----------
    source
        Array, `ImageSource`, or path of a label image of any program (tif, png, npy, hdf5, n5, zarr, OME-Zarr labels,
        ilastik), of Cellpose's ``_seg.npy``, ROIs of ImageJ or StarDist (``.zip``, ``.roi``), or GeoJSON of QuPath.
    key
        Dataset inside a container.
    shape
        Shape of the image that the labels belong to, without channels; None: any.

    Returns
    -------
    np.ndarray
        uint32; axes in the order T, Z, Y, X where the file names them; ids above the range of uint32 are numbered
        anew.

    Raises
    ------
    InputError
        When it is no label image, or of another shape than the image.
    """
    labels, note = read_labels(source, key, shape)
    if note:
        log.info("%s", note)
    return labels


def read_labels(source: Any, key: str | None = None, shape: tuple[int, ...] | None = None) -> tuple[np.ndarray, str]:
    """As `load_labels`, with what was decided about the file, as sentences for the user."""
    name, note, axes = "The label image", "", None
    if is_path(source):
        name = str(source)
        source, axes, note = _read(Path(source).expanduser(), key, shape)
    elif isinstance(source, ImageSource):
        name = str(source.path or name)
        source, axes, note = _from_source(source)
    labels, is_colour = np.asarray(as_array(source, name)), False
    if axes is not None and not (set(axes) & set("SC") and shape is not None and labels.shape == tuple(shape)):
        labels = _in_order(labels, axes, name)
        is_colour = axes.endswith("S") and labels.ndim == len(axes) - axes.count("C")
    if shape is None or labels.shape != tuple(shape):  # a stack may be as narrow as colours
        labels = _one_channel(labels, name, is_colour)
    return _checked(labels, shape, name), note


def is_labels_only(path: str | Path) -> bool:
    """Whether a file can only hold labels: a segmentation of Cellpose, ROIs, GeoJSON."""
    path = Path(path)
    if not path.is_file():
        return False
    from micro_sam.io.formats.geojson import is_geojson
    from micro_sam.io.formats.rois import is_rois

    return is_rois(path) or is_geojson(path) or is_cellpose(path)


def _read(path: Path, key: str | None, shape: tuple[int, ...] | None) -> tuple[np.ndarray, str | None, str]:
    """Numbers, axes where they are known, and a note."""
    from micro_sam.io.images import open_source

    if path.is_file():
        from micro_sam.io.formats.geojson import is_geojson, read_geojson
        from micro_sam.io.formats.rois import is_rois, read_rois

        if is_cellpose(path):
            return read_cellpose(path), None, ""
        for is_kind, read in ((is_rois, read_rois), (is_geojson, read_geojson)):
            if is_kind(path):
                labels, note = read(path, shape)
                return labels, None, note
    return _from_source(open_source(path, key, as_labels=True))


def _from_source(found: ImageSource) -> tuple[np.ndarray, str | None, str]:
    check_positions(found.shape, found.axes, found.path, found.choices)
    note = found.note if "chunks" not in found.note and "blocks" not in found.note else ""  # empty ones are background
    return _pixels(found), found.axes, note


def _pixels(found: ImageSource) -> np.ndarray:
    """All numbers of a source; large ones are read in parts, into an array that need not fit into memory."""
    data, shape = found.data, found.shape
    nbytes = math.prod(shape) * np.dtype(data.dtype).itemsize
    if nbytes <= LARGEST_RESULT or len(shape) not in (2, 3) or np.dtype(data.dtype) not in _SMALL:
        return in_memory(data, found.path)
    with reading(found.path or Path("the label image"), "a label image"):
        labels = new_labels(shape, largest=LARGEST_RESULT)
        for z in range(shape[0]) if len(shape) == 3 else (None,):
            for y in range(0, shape[-2], ROWS):
                where = slice(y, y + ROWS) if z is None else (z, slice(y, y + ROWS))
                part = np.asarray(data[where])
                if part.any():  # what is empty takes no room
                    labels[where] = part
                release(labels)
    return labels


def _in_order(labels: np.ndarray, axes: str, name: str) -> np.ndarray:
    """Axes as tools want them; an axis of channels or colours that has no length is left out."""
    if axes.startswith("S"):  # a few slices of bytes, which writers of tif take for red, green, blue
        return labels
    letters, kept = "", labels
    for letter in axes:
        if letter == "C" and kept.shape[len(letters)] > 1:
            raise InputError(
                f"{name} has {kept.shape[len(letters)]} channels; a label image has one number per pixel. Save the "
                "channel with the labels as a file of its own."
            )
        if letter == "C" or (letter == "S" and kept.shape[len(letters)] == 1):
            kept = kept.take(0, axis=len(letters))
        else:
            letters += letter
    order = sorted(range(len(letters)), key=lambda k: (ORDER + "S").index(letters[k]))
    return kept.transpose(order)


def _checked(labels: np.ndarray, shape: tuple[int, ...] | None, name: str) -> np.ndarray:
    if labels.ndim < 2 or labels.size == 0:
        raise InputError(f"{name} has the shape {labels.shape}; a label image has two axes or more, and pixels.")
    if labels.dtype.kind not in "biuf":
        raise InputError(f"{name} holds {labels.dtype} values; labels are whole numbers.")
    if shape is not None:
        labels = _fit(labels, tuple(shape), name)
    if labels.dtype.kind == "f":
        if not np.all(np.isfinite(labels)):
            raise InputError(f"{name} holds NaN or infinity; labels are whole numbers, 0 for the background.")
        if np.any(labels != np.rint(labels)):
            raise InputError(f"{name} holds fractions, which are no whole numbers. Is it an image instead of labels?")
    if labels.size and labels.dtype.kind in "if" and labels.min() < 0:
        raise InputError(f"{name} holds negative values (down to {labels.min():g}); labels are 0 or larger.")
    if labels.size and labels.dtype.itemsize > 4 and labels.max() > LARGEST_ID:
        ids, numbers = np.unique(labels, return_inverse=True)
        start = 0 if ids[0] == 0 else 1
        labels = numbers.reshape(labels.shape) + start
    return np.ascontiguousarray(labels, dtype=np.uint32)


def _one_channel(labels: np.ndarray, name: str, is_colour: bool) -> np.ndarray:
    """Labels that were saved as a picture have three equal channels; what is opaque (a fourth, a second) is no label.

    Parameters
    ----------
    labels
        Any axes.
    name
        For messages.
    is_colour
        Whether the file says that the last axis holds colours; 8-bit numbers are looked at in any case.
    """
    looks_so = is_colour or labels.dtype == np.uint8
    if labels.ndim < 3 or labels.shape[-1] not in ((2, 3, 4) if is_colour else (3, 4)) or not looks_so:
        return labels
    if labels.shape[-1] == 2 or all(np.array_equal(labels[..., 0], labels[..., k]) for k in (1, 2)):
        return labels[..., 0]
    raise InputError(
        f"{name} is a colour picture, not a label image. Export the labels themselves, with one number per object."
    )


def _fit(labels: np.ndarray, shape: tuple[int, ...], name: str) -> np.ndarray:
    if labels.shape == shape:
        return labels
    if tuple(s for s in labels.shape if s > 1) == tuple(s for s in shape if s > 1):
        return labels.reshape(shape)
    hint = " It seems to be turned by 90 degrees." if labels.shape == shape[:-2] + shape[:-3:-1] else ""
    raise InputError(f"{name} has the shape {labels.shape}, but the image has {shape}: they must be the same.{hint}")
