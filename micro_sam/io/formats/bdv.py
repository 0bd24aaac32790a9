"""Files of BigDataViewer and BigStitcher (https://imagej.net/plugins/bdv).

HDF5 holds ``tTTTTT/sSS/LEVEL/cells``, N5 ``setupS/timepointT/sLEVEL``; the size of a voxel stands in the XML beside the
file, by the number of the setup. Java has no unsigned numbers, so that HDF5 declares grey values up to 65535 as signed
ones of 16 bits: those above 32767 look negative.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from micro_sam.io.units import size_of

LARGEST_XML = 2**26  # bytes; that of 10,000 views has 5 MB

_CELLS = re.compile(r"/?t\d{5,}/s(?P<setup>\d{2,})/(?P<level>\d+)/cells")
_CELLS_N5 = re.compile(r"setup(?P<setup>\d+)/timepoint\d+/s(?P<level>\d+)")
_TABLES = re.compile(r"/?s\d{2,}/(resolutions|subdivisions)")


def is_cells(key: str) -> bool:
    """Whether a dataset of HDF5 is a volume of BigDataViewer by its name."""
    return _CELLS.fullmatch(key) is not None


def is_cells_n5(key: str) -> bool:
    """Whether a dataset of N5 is a volume of BigDataViewer by its name."""
    return _CELLS_N5.fullmatch(key) is not None


def full_resolution(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """Datasets without the lower resolutions and the tables about them; all of them in files of others."""
    if not any(map(is_cells, shapes)):
        return dict(shapes)
    levels = {name: _CELLS.fullmatch(name) for name in shapes}
    return {
        name: shape
        for name, shape in shapes.items()
        if not _TABLES.fullmatch(name) and ((level := levels[name]) is None or int(level["level"]) == 0)
    }


def is_signed(key: str, dtype: np.dtype) -> bool:
    """Whether a dataset holds unsigned numbers that are declared as signed ones."""
    return is_cells(key) and dtype.kind == "i" and dtype.itemsize == 2


def unsigned(cells: np.ndarray) -> np.ndarray:
    """The numbers that are meant: -1 is 65535."""
    return cells.astype(np.uint16)


def voxel_sizes(path: Path, key: str) -> dict[str, float | None]:
    """µm along Z, Y and X of a dataset at full resolution, from the XML beside its file; empty without one."""
    cells, xml = _CELLS.fullmatch(key) or _CELLS_N5.fullmatch(key), path.with_suffix(".xml")
    if cells is None or int(cells["level"]) or not xml.is_file() or xml.stat().st_size > LARGEST_XML:
        return {}
    try:
        setups = ElementTree.fromstring(xml.read_bytes()).iter("ViewSetup")
    except (ElementTree.ParseError, OSError):
        return {}
    for setup in setups:
        if (setup.findtext("id") or "").strip() == str(int(cells["setup"])):
            values, unit = (setup.findtext(f"voxelSize/{name}") or "" for name in ("size", "unit"))
            return {letter: size_of(letter, value, unit) for letter, value in zip("XYZ", values.split(), strict=False)}
    return {}
