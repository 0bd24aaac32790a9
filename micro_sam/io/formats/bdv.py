"""HDF5 files of BigDataViewer and BigStitcher: ``tTTTTT/sSS/LEVEL/cells`` (https://imagej.net/plugins/bdv).

Java has no unsigned numbers, so that grey values up to 65535 are declared as signed ones of 16 bits: those above 32767
look negative. The size of a voxel is in the XML beside the file, which is not read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

_CELLS = re.compile(r"/?t\d{5,}/s\d{2,}/(\d+)/cells")
_TABLES = re.compile(r"/?s\d{2,}/(resolutions|subdivisions)")


def is_cells(key: str) -> bool:
    """Whether a dataset is a volume of BigDataViewer by its name."""
    return _CELLS.fullmatch(key) is not None


def full_resolution(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """Datasets without the lower resolutions and the tables about them; all of them in files of others."""
    if not any(map(is_cells, shapes)):
        return dict(shapes)
    levels = {name: _CELLS.fullmatch(name) for name in shapes}
    return {
        name: shape
        for name, shape in shapes.items()
        if not _TABLES.fullmatch(name) and ((level := levels[name]) is None or int(level[1]) == 0)
    }


def is_signed(key: str, dtype: np.dtype) -> bool:
    """Whether a dataset holds unsigned numbers that are declared as signed ones."""
    return is_cells(key) and dtype.kind == "i" and dtype.itemsize == 2


def unsigned(cells: np.ndarray) -> np.ndarray:
    """The numbers that are meant: -1 is 65535."""
    return cells.astype(np.uint16)
