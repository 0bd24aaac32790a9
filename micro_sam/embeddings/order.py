"""The order in which features are computed: what somebody waits for, then what lies nearest to where they look."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from micro_sam.embeddings.store import Item
from micro_sam.embeddings.tiles import TileGrid

FloatBox = tuple[float, float, float, float]
MOST_PROMPTS = 32  # older ones do not change the order
MOST_TILES = 64  # of a 2D image that are all computed, and of a view that count as looked at
MOST_BYTES = 4 * 2**30  # of the features of a stack that are all computed
SLICES_AROUND = 16  # the slice in view, on each side


@dataclass(frozen=True)
class Focus:
    """Where the user works, as a value that any thread may read.

    Attributes
    ----------
    index
        Slice or frame in view; None: the first one, or a 2D image.
    wanted
        Items that something waits for, the most urgent first. They come before all others.
    prompts
        Boxes (y0, x0, y1, x1) of the prompts in view, in pixels of the slice, the newest first; a click has no extent.
    view
        The part of the slice on the screen, (y0, x0, y1, x1); None: not known.
    slices
        Slices (None: the 2D image) of which all tiles are wanted.
    only
        Whether nothing is computed but what is near (see :func:`nearby`).
    """

    index: int | None = None
    wanted: tuple[Item, ...] = ()
    prompts: tuple[FloatBox, ...] = ()
    view: FloatBox | None = None
    slices: tuple[int | None, ...] = ()
    only: bool = False


def is_large(grid: TileGrid, n_slices: int | None, feature_bytes: int) -> bool:
    """Whether a window computes only what is wanted of an image, instead of all of it in the background.

    Parameters
    ----------
    grid, n_slices
        Of the image.
    feature_bytes
        Of all its features.
    """
    return len(grid) > MOST_TILES if n_slices is None else feature_bytes > MOST_BYTES


def nearby(focus: Focus, grid: TileGrid, n_slices: int | None) -> Iterator[Item]:
    """What is computed of a large image where the user works; an item may come several times.

    That is what something waits for, all tiles of the slices that are wanted, and, in the slice in view and up to
    ``SLICES_AROUND`` others on both sides, the tiles that see a prompt, those in the view (unless it shows more than
    ``MOST_TILES``) and the neighbours of both. An untiled slice is a single tile that is always in view.
    """
    yield from focus.wanted
    for i in focus.slices:
        yield from ((i, tile) for tile in range(len(grid)))
    tiles = np.flatnonzero(_near(focus, grid)).tolist()
    if n_slices is None:
        yield from ((None, tile) for tile in tiles)
        return
    centre = focus.index or 0
    for i in range(max(centre - SLICES_AROUND, 0), min(centre + SLICES_AROUND + 1, n_slices)):
        yield from ((i, tile) for tile in tiles)


def _near(focus: Focus, grid: TileGrid) -> np.ndarray:
    """Which tiles of a slice see a prompt or the view, or lie beside one that does; (n,) bool."""
    if len(grid) == 1:
        return np.ones(1, bool)
    inner, outer = _areas(grid)
    found = np.zeros(len(grid), bool)
    for box in focus.prompts[:MOST_PROMPTS]:
        found |= _meets(outer, box)
    if focus.view is not None:
        seen = _meets(inner, focus.view)
        found |= seen & (seen.sum() <= MOST_TILES)
    rows, columns = grid.counts
    wide = np.pad(found.reshape(rows, columns), 1)
    around = [wide[y : y + rows, x : x + columns] for y in range(3) for x in range(3)]
    near: np.ndarray = np.logical_or.reduce(around).ravel()
    return near


@lru_cache(maxsize=4)
def _areas(grid: TileGrid) -> tuple[np.ndarray, np.ndarray]:
    """First and last + 1 row and column, (n, 2, 2), of all tiles without and with their halo."""
    tiles = np.array([[[s.start, s.stop] for s in (*tile.inner, *tile.outer)] for tile in grid], "float64")
    return tiles[:, :2], tiles[:, 2:]


class Queue:
    """The items that are yet to be computed, sorted anew whenever the focus moves.

    The slice in view and its neighbours come first. Within a slice: the tiles that see a prompt, the newest prompt
    first, then those in the view, then the others; each group from the last prompt (without one: from the middle of
    the view) outward. Without any focus the order is that of the image, slice by slice and row by row.

    Parameters
    ----------
    items
        What is to be computed.
    grid
        The tiles of a slice.
    n_slices
        Of the image; None in 2D.
    """

    def __init__(self, items: Iterable[Item], grid: TileGrid, n_slices: int | None = None) -> None:
        self._waiting = set(items)
        self._grid, self._n_slices = grid, n_slices
        self._order: list[Item] = []  # the next one last
        self._place: tuple[Any, ...] | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    def take(self, focus: Focus | int | None = None, count: int = 1) -> list[Item]:
        """The next `count` items, which leave the queue: fewer at the end, or when nothing else is wanted now.

        Parameters
        ----------
        focus
            Where the user works; a number is a slice.
        count
            At least 1.
        """
        if not isinstance(focus, Focus):
            focus = Focus(index=focus)
        taken = [item for item in dict.fromkeys(focus.wanted) if item in self._waiting][:count]
        self._waiting.difference_update(taken)
        place = (focus.index, focus.prompts, focus.view, focus.slices, focus.only)
        if place != self._place:
            self._place, self._order = place, self._sorted(focus)
        while len(taken) < count and self._order:
            item = self._order.pop()
            if item in self._waiting:
                self._waiting.remove(item)
                taken.append(item)
        return taken

    def _sorted(self, focus: Focus) -> list[Item]:
        rank, centre = self._ranks(focus), focus.index or 0

        def key(item: Item) -> tuple[int, int, int]:
            i = item[0] or 0
            return abs(i - centre), i, rank[item[1]]

        items = self._waiting
        if focus.only:
            items = items.intersection(nearby(focus, self._grid, self._n_slices))
        return sorted(items, key=key, reverse=True)

    def _ranks(self, focus: Focus) -> list[int]:
        """The place of each tile within its slice."""
        n = len(self._grid)
        if n == 1 or not (focus.prompts or focus.view):
            return list(range(n))
        inner, outer = _areas(self._grid)
        group = np.full(n, MOST_PROMPTS + 1)
        if focus.view is not None:
            group[_meets(inner, focus.view)] = MOST_PROMPTS
        for number, box in reversed(list(enumerate(focus.prompts[:MOST_PROMPTS]))):
            group[_meets(outer, box)] = number
        nearest = focus.prompts[0] if focus.prompts else focus.view
        assert nearest is not None  # as asked above
        y0, x0, y1, x1 = nearest
        point = np.array([(y0 + y1) / 2, (x0 + x1) / 2])
        distance = np.maximum(np.maximum(inner[:, :, 0] - point, point - (inner[:, :, 1] - 1)), 0)
        to_middle = inner.mean(axis=2) - point
        order = np.lexsort((np.arange(n), (to_middle**2).sum(1), (distance**2).sum(1), group))
        rank = np.empty(n, int)
        rank[order] = np.arange(n)
        return rank.tolist()


def _meets(areas: np.ndarray, box: FloatBox) -> np.ndarray:
    """Which areas (n, 2, 2) - first and last + 1 row, first and last + 1 column - hold a pixel of the box."""
    low, high = np.array(box[:2]), np.array(box[2:])
    return np.asarray(((areas[:, :, 0] <= high + 0.5) & (areas[:, :, 1] - 0.5 >= low)).all(axis=1))
