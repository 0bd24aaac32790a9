"""The mean of the channels of an image, as one grey image; of a large one, of the parts that are looked at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from micro_sam.io.lazy import OnDemand
from micro_sam.io.normalization import Normalization, estimate_normalization


class MixedChannels(OnDemand):
    """The mean of some arrays of one shape, each stretched between its percentiles 1 and 99.7, as float32 in 0..1.

    Parameters
    ----------
    planes
        (H, W) or (Z, H, W) arrays of any kind; they are read where this one is indexed, and their stretch is
        estimated from samples.
    """

    dtype = np.dtype("float32")

    def __init__(self, planes: Sequence[Any]) -> None:
        self._planes = list(planes)
        self.shape = tuple(int(size) for size in self._planes[0].shape)
        self._stretches = [estimate_normalization(plane, self.ndim) for plane in self._planes]

    def __getitem__(self, index: Any) -> np.ndarray:
        total = np.zeros((), "float32")
        for plane, stretch in zip(self._planes, self._stretches, strict=True):
            total = total + _stretched(np.asarray(plane[index]), stretch)
        return np.asarray(total / len(self._planes), dtype="float32")


def _stretched(values: np.ndarray, stretch: Normalization) -> np.ndarray:
    lower, upper = stretch.lower[0], stretch.upper[0]
    return np.nan_to_num(np.clip((values.astype("float32") - lower) / (upper - lower), 0, 1), nan=0.0)
