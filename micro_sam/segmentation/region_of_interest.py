"""A region of interest: automatic segmentation looks at what the tiles around it see, and keeps what lies inside.

An object lies inside when its centre (the mean of its pixels, in a stack along y and x) does. Objects that cross the
border are therefore kept whole or not at all. In a stack nothing is looked at but the slices of the region: objects end
there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import skimage  # its parts are loaded when they are used

from micro_sam.embeddings.part import items_around, part_of
from micro_sam.embeddings.store import Item
from micro_sam.errors import InputError
from micro_sam.io.label_arrays import LARGEST_RESULT, new_labels, release
from micro_sam.models.sizes import Box

if TYPE_CHECKING:
    from micro_sam.embeddings.embeddings import Embeddings
    from micro_sam.embeddings.tiles import TileGrid

__all__ = ["RegionOfInterest", "RegionPart"]

BAND = 1024  # rows that are measured at once: memory follows them, not the image


@dataclass(frozen=True)
class RegionOfInterest:
    """A polygon in the plane of an image; in a stack, the same one in all its slices, or in some.

    Parameters
    ----------
    corners : tuple of (y, x)
        In pixels of the image, whose centres have whole numbers; three at least.
    slices : (int, int), optional
        Half-open range of slices; None: all.

    Raises
    ------
    InputError
        When it has no area.
    """

    corners: tuple[tuple[float, float], ...]
    slices: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        corners = np.asarray(self.corners, float).reshape(-1, 2)
        if len(corners) < 3 or not np.isfinite(corners).all() or (np.ptp(corners, axis=0) < 1).any():
            raise InputError("The region has no area. Draw a rectangle or a polygon around the part that you want.")
        if self.slices is not None and self.slices[0] >= self.slices[1]:
            raise InputError(f"The region has no slices: {self.slices[0]} to {self.slices[1]}.")
        object.__setattr__(self, "corners", tuple((float(y), float(x)) for y, x in corners))

    @classmethod
    def of_numbers(cls, numbers: Sequence[int]) -> RegionOfInterest:
        """From (y0, x0, y1, x1) or (z0, y0, x0, z1, y1, x1), half-open, in pixels.

        Raises
        ------
        InputError
            For another number of values, or a box without area.
        """
        if len(numbers) not in (4, 6):
            raise InputError("A region is y0 x0 y1 x1, or z0 y0 x0 z1 y1 x1 in a stack.")
        low, high = numbers[: len(numbers) // 2], numbers[len(numbers) // 2 :]
        if any(a >= b for a, b in zip(low, high, strict=True)):
            raise InputError(f"The region {' '.join(map(str, numbers))} is empty: its end lies before its begin.")
        (y0, x0), (y1, x1) = ([value - 0.5 for value in some[-2:]] for some in (low, high))
        slices = (int(low[0]), int(high[0])) if len(low) == 3 else None
        return cls(((y0, x0), (y0, x1), (y1, x1), (y1, x0)), slices)

    def box(self, shape: Sequence[int]) -> Box:
        """Its bounding box (y0, x0, y1, x1), half-open, within an image of shape (..., H, W).

        Raises
        ------
        InputError
            When it lies outside the image.
        """
        corners, plane = np.asarray(self.corners), np.array(shape[-2:])
        low = np.clip(np.ceil(corners.min(0)), 0, plane).astype(int).tolist()
        high = np.clip(np.floor(corners.max(0)) + 1, 0, plane).astype(int).tolist()
        if low[0] >= high[0] or low[1] >= high[1]:
            raise InputError("The region lies outside the image. Draw it over the part that you want.")
        return low[0], low[1], high[0], high[1]

    def in_stack(self, n_slices: int | None) -> tuple[int, int] | None:
        """Its slices in a stack of so many; None for an image.

        Raises
        ------
        InputError
            When the stack has none of them, or there is no stack.
        """
        if n_slices is None:
            if self.slices is not None:
                raise InputError("The region has slices, but this is a 2D image: leave z0 and z1 out.")
            return None
        first, stop = self.slices or (0, n_slices)
        first, stop = max(first, 0), min(stop, n_slices)
        if first >= stop:
            raise InputError(f"The region lies outside the stack, which has slices 0 to {n_slices - 1}.")
        return first, stop

    def items(self, grid: TileGrid, n_slices: int | None) -> list[Item]:
        """The slices and tiles of an image that are needed."""
        return items_around(grid, n_slices, self.box(grid.shape), self.in_stack(n_slices))

    def holds(self, places: np.ndarray) -> np.ndarray:
        """Which of some places (n, 2), as (y, x), lie inside; bool."""
        return np.asarray(skimage.measure.points_in_poly(places, np.asarray(self.corners)), bool)

    def record(self) -> dict[str, Any]:
        """JSON-able."""
        return {"corners": [list(corner) for corner in self.corners], "slices": self.slices and list(self.slices)}

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> RegionOfInterest:
        """Inverse of :meth:`record`."""
        slices = record["slices"]
        return cls(tuple((y, x) for y, x in record["corners"]), None if slices is None else (slices[0], slices[1]))


@dataclass(frozen=True, eq=False)
class RegionPart:
    """The part of an image that is looked at for a region.

    Attributes
    ----------
    region : RegionOfInterest or None
        None: the whole image.
    embeddings : Embeddings
        Of the part: an image of its own for every segmenter.
    area : tuple of slices
        Where the part lies in the image.
    shape : tuple of int
        Of the image, (H, W) or (Z, H, W).
    """

    region: RegionOfInterest | None
    embeddings: Embeddings
    area: tuple[slice, ...]
    shape: tuple[int, ...]

    @classmethod
    def of(cls, region: RegionOfInterest | None, embeddings: Embeddings, *, whole: bool = False) -> RegionPart:
        """The part for a region. `whole`: all of the image is looked at, since that is known already.

        Raises
        ------
        InputError
            When the region lies outside the image.
        """
        shape = embeddings.shape
        if region is None or whole:
            return cls(region, embeddings, tuple(slice(0, size) for size in shape), shape)
        part, area = part_of(embeddings, region.box(shape), region.in_stack(embeddings.n_slices))
        return cls(region, part, area, shape)

    def place(self, labels: np.ndarray) -> np.ndarray:
        """Labels of the image from those of the part: objects whose centre lies inside, numbered from 1.

        Parameters
        ----------
        labels : (h, w) or (z, h, w) of integers
            Of the part. A slice of a stack may come alone.

        Returns
        -------
        uint32, of the shape of the image (or slice)
        """
        if self.region is None:
            return labels
        area, shape = self.area[-labels.ndim :], self.shape[-labels.ndim :]
        table = _inside(self.region, labels, area)
        placed = new_labels(shape, largest=LARGEST_RESULT)
        if labels.ndim == 2:
            placed[area] = table[labels]
            return placed
        for z, plane in enumerate(labels, area[0].start):
            placed[z][area[1:]] = table[plane]
            release(labels, placed)
        return placed


def _inside(region: RegionOfInterest, labels: np.ndarray, area: Sequence[slice]) -> np.ndarray:
    """New number of every label, 0 for objects whose centre lies outside."""
    n = int(labels.max(initial=0)) + 1
    count, sums = np.zeros(n), np.zeros((2, n))
    for plane in labels if labels.ndim == 3 else [labels]:
        for first in range(0, len(plane), BAND):
            band = plane[first : first + BAND]
            y, x = np.nonzero(band)
            ids = band[y, x]
            here = np.bincount(ids, minlength=n)
            count += here
            sums[0] += np.bincount(ids, y, n) + first * here
            sums[1] += np.bincount(ids, x, n)
    there = np.flatnonzero(count)
    centres = (sums[:, there] / count[there]).T + [side.start for side in area[-2:]]
    keep = np.zeros(n, bool)
    keep[there] = region.holds(centres)
    return (np.cumsum(keep) * keep).astype("uint32")
