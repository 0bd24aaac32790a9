"""Whether a tif file is all there: a copy that was cut off must not open as an image of fewer slices."""

from __future__ import annotations

import re
import struct
from pathlib import Path
from typing import Any

from micro_sam.errors import InputError

MOST_PAGES = 1_000_000
MOST_CHECKED = 20_000  # pages of one image whose strips are looked at


def check_directories(path: Path) -> int:
    """Follow the chain of pages through a tif file; returns how many there are.

    Raises
    ------
    InputError
        When it leads out of the file, or in a circle.
    """
    size = path.stat().st_size
    with open(path, "rb") as file:
        head = file.read(16)
        order = "<" if head[:2] == b"II" else ">"
        if len(head) < 8 or head[:2] not in (b"II", b"MM"):
            raise InputError(f"{path} cannot be read as a tif: it does not begin as one.")
        is_big = struct.unpack(order + "H", head[2:4])[0] == 43
        count, entry, offset = ("Q", 20, "Q") if is_big else ("H", 12, "I")
        width, counted = struct.calcsize(offset), struct.calcsize(count)
        if is_big and len(head) < 16:
            raise _cut(path, 0, size, 16, _said(path))
        place = struct.unpack(order + offset, head[8:16] if is_big else head[4:8])[0]
        seen: set[int] = set()
        while place:
            if place in seen or len(seen) > MOST_PAGES:
                raise InputError(f"{path} cannot be read as a tif: its list of pages runs in a circle. It is damaged.")
            seen.add(place)
            file.seek(place)
            raw = file.read(counted)
            if len(raw) < counted:
                raise _cut(path, len(seen) - 1, size, place, _said(path))
            n_tags = struct.unpack(order + count, raw)[0]
            end = place + counted + n_tags * entry
            file.seek(end)
            raw = file.read(width)
            if len(raw) < width:
                raise _cut(path, len(seen) - 1, size, end, _said(path))
            place = struct.unpack(order + offset, raw)[0]
        if not seen:
            raise InputError(f"{path} is a tif file without any image.")
        return len(seen)


def check_pages(path: Path, series: Any) -> None:
    """Whether the pixels of an image lie inside the file.

    Raises
    ------
    InputError
        With the number of bytes that are missing.
    """
    sizes: dict[str, int] = {}
    for number, page in enumerate(series.pages[:MOST_CHECKED]):
        if page is None:
            continue
        handle = page.parent.filehandle
        size = sizes.setdefault(handle.name, handle.size)
        places = list(zip(page.dataoffsets, page.databytecounts, strict=False))
        end = max((place + count for place, count in places), default=0)
        stored = sum(page.databytecounts)
        plain = page.keyframe.compression == 1 and not page.keyframe.is_tiled
        needed = page.keyframe.nbytes * page.keyframe.bitspersample // (8 * page.keyframe.dtype.itemsize)
        if end > size:
            raise _cut(path, number, size, end, len(series.pages))
        if plain and 0 < stored < needed:
            raise InputError(
                f"{path} is damaged: page {number + 1} needs {needed} bytes, but only {stored} are given for it."
            )
    if series.dataoffset is not None:
        size, end = series.parent.filehandle.size, series.dataoffset + series.nbytes
        if end > size and len(sizes) <= 1 and series.pages[0].keyframe.compression == 1:
            raise _cut(path, max(0, size - series.dataoffset) // series.pages[0].nbytes, size, end, None)


def check_imagej(path: Path, file: Any) -> None:
    """Whether all slices that ImageJ counts are there.

    Raises
    ------
    InputError
        With both numbers.
    """
    metadata = file.imagej_metadata or {}
    try:
        wanted = int(metadata.get("images", 1))
    except (TypeError, ValueError):
        return
    page, size = file.pages.first, file.filehandle.size
    if wanted <= 1 or len(file.pages) >= wanted:
        return
    stored = sum(page.databytecounts)
    end = (page.dataoffsets[0] if page.dataoffsets else 0) + wanted * page.nbytes
    if page.compression == 1 and end <= size:
        return  # the slices follow each other without directories of their own
    there = max(len(file.pages), (size - page.dataoffsets[0]) // max(stored, 1)) if page.compression == 1 else None
    raise _cut(path, len(file.pages) if there is None else int(there), size, end, wanted)


def _said(path: Path) -> int | None:
    """How many slices the description at the beginning of the file speaks of."""
    with open(path, "rb") as file:
        text = file.read(200_000)
    found = re.search(rb"ImageJ=[^\x00]*?images=(\d+)", text)
    if found:
        return int(found[1])
    sizes = [re.search(rb'Size%s="(\d+)"' % letter, text) for letter in (b"Z", b"C", b"T")]
    if b"<OME" not in text or None in sizes:
        return None
    total = 1
    for one in sizes:
        total *= int(one[1])  # type: ignore[index]
    return total


def _cut(path: Path, there: int, size: int, end: int, wanted: int | None) -> InputError:
    pages = f"{wanted} pages" if wanted is not None else "more pages"
    return InputError(
        f"{path} is cut off: it should have {pages} and at least {end:,} bytes, but {there} "
        f"page{'s are' if there != 1 else ' is'} complete and the file ends after {size:,} bytes. It may be copied "
        "incompletely: copy it again."
    )
