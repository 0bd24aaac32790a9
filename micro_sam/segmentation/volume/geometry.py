"""How the maps of a volume lie: their grid, the directions in which slices are taken, and the blocks of the work."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from micro_sam.embeddings.tiles import TileGrid
from micro_sam.segmentation.automatic.dense_maps import LARGEST_SIDE

MOST_RESAMPLING = 3.0  # times; planes that must be stretched more look like nothing the network has learned
LEAST_ROWS = 12  # of a plane along y or x: thinner ones show no objects
ABSURD = 100.0  # ratio of the voxel's sides from which sizes are taken for a mistake
AXES = ("z", "y", "x")


@dataclass(frozen=True)
class MapBlock:
    """A piece of the work: a part of one plane.

    Attributes
    ----------
    axis : 0, 1 or 2
        Along which the plane is taken: 0 is a slice of the stack.
    plane : int
        Position along that axis in the grid of the maps.
    tile : int
        Of the plane; 0 where it is seen whole.
    """

    axis: int
    plane: int
    tile: int = 0


@dataclass(frozen=True)
class MapGeometry:
    """Grid and directions of the maps of a volume.

    Attributes
    ----------
    shape : (Z, H, W)
        Of the volume, in voxels.
    work : (Z, h, w)
        Of the maps: as many slices, in the slices as fine as the network's answer, at most as fine as the image.
    stretch : (float, float)
        Slices become so many rows in planes along y, along x: the distance of slices over the size of a pixel.
    axes : tuple of int
        Directions; 0 is always among them.
    side : int
        Pixels that the network sees at once.
    tile_shape, halo : (int, int) or None
        Of the slices; planes along y and x are cut alike.
    note : str
        What is left out and why, as a sentence for the user; empty when nothing is.
    """

    shape: tuple[int, int, int]
    work: tuple[int, int, int]
    stretch: tuple[float, float] = (1.0, 1.0)
    axes: tuple[int, ...] = (0,)
    side: int = 0
    tile_shape: tuple[int, int] | None = None
    halo: tuple[int, int] | None = None
    note: str = ""

    @property
    def pixel(self) -> np.ndarray:
        """Voxels of the volume per voxel of the maps, (3,)."""
        pixel: np.ndarray = np.array(self.shape) / np.array(self.work)
        return pixel

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Size of a voxel of the maps in pixels of the volume, for distances; the slices' where it is known."""
        along = self.stretch[0] if math.isfinite(self.stretch[0]) and self.stretch[0] > 0 else 1.0
        return along, self.shape[1] / self.work[1], self.shape[2] / self.work[2]

    def planes(self, axis: int) -> int:
        """Number of planes along an axis."""
        return self.work[axis]

    def grid(self, axis: int) -> TileGrid:
        """The tiles of a plane along an axis, in pixels of the plane as the network sees it (before its resizing).

        Slices are one tile: theirs are stitched.
        """
        if axis == 0:
            return TileGrid(self.shape[1:])
        size = (max(1, round(self.shape[0] * self.stretch[axis - 1])), self.shape[3 - axis])
        inner, halo = [], []
        for position, length in enumerate(size):
            if length <= 1.25 * self.side:
                inner.append(length)
                halo.append(0)
                continue
            halos = self.halo or (0, 0)
            own = None if self.tile_shape is None else (self.tile_shape[position], halos[position])
            inner.append(own[0] if own else round(0.75 * self.side))
            halo.append(own[1] if own else round(0.125 * self.side))
        if tuple(inner) == size:
            return TileGrid(size)
        return TileGrid(size, (inner[0], inner[1]), (halo[0], halo[1]))

    def area(self, block: MapBlock) -> tuple[slice, slice, slice]:
        """What a block fills of the maps."""
        inside = [slice(0, n) for n in self.work]
        if block.axis:
            grid = self.grid(block.axis)
            axes = (0, 3 - block.axis)
            for axis, inner, size in zip(axes, grid[block.tile].inner, grid.shape, strict=True):
                scale = self.work[axis] / size
                inside[axis] = slice(round(inner.start * scale), round(inner.stop * scale))
        inside[block.axis] = slice(block.plane, block.plane + 1)
        return inside[0], inside[1], inside[2]

    def blocks(self) -> list[MapBlock]:
        """All the work."""
        return [
            MapBlock(axis, plane, tile)
            for axis in self.axes
            for plane in range(self.planes(axis))
            for tile in range(len(self.grid(axis)))
        ]

    def to_work(self, point: Sequence[float]) -> np.ndarray:
        """A place (z, y, x) in voxels of the volume, in the grid of the maps."""
        pixel = self.pixel
        place: np.ndarray = (np.asarray(point, float) + 0.5) / pixel - 0.5
        return place


