"""Pixel sizes in tif files, as OME, ImageJ, LSM, Aperio and plain files give them."""

from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree

from micro_sam.io.units import size_of

LARGEST_PIXEL = 50.0  # µm; resolutions per cm that give more are those of a printer
OME_NAMES = {"X": "PhysicalSizeX", "Y": "PhysicalSizeY", "Z": "PhysicalSizeZ", "T": "TimeIncrement"}


def pixel_sizes(file: Any, number: int) -> dict[str, float | None]:
    """Letter of an axis -> its pixel size in µm, or the time between frames in seconds.

    Parameters
    ----------
    file
        ``tifffile.TiffFile``.
    number
        Which of its images.
    """
    if file.is_ome and file.ome_metadata:
        return _ome(file.ome_metadata, number)
    if file.is_imagej:
        return _imagej(file)
    if file.is_lsm and file.lsm_metadata:
        values = file.lsm_metadata
        sizes = {letter: size_of(letter, values.get(f"VoxelSize{letter}"), "m") for letter in "XYZ"}
        return {**sizes, "T": size_of("T", values.get("TimeIntervall"), "s")}
    description = str(file.pages.first.description or "")
    found = re.search(r"\bMPP ?= ?([\d.]+)", description)
    if found:  # Aperio
        return dict.fromkeys("XY", size_of("X", found[1], "µm"))
    return _printed(file)


def _ome(xml: str, number: int) -> dict[str, float | None]:
    try:
        root = ElementTree.fromstring(xml)
    except ElementTree.ParseError:
        return {}
    images = [e for e in root.iter() if e.tag.rpartition("}")[2] == "Pixels"]
    if not images:
        return {}
    pixels = images[number] if number < len(images) else images[0]
    units = {letter: pixels.get(f"{name}Unit", "s" if letter == "T" else "µm") for letter, name in OME_NAMES.items()}
    return {letter: size_of(letter, pixels.get(name), units[letter]) for letter, name in OME_NAMES.items()}


def _imagej(file: Any) -> dict[str, float | None]:
    metadata = file.imagej_metadata or {}
    unit = metadata.get("unit")
    if not unit:  # without a unit the resolution is that of a printer
        return {"T": size_of("T", metadata.get("finterval"), "s")}
    units = {"X": unit, "Y": metadata.get("yunit") or unit, "Z": metadata.get("zunit") or unit}
    sizes: dict[str, float | None] = {}
    for letter in "XY":
        length = _length(file, letter)
        sizes[letter] = None if length is None else size_of(letter, length, units[letter])
    # ImageJ writes no distance of slices that is 1 of the unit, and takes 0 for 1.
    spacing = metadata.get("spacing") or (1.0 if sizes["X"] else None)
    sizes["Z"] = size_of("Z", spacing, units["Z"])
    sizes["T"] = size_of("T", metadata.get("finterval"), metadata.get("tunit") or "s")
    return sizes


def _printed(file: Any) -> dict[str, float | None]:
    """A resolution per centimetre or inch that is finer than any printer's."""
    tag = file.pages.first.tags.get("ResolutionUnit")
    unit = {2: "inch", 3: "cm"}.get(int(tag.value)) if tag is not None else None
    sizes = {letter: size_of(letter, _length(file, letter), unit) for letter in "XY"}
    return sizes if all(size is not None and size < LARGEST_PIXEL for size in sizes.values()) else {}


def _length(file: Any, letter: str) -> float | None:
    tag = file.pages.first.tags.get(f"{letter}Resolution")
    if tag is None:
        return None
    try:
        count, length = (tag.value[0], tag.value[1])
        return length / count if count else None
    except (TypeError, IndexError):
        return None
