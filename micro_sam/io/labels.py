"""Label images in and out: 0 is background, every object has a number of its own."""

from __future__ import annotations

import contextlib
import os
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from micro_sam.errors import InputError, OutputError
from micro_sam.io.inputs import as_array, is_path

SUFFIXES = (".tif", ".tiff", ".zarr", ".h5", ".hdf5", ".npy", ".png")
LARGEST_ID = np.iinfo(np.uint32).max


def load_labels(source: Any, key: str | None = None, shape: tuple[int, ...] | None = None) -> np.ndarray:
    """A label image as uint32.

    Parameters
    ----------
    source
        Array, or path of a label image of any program (tif, png, npy, hdf5, n5, zarr, ...).
    key
        Dataset inside a container.
    shape
        Shape of the image that the labels belong to, without channels; None: any.

    Returns
    -------
    np.ndarray
        uint32; ids above the range of uint32 are numbered anew.

    Raises
    ------
    InputError
        When it is no label image, or of another shape than the image.
    """
    name = "The label image"
    if is_path(source):
        from micro_sam.io.images import open_image

        name = str(source)
        source = open_image(source, key).data
    labels = _one_channel(np.asarray(as_array(source, name)), name)
    if labels.dtype.kind not in "biuf":
        raise InputError(f"{name} holds {labels.dtype} values; labels are whole numbers.")
    if shape is not None:
        labels = _fit(labels, tuple(shape), name)
    if labels.dtype.kind == "f":
        if not np.all(np.isfinite(labels)) or np.any(labels != np.rint(labels)):
            raise InputError(f"{name} holds values that are no whole numbers. Is it an image instead of labels?")
    if labels.size and labels.dtype.kind in "if" and labels.min() < 0:
        raise InputError(f"{name} holds negative values (down to {labels.min():g}); labels are 0 or larger.")
    if labels.size and labels.dtype.itemsize > 4 and labels.max() > LARGEST_ID:
        ids, numbers = np.unique(labels, return_inverse=True)
        start = 0 if ids[0] == 0 else 1
        labels = numbers.reshape(labels.shape) + start
    return np.ascontiguousarray(labels, dtype=np.uint32)


def save_labels(path: str | Path, labels: np.ndarray, scale: tuple[float, ...] | None = None) -> Path:
    """Write a label image; what is at the path stays whole until the new file is complete.

    Parameters
    ----------
    path
        The suffix chooses the format: tif (zlib), zarr, h5 (dataset "labels"), npy, png (2D).
    labels
        Integer array (H, W) or (Z, H, W). Files get uint16 where all ids fit, which every program reads, else uint32.
    scale
        Size of a pixel along each axis in µm; kept in tif (ImageJ) and zarr.

    Returns
    -------
    Path
        The path that was written.

    Raises
    ------
    OutputError
        When it cannot be written; what was there before is intact.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise OutputError(f"Labels cannot be saved as {path.name!r}: the name must end in {', '.join(SUFFIXES)}.")
    labels = np.asarray(labels)
    small = labels.size == 0 or labels.max() <= np.iinfo(np.uint16).max
    if suffix == ".png" and (labels.ndim != 2 or not small):
        raise OutputError(f"{path.name}: png holds 2D labels up to 65535 only. Save as tif or zarr.")
    labels = labels.astype(np.uint16 if small else np.uint32, copy=False)
    write_atomically(path, lambda temporary: _write(temporary, suffix, labels, scale))
    return path


def write_atomically(path: Path, write: Callable[[Path], Any]) -> None:
    """Call `write` with a temporary path beside `path` (same suffix), then put the result in its place.

    Raises
    ------
    OutputError
        When anything fails; what was at the path before is intact and no temporary file stays.
    """
    temporary = path.with_name(f".{path.stem}.{uuid.uuid4().hex[:8]}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(temporary)
        if temporary.is_dir():
            _swap_folder(temporary, path)
        else:
            _flush_to_disc(temporary)
            os.replace(temporary, path)
    except OutputError:
        raise
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputError(
            f"{path} cannot be written: {reason}. Nothing was lost; choose another place, or free some space, and save "
            "again."
        ) from error
    finally:
        _remove(temporary)


def _write(path: Path, suffix: str, labels: np.ndarray, scale: tuple[float, ...] | None) -> None:
    if suffix in (".tif", ".tiff"):
        import tifffile

        axes = {2: "YX", 3: "ZYX"}.get(labels.ndim)
        options: dict[str, Any] = {"metadata": {"axes": axes} if axes else None}
        if scale is not None and axes is not None and all(s > 0 for s in scale):
            options["resolution"] = (1 / scale[-1], 1 / scale[-2])
            options["metadata"].update({"unit": "um", "spacing": scale[0]} if labels.ndim == 3 else {"unit": "um"})
        tifffile.imwrite(path, labels, compression="zlib", bigtiff=labels.nbytes > 2**31, **options)
    elif suffix == ".zarr":
        import zarr

        chunks = (1,) * (labels.ndim - 2) + tuple(min(1024, s) for s in labels.shape[-2:])
        array = zarr.create_array(str(path), shape=labels.shape, chunks=chunks, dtype=labels.dtype, zarr_format=2)
        array[...] = labels
        if scale is not None:
            array.attrs["scale"] = list(scale)
    elif suffix in (".h5", ".hdf5"):
        import h5py

        with h5py.File(path, "w") as file:
            file.create_dataset("labels", data=labels, compression="gzip")
    elif suffix == ".npy":
        np.save(path, labels, allow_pickle=False)
    else:
        import imageio.v3 as imageio

        imageio.imwrite(path, labels)


def _swap_folder(temporary: Path, path: Path) -> None:
    """Put a folder in place of another; a folder cannot be replaced in one step, so the old one is kept until then."""
    old = None
    if path.exists():
        old = path.with_name(f".{path.stem}.{uuid.uuid4().hex[:8]}.old")
        os.replace(path, old)
    try:
        os.replace(temporary, path)
    except OSError:
        if old is not None:
            os.replace(old, path)
        raise
    if old is not None:
        _remove(old)


def _flush_to_disc(path: Path) -> None:
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()


def _one_channel(labels: np.ndarray, name: str) -> np.ndarray:
    """Labels that were saved as a picture have three equal channels."""
    if labels.ndim >= 3 and labels.shape[-1] in (3, 4) and labels.dtype == np.uint8:
        if np.array_equal(labels[..., 0], labels[..., 1]) and np.array_equal(labels[..., 0], labels[..., 2]):
            return labels[..., 0]
        raise InputError(
            f"{name} is a colour picture, not a label image. Export the labels themselves, with one number per object."
        )
    return labels


def _fit(labels: np.ndarray, shape: tuple[int, ...], name: str) -> np.ndarray:
    if labels.shape == shape:
        return labels
    if tuple(s for s in labels.shape if s > 1) == tuple(s for s in shape if s > 1):
        return labels.reshape(shape)
    hint = " It seems to be turned by 90 degrees." if labels.shape == shape[:-2] + shape[:-3:-1] else ""
    raise InputError(f"{name} has the shape {labels.shape}, but the image has {shape}: they must be the same.{hint}")
