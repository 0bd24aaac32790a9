"""The scale at which an image is segmented automatically follows from the maps themselves."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from micro_sam.embeddings.embeddings import Embeddings
from micro_sam.embeddings.store import MemoryStore
from micro_sam.embeddings.tiles import TileGrid
from micro_sam.io.normalization import Normalization
from micro_sam.segmentation.automatic import dense_scales
from micro_sam.segmentation.automatic.dense_maps import DenseMaps
from micro_sam.segmentation.automatic.dense_scales import disagreement, iter_best_scale, looks
from micro_sam.training.targets import dense_targets

MODEL = SimpleNamespace(image_size=512, dense_kind="offsets", close_up=256)
PREDICTOR = SimpleNamespace(model=MODEL)


def maps_of(labels: np.ndarray, shape: tuple[int, int], error: float = 0.0) -> DenseMaps:
    """Maps that fit labels, but that every centre is told wrong by ``error`` radii."""
    targets = dense_targets(labels.astype(np.int32), 1)
    offset = targets.offset / targets.radius[None] + error
    return DenseMaps(
        np.concatenate([(labels > 0)[None], targets.distance[None], offset]).astype("float16"), "offsets", shape
    )


def discs(radius: int, side: int = 256) -> np.ndarray:
    """A row of discs of this radius, in pixels of the maps."""
    y, x = np.mgrid[:side, :side]
    labels = np.zeros((side, side), int)
    for k, centre in enumerate(range(radius + 2, side - radius - 1, 2 * radius + 6), 1):
        labels[np.hypot(y - side // 2, x - centre) <= radius] = k
    return labels


def embeddings(shape=(500, 500), tile_shape=None) -> Embeddings:
    grid = TileGrid(shape, tile_shape, (64, 64) if tile_shape else None)
    store = MemoryStore(grid)
    store.normalization = Normalization.identity()
    return Embeddings(store, np.zeros(shape, "uint8"))


@pytest.fixture
def see(monkeypatch):
    """Says what the network sees, look by look; returns the grids that were looked at."""

    def prepare(*answers: tuple[int, float]):
        left, grids = list(answers), []

        def encode(predictor, embeddings, grid, before, total, origin=(0, 0), known=None):
            grids.append(grid)
            for done in range(1, len(grid) + 1):
                yield before + done, total, None
            radius, error = left.pop(0)
            return maps_of(discs(radius), grid.shape, error)

        monkeypatch.setattr(dense_scales, "_iter_encoded", encode)
        return grids

    return prepare


def best(embeddings, radius: int, error: float, i=None):
    """Index of the look that is taken (-1: the maps at hand), and the steps."""
    at_hand = maps_of(discs(radius), embeddings.grid.shape, error)
    steps = list(iter_best_scale(PREDICTOR, embeddings, i, at_hand, _labels))
    assert all(maps is None for *_, maps in steps[:-1]) and steps[-1][2] is not None
    done = [step[0] for step in steps]
    assert done == sorted(done) and steps[-1][0] == steps[-1][1]
    return steps[-1][2] is at_hand, steps[-1][2]


def _labels(maps):
    from scipy.ndimage import label

    return label(maps.values[0] > 0.5)[0]


def test_disagreement_is_small_for_whole_objects_and_large_for_pieces():
    labels = discs(20)
    maps = maps_of(labels, (256, 256))
    assert disagreement(maps, labels) < 0.05
    halves = labels * 2 + (np.arange(256)[:, None] > 128) * (labels > 0)
    assert disagreement(maps, halves) > 0.3


def test_small_objects_are_looked_at_closer_until_they_are_large_enough(see):
    grids = see((4, 0.1), (4, 0.1))  # in a closer look a pixel of these maps is more pixels of the network
    is_first, maps = best(embeddings((500, 500)), 6, 0.1)
    assert not is_first and [len(grid) for grid in grids] == [4, 9]
    assert disagreement(maps, discs(4)) < 0.3


@pytest.mark.parametrize(("radius", "error", "taken"), [(6, 0.1, True), (6, 0.4, False), (15, 0.1, False)])
def test_a_closer_look_must_agree_and_show_small_objects(see, radius, error, taken):
    see((radius, error), (30, 9.0))
    is_first, _ = best(embeddings(), 6, 0.1)
    assert is_first != taken


def test_large_objects_are_not_looked_at_again_unless_the_maps_contradict_themselves(see):
    assert not see() and best(embeddings(), 40, 0.1)[0]
    grids = see((6, 0.2), (20, 0.2))
    assert not best(embeddings(), 40, 0.5)[0] and grids


def test_tiles_that_show_pieces_give_way_to_the_image_seen_from_farther_off(see):
    tiled = embeddings((800, 800), (267, 267))
    grids = see((20, 0.1))
    is_first, _ = best(tiled, 8, 0.6)
    assert not is_first and [len(grid) for grid in grids] == [1]


@pytest.mark.parametrize(("radius", "error"), [(5, 0.1), (20, 0.9)])
def test_from_farther_off_objects_must_be_large_enough_and_agree(see, radius, error):
    tiled = embeddings((800, 800), (267, 267))
    see((radius, error), (8, 9.0), (8, 9.0))
    assert best(tiled, 8, 0.6)[0]


def test_tiles_that_agree_are_not_looked_at_from_farther_off(see):
    tiled = embeddings((800, 800), (267, 267))
    grids = see((4, 0.1), (4, 0.9))
    best(tiled, 4, 0.1)
    assert grids and all(len(grid) > 9 for grid in grids)


@pytest.mark.parametrize("shape", [(800, 800), (900, 1500), (3000, 200), (1600, 1600)])
def test_looks_go_in_steps_to_the_whole_image(shape):
    from micro_sam.embeddings.tiles import suggest_tiling

    tile_shape, _ = suggest_tiling(shape, 512, 1.5, 32)
    tiled = embeddings(shape, tile_shape)
    farther, closer = looks(PREDICTOR, tiled, None)
    counts = [len(tiled.grid), *(len(grid) for grid in farther)]
    assert counts[-1] == 1 and counts == sorted(counts, reverse=True) and len(set(counts)) == len(counts)
    assert all(len(grid) <= dense_scales.MOST_TILES for grid in closer)


def test_stacks_and_images_that_are_not_at_hand_are_taken_as_they_are(see):
    assert not see() and best(embeddings(), 6, 0.9, i=0)[0]
    without = embeddings()
    without.image = None
    assert best(without, 6, 0.9)[0]


def test_an_image_without_objects_is_looked_at_once_more(see):
    nothing = DenseMaps(np.zeros((4, 64, 64), "float16"), "offsets", (500, 500))
    grids = see((6, 0.1), (20, 0.1))
    steps = list(iter_best_scale(PREDICTOR, embeddings(), None, nothing, _labels))
    assert grids and steps[-1][2] is not nothing


def test_a_part_of_a_large_image_is_looked_at_closer_as_a_sample_of_it_tells(see):
    large, part = embeddings((2000, 2000), (448, 448)), (slice(448, 1344), slice(0, 896))
    at_hand = maps_of(np.roll(discs(6, 512), 60, 0), (896, 896), 0.1)
    shape = lambda grid: grid.shape  # noqa: E731
    grids = see((5, 0.1), (4, 0.1), (4, 0.1))
    *_, (done, total, maps) = iter_best_scale(PREDICTOR, large, None, at_hand, _labels, part, True)
    assert done == total and maps is not at_hand
    assert [*map(shape, grids)] == [(448, 448), (448, 448), (896, 896)], "two looks at a sample, one at the part"
    assert len(grids[2]) > len(looks(PREDICTOR, large, None, part)[1][0]), "as close as the second of them"
    grids = see((6, 9.0))
    *_, (_, _, maps) = iter_best_scale(PREDICTOR, large, None, at_hand, _labels, part, True)
    assert maps is at_hand and len(grids) == 1, "it does not help"
    assert not see()
    *_, (_, _, maps) = iter_best_scale(PREDICTOR, large, None, at_hand, _labels, part, False)
    assert maps is at_hand


def test_tiles_where_nothing_is_are_left_out(monkeypatch):
    seen = []
    monkeypatch.setattr(dense_scales, "network_image", lambda image, i, area, store: seen.append(area) or image[area])
    monkeypatch.setattr(dense_scales, "tile_maps", lambda predictor, pixels: torch.zeros(4, 8, 8))
    predictor = SimpleNamespace(model=MODEL, encode=lambda pixels: pixels)
    known = maps_of(discs(6), (1000, 1000))  # a row of them, at 500 pixels
    known.values[0, :, :140] = 0
    grid = TileGrid((1000, 1000), (250, 250), (25, 25))
    for _ in dense_scales._iter_encoded(predictor, embeddings((1000, 1000)), grid, 0, 16, (0, 0), known):
        pass
    assert {(y.start, x.stop) for y, x in seen} == {(225, 775), (225, 1000), (475, 775), (475, 1000)}
