"""Label images out, and the front door to both ways: 0 is background, every object has a number of its own."""

from __future__ import annotations

import contextlib
import os
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from micro_sam.errors import OutputError
from micro_sam.io.label_reading import load_labels

__all__ = ["SUFFIXES", "load_labels", "save_labels", "write_atomically"]

SUFFIXES = (".tif", ".tiff", ".zarr", ".h5", ".hdf5", ".npy", ".png", ".geojson")


def save_labels(path: str | Path, labels: np.ndarray, scale: tuple[float, ...] | None = None) -> Path:
    """Write a label image; what is at the path stays whole until the new file is complete.

    Parameters
    ----------
    path
        The suffix chooses the format: tif (zlib), zarr, h5 (dataset "labels"), npy, png (2D), geojson
        (outlines for QuPath).
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
    elif suffix == ".geojson":
        from micro_sam.io.formats.geojson import geojson_bytes

        path.write_bytes(geojson_bytes(labels))
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
