"""A table of objects: how large, where, how bright."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from micro_sam.errors import AxesError, ChoiceError, InputError
from micro_sam.io.checks import Tool, check_image, select_channel
from micro_sam.io.images import open_source
from micro_sam.io.inputs import as_array, is_path, source_and_path
from micro_sam.io.label_reading import is_labels_only, load_labels
from micro_sam.io.source import ImageSource, is_movie
from micro_sam.measure.pieces import HIGH, LOW, measure_pieces

Array = Any
MOST_ALONE = 40  # objects that are looked at one by one; a pass through all takes less for more


def measure_objects(
    labels: Array | str | os.PathLike[str],
    image: Array | str | os.PathLike[str] | None = None,
    *,
    scale: Sequence[float] | None = None,
    movie: bool | None = None,
    key: str | None = None,
    image_key: str | None = None,
    axes: str | None = None,
    certainty: Mapping[int, float] | None = None,
    classes: Mapping[int, str] | None = None,
) -> pd.DataFrame:
    """A table of objects.

    Parameters
    ----------
    labels : array or path
        (Y, X), (Z, Y, X), or (T, Y, X) of a movie; 0 is background. Arrays in memory, memory-mapped and lazy arrays
        (zarr, hdf5, dask) are read in blocks.
    image : array or path, optional
        Of the same shape, and channels or colours; adds the mean intensities.
    scale : sequence of float, optional
        Size of a pixel along each axis of the labels in µm. None: as the file of the labels says, else that of the
        image, else not known.
    movie : bool, optional
        Whether the first axis is time; then there is one row per object and frame. None: as the file says, else no.
    key, image_key : str, optional
        Dataset inside a container.
    axes : str, optional
        Letters of the axes of the image, where its file does not say.
    certainty, classes : mapping, optional
        Id -> value, for columns of that name.

    Returns
    -------
    DataFrame
        See `object_columns`; sorted by ``id`` (and ``frame``). Without objects it is empty and has its columns.

    Raises
    ------
    InputError
        When labels and image have other shapes, or there are no such files.
    """
    array, known = _labels(labels, key, image, image_key, axes)
    ndim = len(array.shape)
    movie = ndim == 3 and (is_movie(known.axes) if movie is None else movie)
    channels: list[Any] = []
    if image is not None:
        channels, of_image = _channels(image, image_key, axes, tuple(array.shape), movie, labels)
        known = known if known.scale is not None else replace(known, scale=of_image)
    scale = tuple(scale) if scale is not None else known.scale if known.scale else None
    if scale is not None and len(scale) != ndim:
        scale = None
    if ndim == 2:
        array, channels = _Stack(array), [_Stack(channel) for channel in channels]
    if movie:
        tables = []
        for t in range(int(array.shape[0])):
            region = (slice(t, t + 1), *(slice(0, int(size)) for size in array.shape[1:]))
            table = measure_pieces(array, channels, region=region)
            tables.append(table.assign(frame=t))
        found = pd.concat(tables).sort_index(kind="stable")
    else:
        found = measure_pieces(array, channels)
    return as_table(found, ndim, scale, movie, len(channels), certainty, classes)


def measure_object(
    labels: np.ndarray,
    object_id: int,
    box: Sequence[int],
    channels: Sequence[Any] = (),
    scale: Sequence[float] | None = None,
    movie: bool = False,
) -> pd.DataFrame:
    """The rows of one object whose place is known, as in `measure_objects`: nothing else is read.

    Parameters
    ----------
    labels : (Y, X) or (Z, Y, X) integers
    object_id : int
    box : (y0, x0, y1, x1) or (z0, y0, x0, z1, y1, x1)
        Holds the whole object; half-open.
    channels : sequence of arrays
        Of the shape of the labels.
    scale, movie
        See `measure_objects`.
    """
    ndim, half = len(labels.shape), len(box) // 2
    region = [slice(int(a), int(b)) for a, b in zip(box[:half], box[half:], strict=True)]
    if ndim == 2:
        region = [slice(0, 1), *region]
        found = measure_pieces(_Stack(labels), [_Stack(one) for one in channels], region=region, only=object_id)
    elif not movie:
        found = measure_pieces(labels, channels, region=region, only=object_id)
    else:
        tables = []
        for t in range(region[0].start, region[0].stop):
            frame = [slice(t, t + 1), *region[1:]]
            tables.append(measure_pieces(labels, channels, region=frame, only=object_id).assign(frame=t))
        found = pd.concat(tables)
    return as_table(found, ndim, scale, movie, len(channels))


def measure_some(
    labels: np.ndarray,
    boxes: Mapping[int, Sequence[int]],
    channels: Sequence[Any] = (),
    scale: Sequence[float] | None = None,
    movie: bool = False,
) -> Iterator[dict[int, pd.DataFrame]]:
    """The rows of some objects, a few at a time: each where it is, or all in one pass where they are many.

    Parameters
    ----------
    labels, channels, scale, movie
        See `measure_object`.
    boxes
        Id -> box.

    Yields
    ------
    dict
        Id -> its rows; without rows where there is no such object any more.
    """
    if len(boxes) <= MOST_ALONE:
        for i, box in boxes.items():
            yield {i: measure_object(labels, i, box, channels, scale, movie)}
        return
    array, ndim = (labels, 3) if len(labels.shape) == 3 else (_Stack(labels), 2)
    channels = channels if ndim == 3 else [_Stack(one) for one in channels]
    rows: dict[int, list[pd.DataFrame]] = {i: [] for i in boxes}
    for t in range(int(array.shape[0])) if movie else (None,):
        region = None if t is None else (slice(t, t + 1), *(slice(0, int(size)) for size in array.shape[1:]))
        found = measure_pieces(array, channels, region=region)
        table = as_table(found if t is None else found.assign(frame=t), ndim, scale, movie, len(channels))
        for i, row in table[table["id"].isin(boxes)].groupby("id"):
            rows[int(i)].append(row)
    empty = as_table(measure_pieces(np.zeros((1, 1, 1), np.uint8)).assign(frame=0), ndim, scale, movie, 0)
    yield {i: pd.concat(parts) if parts else empty for i, parts in rows.items()}


def channels_of(data: Any, rgb: bool) -> list[Any]:
    """The colours of an image as arrays of their own; the image itself where it has none."""
    return [select_channel(data, k) for k in range(int(data.shape[-1]))] if rgb else [data]


def object_columns(
    ndim: int,
    scale: Sequence[float] | None = None,
    movie: bool = False,
    n_channels: int = 0,
    certainty: bool = False,
    classes: bool = False,
) -> list[str]:
    """The columns of `measure_objects`.

    ``id``; ``frame`` in movies; ``class`` and ``certainty`` where given; ``area_um2`` or ``volume_um3`` where the size
    of a pixel is known; ``pixels`` or ``voxels``; ``pieces`` (parts that do not touch, corners count as touching);
    ``first_slice`` and ``last_slice`` of volumes; the box ``y_min``, ``x_min``, ``y_max``, ``x_max`` in pixels, of
    which the last two are the first outside; the centre ``z``, ``y``, ``x`` in pixels; ``mean_intensity`` of the
    pixels that are not NaN, with the number of the channel where there are several.
    """
    volume = ndim == 3 and not movie
    size = [] if scale is None else ["volume_um3"] if volume else ["area_um2"]
    means = ["mean_intensity"] if n_channels == 1 else [f"mean_intensity_{k}" for k in range(n_channels)]
    return [
        "id",
        *(["frame"] if movie else []),
        *(["class"] if classes else []),
        *(["certainty"] if certainty else []),
        *size,
        "voxels" if volume else "pixels",
        "pieces",
        *(["first_slice", "last_slice"] if volume else []),
        "y_min",
        "x_min",
        "y_max",
        "x_max",
        *(["z"] if volume else []),
        "y",
        "x",
        *means,
    ]


def as_table(
    found: pd.DataFrame,
    ndim: int,
    scale: Sequence[float] | None,
    movie: bool,
    n_channels: int,
    certainty: Mapping[int, float] | None = None,
    classes: Mapping[int, str] | None = None,
) -> pd.DataFrame:
    """What `measure_pieces` found, with the columns of `object_columns`."""
    table = found.reset_index()
    if scale is not None:
        sizes = scale[-2:] if movie or ndim == 2 else scale
        table["area_um2" if len(sizes) == 2 else "volume_um3"] = table["pixels"] * math.prod(sizes)
    table["first_slice"], table["last_slice"] = table[LOW[0]], table[HIGH[0]] - 1
    table["voxels"] = table["pixels"]
    if certainty is not None:
        table["certainty"] = [float(certainty.get(i, np.nan)) for i in table["id"]]
    if classes is not None:
        table["class"] = [classes.get(i, "") for i in table["id"]]
    columns = object_columns(ndim, scale, movie, n_channels, certainty is not None, classes is not None)
    for k in range(n_channels):
        table[columns[k - n_channels]] = table[f"mean_{k}"]
    return table[columns]


class _Stack:
    """An image as a stack of one slice, without reading it."""

    def __init__(self, image: Any) -> None:
        self.image, self.dtype = image, image.dtype
        self.shape = (1, *image.shape)

    def __getitem__(self, where: tuple[slice, ...]) -> np.ndarray:
        return np.asarray(self.image[where[1:]])[None]


def _labels(
    labels: Any, key: str | None, image: Any, image_key: str | None, axes: str | None
) -> tuple[Any, ImageSource]:
    """Labels that can be cut, and what their file says of axes and scale."""
    source = labels if isinstance(labels, ImageSource) else None
    if not is_path(labels) and (source is None or _is_in_order(source.axes)):
        array = as_array(labels, "A label image")
        if np.dtype(array.dtype).kind not in "biu":
            array = load_labels(array)
        if len(array.shape) not in (2, 3):
            raise InputError(f"Labels have two or three axes, but these have the shape {tuple(array.shape)}.")
        return array, source or ImageSource(array)
    if source is None:
        path = Path(labels).expanduser()
        if is_labels_only(path):  # outlines do not say how large the image is
            shape = None if image is None else _checked(image, image_key, axes, None).shape
            array = load_labels(path, key, shape)
            return array, ImageSource(array)
        source = open_source(path, key, as_labels=True)
    array = load_labels(source)
    if array.ndim > 3 and sum(size > 1 for size in array.shape) <= 3:
        array = array.reshape([size for size in array.shape if size > 1])
    if array.ndim not in (2, 3):
        raise InputError(
            f"{source.path or 'The label image'} has the shape {array.shape}: a table is made of an image, a volume or "
            "a movie. Save one time point or position in a file of its own."
        )
    letters = None if source.axes is None else "".join(sorted(source.axes, key="RTZYXCS".index))
    letters = None if letters is None else letters.replace("C", "").replace("S", "")[-array.ndim :]
    scale = None
    if (
        source.scale is not None
        and source.axes is not None
        and letters is not None
        and set(letters) <= set(source.axes)
    ):
        scale = tuple(float(source.scale[source.axes.index(letter)]) for letter in letters)
    return array, ImageSource(array, letters, scale if scale and len(scale) == array.ndim else None)


def _is_in_order(axes: str | None) -> bool:
    """Whether an array with these axes can be laid over labels as it is; labels are always in the order T, Z, Y, X."""
    letters = [letter for letter in axes or "" if letter in "TZYX"]
    return letters == sorted(letters, key="TZYX".index)


def _checked(image: Any, key: str | None, axes: str | None, tool: Tool | None) -> Any:
    from micro_sam.io.checks import check_any

    source, _ = source_and_path(image, key)
    return check_any(source, axes=axes) if tool is None else check_image(source, tool, axes=axes)


def _channels(
    image: Any, key: str | None, axes: str | None, shape: tuple[int, ...], movie: bool, labels: Any
) -> tuple[list[Any], tuple[float, ...] | None]:
    """The channels of an image, each of the shape of the labels, and the size of its pixels."""
    source, _ = source_and_path(image, key)
    tool: Tool = "2d" if len(shape) == 2 else "tracking" if movie else "3d"
    of_file = tuple(int(size) for size in source.shape)
    if of_file == shape and axes is None and _is_in_order(getattr(source, "axes", None)):
        return [as_array(source)], source.scale if isinstance(source, ImageSource) else None
    try:
        checked = check_image(source, tool, axes=axes)
        fits, of_file = checked.shape == shape, checked.shape
    except (ChoiceError, AxesError):
        raise
    except InputError:
        fits = False
    if not fits:
        name = str(labels) if is_path(labels) else "The label image"
        raise InputError(f"{name} has the shape {shape}, but the image has {of_file}: they must be the same.")
    if checked.n_channels == 1:
        return [checked.data], checked.scale
    return [check_image(source, tool, axes=axes, channel=k).data for k in range(checked.n_channels)], checked.scale
