"""Dense maps of large images, block by block: memory stays the same however large the image is.

A block is a square of tiles. Its maps are those that all tiles of the image would give there, and go into a file beside
the embeddings (or in a temporary folder, or in memory as long as they are few), so that a job that was interrupted goes
on where it was, and blocks may be given to several workers: each writes its own file, whole or not at all.
"""

from __future__ import annotations

import json
import logging
import math
import tempfile
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from micro_sam.embeddings.tiles import Tile, TileGrid
from micro_sam.errors import InputError
from micro_sam.io.atomic import locked, replacing, write_chunk
from micro_sam.segmentation.automatic.dense_maps import (
    DenseMaps,
    placed_size,
    resized,
    stitched_part,
    tile_maps,
    work_shape,
)
from micro_sam.segmentation.automatic.dense_scales import iter_best_scale

if TYPE_CHECKING:
    from micro_sam.embeddings.embeddings import Embeddings
    from micro_sam.models.predictor import Predictor

logger = logging.getLogger(__name__)

BLOCK_TILES = 4  # along each side of a block
MOST_TILES = BLOCK_TILES**2  # of an image whose maps are made at once
HALO = 64  # of the maps: with it, blocks have the seeds of the whole image (measured on blocks of 512)
IN_MEMORY = 2**27  # bytes; more maps than that go onto the disc
FINER = 2  # times, maps of a closer look: in coarser ones small objects run together
CHANNELS = {"offsets": 2, "distances": 3}  # that tell foreground and depth; offsets only tell the scale

Area = tuple[slice, slice]


