"""Imaris files (5.5 and later, ``.ims``): HDF5 with a dataset for each resolution, time point and channel.

Datasets are as large as whole chunks need, filled with zeros; how large the image is, and its extent in µm, stand in
attributes, which are lists of single letters (Imaris file format 5.5, Bitplane / Oxford Instruments).
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from micro_sam.errors import InputError
from micro_sam.io.lazy import LazyArray, OnDemand
from micro_sam.io.source import ImageSource
from micro_sam.io.units import scale_for, size_of

AXES = "TCZYX"
_DATA = re.compile(r"DataSet/ResolutionLevel (\d+)/TimePoint (\d+)/Channel (\d+)/Data")


def is_imaris(names: Iterable[str]) -> bool:
    """Whether a file with datasets of these names is one of Imaris."""
    return any(_DATA.fullmatch(name) for name in names)


def open_imaris(file: Any, path: Path, names: Iterable[str]) -> ImageSource:
    """The image with its lower resolutions, all of them on disc.

    Parameters
    ----------
    file : h5py.File
        Stays open.
    path
        Of the file.
    names
        Of its datasets.

    Raises
    ------
    InputError
        When time points or channels are missing.
    """
    found: dict[int, dict[tuple[int, int], Any]] = {}
    for name in names:
        match = _DATA.fullmatch(name)
        if match is not None:
            level, t, c = map(int, match.groups())
            found.setdefault(level, {})[t, c] = file[name]
    about = _attributes(file.get("DataSetInfo/Image"))
    finest, *coarser = (_Level(found[level], path, about if level == 0 else {}) for level in sorted(found))
    lone = {k: 0 for k, size in enumerate(finest.shape[:3]) if size == 1}
    axes = "".join(letter for k, letter in enumerate(AXES) if k not in lone)
    sizes = {"T": _interval(_attributes(file.get("DataSetInfo/TimeInfo")), finest.shape[0])}
    for k, letter in enumerate("XYZ"):
        with contextlib.suppress(KeyError, ValueError):
            extent = float(about[f"ExtMax{k}"]) - float(about[f"ExtMin{k}"])
            sizes[letter] = size_of(letter, extent / finest.shape[4 - k], about.get("Unit", "um"))
    levels = tuple(LazyArray(level, path, fixed=lone) for level in coarser if level.is_known(finest.shape))
    return ImageSource(LazyArray(finest, path, fixed=lone), axes, *scale_for(axes, sizes), path, levels=levels)


class _Level(OnDemand):
    """One resolution as an array (T, C, Z, Y, X), without what fills the last chunks."""

    def __init__(self, parts: Mapping[tuple[int, int], Any], path: Path, about: Mapping[str, str]) -> None:
        self._parts = parts
        n_times, n_channels = (1 + max(key[k] for key in parts) for k in (0, 1))
        missing = [(t, c) for t in range(n_times) for c in range(n_channels) if (t, c) not in parts]
        if missing:
            raise InputError(
                f"{path} has no channel {missing[0][1]} of time point {missing[0][0]}. It may be copied incompletely."
            )
        first = parts[0, 0]
        stated = _attributes(first.parent)
        sizes = [stated.get(f"ImageSize{letter}", about.get(letter, "")) for letter in "ZYX"]
        self._is_stated = all(size.isdecimal() and int(size) > 0 for size in sizes)
        wanted = map(int, sizes) if self._is_stated else first.shape
        inside = (min(size, stored) for size, stored in zip(wanted, first.shape, strict=True))
        self.shape = (n_times, n_channels, *inside)
        self.dtype, self.chunks = first.dtype, None if first.chunks is None else (1, 1, *first.chunks)

    def is_known(self, finest: tuple[int, ...]) -> bool:
        """Whether this is a lower resolution of an image, whose size is stated."""
        return self._is_stated and self.shape[:2] == finest[:2] and all(np.less_equal(self.shape, finest))

    def __getitem__(self, index: Any) -> np.ndarray:
        times, channels, *inside = (
            range(n)[one] if isinstance(one, (int, np.integer)) else slice(*one.indices(n))
            for one, n in zip(index, self.shape, strict=True)
        )
        read = np.array(
            [[self._parts[t, c][tuple(inside)] for c in _numbers(channels)] for t in _numbers(times)], self.dtype
        )
        return read[tuple(0 if isinstance(one, int) else slice(None) for one in (times, channels))]


def _numbers(place: int | slice) -> Iterable[int]:
    return [place] if isinstance(place, int) else range(place.start, place.stop, place.step)


def _attributes(group: Any) -> dict[str, str]:
    """Attributes of a group as texts."""
    texts = {}
    for name, value in () if group is None else group.attrs.items():
        letters = np.asarray(value).ravel()
        is_text = letters.dtype.kind == "S"
        texts[name] = b"".join(letters.tolist()).decode("latin-1").strip("\0 ") if is_text else str(value)
    return texts


def _interval(about: Mapping[str, str], times: int) -> float | None:
    """Seconds from one time point to the next."""
    with contextlib.suppress(KeyError, ValueError):
        first, last = (datetime.fromisoformat(about[f"TimePoint{k}"].strip()) for k in (1, times))
        seconds = (last - first).total_seconds() / (times - 1) if times > 1 else 0
        return seconds if seconds > 0 else None
    return None
