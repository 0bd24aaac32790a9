"""What a function may be given as an image: a path, or anything that is an array. Decided here and nowhere else."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

import numpy as np

from micro_sam.errors import InputError
from micro_sam.io.addresses import path_of
from micro_sam.io.source import ImageSource


def is_path(value: Any) -> bool:
    """Whether a value is the name of a file, folder or sample, rather than pixels."""
    return isinstance(value, (str, os.PathLike))


def is_array(value: Any) -> bool:
    """Whether a value is an array or lazy array (numpy, memory-mapped, zarr, hdf5, dask, xarray, tensor, ...)."""
    return all(hasattr(value, name) for name in ("shape", "dtype", "__getitem__"))


def as_array(image: Any, what: str = "An image") -> Any:
    """An image as something with `shape` and `dtype` that can be cut; what is lazy stays lazy.

    Parameters
    ----------
    image
        Array, lazy array, `ImageSource`, or nested sequences of numbers.
    what
        For the message.

    Raises
    ------
    InputError
        When it holds no numbers.
    """
    if isinstance(image, ImageSource):
        return image.data
    if is_array(image):
        try:
            np.dtype(image.dtype)
        except TypeError:  # a tensor: its dtype is its own
            return np.asarray(image)
        return image
    array = np.empty(0, object)
    if isinstance(image, (list, tuple)) or hasattr(image, "__array__"):
        with contextlib.suppress(ValueError):  # rows of different lengths
            array = np.asarray(image)
    if array.dtype.kind not in "biuf":
        raise InputError(
            f"{what} must be a path or an array of numbers (numpy, zarr, hdf5, dask, ...), not {type(image).__name__}."
        )
    return array


def source_and_path(image: Any, key: str | None = None) -> tuple[Any, Path | None]:
    """An image that is given as a path or as an array, with what its file says of it; large files stay on disc.

    Parameters
    ----------
    image
        As `open_image` or `as_array` take it.
    key
        Dataset inside a container.

    Returns
    -------
    source, path
        `ImageSource` or array; the path is None for arrays that come from nowhere.

    Raises
    ------
    InputError
        When there is no such image, or it is none.
    """
    if isinstance(image, ImageSource):
        return image, image.path
    if not is_path(image):
        return as_array(image), None
    from micro_sam.io.images import open_image

    return open_image(image, key), path_of(image)


def image_and_path(image: Any, key: str | None = None) -> tuple[Any, Path | None]:
    """As `source_and_path`, but the pixels alone."""
    source, path = source_and_path(image, key)
    return as_array(source), path
