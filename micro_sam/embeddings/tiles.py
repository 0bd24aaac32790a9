"""How an image is cut into tiles.

Everything is written for the tiled image; the untiled image is one tile that is the image itself.
Tiles are numbered row by row and the last row and column may be smaller, so the numbers agree with the tile ids of
caches that micro_sam 1.x wrote.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from micro_sam.errors import InputError

SMALLEST_TILE = 32  # pixels; smaller tiles say nothing to a network that sees a tile as 1024 x 1024 pixels


@dataclass(frozen=True)
class Tile:
    """One tile: `inner` areas partition the image, `outer` is `inner` plus the halo, clipped to the image.

    Slices are (y, x) in pixels of the image.
    """

    index: int
    inner: tuple[slice, slice]
    outer: tuple[slice, slice]

    @property
    def origin(self) -> tuple[int, int]:
        """The (y, x) position of the outer area's first pixel in the image."""
        return self.outer[0].start, self.outer[1].start

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the outer area, which is what the network sees."""
        return self.outer[0].stop - self.outer[0].start, self.outer[1].stop - self.outer[1].start

    def outer_contains(self, box: Sequence[float]) -> bool:
        """Whether the half-open box (y0, x0, y1, x1) lies wholly inside the outer area."""
        y0, x0, y1, x1 = box
        rows, columns = self.outer
        return bool(y0 >= rows.start and x0 >= columns.start and y1 <= rows.stop and x1 <= columns.stop)


@dataclass(frozen=True)
class TileGrid(Sequence[Tile]):
    """The tiles of an image of a given shape.

    Parameters
    ----------
    shape
        Height and width of the image in pixels.
    tile_shape
        Height and width of the inner tiles; None: the image is one tile ("untiled").
    halo
        Rows and columns that the outer area adds on each side.

    Raises
    ------
    InputError
        For sizes that are not two positive numbers.
    """

    shape: tuple[int, int]
    tile_shape: tuple[int, int] | None = None
    halo: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", _two_integers("The shape of the image", self.shape, 1))
        if self.tile_shape is None:
            if self.halo is not None and any(self.halo):
                raise InputError("A halo was given without a tile shape. Give both, or neither.")
            object.__setattr__(self, "halo", None)
            return
        tile_shape = _two_integers("The tile shape", self.tile_shape, 1)
        if any(t < min(SMALLEST_TILE, s) for t, s in zip(tile_shape, self.shape, strict=True)):
            raise InputError(
                f"The tile shape {tile_shape} is too small; use {SMALLEST_TILE} pixels or more on each side "
                "(512 to 1024 suits most images)."
            )
        object.__setattr__(self, "tile_shape", tile_shape)
        halo = default_halo(tile_shape) if self.halo is None else _two_integers("The halo", self.halo, 0)
        object.__setattr__(self, "halo", halo)

    @property
    def is_tiled(self) -> bool:
        """Whether a tile shape was chosen (a tiled image may still be a single tile)."""
        return self.tile_shape is not None

    @property
    def counts(self) -> tuple[int, int]:
        """Number of tile rows and tile columns."""
        height, width = self.tile_shape or self.shape
        return math.ceil(self.shape[0] / height), math.ceil(self.shape[1] / width)

    def __len__(self) -> int:
        rows, columns = self.counts
        return rows * columns

    def __iter__(self) -> Iterator[Tile]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> Tile:  # type: ignore[override]
        if not 0 <= index < len(self):
            raise IndexError(f"There is no tile {index}; the image has {len(self)}.")
        position = divmod(index, self.counts[1])
        tile_shape, halo = self.tile_shape or self.shape, self.halo or (0, 0)
        inner, outer = [], []
        for p, tile, pad, size in zip(position, tile_shape, halo, self.shape, strict=True):
            begin, end = p * tile, min((p + 1) * tile, size)
            inner.append(slice(begin, end))
            outer.append(slice(max(begin - pad, 0), min(end + pad, size)))
        return Tile(index, (inner[0], inner[1]), (outer[0], outer[1]))

    def tile_at(self, y: float, x: float) -> Tile:
        """The tile whose inner area holds the pixel nearest to (y, x); positions outside are moved to the border."""
        tile_shape = self.tile_shape or self.shape
        row, column = (
            min(max(math.floor(value + 0.5), 0), size - 1) // tile
            for value, size, tile in zip((y, x), self.shape, tile_shape, strict=True)
        )
        return self[row * self.counts[1] + column]

    def tiles_in(self, box: Sequence[float]) -> list[Tile]:
        """The tiles whose inner area meets the half-open box (y0, x0, y1, x1); at least one."""
        y0, x0, y1, x1 = box
        tile_shape = self.tile_shape or self.shape
        ranges = []
        for low, high, size, tile in zip((y0, x0), (y1, x1), self.shape, tile_shape, strict=True):
            first = min(max(math.floor(low), 0), size - 1)
            last = min(max(math.ceil(high) - 1, first), size - 1)
            ranges.append(range(first // tile, last // tile + 1))
        return [self[row * self.counts[1] + column] for row in ranges[0] for column in ranges[1]]


def default_halo(tile_shape: Sequence[int]) -> tuple[int, int]:
    """A quarter of the tile, at most 256 pixels: room for the objects on the border and for their surroundings."""
    height, width = tile_shape
    return min(256, int(height) // 4), min(256, int(width) // 4)


def suggest_tiling(
    shape: Sequence[int], image_size: int = 1024, whole_up_to: float = 2.0, smallest_halo: int = 128
) -> tuple[tuple[int, int] | None, tuple[int, int] | None]:
    """Tile shape and halo for an image, or (None, None) when it needs no tiles.

    The network resizes what it sees to `image_size` pixels, so a large image loses its small objects. Larger ones than
    `whole_up_to` times that size get tiles that the network sees, halo included, at their full resolution. The tiles
    are of equal size, so that no sliver is left at the border; the halo is as wide as what the network sees leaves room
    for, up to an eighth of it.

    Parameters
    ----------
    shape
        Height and width of the image.
    image_size
        The longest side of the network's input (`Sam.image_size`), in pixels.
    whole_up_to
        See above; smaller for networks that are cheap (`Sam.whole_up_to`).
    smallest_halo
        Pixels (`Sam.smallest_halo`).
    """
    height, width = (int(s) for s in shape)
    if max(height, width) <= whole_up_to * image_size:
        return None, None
    inner = image_size - 2 * smallest_halo
    tile_shape = tuple(math.ceil(size / math.ceil(size / inner)) for size in (height, width))
    halo = max(smallest_halo, min(image_size // 8, (image_size - max(tile_shape)) // 2))
    return (tile_shape[0], tile_shape[1]), (halo, halo)


def _two_integers(what: str, values: Sequence[int], smallest: int) -> tuple[int, int]:
    try:
        numbers = tuple(int(v) for v in values)
    except (TypeError, ValueError):
        numbers = ()
    if len(numbers) != 2 or any(n < smallest for n in numbers):
        raise InputError(f"{what} must be two whole numbers (y x) of {smallest} or more, not {values!r}.")
    return numbers[0], numbers[1]
