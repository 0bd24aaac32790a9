"""Files of microscope makers: czi (Zeiss), nd2 (Nikon), lif (Leica), by readers of the extra ``micro_sam[formats]``."""

from __future__ import annotations

import importlib
import math
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

from micro_sam.errors import InputError
from micro_sam.io.choices import choose
from micro_sam.io.lazy import LazyArray, check_memory, reading
from micro_sam.io.source import ImageSource
from micro_sam.io.units import scale_for, size_of

SUFFIXES = (".czi", ".nd2", ".lif")
LARGEST_EAGER_FILE = 2**28  # bytes; larger images stay on disc where the reader allows it
LETTERS = "TZCYXS"


def open_czi(path: Path, key: str | None = None) -> ImageSource:
    """An image of a Zeiss file, with czifile. Scenes are positions, selected by their number.

    Raises
    ------
    InputError
        When czifile is not installed, or the file cannot be read.
    """
    czifile = _reader("czifile", path)
    with reading(path, "a czi file"), czifile.CziFile(str(path)) as file:
        letters = "".join(file.axes)
        check_memory((), tuple(file.shape), np.dtype(file.dtype))
        data = file.asarray()
        if key is not None and key.isdigit():
            data = _scene(file, data, int(key))
        letters = letters.replace("S", "R").replace("0", "S")  # czi calls scenes S and colour samples 0
        sizes = _czi_sizes(file.metadata())
    return _source(data, letters, sizes, path, key)


def open_nd2(path: Path, key: str | None = None) -> ImageSource:
    """An image of a Nikon file, with nd2. Points of the stage are positions, selected by their number.

    Raises
    ------
    InputError
        When nd2 is not installed, or the file cannot be read.
    """
    nd2 = _reader("nd2", path)
    with reading(path, "an nd2 file"):
        file = nd2.ND2File(str(path))
        letters = "".join({"P": "R"}.get(letter, letter) for letter in file.sizes)
        voxel = file.voxel_size()
        sizes = {letter: size_of(letter, getattr(voxel, letter.lower()), "µm") for letter in "XYZ"}
        if file.nbytes > LARGEST_EAGER_FILE:
            data: Any = LazyArray(file.to_dask(), path)  # keeps its file open
        else:
            data = file.asarray()
            file.close()
    return _source(data, letters, sizes, path, key)


def open_lif(path: Path, key: str | None = None) -> ImageSource:
    """An image of a Leica file, with liffile; selected by its number or name.

    Raises
    ------
    InputError
        When liffile is not installed, or the file cannot be read.
    """
    liffile = _reader("liffile", path)
    with reading(path, "a lif file"), liffile.LifFile(str(path)) as file:
        if not len(file.images):
            raise InputError(f"{path} holds no image.")
        words = {str(k): f"{image.name} {tuple(image.shape)}" for k, image in enumerate(file.images)}
        inner = None
        if key is not None and "/" in key and key not in words:
            key, _, inner = key.partition("/")
        selected, note = choose(path, key, words)
        image = file.images[int(selected)]
        letters = "".join({"M": "R"}.get(letter, letter) for letter in image.dims)
        data = image.asarray()
        sizes = {}
        for letter, name in zip(letters, image.dims, strict=True):
            points = image.coords.get(name)
            if letter in "XYZT" and points is not None and len(points) > 1:
                sizes[letter] = size_of(letter, points[1] - points[0], "s" if letter == "T" else "m")
    found = _source(data, letters, sizes, path, inner)
    if len(words) == 1:
        return found
    return ImageSource(found.data, found.axes, found.scale, found.unit, path, selected, note, words)


def _scene(file: Any, data: np.ndarray, number: int) -> np.ndarray:
    """The part of the slide that a scene covers; outside of it the array is empty."""
    letters = list(file.axes)
    if "S" not in letters:
        return data
    extents: dict[str, list[int]] = {"X": [], "Y": []}
    for entry in file.filtered_subblock_directory:
        places = {d.dimension: d for d in entry.dimension_entries}
        if "S" in places and places["S"].start - file.start[letters.index("S")] == number:
            for letter, found in extents.items():
                begin = places[letter].start - file.start[letters.index(letter)]
                found += [begin, begin + places[letter].size]
    if not extents["X"]:
        return data
    cut = {letter: slice(max(0, min(found)), max(found)) for letter, found in extents.items()}
    return data[tuple(cut.get(letter, slice(None)) for letter in letters)]


def _reader(name: str, path: Path) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise InputError(
            f"{path} needs the reader {name}, which is not installed: pip install 'micro_sam[formats]'. Or export the "
            "image as OME-TIFF from the microscope's program or from Fiji."
        ) from error


def _source(data: Any, letters: str, sizes: dict[str, float | None], path: Path, key: str | None) -> ImageSource:
    """Data of a reader: axes that no tool knows are left out, or are positions of which one is selected."""
    extra = [k for k, letter in enumerate(letters) if letter not in LETTERS]
    counts = [int(data.shape[k]) for k in extra]
    total = math.prod(counts)
    choices: dict[str, str] = {}
    kept = "".join(letter for letter in letters if letter in LETTERS)
    long = [k for k in extra if data.shape[k] > 1]
    if total > 1:
        left = tuple(int(n) for k, n in enumerate(data.shape) if k not in extra)
        choices = {str(n): f"position {n} {left}" for n in range(total)}
    if total > 1 and key is None and len(long) == 1:
        keep = [k for k in range(len(letters)) if k not in extra or k == long[0]]
        axes = "".join("R" if k == long[0] else letters[k] for k in keep)
        fixed = {k: 0 for k in extra if k != long[0]}
    else:
        selected = choose(path, key, choices or {"0": ""})[0] if total > 1 or key else "0"
        places = [int(n) for n in np.unravel_index(int(selected), counts)] if extra else []
        fixed = dict(zip(extra, places, strict=True))
        axes = kept
    fixed = {k: int(v) for k, v in fixed.items()}
    if fixed:
        if isinstance(data, np.ndarray):
            data = data[tuple(fixed.get(k, slice(None)) for k in range(data.ndim))]
        else:
            data = LazyArray(data, path, fixed=fixed)
    scale, unit = scale_for(axes, sizes)
    return ImageSource(data, axes, scale, unit, path, key, choices=choices)


def _czi_sizes(xml: str) -> dict[str, float | None]:
    """Pixel sizes in the metadata of a czi file, which are in metres."""
    found: dict[str, float | None] = {}
    if "<!DOCTYPE" in xml:  # entities could be expanded to any size
        return found
    try:
        root = ElementTree.fromstring(xml)
    except ElementTree.ParseError:
        return found
    for distance in root.iterfind(".//Scaling/Items/Distance"):
        found[distance.get("Id", "")] = size_of("X", distance.findtext("Value"), "m")
    return found
