"""What the numbers of a tif mean: zero is white, palettes, four inks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from micro_sam.io.lazy import LazyArray

WHITE_IS_ZERO, BLACK_IS_ZERO, PALETTE, SEPARATED = 0, 1, 3, 5
ALPHA = (1, 2)  # kinds of extra samples


@dataclass(frozen=True)
class Meaning:
    """How stored numbers become grey values or colours.

    Attributes
    ----------
    convert
        Array -> array.
    colours
        "keeps": the shape stays; "adds": a last axis of 3 colours comes; "inks": the last axis of 4 becomes 3.
    note
        A sentence about it.
    """

    convert: Callable[[np.ndarray], np.ndarray]
    colours: str
    note: str


def meaning(file: Any, page: Any, as_labels: bool) -> Meaning | None:
    """None when the numbers are what they seem; labels are always taken as they are stored."""
    if as_labels:
        return None
    photometric = int(page.photometric)
    if photometric == WHITE_IS_ZERO and page.dtype is not None and page.dtype.kind in "ub":
        top = True if page.dtype.kind == "b" else 2**page.bitspersample - 1
        return Meaning(lambda data: _inverted(data, top), "keeps", "The file says that zero is white: it is inverted.")
    if photometric == PALETTE and page.colormap is not None and not file.is_imagej:
        # in ImageJ a palette is only how grey values are displayed
        table = np.asarray(page.colormap)
        table = (table >> 8).astype(np.uint8) if table.max() > 255 else table.astype(np.uint8)
        if np.array_equal(table[0], table[1]) and np.array_equal(table[0], table[2]):
            grey = table[0]
            if np.array_equal(grey, np.arange(len(grey))):
                return None
            return Meaning(lambda data: grey[data], "keeps", "")
        return Meaning(lambda data: table.T[data], "adds", "The colours of its palette are used.")
    if photometric == SEPARATED and page.samplesperpixel == 4:
        return Meaning(_from_inks, "inks", "Its four inks (cyan, magenta, yellow, black) were turned into colours.")
    return None


def are_channels(page: Any) -> bool:
    """Whether the samples of a pixel are channels of their own: grey ones, of which none is said to be opaque."""
    is_grey = int(page.photometric) in (WHITE_IS_ZERO, BLACK_IS_ZERO)
    has_alpha = any(int(kind) in ALPHA for kind in page.extrasamples)
    return is_grey and page.samplesperpixel in (2, 4) and not has_alpha


def convert(data: Any, axes: str, how: Meaning, path: Path) -> tuple[Any, str, str]:
    """Data and axes with their numbers converted; large ones when they are read."""
    if how.colours == "keeps":
        if isinstance(data, np.ndarray) and not isinstance(data, np.memmap):
            return how.convert(data), axes, how.note
        return LazyArray(data, path, how.convert), axes, how.note
    if how.colours == "inks" and not axes.endswith("S"):
        return data, axes, ""
    if not isinstance(data, np.ndarray) or isinstance(data, np.memmap):
        import dask.array

        chunks = getattr(data, "chunks", None) or (1,) * (data.ndim - 2) + tuple(data.shape[-2:])
        lazy = dask.array.from_array(data, chunks=chunks)
        if how.colours == "inks":
            lazy = lazy.rechunk((*lazy.chunks[:-1], 4))
            data = lazy.map_blocks(how.convert, chunks=(*lazy.chunks[:-1], (3,)), dtype=data.dtype)
        else:
            data = lazy.map_blocks(how.convert, chunks=(*lazy.chunks, (3,)), dtype=np.uint8, new_axis=lazy.ndim)
    else:
        data = how.convert(data)
    return data, axes + "S" if how.colours == "adds" else axes, how.note


def _inverted(data: np.ndarray, top: Any) -> np.ndarray:
    return ~data if data.dtype.kind == "b" else (np.array(top, data.dtype) - data)


def _from_inks(inks: np.ndarray) -> np.ndarray:
    """Cyan, magenta, yellow and black (..., 4) as red, green and blue (..., 3) of the same type."""
    top = float(np.iinfo(inks.dtype).max) if inks.dtype.kind in "ui" else 1.0
    colours = (top - inks[..., :3].astype("float32")) * (top - inks[..., 3:].astype("float32")) / top
    return np.rint(colours).astype(inks.dtype) if inks.dtype.kind in "ui" else colours.astype(inks.dtype)
