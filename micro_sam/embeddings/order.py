"""The order in which features are computed: what somebody waits for, then what lies nearest to where they look."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from micro_sam.embeddings.store import Item
from micro_sam.embeddings.tiles import TileGrid

Box = tuple[float, float, float, float]
MOST_PROMPTS = 32  # older ones do not change the order


@dataclass(frozen=True)
class Focus:
    """Where the user is at work, as a value that any thread may read.

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
    """

    index: int | None = None
    wanted: tuple[Item, ...] = ()
    prompts: tuple[Box, ...] = ()
    view: Box | None = None


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
    """

    def __init__(self, items: Iterable[Item], grid: TileGrid) -> None:
        self._waiting = set(items)
        self._grid = grid
        self._tiles: np.ndarray | None = None
        self._order: list[Item] = []  # the next one last
        self._place: tuple | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    def take(self, focus: Focus | int | None = None, count: int = 1) -> list[Item]:
        """The next `count` items (fewer at the end), which leave the queue.

        Parameters
        ----------
        focus
            Where the user is at work; a number is a slice.
        count
            At least 1.
        """
        if not isinstance(focus, Focus):
            focus = Focus(index=focus)
        taken = [item for item in dict.fromkeys(focus.wanted) if item in self._waiting][:count]
        self._waiting.difference_update(taken)
        place = (focus.index, focus.prompts, focus.view)
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

        return sorted(self._waiting, key=key, reverse=True)

    def _ranks(self, focus: Focus) -> list[int]:
        """The place of each tile within its slice."""
        n = len(self._grid)
        if n == 1 or not (focus.prompts or focus.view):
            return list(range(n))
        if self._tiles is None:
            self._tiles = np.array([[[s.start, s.stop] for s in (*t.inner, *t.outer)] for t in self._grid], "float64")
        tiles = self._tiles
        inner, outer = (tiles[:, k : k + 2] for k in (0, 2))
        group = np.full(n, MOST_PROMPTS + 1)
        if focus.view is not None:
            group[_meets(inner, focus.view)] = MOST_PROMPTS
        for number, box in reversed(list(enumerate(focus.prompts[:MOST_PROMPTS]))):
            group[_meets(outer, box)] = number
        y0, x0, y1, x1 = focus.prompts[0] if focus.prompts else focus.view
        point = np.array([(y0 + y1) / 2, (x0 + x1) / 2])
        distance = np.maximum(np.maximum(inner[:, :, 0] - point, point - (inner[:, :, 1] - 1)), 0)
        to_middle = inner.mean(axis=2) - point
        order = np.lexsort((np.arange(n), (to_middle**2).sum(1), (distance**2).sum(1), group))
        rank = np.empty(n, int)
        rank[order] = np.arange(n)
        return rank.tolist()


def _meets(areas: np.ndarray, box: Box) -> np.ndarray:
    """Which areas (n, 2, 2) - first and last + 1 row, first and last + 1 column - hold a pixel of the box."""
    low, high = np.array(box[:2]), np.array(box[2:])
    return ((areas[:, :, 0] <= high + 0.5) & (areas[:, :, 1] - 0.5 >= low)).all(axis=1)
