"""Where a moving object will be in the next frame."""

from __future__ import annotations

import numpy as np

from micro_sam.errors import InputError

__all__ = ["MotionModel"]


class MotionModel:
    """Exponentially smoothed displacement of an object's centre, for both axes.

    The first estimate exists as soon as two positions are known; before that no motion is assumed. Frames may be
    skipped (displacements are per frame) and may run backward in time.

    Parameters
    ----------
    smoothing : float
        Weight of the past, 0 <= smoothing < 1: 0 follows the last displacement, values near 1 hardly change.

    Raises
    ------
    InputError
        If ``smoothing`` is not in this range.
    """

    def __init__(self, smoothing: float = 0.5) -> None:
        if not 0 <= smoothing < 1:
            raise InputError(f"The smoothing of the motion model must be at least 0 and below 1, not {smoothing}.")
        self.smoothing = smoothing
        self.velocity: np.ndarray | None = None
        self._last: tuple[int, np.ndarray] | None = None

    def update(self, t: int, centre: np.ndarray) -> None:
        """Tell the model that the object's centre (y, x) was seen in frame ``t``."""
        centre = np.asarray(centre, float)
        if self._last is not None and t != self._last[0]:
            displacement = (centre - self._last[1]) / abs(t - self._last[0])
            if self.velocity is None:
                self.velocity = displacement
            else:
                self.velocity = self.smoothing * self.velocity + (1 - self.smoothing) * displacement
        self._last = (t, centre)

    def shift(self, n_frames: int = 1) -> tuple[float, float]:
        """Expected displacement (dy, dx) in pixels over the next ``n_frames`` frames, seen in the running direction."""
        if self.velocity is None:
            return 0.0, 0.0
        return float(n_frames * self.velocity[0]), float(n_frames * self.velocity[1])
