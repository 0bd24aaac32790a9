"""Units of pixel sizes: lengths in µm, times in seconds, each axis converted on its own."""

from __future__ import annotations

import math
from collections.abc import Mapping

LENGTHS = {  # in µm
    "m": 1e6,
    "meter": 1e6,
    "metre": 1e6,
    "dm": 1e5,
    "decimeter": 1e5,
    "cm": 1e4,
    "centimeter": 1e4,
    "centimetre": 1e4,
    "mm": 1e3,
    "millimeter": 1e3,
    "millimetre": 1e3,
    "µm": 1.0,
    "um": 1.0,
    "micron": 1.0,
    "microns": 1.0,
    "micrometer": 1.0,
    "micrometre": 1.0,
    "nm": 1e-3,
    "nanometer": 1e-3,
    "nanometre": 1e-3,
    "å": 1e-4,
    "a": 1e-4,
    "angstrom": 1e-4,
    "ångström": 1e-4,
    "pm": 1e-6,
    "picometer": 1e-6,
    "picometre": 1e-6,
    "in": 25400.0,
    "inch": 25400.0,
}
TIMES = {  # in seconds
    "d": 86400.0,
    "day": 86400.0,
    "h": 3600.0,
    "hour": 3600.0,
    "min": 60.0,
    "minute": 60.0,
    "s": 1.0,
    "sec": 1.0,
    "second": 1.0,
    "ms": 1e-3,
    "msec": 1e-3,
    "millisecond": 1e-3,
    "µs": 1e-6,
    "us": 1e-6,
    "microsecond": 1e-6,
    "ns": 1e-9,
    "nanosecond": 1e-9,
}


def size_of(letter: str, value: object, unit: str | None) -> float | None:
    """A pixel size along an axis in µm, or seconds for "T"; None when value or unit mean nothing."""
    try:
        number = abs(float(value))  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    name = plain(unit or "")
    known = TIMES if letter == "T" else LENGTHS
    factor = known.get(name) or known.get(name.removesuffix("s"))
    if factor is None or not math.isfinite(number) or number == 0:
        return None
    return number * factor


def plain(unit: str) -> str:
    """A unit in small letters, with one sign for micro."""
    name = str(unit).strip().strip('"').replace("\\u00B5", "µ").replace("\\u00b5", "µ").replace("\u03bc", "µ")
    return name.replace("\u212b", "å").lower()


def scale_for(axes: str | None, sizes: Mapping[str, float | None]) -> tuple[tuple[float, ...] | None, str | None]:
    """Scale along the axes and its unit; (None, None) when no length is known.

    Parameters
    ----------
    axes
        Letters of the axes.
    sizes
        Letter -> size in µm or seconds.
    """
    if axes is None or not any(sizes.get(letter) for letter in "XYZ" if letter in axes):
        return None, None
    return tuple(float(sizes.get(letter) or 1.0) for letter in axes), "µm"
