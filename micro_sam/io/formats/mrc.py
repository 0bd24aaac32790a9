"""MRC files of electron microscopy (mrc, rec, map, st): https://www.ccpem.ac.uk/mrc_format/mrc2014.php, and IMOD's
https://bio3d.colorado.edu/imod/doc/mrc_format.txt."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

from micro_sam.errors import InputError
from micro_sam.io.lazy import reading
from micro_sam.io.source import ImageSource
from micro_sam.io.units import scale_for, size_of

SUFFIXES = (".mrc", ".rec", ".map", ".st", ".mrcs", ".ali")
HEADER = 1024
TYPES = {0: "i1", 1: "i2", 2: "f4", 6: "u2", 12: "f2"}
IMOD_STAMP = 1146047817
MOST = 2**31


def is_mrc(head: bytes, suffix: str) -> bool:
    """Whether a file with this beginning (1024 bytes) is one; old files have no stamp, so that the ending decides."""
    return head[208:212] in (b"MAP ", b"MAP\x00") or (suffix in SUFFIXES and len(head) >= HEADER)


def open_mrc(path: Path) -> ImageSource:
    """A volume (Z, Y, X), mapped into memory; rows run downward as in all other formats.

    Raises
    ------
    InputError
        When it is damaged, or of a kind that is no image.
    """
    with reading(path, "an mrc file"):
        with open(path, "rb") as file:
            head = file.read(HEADER)
        if len(head) < HEADER:
            raise InputError(f"{path} is cut off: an mrc file begins with 1024 bytes, but it has {len(head)}.")
        order = _byte_order(head)
        nx, ny, nz, mode = struct.unpack(order + "4i", head[:16])
        mx, my, mz = struct.unpack(order + "3i", head[28:40])
        cell = struct.unpack(order + "3f", head[40:52])
        columns = struct.unpack(order + "3i", head[64:76])
        kind, extended = struct.unpack(order + "2i", head[88:96])
        stamp, flags = struct.unpack(order + "2i", head[152:160])
        if mode not in TYPES:
            raise InputError(
                f"{path} holds values of the mode {mode} (complex or packed numbers), which are no image. Convert it "
                "to bytes, 16-bit integers or floats."
            )
        if not all(0 < n < MOST for n in (nx, ny, nz)) or not 0 <= extended < MOST:
            raise InputError(f"{path} is damaged: it says that its size is {nx} x {ny} x {nz}.")
        dtype = np.dtype(order + TYPES[mode])
        if mode == 0 and stamp == IMOD_STAMP and not flags & 1:
            dtype = np.dtype("u1")  # IMOD's bytes have no sign unless the first flag is set
        needed = HEADER + extended + nx * ny * nz * dtype.itemsize
        there = path.stat().st_size
        if needed > there:
            raise InputError(
                f"{path} is cut off: {nz} slices of {ny} x {nx} pixels need {needed:,} bytes, but the file has "
                f"{there:,}. Copy it again."
            )
        data = np.memmap(path, dtype, mode="r", offset=HEADER + extended, shape=(nz, ny, nx))
    axes = _axes(columns)
    grid = {"X": (mx, cell[0]), "Y": (my, cell[1]), "Z": (mz, cell[2])}
    sizes = {letter: size_of(letter, length / n, "å") if n > 0 else None for letter, (n, length) in grid.items()}
    turned = data[:, ::-1] if axes == "ZYX" else data
    if kind > 400 and axes == "ZYX" and 0 < mz < nz and nz % mz == 0:  # a stack of volumes
        turned, axes = turned.reshape(nz // mz, mz, ny, nx), "RZYX"
    scale, unit = scale_for(axes, sizes)
    return ImageSource(turned, axes, scale, unit, path, "data")


def _byte_order(head: bytes) -> str:
    if head[212] in (0x44, 0x11):
        return "<" if head[212] == 0x44 else ">"
    mode = struct.unpack("<i", head[12:16])[0]
    return "<" if 0 <= mode < 1000 else ">"


def _axes(columns: tuple[int, int, int]) -> str:
    """Axes of the array (section, row, column), where the header tells which is which."""
    if sorted(columns) != [1, 2, 3]:
        return "ZYX"
    return "".join("XYZ"[n - 1] for n in reversed(columns))
