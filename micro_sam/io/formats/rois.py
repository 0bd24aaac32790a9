"""ROIs of ImageJ and Fiji, StarDist and TrackMate's exports: ``.roi``, ``.zip`` (https://imagej.net/ij/developer/source).

Read by roifile, of the extra ``micro_sam[formats]``.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from micro_sam.errors import InputError
from micro_sam.io.formats.outlines import Outline, draw
from micro_sam.io.lazy import reading

AREAS = ("POLYGON", "RECT", "OVAL", "FREEHAND", "TRACED")


def is_rois(path: Path) -> bool:
    """Whether a file holds ROIs of ImageJ."""
    with open(path, "rb") as file:
        head = file.read(4)
    if head == b"Iout":
        return True
    if head[:2] != b"PK":
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.lower().endswith(".roi") for name in archive.namelist())
    except (zipfile.BadZipFile, OSError):
        return path.suffix.lower() == ".zip"


def read_rois(path: Path, shape: tuple[int, ...] | None = None) -> tuple[np.ndarray, str]:
    """A label image with one object per ROI, and a sentence on what was decided.

    Parameters
    ----------
    path
        ``.roi`` or ``.zip``.
    shape
        Shape of the image; None: as large as the ROIs need it.

    Raises
    ------
    InputError
        When roifile is not installed, or there are no areas.
    """
    try:
        import roifile
    except ImportError as error:
        raise InputError(
            f"{path} needs the reader roifile, which is not installed: pip install 'micro_sam[formats]'. Or turn the "
            "ROIs into a label image in Fiji (LOCI > ROI Map)."
        ) from error
    with reading(path, "ROIs of ImageJ"):
        found = roifile.roiread(path)
        rois = found if isinstance(found, list) else [found]
        areas = [roi for roi in rois if roi.roitype.name in AREAS or roi.multi_coordinates is not None]
        if not areas:
            raise InputError(f"{path} holds no areas: lines and points are no objects.")
        names: dict[Any, int] = {}
        outlines = []
        for number, roi in enumerate(areas):
            label = names.setdefault((roi.name or number, roi.group), len(names) + 1)
            plane = max(roi.z_position, roi.t_position, 0 if roi.z_position or roi.t_position else roi.position)
            rings = [np.asarray(ring, float) for ring in roi.coordinates(multi=True)]
            outlines.append(Outline(label, rings, plane - 1 if plane > 0 else None))
    labels, note = draw(outlines, shape, path)
    left = len(rois) - len(areas)
    said = f"{left} ROIs of {path.name} are lines or points and are left out." if left else ""
    return labels, " ".join(part for part in (said, note) if part)
