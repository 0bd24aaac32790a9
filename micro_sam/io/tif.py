"""Tif files: plain, ImageJ and OME-TIFF."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import numpy as np

from micro_sam.errors import InputError
from micro_sam.io.source import ImageSource

TIF_SUFFIXES = (".tif", ".tiff")
LARGEST_EAGER_TIF = 2**28  # bytes; larger files are memory-mapped, or read page by page when compressed


def open_tif(path: Path) -> ImageSource:
    """The first series of a tif file with its axes and voxel size.

    Raises
    ------
    InputError
        When the file is no tif or is damaged.
    """
    import tifffile

    try:
        with tifffile.TiffFile(path) as file:
            if not file.series:
                raise InputError(f"{path} is a tif file without any image.")
            series = file.series[0]
            shape, axes = tuple(series.shape), series.axes
            scale, unit = _voxel_size(file, axes)
            large = series.nbytes > LARGEST_EAGER_TIF
            mapped = large and series.dataoffset is not None
            data: Any = None if large else series.asarray()
        if mapped:
            data = tifffile.memmap(path, mode="r")
        elif large:
            import zarr

            data = zarr.open(tifffile.imread(path, aszarr=True, level=0), mode="r")
    except (InputError, PermissionError, MemoryError):
        raise
    except Exception as error:  # tifffile and its codecs raise many kinds for damaged files
        raise InputError(
            f"{path} cannot be read as a tif ({type(error).__name__}). It may be damaged, copied incompletely, or "
            "another kind of file with a changed name."
        ) from error
    if tuple(data.shape) != shape:
        axes, scale = "", None
    return ImageSource(data, _known_axes(axes, data.ndim), scale, unit, path)


def _known_axes(axes: str, ndim: int) -> str | None:
    """The letters, if they mean something; Q and I are tifffile's for "unknown"."""
    if len(axes) != ndim or any(letter not in "TZCYXS" for letter in axes) or len(set(axes)) != ndim:
        return None
    return axes


def _voxel_size(file: Any, axes: str) -> tuple[tuple[float, ...] | None, str | None]:
    sizes: dict[str, float] = {}
    unit = None
    if file.is_ome and file.ome_metadata:
        sizes, unit = _ome_sizes(file.ome_metadata)
    elif file.is_imagej:
        metadata = file.imagej_metadata or {}
        unit = metadata.get("unit")
        tags = file.pages[0].tags
        for letter, tag in (("X", "XResolution"), ("Y", "YResolution")):
            count, length = tags[tag].value if tag in tags else (0, 1)
            if count and unit:  # without a unit the resolution is that of a printer
                sizes[letter] = length / count
        if metadata.get("spacing"):
            sizes["Z"] = float(metadata["spacing"])
        if metadata.get("finterval"):
            sizes["T"] = float(metadata["finterval"])
    if not any(sizes.get(letter) for letter in "XYZ"):
        return None, None
    return tuple(float(np.abs(sizes.get(letter) or 1.0)) for letter in axes), _plain_unit(unit)


def _ome_sizes(xml: str) -> tuple[dict[str, float], str | None]:
    try:
        root = ElementTree.fromstring(xml)
    except ElementTree.ParseError:
        return {}, None
    pixels = next((e for e in root.iter() if e.tag.endswith("}Pixels")), None)
    if pixels is None:
        return {}, None
    names = {"X": "PhysicalSizeX", "Y": "PhysicalSizeY", "Z": "PhysicalSizeZ", "T": "TimeIncrement"}
    sizes = {letter: float(pixels.get(name)) for letter, name in names.items() if pixels.get(name)}
    return sizes, pixels.get("PhysicalSizeXUnit", "µm")


def _plain_unit(unit: str | None) -> str | None:
    if unit is None:
        return None
    unit = unit.replace("\\u00B5", "µ").replace("\u03bc", "µ")
    return {"micron": "µm", "um": "µm", "microns": "µm", "micrometer": "µm"}.get(unit, unit)