class DenseBlocks:
    """The maps of a large image, in blocks.

    Parameters
    ----------
    grid : TileGrid
        The tiles of the image.
    kind : "offsets" or "distances"
    about : str
        What the maps depend on, besides the embeddings: maps that are there of something else are computed again.
    folder : path, optional
        Where they are kept. None: nowhere.

    Attributes
    ----------
    blocks : TileGrid
        Their areas in the image.
    work : (h, w)
        Size of the maps of the whole image; known once a tile was looked at (see :meth:`measure`).
    """

    def __init__(self, grid: TileGrid, kind: str, about: str, folder: Path | None = None) -> None:
        self.grid, self.kind = grid, kind
        height, width = grid.tile_shape or grid.shape
        sides = min(height * BLOCK_TILES, grid.shape[0]), min(width * BLOCK_TILES, grid.shape[1])
        self.blocks = TileGrid(grid.shape, sides, (0, 0))
        self.work: tuple[int, int] = (0, 0)
        self._about = about
        self._memory: dict[int, np.ndarray] = {}
        self._wanted = folder
        self._folder: Path | None = None
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._recent: OrderedDict[int, torch.Tensor | None] = OrderedDict()

    @property
    def is_kept(self) -> bool:
        """Whether the maps lie beside the embeddings."""
        return self._folder is not None and self._temporary is None

    @property
    def shape(self) -> tuple[int, int]:
        """(H, W) of the image."""
        return self.grid.shape

    def missing(self) -> list[Tile]:
        """The blocks that are not computed yet."""
        return [block for block in self.blocks if not self._is_there(block.index)]

    def tiles_of(self, block: Tile) -> list[Tile]:
        """The tiles that see a part of a block."""
        (y, x), halo = block.inner, self.grid.halo or (0, 0)
        return self.grid.tiles_in((y.start - halo[0], x.start - halo[1], y.stop + halo[0], x.stop + halo[1]))

    def area(self, block: Tile, halo: int = 0) -> Area:
        """Where a block lies in the maps of the whole image, with a halo that ends with the image."""
        found = []
        for inner, size, length in zip(block.inner, self.shape, self.work, strict=True):
            begin, end = round(inner.start * length / size), round(inner.stop * length / size)
            found.append(slice(max(begin - halo, 0), min(max(end, begin + 1) + halo, length)))
        return found[0], found[1]

    def measure(self, maps: torch.Tensor, tile: Tile) -> None:
        """Learn from the maps (K, h, w) of a tile how large those of the image are, and find room for them."""
        rows, columns = self.grid.counts
        side = max(self.grid[rows // 2 * columns + columns // 2].shape)  # that has a halo on all sides
        self.work = work_shape(self.shape, (maps.shape[1], maps.shape[2]), tile.shape, side)
        if self._wanted is not None and self._take_folder(self._wanted):
            return
        if CHANNELS[self.kind] * math.prod(self.work) * 2 > IN_MEMORY:
            self._temporary = tempfile.TemporaryDirectory(prefix="micro_sam_maps_", ignore_cleanup_errors=True)
            self._folder = Path(self._temporary.name)

    def stitch(self, block: Tile, maps_of: Callable[[Tile], torch.Tensor | None]) -> DenseMaps:
        """The maps of a block, all channels, from its tiles; ``maps_of`` gives None for tiles that are left out."""

        def remembered(tile: Tile) -> torch.Tensor | None:
            if tile.index not in self._recent:
                maps = maps_of(tile)  # in the size in which they are needed, up to four times
                size = placed_size(tile, self.shape, self.work)
                self._recent[tile.index] = None if maps is None else torch.from_numpy(resized(maps, size)).half()
            self._recent.move_to_end(tile.index)
            found = self._recent[tile.index]
            return None if found is None else found.float()

        values = stitched_part(self.tiles_of(block), self.shape, self.work, self.area(block), remembered)
        # Tiles on the border to the next row of blocks are needed once more.
        while len(self._recent) > 2 * self.grid.counts[1] + (BLOCK_TILES + 2) ** 2:
            self._recent.popitem(last=False)
        if values is None:
            return DenseMaps(np.zeros((4, *_shape(self.area(block))), "float16"), self.kind, _shape(block.inner))
        return DenseMaps(values.astype("float16"), self.kind, _shape(block.inner))

    def write(self, block: Tile, maps: DenseMaps) -> None:
        """Keep the maps of a block, in the size that they have in those of the image, or ``FINER`` times that."""
        size = _shape(self.area(block))
        values = maps.values[: CHANNELS[self.kind]]
        if values.shape[1] > 1.2 * size[0]:
            size = (FINER * size[0], FINER * size[1])
        if values.shape[1:] != size:
            values = resized(torch.from_numpy(values.astype("float32")), size).astype("float16")
        if self._folder is None:
            self._memory[block.index] = np.ascontiguousarray(values)
            return
        with replacing(self._file(block.index)) as (place,), open(place, "wb") as file:
            np.save(file, values)

    def fineness(self, block: Tile) -> int:
        """How many times finer the maps of a block are than those of the image: 1 or ``FINER``."""
        return int(self._values(block.index).shape[1] // _shape(self.area(block))[0])

    def read(self, area: Area, fineness: int = 1) -> DenseMaps:
        """The maps of a part of the image, so many times finer; ``shape`` is that of the part in the maps."""
        values = np.zeros((CHANNELS[self.kind], *(fineness * side for side in _shape(area))), "float16")
        y, x = ((s.start * n / m, s.stop * n / m) for s, n, m in zip(area, self.shape, self.work, strict=True))
        for block in self.blocks.tiles_in((y[0] - 1, x[0] - 1, y[1] + 1, x[1] + 1)):
            lies = self.area(block)
            rows, columns = (slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(area, lies, strict=True))
            shared = rows, columns
            if all(s.start < s.stop for s in shared):
                theirs = self.fineness(block)
                here = times(within(shared, area), fineness)
                there = times(within(shared, lies), theirs)
                found = self._values(block.index)[(slice(None), *there)]
                if theirs != fineness:
                    size = fineness * (rows.stop - rows.start), fineness * (columns.stop - columns.start)
                    found = resized(torch.from_numpy(found.astype("float32")), size)
                values[(slice(None), *here)] = found
        return DenseMaps(values, self.kind, (values.shape[1], values.shape[2]))

    def whole(self) -> DenseMaps:
        """The maps of the whole image, in memory."""
        maps = self.read((slice(0, self.work[0]), slice(0, self.work[1])))
        return DenseMaps(maps.values, self.kind, self.shape)

    def close(self) -> None:
        """Forget the maps that are not kept."""
        self._memory.clear()
        self._recent.clear()
        if self._temporary is not None:
            self._temporary.cleanup()

    def forget_tiles(self) -> None:
        """Release what only the computation needed."""
        self._recent.clear()

    def _is_there(self, index: int) -> bool:
        return index in self._memory if self._folder is None else self._file(index).is_file()

    def _values(self, index: int) -> np.ndarray:
        return self._memory[index] if self._folder is None else np.load(self._file(index), mmap_mode="r")

    def _file(self, index: int) -> Path:
        assert self._folder is not None
        return self._folder / f"{index:06d}.npy"

    def _take_folder(self, folder: Path) -> bool:
        """Keep the maps there; those of something else that lie there are removed. False: it cannot be written."""
        about = json.dumps([self._about, self.shape, self.work, self.blocks.tile_shape, self.grid.tile_shape])
        note = folder / "about.json"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if not _says(note, about):
                with locked(folder):  # of several that begin, one removes what is there: the others' maps stay
                    if not _says(note, about):
                        for file in folder.glob("[0-9][0-9][0-9][0-9][0-9][0-9].npy"):
                            file.unlink(missing_ok=True)
                        write_chunk(note, about.encode())
        except OSError as error:
            logger.warning("The maps of the automatic segmentation are not kept in %s: %s", folder, error)
            return False
        self._folder = folder
        return True


def _says(note: Path, about: str) -> bool:
    """Whether a note is there and says this."""
    try:
        return note.read_bytes() == about.encode()
    except FileNotFoundError:
        return False


def in_blocks(embeddings: Embeddings) -> bool:
    """Whether an image is so large that its maps lie in blocks."""
    return embeddings.n_slices is None and len(embeddings.grid) > MOST_TILES


def within(area: Area, outer: Area) -> Area:
    y, x = (slice(a.start - o.start, a.stop - o.start) for a, o in zip(area, outer, strict=True))
    return y, x


def times(area: Area, factor: int) -> Area:
    y, x = (slice(factor * s.start, factor * s.stop) for s in area)
    return y, x


def _shape(area: Area) -> tuple[int, int]:
    return area[0].stop - area[0].start, area[1].stop - area[1].start


def iter_block_maps(
    predictor: Predictor,
    embeddings: Embeddings,
    blocks: DenseBlocks,
    objects: Callable[[DenseMaps], np.ndarray],
    look_closer: bool,
    only: Collection[int] | None = None,
) -> Iterator[int]:
    """Compute the blocks that are missing; yields the number of tiles that are done.

    Parameters
    ----------
    predictor : Predictor
    embeddings : Embeddings
        Complete, of a 2D image.
    blocks : DenseBlocks
    objects : callable
        Labels (h, w) of the objects that maps show; they tell whether to look again, see ``dense_scales``.
    look_closer : bool
        See ``dense_scales.iter_best_scale``.
    only : collection of int, optional
        Numbers of the blocks to compute; others may be computing the rest. None: all.

    Raises
    ------
    InputError
        When all tiles were left out.
    """
    grid, store = embeddings.grid, embeddings.store

    def stored(tile: Tile) -> torch.Tensor | None:
        return None if store.is_skipped(None, tile.index) else tile_maps(predictor, store.load(None, tile.index))

    open_blocks(predictor, embeddings, blocks)
    done, missing = len(grid), [block for block in blocks.missing() if only is None or block.index in only]
    done -= sum(_n_tiles(grid, block) for block in missing)
    for block in missing:
        maps = blocks.stitch(block, stored)
        if maps.values.any():
            for _, _, again in iter_best_scale(predictor, embeddings, None, maps, objects, block.inner, look_closer):
                maps = again or maps
                if again is None:
                    yield done  # a closer look takes long: whoever waits may stop here
        blocks.write(block, maps)
        done += _n_tiles(grid, block)
        yield done
    blocks.forget_tiles()


def open_blocks(predictor: Predictor, embeddings: Embeddings, blocks: DenseBlocks) -> DenseBlocks:
    """Find out which blocks are there, from any tile that is embedded.

    Raises
    ------
    InputError
        When all tiles were left out.
    NotComputedYet
        When none is embedded.
    """
    store, left = embeddings.store, [t for t in embeddings.grid if not embeddings.store.is_skipped(None, t.index)]
    if not left:
        raise InputError("No tile of this image was embedded, so there is nothing to segment.")
    first = next((tile for tile in left if store.is_complete(None, tile.index)), left[0])
    # The longer side of the maps is that of all tiles: whichever is there, the size comes out as from the first one.
    blocks.measure(tile_maps(predictor, store.load(None, first.index)), left[0])
    return blocks


def _n_tiles(grid: TileGrid, block: Tile) -> int:
    return len(grid.tiles_in(tuple(s.start for s in block.inner) + tuple(s.stop for s in block.inner)))


def blocks_folder(embeddings: Embeddings, closer: bool) -> Path | None:
    """Where the maps of an image (looked at closer) are kept; None when its embeddings are in memory only."""
    folder = getattr(embeddings.store, "path", None)
    return None if folder is None else Path(folder) / "automatic" / ("closer_blocks" if closer else "dense_blocks")
