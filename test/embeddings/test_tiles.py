"""Tiles partition the image and their halos stay inside it."""

import numpy as np
import pytest

from micro_sam.embeddings.tiles import TileGrid, suggest_tiling
from micro_sam.errors import InputError


@pytest.mark.parametrize("shape", [(100, 130), (64, 64), (1, 1), (2000, 33)])
@pytest.mark.parametrize("tiles", [(None, None), ((40, 64), (8, 5)), ((64, 64), None)])
def test_inner_areas_partition_the_image(shape, tiles):
    grid = TileGrid(shape, *tiles)
    count = np.zeros(shape, int)
    for number, tile in enumerate(grid):
        assert tile.index == number
        count[tile.inner] += 1
        (y, x), (h, w) = tile.origin, tile.shape
        assert 0 <= y <= tile.inner[0].start and y + h <= shape[0] and x + w <= shape[1]
        assert grid.tile_at(tile.inner[0].start, tile.inner[1].stop - 1) == tile
    assert (count == 1).all()
    assert len(grid.tiles_in((0, 0, *shape))) == len(grid)


def test_positions_and_boxes_find_their_tiles():
    grid = TileGrid((100, 130), (50, 64), (10, 12))
    assert grid.counts == (2, 3)
    assert grid.tile_at(0, 0).index == 0 and grid.tile_at(50, 63).index == 3 and grid.tile_at(49.4, 63.6).index == 1
    assert grid.tile_at(-5, 1000).index == 2, "positions outside belong to the tile at the border"
    assert [t.index for t in grid.tiles_in((40, 60, 60, 70))] == [0, 1, 3, 4]
    assert [t.index for t in grid.tiles_in((0, 0, 50, 64))] == [0]
    assert [t.index for t in grid.tiles_in((20, 20, 20, 20))] == [0]
    assert grid[0].outer == (slice(0, 60), slice(0, 76)) and grid[4].outer == (slice(40, 100), slice(52, 130))
    assert grid[4].outer_contains((40, 52, 100, 130)) and not grid[4].outer_contains((39, 52, 100, 130))


def test_halo_is_chosen_when_none_is_given():
    assert TileGrid((5000, 5000), (1024, 512)).halo == (256, 128)
    assert TileGrid((5000, 5000), (1024, 512), (0, 0)).halo == (0, 0)


@pytest.mark.parametrize("wrong", [((0, 64), None), ((3, 3), None), ((64,), None), ((64, 64), (-1, 0)), (None, (5, 5))])
def test_sizes_that_cannot_be_are_refused(wrong):
    with pytest.raises(InputError):
        TileGrid((500, 500), *wrong)


def test_large_images_get_equal_tiles():
    assert suggest_tiling((2048, 2048)) == (None, None)
    assert suggest_tiling((2049, 1000)) == ((683, 500), (128, 128))
    assert suggest_tiling((20000, 30)) == ((741, 30), (128, 128))
    assert suggest_tiling((768, 700), 512, 1.5) == (None, None)
    assert suggest_tiling((1024, 1024), 512, 1.5, 64) == ((342, 342), (64, 64))
    assert suggest_tiling((1024, 1024), 512, 1.5, 32) == ((342, 342), (64, 64)), "there is room for more halo"
    assert suggest_tiling((20000, 20000), 512, 1.5, 32) == ((445, 445), (33, 33))
    grid = TileGrid((10000, 9000), *suggest_tiling((10000, 9000)))
    assert max(max(t.shape) for t in grid) <= 1024
    assert min(min(s.stop - s.start for s in t.inner) for t in grid) >= 690
