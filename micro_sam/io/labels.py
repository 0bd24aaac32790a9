"""Label images out, and the front door to both ways: 0 is background, every object has a number of its own."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from micro_sam.errors import OutputError
from micro_sam.io.label_arrays import LARGEST_RESULT, Cast, written_pieces
from micro_sam.io.label_groups import fill, is_label_group, is_ome_zarr, write_label_group, write_pyramid
from micro_sam.io.label_reading import load_labels
from micro_sam.io.marks import MOVIES, write_npy
from micro_sam.io.results import KEY, check_result, mark, write_result

__all__ = [
    "SUFFIXES",
    "check_labels_path",
    "load_labels",
    "save_labels",
    "small_ids",
    "write_labels_file",
    "write_zarr_array",
]

TILE = 512  # pixels along each side of a tile of a large tif
SUFFIXES = (".tif", ".tiff", ".zarr", ".h5", ".hdf5", ".npy", ".png", ".geojson")


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
        The suffix chooses the format: tif (zlib), zarr, h5 (dataset "labels"), npy, png (2D), geojson (outlines for
        QuPath). ``NAME.ome.zarr`` is an OME-Zarr of its own, ``NAME.zarr/labels/NEW`` adds a group of labels to one.
    labels
        Integer array (H, W) or (Z, H, W); a large one is read and written in parts. Files get uint16 where all ids
        fit, which every program reads, else uint32.
    scale
        Size of a pixel along each axis in µm; kept in tif (ImageJ, or OME-TIFF where ids need 32 bits) and zarr.
    kind
        "labels", or "tracks" when the first axis is time and ids are those of tracks; "classes" and "track_classes" for
        the numbers of their classes.
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
    small = small_ids(labels)
    check_labels_path(path, kind, small.ndim, small.dtype == np.uint16, replace_unmarked=replace_unmarked)
    if is_label_group(path):
        write_label_group(path, small, scale)
        return path
    with write_result(path, kind, replace_unmarked=replace_unmarked) as (place,):
        write_labels_file(place, small, scale, kind)
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


def small_ids(labels: np.ndarray | Cast) -> np.ndarray | Cast:
    """The labels as uint16 where all ids fit, which every program reads, else uint32; large ones are not copied."""
    if isinstance(labels, Cast):
        return labels
    labels = np.asanyarray(labels)
    if labels.nbytes > LARGEST_RESULT and labels.ndim in (2, 3):
        largest = max((int(part.max()) for _, part in written_pieces(labels)), default=0)
        return Cast(labels, np.uint16 if largest <= np.iinfo(np.uint16).max else np.uint32)
    small = labels.size == 0 or labels.max() <= np.iinfo(np.uint16).max
    return labels.astype(np.uint16 if small else np.uint32, copy=False)


def write_labels_file(
    path: Path, labels: np.ndarray | Cast, scale: tuple[float, ...] | None = None, kind: str = "labels"
) -> None:
    """Write labels in the format of the suffix, with the mark of this program; for a place that `write_result` gave."""
    suffix = path.suffix.lower()
    if isinstance(labels, Cast) and suffix in (".npy", ".geojson", ".png"):
        labels = np.asarray(labels)
    if suffix in (".tif", ".tiff"):
        _write_tif(path, labels, scale, kind)
    elif is_ome_zarr(path):
        write_pyramid(path, path.name.split(".")[0], labels, scale, kind)
    elif suffix == ".zarr":
        write_zarr_array(path, labels, scale, kind)
    elif suffix in (".h5", ".hdf5"):
        path.write_bytes(_as_hdf5(labels, kind))
    elif suffix == ".npy":
        write_npy(path, np.asarray(labels), kind)
    elif suffix == ".geojson":
        from micro_sam.io.formats.geojson import geojson_bytes

        path.write_bytes(geojson_bytes(np.asarray(labels), {KEY: mark(kind)}))
    else:
        from PIL import Image, PngImagePlugin

        text = PngImagePlugin.PngInfo()
        text.add_text("Software", mark(kind))
        Image.fromarray(np.asarray(labels)).save(path, format="png", pnginfo=text)


def write_zarr_array(
    path: Path, labels: np.ndarray | Cast, scale: tuple[float, ...] | None = None, kind: str = "labels"
) -> None:
    """Write labels as an array of zarr of any name; see `write_labels_file`."""
    import zarr

    chunks = (1,) * (labels.ndim - 2) + tuple(min(1024, s) for s in labels.shape[-2:])
    array = zarr.create_array(str(path), shape=labels.shape, chunks=chunks, dtype=labels.dtype, zarr_format=2)
    axes = {2: "yx", 3: "tyx" if kind in MOVIES else "zyx"}.get(labels.ndim)
    array.attrs.update({KEY: mark(kind)} if scale is None else {KEY: mark(kind), "scale": list(scale)})
    if axes is not None:
        array.attrs["_ARRAY_DIMENSIONS"] = list(axes)  # xarray's way to name them in zarr 2
    fill(array, labels)


def _write_tif(path: Path, labels: np.ndarray | Cast, scale: tuple[float, ...] | None, kind: str) -> None:
    """ImageJ's tif where it can hold the labels, else OME-TIFF: both keep axes and pixel size."""
    import tifffile

    axes = {2: "YX", 3: "TYX" if kind in MOVIES else "ZYX"}.get(labels.ndim)
    options: dict[str, Any] = {"software": mark(kind), "compression": "zlib"}
    if scale is not None and (axes is None or len(scale) != labels.ndim or any(not s > 0 for s in scale)):
        scale = None
    bigtiff = labels.nbytes > 2**31
    is_line = labels.ndim == 3 and labels.shape[-1] == 1  # of which tifffile 2026.3.3 cannot read its own ImageJ file
    if axes is None or labels.size == 0:
        options["metadata"] = None
    elif labels.dtype == np.uint16 and not bigtiff and not isinstance(labels, Cast) and not is_line:
        options |= {"imagej": True, "metadata": {"axes": axes}}
        if scale is not None:
            options["resolution"] = (1 / scale[-1], 1 / scale[-2])
            options["metadata"] |= {"unit": "um"}
            if labels.ndim == 3:
                options["metadata"] |= {"finterval" if kind in MOVIES else "spacing": scale[0]}
    else:
        options |= {"ome": True, "metadata": {"axes": axes}}
        for letter, size in zip(axes, scale, strict=True) if scale is not None else ():
            name = "TimeIncrement" if letter == "T" else f"PhysicalSize{letter}"
            options["metadata"] |= {name: size, f"{name}Unit": "s" if letter == "T" else "µm"}
    data: np.ndarray | Iterator[bytes]
    if isinstance(labels, Cast):
        options |= {"shape": labels.shape, "dtype": labels.dtype, "tile": (TILE, TILE)}
        data = _tiles(labels)
    else:
        data = labels
    tifffile.imwrite(path, data, bigtiff=bigtiff, **options)


