"""Frames and planes from what a file of tracks calls its axes: times in seconds, a z that never changes."""

from __future__ import annotations

import logging

import numpy as np
import numpy.typing as npt

from micro_sam.errors import InputError
from micro_sam.io.units import TIMES

log = logging.getLogger(__name__)

_LATEST = 10_000_000  # no movie has more frames; times beyond it are damaged, or are nanoseconds


def frames_of_times(
    times: npt.ArrayLike, what: str, *, unit: str | None = None, step: float | None = None
) -> np.ndarray:
    """The frame of each time.

    Whole numbers are frames, unless the axis has a unit of time. Other times are divided by the declared step, else by
    the smallest distance of two times; where that gives no whole numbers, the frames are the ranks of the times. What
    was done is said in the log.

    Parameters
    ----------
    times : (n,) float
        In the unit of the file.
    what : str
        What holds them, for messages.
    unit : str, optional
        Unit of the time axis.
    step : float, optional
        Time between two frames in that unit, where the file declares it.

    Returns
    -------
    (n,) int64

    Raises
    ------
    InputError
        If a time is missing or not finite.
    """
    values = np.asarray(times, float)
    if not np.isfinite(values).all():
        raise InputError(
            f"{what} has a detection without a time (number {int(np.flatnonzero(~np.isfinite(values))[0])})."
        )
    is_time = (unit or "").lower().removesuffix("s") in TIMES or (unit or "").lower() in TIMES
    distinct = np.unique(values)
    if len(values) == 0:
        return np.zeros(0, np.int64)
    if _whole(values) and not is_time:
        return _bounded(values, what)
    distances = np.diff(distinct)
    for size in (step, float(distances.min()) if len(distances) else None):
        if size and size > 0:
            start = 0.0 if _whole(distinct / size) and distinct[0] >= 0 else distinct[0]
            if _whole((distinct - start) / size):
                frames = np.rint((values - start) / size)
                if not (size == 1 and start == 0):
                    log.info("%s has times in %s: a frame is %g of them.", what, unit or "steps of its own", size)
                return _bounded(frames, what)
    if len(distances) == 0 and _whole(values):
        return _bounded(values, what)
    log.info("%s has times at no fixed distance; they are numbered in their order.", what)
    return np.searchsorted(distinct, values).astype(np.int64)


def check_plane(z: npt.ArrayLike, what: str) -> None:
    """InputError unless all detections have the same z: tracks here lie in a plane.

    Missing values (NaN) count as the same.
    """
    values = np.asarray(z, float)
    values = values[~np.isnan(values)]
    if len(values) and np.ptp(values) > 0:
        raise InputError(
            f"{what} has detections in several planes (z from {values.min():g} to {values.max():g}), but tracks of 2D "
            "images over time lie in one. Choose a plane, or project the volume, before tracking."
        )


def _whole(values: np.ndarray) -> bool:
    return bool(np.allclose(values, np.rint(values), rtol=0, atol=1e-4))


def _bounded(frames: np.ndarray, what: str) -> np.ndarray:
    if len(frames) and np.abs(frames).max() > _LATEST:
        raise InputError(f"{what} has a frame {np.abs(frames).max():g}, which no movie has.")
    return np.asarray(np.rint(frames), dtype=np.int64)
