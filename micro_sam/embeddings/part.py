"""A part of an image as an image of its own: the tiles that see it, with the features that are there already."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from micro_sam.embeddings.embeddings import Embeddings
from micro_sam.embeddings.store import EmbeddingStore, Item
from micro_sam.embeddings.tiles import Tile, TileGrid
from micro_sam.errors import OutputError

if TYPE_CHECKING:
    from micro_sam.models.predictor import ImageFeatures
    from micro_sam.models.sizes import Box

Span = tuple[int, int]


@dataclass(frozen=True)
class PartGrid(TileGrid):
    """Some rows and columns of tiles of a grid, as the grid of a smaller image.

    That image is all that these tiles see, halo included, so each of them sees the same as before.

    Parameters
    ----------
    whole : TileGrid
    rows, columns : (int, int)
        Half-open ranges of the tiles of `whole`.
    """

    whole: TileGrid = TileGrid((1, 1))
    rows: Span = (0, 1)
    columns: Span = (0, 1)

    @classmethod
    def around(cls, whole: TileGrid, box: Box) -> PartGrid:
        """The tiles that see a half-open box (y0, x0, y1, x1): their area or halo meets it."""
        pad = whole.halo or (0, 0)
        tiles = whole.tiles_in((box[0] - pad[0], box[1] - pad[1], box[2] + pad[0], box[3] + pad[1]))
        places = [divmod(tile.index, whole.counts[1]) for tile in (tiles[0], tiles[-1])]
        rows, columns = ((first, last + 1) for first, last in zip(*places, strict=True))
        (top, left), (bottom, right) = tiles[0].origin, (side.stop for side in tiles[-1].outer)
        return cls((bottom - top, right - left), whole.tile_shape, whole.halo, whole, rows, columns)

    @property
    def area(self) -> tuple[slice, slice]:
        """Where the part lies in the image."""
        y, x = self.whole[self.index_in_whole(0)].origin
        return slice(y, y + self.shape[0]), slice(x, x + self.shape[1])

    @property
    def counts(self) -> tuple[int, int]:
        """Number of tile rows and tile columns."""
        return self.rows[1] - self.rows[0], self.columns[1] - self.columns[0]

    def index_in_whole(self, index: int) -> int:
        """The number that a tile has in the whole image."""
        row, column = divmod(index, self.counts[1])
        return (self.rows[0] + row) * self.whole.counts[1] + self.columns[0] + column

    def __getitem__(self, index: int) -> Tile:  # type: ignore[override]
        if not 0 <= index < len(self):
            raise IndexError(f"There is no tile {index}; the part has {len(self)}.")
        tile = self.whole[self.index_in_whole(index)]
        inner, outer = [], []
        for place, edges, seen, area in zip(
            divmod(index, self.counts[1]), self._edges, tile.outer, self.area, strict=True
        ):
            inner.append(slice(edges[place], edges[place + 1]))
            outer.append(slice(seen.start - area.start, seen.stop - area.start))
        return Tile(index, (inner[0], inner[1]), (outer[0], outer[1]))

    def tile_at(self, y: float, x: float) -> Tile:
        """The tile whose inner area holds the pixel nearest to (y, x); positions outside are moved to the border."""
        row, column = (
            _place(edges, int(np.floor(value + 0.5))) for edges, value in zip(self._edges, (y, x), strict=True)
        )
        return self[row * self.counts[1] + column]

    def tiles_in(self, box: Sequence[float]) -> list[Tile]:
        """The tiles whose inner area meets the half-open box (y0, x0, y1, x1); at least one."""
        ranges = []
        for edges, low, high in zip(self._edges, box[:2], box[2:], strict=True):
            first = _place(edges, int(np.floor(low)))
            ranges.append(range(first, max(_place(edges, int(np.ceil(high)) - 1), first) + 1))
        return [self[row * self.counts[1] + column] for row in ranges[0] for column in ranges[1]]

    @property
    def _edges(self) -> tuple[list[int], list[int]]:
        """Where tiles begin and end along y and x: the halo at the border of the part belongs to the tiles there."""
        found = []
        for axis, (first, stop) in enumerate((self.rows, self.columns)):
            side = (self.whole.tile_shape or self.whole.shape)[axis]
            begin = self.area[axis].start
            inner = [k * side - begin for k in range(first + 1, stop)]
            found.append([0, *inner, self.shape[axis]])
        return found[0], found[1]


def _place(edges: list[int], pixel: int) -> int:
    return min(max(bisect_right(edges, pixel) - 1, 0), len(edges) - 2)


class PartStore(EmbeddingStore):
    """The features of a part of an image, read from those of the whole; nothing is written.

    Parameters
    ----------
    whole
        The features of the image.
    grid
        The tiles of the part.
    slices
        Half-open range of slices; None for a 2D image.
    """

    def __init__(self, whole: EmbeddingStore, grid: PartGrid, slices: Span | None) -> None:
        n_slices = None if slices is None else slices[1] - slices[0]
        super().__init__(grid, n_slices, whole.model_name, whole.model_hash)
        self.normalization = whole.normalization
        self._whole, self._part, self._first = whole, grid, 0 if slices is None else slices[0]

    @property
    def writable(self) -> bool:
        """See the base."""
        return False

    def is_complete(self, i: int | None, tile: int) -> bool:
        """See the base."""
        return self._whole.is_complete(*self._item(i, tile))

    def is_skipped(self, i: int | None, tile: int) -> bool:
        """See the base."""
        return self._whole.is_skipped(*self._item(i, tile))

    def write(self, i: int | None, tile: int, features: ImageFeatures) -> None:
        """See the base; always refused."""
        raise OutputError("Embeddings of a part of an image are only read. Write those of the whole image.")

    def skip(self, i: int | None, tile: int) -> None:
        """See the base; always refused."""
        raise OutputError("Embeddings of a part of an image are only read. Change those of the whole image.")

    def _read(self, i: int | None, tile: int) -> ImageFeatures:
        return self._whole.load(*self._item(i, tile))

    def _item(self, i: int | None, tile: int) -> Item:
        return None if i is None else i + self._first, self._part.index_in_whole(tile)


class CroppedArray:
    """A part of an array that is read only where it is asked for.

    Parameters
    ----------
    array
        Has `shape` and `dtype`, and is indexed by whole numbers and slices.
    area
        A slice for each of the first axes.
    """

    def __init__(self, array: Any, area: Sequence[slice]) -> None:
        self._array, self._area = array, tuple(area)
        cropped = tuple(side.stop - side.start for side in self._area)
        self.shape: tuple[int, ...] = (*cropped, *(int(n) for n in array.shape[len(cropped) :]))
        self.dtype = np.dtype(array.dtype)
        self.ndim = len(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self[()].astype(dtype or self.dtype, copy=False)

    def __getitem__(self, index: Any) -> np.ndarray:
        given = index if isinstance(index, tuple) else (index,)
        given = tuple(one for one in given if one is not Ellipsis)  # only ever at the end
        whole: list[Any] = []
        for axis, area in enumerate(self._area):
            one = given[axis] if axis < len(given) else slice(None)
            if isinstance(one, slice):
                start, stop, step = one.indices(self.shape[axis])
                whole.append(slice(start + area.start, max(stop, start) + area.start, step))
            else:
                whole.append(area.start + int(one) + (self.shape[axis] if one < 0 else 0))
        return np.asarray(self._array[(*whole, *given[len(self._area) :])])


def part_of(embeddings: Embeddings, box: Box, slices: Span | None = None) -> tuple[Embeddings, tuple[slice, ...]]:
    """The embeddings of the part of an image that the tiles around a box see.

    Parameters
    ----------
    embeddings
        Of the whole image; what is computed there later is there in the part, too.
    box
        (y0, x0, y1, x1), half-open, in pixels of the image, within it.
    slices
        Half-open range of slices of a stack; None: all.

    Returns
    -------
    embeddings
        Of the part; those of the whole image when no tile and no slice is left out.
    area
        Where the part lies in the image, a slice for each axis.
    """
    n, grid = embeddings.n_slices, PartGrid.around(embeddings.grid, box)
    area: tuple[slice, ...] = grid.area
    span = None if n is None else (slices or (0, n))
    if span is not None:
        area = (slice(*span), *area)
    if len(grid) == len(embeddings.grid) and span in (None, (0, n)):
        return embeddings, area
    image = embeddings.image
    if image is not None:
        image = image[area] if isinstance(image, np.ndarray) else CroppedArray(image, area)
    return Embeddings(PartStore(embeddings.store, grid, span), image), area


def items_around(grid: TileGrid, n_slices: int | None, box: Box, slices: Span | None = None) -> list[Item]:
    """The slices and tiles of an image that :func:`part_of` needs."""
    part = PartGrid.around(grid, box)
    tiles = [part.index_in_whole(index) for index in range(len(part))]
    which = [None] if n_slices is None else range(*(slices or (0, n_slices)))
    return [(i, tile) for i in which for tile in tiles]
