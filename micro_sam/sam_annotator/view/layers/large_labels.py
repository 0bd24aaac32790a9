"""Label layers of planes that are too large to be drawn as a whole.

napari copies a whole plane to the screen, and again after every change. A layer with several resolutions is drawn where
the user looks, as fine as the screen shows it. The resolutions are views of one array, every 4th, 16th, ... pixel of
it, so they take no memory and are never out of date. napari paints into arrays, not into several resolutions: this
layer paints into the finest, and draws what is in view again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from napari.layers import Image, Labels
from napari.layers._multiscale_data import MultiScaleData

LARGEST_PLANE = 2**25
"""Pixels; larger planes are drawn where the user looks."""
STEP = 4
SMALLEST = 512
"""Pixels along the longer side of the coarsest resolution, at most."""


def is_large_plane(shape: Sequence[int]) -> bool:
    """Whether slices of an array (..., H, W) are better drawn in parts."""
    return int(shape[-2]) * int(shape[-1]) > LARGEST_PLANE


def steps(shape: Sequence[int]) -> list[int]:
    """Of how many pixels each resolution of a plane shows one: 1, 4, 16, ..."""
    found = [1]
    while max(shape[-2:]) > SMALLEST * found[-1]:
        found.append(found[-1] * STEP)
    return found


class Resolutions(MultiScaleData):
    """Views of one array, the finest first; like the array itself it can be cut, written into and made an array."""

    def __getitem__(self, key: Any) -> Any:
        is_level = isinstance(key, (int, np.integer))
        return self._data[key] if is_level else self._data[0][key]

    def __setitem__(self, key: Any, value: Any) -> None:
        self._data[0][key] = value

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self._data[0], dtype)


def whole_of(data: Any) -> Any:
    """The array that a layer shows, also one of several resolutions."""
    return data[0] if isinstance(data, MultiScaleData) else data


class LargeLabels(Labels):
    """A label layer on a large array (..., H, W); see napari's for the options."""

    _type_string = "labels"  # what napari writes and reads it as

    def __init__(self, data: np.ndarray, **options: Any) -> None:
        super().__init__(_views(data), multiscale=True, **options)

    @property
    def data(self) -> Resolutions:
        """All resolutions."""
        return Resolutions(self._data)

    @data.setter
    def data(self, data: Any) -> None:
        Labels.data.fset(self, _views(whole_of(data)))

    def data_setitem(self, indices: Any, value: Any, refresh: bool = True) -> None:
        """See napari."""
        whole = whole_of(self.data)
        changed = whole[indices] != value
        indices = tuple(np.asarray(one)[changed] for one in indices)
        if not indices or not indices[0].size:
            return
        value = np.asarray(value, whole.dtype)
        value = value[changed] if value.ndim else value
        self._save_history((indices, np.array(whole[indices]), value))
        whole[indices] = value
        if refresh:
            self._draw_again()

    def fill(self, coord: Sequence[float], new_label: int, refresh: bool = True) -> None:
        """See napari; what is filled ends with the part of the plane that is in view."""
        from skimage.morphology import flood

        whole, place = whole_of(self.data), tuple(int(np.round(c)) for c in coord)
        if any(not 0 <= c < n for c, n in zip(place, whole.shape, strict=True)) or whole[place] == new_label:
            return
        corners = (self.corner_pixels * self.downsample_factors[self.data_level]).astype(int)
        area = tuple(
            slice(min(c, max(int(low), 0)), max(c + 1, min(int(high) + 1, n)))
            for c, low, high, n in zip(place, *corners, whole.shape, strict=True)
        )
        area = (*(slice(c, c + 1) for c in place[:-2]), *area[-2:])
        part = np.asarray(whole[area])
        if self.contiguous:
            mask = flood(part, tuple(c - one.start for c, one in zip(place, area, strict=True)), connectivity=1)
        else:
            mask = part == whole[place]
        inside = np.nonzero(mask)
        self.data_setitem(
            tuple(axis + one.start for axis, one in zip(inside, area, strict=True)), new_label, refresh=refresh
        )

    def _reset_editable(self) -> None:
        self.editable = True

    def _reset_thumbnail_level_data(self) -> None:
        super()._reset_thumbnail_level_data()
        self._level_materializer = None  # napari would keep the coarsest resolution as it is now

    def _refresh_caches_from_region(self, *_args: Any) -> None:
        pass  # what is drawn is read again

    def _partial_labels_refresh(self) -> None:
        if getattr(self, "_updated_slice", None) is not None:
            self._updated_slice: Any = None
            self._draw_again()

    def _draw_again(self) -> None:
        self.refresh(extent=False, highlight=False, thumbnail=False)


def draw_again(raw: Image) -> None:
    """The lower resolutions of an image have other values."""
    if hasattr(raw, "_reset_thumbnail_level_data"):
        raw._reset_thumbnail_level_data()  # napari keeps the coarsest resolution as it was
    if raw.data_level > 0:
        raw.refresh(extent=False, highlight=False)


def _views(data: np.ndarray) -> list[np.ndarray]:
    return [data[..., ::step, ::step] for step in steps(data.shape)]
