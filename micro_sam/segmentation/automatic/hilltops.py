"""Hilltops of a map: places from which every way to a higher one leads down first."""

from __future__ import annotations

import numpy as np

__all__ = ["hilltops"]

_MARGIN = 1e-3  # below what can play a part, for the rounding of sums


def hilltops(values: np.ndarray, prominence: float, above: float) -> np.ndarray:
    """Pixels of hilltops that rise above their saddles by at least ``prominence``, among those above a level.

    The same as ``skimage.morphology.h_maxima(values, prominence) > 0`` there, several times as fast: pixels that lie
    too low to be a hilltop, or a saddle that hides one, are never looked at, and these are most of an image.

    Parameters
    ----------
    values : (h, w) float32
    prominence : float
        Positive.
    above : float
        Only what is higher is asked for.

    Returns
    -------
    (h, w) bool
    """
    height, width = values.shape
    padded = np.full((height + 2, width + 2), -np.inf, values.dtype)
    padded[1:-1, 1:-1] = values
    places = np.flatnonzero(padded.ravel() > above - prominence - _MARGIN)
    number = len(places)
    index = np.full(padded.size, number, np.int32)  # pixels that are too low are one more pixel, at minus infinity
    index[places] = np.arange(number, dtype=np.int32)
    steps = [dy * (width + 2) + dx for dy in (-1, 0, 1) for dx in (-1, 0, 1) if dy or dx]
    beside = np.stack([index[places + step] for step in steps])
    value = padded.ravel()[places]
    # Morphological reconstruction: the map lowered by the prominence grows below the map until nothing changes.
    grown = np.append(value - prominence - 2 * np.finfo(values.dtype).resolution * np.abs(value), -np.inf)
    grown = grown.astype(values.dtype)
    active = np.arange(number)
    while len(active):
        reached = np.minimum(grown[beside[:, active]].max(0), value[active])
        rises = reached > grown[active]
        changed = active[rises]
        grown[changed] = reached[rises]
        is_near = np.zeros(number + 1, bool)
        is_near[beside[:, changed]] = True
        active = np.flatnonzero(is_near[:-1])
    is_top = np.zeros(padded.size, bool)
    is_top[places] = (value - grown[:-1] >= prominence) & (value > above)
    return is_top.reshape(padded.shape)[1:-1, 1:-1]