def _tiles(labels: Cast) -> Iterator[bytes]:
    """The compressed tiles of a tif, row by row; all are whole, and those without objects cost nothing."""
    height, width = labels.shape[-2:]
    empty = zlib.compress(bytes(TILE * TILE * labels.dtype.itemsize))
    written = written_pieces(labels, TILE)
    where, rows = next(written, (None, None))
    for z in range(labels.shape[0]) if labels.ndim == 3 else (None,):
        for y in range(0, height, TILE):
            if where is None or rows is None or where[-2].start != y or (z is not None and where[0].start != z):
                yield from (empty for _ in range(0, width, TILE))
                continue
            rows = rows.reshape(-1, width)
            rows = np.pad(rows, [(0, TILE - len(rows)), (0, -width % TILE)])
            for x in range(0, width, TILE):
                tile = rows[:, x : x + TILE]
                yield zlib.compress(tile.tobytes(), 4) if tile.any() else empty
            where, rows = next(written, (None, None))


def _as_hdf5(labels: np.ndarray | Cast, kind: str) -> bytes:
    """The bytes of an hdf5 file: its library may end the process when the disc does not take what it writes."""
    import h5py

    with h5py.File("labels.h5", "w", driver="core", backing_store=False) as file:
        if isinstance(labels, Cast):
            fill(file.create_dataset("labels", labels.shape, labels.dtype, chunks=True, compression="gzip"), labels)
        else:
            file.create_dataset("labels", data=labels, compression="gzip")
        file.attrs[KEY] = mark(kind)
        file.flush()
        return bytes(file.id.get_file_image())
