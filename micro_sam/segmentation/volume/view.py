"""What one object is segmented in: a window of the maps with its regions, and the clicks that lie in it."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from micro_sam.segmentation.volume.maps import CoarseMaps, VolumeMaps, Window
from micro_sam.segmentation.volume.regions import Regions, depth_inside
from micro_sam.segmentation.volume.values import VolumePrompts


class WindowView:
    """A window of the maps, as the prompts of one object see it.

    Parameters
    ----------
    maps : VolumeMaps or CoarseMaps
    window : (slice, slice, slice)
        In the grid of the maps.
    regions : Regions
        Of the window.
    threshold : float
        Of the foreground.
    prompts : VolumePrompts

    Attributes
    ----------
    positive : list of (z, y, x)
        Voxels of the window with a positive click.
    clicks : list of ((z, y, x), int)
        All clicks in the window with their labels, in the order in which they were made.
    """

    def __init__(
        self,
        maps: VolumeMaps | CoarseMaps,
        window: Window,
        regions: Regions,
        threshold: float,
        prompts: VolumePrompts,
    ) -> None:
        self.maps, self.window, self.regions, self.threshold = maps, window, regions, threshold
        self.spacing = maps.geometry.spacing
        self.origin = np.array([s.start for s in window])
        self.shape = regions.hilltops.shape
        places = [self.place(point) for point in prompts.points]
        self.positive = [p for p, label in zip(places, prompts.labels, strict=True) if label and self.holds(p)]
        self.clicks = [(p, label) for p, label in zip(places, prompts.labels, strict=True) if self.holds(p)]

    def place(self, point: Sequence[float]) -> tuple[int, int, int]:
        """The voxel of the window at a point (z, y, x) of the volume."""
        found = np.rint(self.maps.geometry.to_work(point)).astype(int)
        found = np.clip(found, 0, np.array(self.maps.geometry.work) - 1) - self.origin
        return int(found[0]), int(found[1]), int(found[2])

    def holds(self, place: tuple[int, int, int]) -> bool:
        """Whether a voxel lies in the window."""
        return all(0 <= p < n for p, n in zip(place, self.shape, strict=True))

    def distance_to(self, place: tuple[int, int, int]) -> np.ndarray:
        """Distance of each voxel of the window to one of them, in pixels of the volume."""
        axes = np.ogrid[tuple(slice(0, n) for n in self.shape)]
        return np.sqrt(sum(((a - p) * s) ** 2 for a, p, s in zip(axes, place, self.spacing, strict=True)))

    def depth_of(self, mask: np.ndarray, ends: Collection[int] = ()) -> np.ndarray:
        """As :func:`depth_inside` of a mask of the window; the ends of the volume along some axes count as outside."""
        sides = [(int(low), int(high)) for low, high in self.reached(mask, ends)]
        if not any(map(any, sides)):
            return depth_inside(mask, self.spacing)
        inside = tuple(slice(low, low + n) for (low, _), n in zip(sides, mask.shape, strict=True))
        return depth_inside(np.pad(mask, sides), self.spacing)[inside]

    def reached(self, mask: np.ndarray, axes: Collection[int] = (0, 1, 2)) -> list[tuple[bool, bool]]:
        """For each axis, whether a mask of the window reaches the ends of the volume: low, high; False for others."""
        return [
            (
                axis in axes and s.start == 0 and bool(mask.take(0, axis).any()),
                axis in axes and s.stop >= n and bool(mask.take(-1, axis).any()),
            )
            for axis, (s, n) in enumerate(zip(self.window, self.maps.geometry.work, strict=True))
        ]

    def before(self, place: tuple[int, int, int], label: int) -> list[tuple[int, int, int]]:
        """The places of the clicks with a label that were made before the one at a place."""
        index = next(k for k, (other, _) in enumerate(self.clicks) if other == place)
        return [other for other, its in self.clicks[:index] if its == label]
