"""Label images in and out: 0 is background, every object has a number of its own."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from micro_sam.errors import InputError, OutputError
from micro_sam.io.inputs import as_array, is_path
from micro_sam.io.label_groups import is_label_group, write_label_group
from micro_sam.io.marks import write_npy
from micro_sam.io.results import KEY, check_result, mark, write_result

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


def save_labels(
    path: str | Path,
    labels: np.ndarray,
    scale: tuple[float, ...] | None = None,
    *,
    kind: str = "labels",
    replace_unmarked: bool = False,
) -> Path:
    """Write a label image; what is at the path stays whole until the new one is complete.

    Parameters
    ----------
    path
        The suffix chooses the format: tif (zlib), zarr, h5 (dataset "labels"), npy, png (2D). ``NAME.zarr/labels/NEW``
        adds a group of labels to an OME-Zarr.
    labels
        Integer array (H, W) or (Z, H, W). Files get uint16 where all ids fit, which every program reads, else uint32.
    scale
        Size of a pixel along each axis in µm; kept in tif (ImageJ, or OME-TIFF where ids need 32 bits) and zarr.
    kind
        "labels", or "tracks" when the first axis is time and ids are those of tracks.
    replace_unmarked
        Replace what exists even if it is not known to be an earlier result; it is kept as ``NAME.bak``.

    Returns
    -------
    Path
        The path that was written.

    Raises
    ------
    NotOurs
        When what exists is not known to be an earlier result of this program.
    OutputError
        When it cannot be written; what was there before is intact.
    """
    path = Path(path)
    labels = small_ids(labels)
    check_labels_path(path, kind, labels.ndim, labels.dtype == np.uint16, replace_unmarked=replace_unmarked)
    if is_label_group(path):
        write_label_group(path, labels, scale)
        return path
    with write_result(path, kind, replace_unmarked=replace_unmarked) as (place,):
        write_labels_file(place, labels, scale, kind)
    return path


def check_labels_path(
    path: Path, kind: str = "labels", ndim: int = 2, small: bool = True, *, replace_unmarked: bool = False
) -> None:
    """Whether labels may be written at a path; see `save_labels` for the errors. Nothing is written."""
    suffix = path.suffix.lower()
    if is_label_group(path):
        if os.path.lexists(path):
            raise OutputError(f"{path} exists already. Choose another name for the new group of labels.")
        return
    if suffix not in SUFFIXES:
        raise OutputError(f"Labels cannot be saved as {path.name!r}: the name must end in {', '.join(SUFFIXES)}.")
    if suffix == ".png" and (ndim != 2 or not small):
        raise OutputError(f"{path.name}: png holds 2D labels up to 65535 only. Save as tif or zarr.")
    check_result(path, kind, replace_unmarked=replace_unmarked)


def small_ids(labels: np.ndarray) -> np.ndarray:
    """The labels as uint16 where all ids fit, which every program reads, else uint32."""
    labels = np.asarray(labels)
    small = labels.size == 0 or labels.max() <= np.iinfo(np.uint16).max
    return labels.astype(np.uint16 if small else np.uint32, copy=False)


def write_labels_file(
    path: Path, labels: np.ndarray, scale: tuple[float, ...] | None = None, kind: str = "labels"
) -> None:
    """Write labels in the format of the suffix, with the mark of this program; for a place that `write_result` gave."""
    suffix = path.suffix.lower()
    if suffix in (".tif", ".tiff"):
        _write_tif(path, labels, scale, kind)
    elif suffix == ".zarr":
        write_zarr_array(path, labels, scale, kind)
    elif suffix in (".h5", ".hdf5"):
        path.write_bytes(_as_hdf5(labels, kind))
    elif suffix == ".npy":
        write_npy(path, labels, kind)
    else:
        from PIL import Image, PngImagePlugin

        text = PngImagePlugin.PngInfo()
        text.add_text("Software", mark(kind))
        Image.fromarray(labels).save(path, format="png", pnginfo=text)


def write_zarr_array(
    path: Path, labels: np.ndarray, scale: tuple[float, ...] | None = None, kind: str = "labels"
) -> None:
    """Write labels as an array of zarr of any name; see `write_labels_file`."""
    import zarr

    chunks = (1,) * (labels.ndim - 2) + tuple(min(1024, s) for s in labels.shape[-2:])
    array = zarr.create_array(str(path), shape=labels.shape, chunks=chunks, dtype=labels.dtype, zarr_format=2)
    array.attrs.update({KEY: mark(kind)} if scale is None else {KEY: mark(kind), "scale": list(scale)})
    array[...] = labels


def _write_tif(path: Path, labels: np.ndarray, scale: tuple[float, ...] | None, kind: str) -> None:
    """ImageJ's tif where it can hold the labels, else OME-TIFF: both keep axes and pixel size."""
    import tifffile

    axes = {2: "YX", 3: "TYX" if kind == "tracks" else "ZYX"}.get(labels.ndim)
    options: dict[str, Any] = {"software": mark(kind), "compression": "zlib"}
    has_scale = scale is not None and axes is not None and len(scale) == labels.ndim and all(s > 0 for s in scale)
    bigtiff = labels.nbytes > 2**31
    if axes is None or labels.size == 0:
        options["metadata"] = None
    elif labels.dtype == np.uint16 and not bigtiff:
        options |= {"imagej": True, "metadata": {"axes": axes}}
        if has_scale:
            options["resolution"] = (1 / scale[-1], 1 / scale[-2])
            options["metadata"] |= {"unit": "um"}
            if labels.ndim == 3:
                options["metadata"] |= {"finterval" if kind == "tracks" else "spacing": scale[0]}
    else:
        options |= {"ome": True, "metadata": {"axes": axes}}
        for letter, size in zip(axes, scale, strict=True) if has_scale else ():
            name = "TimeIncrement" if letter == "T" else f"PhysicalSize{letter}"
            options["metadata"] |= {name: size, f"{name}Unit": "s" if letter == "T" else "µm"}
    tifffile.imwrite(path, labels, bigtiff=bigtiff, **options)


def _as_hdf5(labels: np.ndarray, kind: str) -> bytes:
    """The bytes of an hdf5 file: its library may end the process when the disc does not take what it writes."""
    import h5py

    with h5py.File("labels.h5", "w", driver="core", backing_store=False) as file:
        file.create_dataset("labels", data=labels, compression="gzip")
        file.attrs[KEY] = mark(kind)
        file.flush()
        return file.id.get_file_image()


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