def plan_geometry(
    shape: tuple[int, int, int],
    image_size: int,
    map_side: int,
    grid: TileGrid,
    scale: Sequence[float] | None,
    has_image: bool = True,
) -> MapGeometry:
    """Decide in which directions slices are taken.

    Parameters
    ----------
    shape : (Z, H, W)
    image_size, map_side : int
        Longest side of the network's input, and of its dense maps, in pixels.
    grid : TileGrid
        Of the slices.
    scale : (z, y, x), optional
        Size of a voxel, in any unit. None, or sizes that cannot be: slices along z only.
    has_image : bool
        Planes along y and x need the image; its features know slices only.
    """
    side = max(max(tile.shape) for tile in grid)
    finest = min(1.0, map_side / side, LARGEST_SIDE / side)
    work = (shape[0], max(1, math.ceil(shape[1] * finest)), max(1, math.ceil(shape[2] * finest)))
    common: dict[str, Any] = {"side": side, "tile_shape": grid.tile_shape, "halo": grid.halo}
    sizes = None if scale is None else np.asarray(scale, float).ravel()
    if sizes is None:
        return MapGeometry(shape, work, note="The size of a voxel is not known: slices along z only.", **common)
    usable = sizes.shape == (3,) and bool(np.isfinite(sizes).all()) and bool((sizes > 0).all())
    if not usable or sizes.max() / sizes.min() > ABSURD:
        named = " x ".join(f"{v:g}" for v in sizes)
        return MapGeometry(shape, work, note=f"The voxel size {named} cannot be right: slices along z only.", **common)
    stretch = (float(sizes[0] / sizes[2]), float(sizes[0] / sizes[1]))
    if not has_image:
        note = "Only the features are at hand, not the image: slices along z only."
        return MapGeometry(shape, work, stretch, note=note, **common)
    axes, reasons = [0], []
    for axis, factor in ((1, stretch[0]), (2, stretch[1])):
        rows = min(round(shape[0] * factor), shape[0], shape[3 - axis])
        if not 1 / MOST_RESAMPLING <= factor <= MOST_RESAMPLING:
            reasons.append(f"{AXES[axis]} (slices are {factor:.3g} pixels apart)")
        elif rows < LEAST_ROWS:
            reasons.append(f"{AXES[axis]} (only {rows} voxels thick)")
        else:
            axes.append(axis)
    note = f"No slices along {' and '.join(reasons)}." if reasons else ""
    return MapGeometry(shape, work, stretch, tuple(axes), note=note, **common)


@dataclass(frozen=True)
class CoarseGeometry(MapGeometry):
    """The grid of maps of which several rows and columns are taken together, for large objects.

    Attributes
    ----------
    factor : int
        Rows and columns of the maps per voxel of this grid; the last ones may be less.
    fine : (h, w)
        Of the maps.
    """

    factor: int = 1
    fine: tuple[int, int] = (0, 0)

    @classmethod
    def of(cls, geometry: MapGeometry, factor: int) -> CoarseGeometry:
        """The grid with so many rows and columns taken together."""
        own = {field.name: getattr(geometry, field.name) for field in fields(geometry)}
        own["work"] = (geometry.work[0], *(-(-n // factor) for n in geometry.work[1:]))
        return cls(**own, factor=factor, fine=geometry.work[1:])

    @property
    def pixel(self) -> np.ndarray:
        """See :class:`MapGeometry`."""
        fine = (self.work[0], *self.fine)
        pixel: np.ndarray = np.array(self.shape) / np.array(fine) * (1, self.factor, self.factor)
        return pixel

    @property
    def spacing(self) -> tuple[float, float, float]:
        """See :class:`MapGeometry`."""
        along, _, _ = super().spacing
        return along, float(self.pixel[1]), float(self.pixel[2])
