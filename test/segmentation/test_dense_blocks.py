"""Automatic segmentation of images of many tiles, block by block."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy import ndimage
from skimage.morphology import h_maxima

from micro_sam.embeddings.embeddings import Embeddings
from micro_sam.embeddings.store import MemoryStore
from micro_sam.embeddings.tiles import TileGrid
from micro_sam.errors import InputError
from micro_sam.models.predictor import ImageFeatures
from micro_sam.segmentation.automatic import dense, dense_blocks
from micro_sam.segmentation.automatic.dense import DenseInstanceSegmenter
from micro_sam.segmentation.automatic.dense_maps import tile_maps
from micro_sam.segmentation.automatic.hilltops import hilltops
from micro_sam.training.targets import dense_targets

SIDE, TILE, HALO = 1500, 128, 32
GRID = TileGrid((SIDE, SIDE - 60), (TILE, TILE), (HALO, HALO))


class Known:
    """A model whose maps are those of known objects, with some noise that is different in every tile."""

    device = torch.device("cpu")
    model_name, model_hash = "known", "0"

    def __init__(self, labels: np.ndarray) -> None:
        self.model = SimpleNamespace(image_size=TILE + 2 * HALO, dense_kind="offsets", close_up=None)
        targets = dense_targets(labels.astype(np.int32), 1)
        foreground = np.where(labels > 0, 4.0, -4.0)
        offset = targets.offset / np.maximum(targets.radius, 1)[None]
        self.maps = np.concatenate([foreground[None], targets.distance[None], offset]).astype("float32")
        self.asked: list[int] = []

    def store(self) -> MemoryStore:
        store = MemoryStore(GRID)
        for tile in GRID:
            values = torch.from_numpy(self.maps[(slice(None), *tile.outer)].copy())
            values[:2] += torch.from_numpy(np.random.default_rng(tile.index).normal(0, 0.02, values[:2].shape)).float()
            pad = self.model.image_size - torch.tensor(values.shape[1:])
            values = torch.nn.functional.pad(values, (0, int(pad[1]), 0, int(pad[0])))
            store.write(None, tile.index, ImageFeatures(torch.zeros(1, 1, 1, 1), tile.shape, tile.shape, values))
        load = store.load

        def counted(i, tile):
            self.asked.append(tile)
            return load(i, tile)

        store.load = counted
        return store


@pytest.fixture(scope="module")
def truth() -> np.ndarray:
    """Ellipses of all sizes, and two bands that reach across the whole image."""
    random = np.random.default_rng(0)
    labels = np.zeros(GRID.shape, np.uint32)
    labels[700:740] = 1
    labels[:, 500:560][:600] = 2
    y, x = np.mgrid[-60:61, -60:61]
    for k in range(3, 900):
        a, b, c = random.uniform(6, 45), random.uniform(6, 45), random.uniform(-0.3, 0.3)
        place = [int(random.integers(61, n - 61)) for n in GRID.shape]
        area = labels[place[0] - 60 : place[0] + 61, place[1] - 60 : place[1] + 61]
        inside = (y / a + c * x / b) ** 2 + (x / b) ** 2 <= 1
        if not area[ndimage.binary_dilation(inside, iterations=3)].any():
            area[inside] = k
    return labels


@pytest.fixture(scope="module")
def whole(truth) -> np.ndarray:
    """What the maps of the whole image, stitched at once, give."""
    segmenter = DenseInstanceSegmenter(Known(truth))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dense_blocks, "MOST_TILES", 10**6)
        segmenter.initialize(None, Embeddings(segmenter.predictor.store()))
    return segmenter.generate()


def in_blocks(truth, **attributes) -> DenseInstanceSegmenter:
    segmenter = DenseInstanceSegmenter(Known(truth))
    store = segmenter.predictor.store()
    for name, value in attributes.items():
        setattr(store, name, value)
    segmenter.initialize(None, Embeddings(store))
    return segmenter


def pairs_of(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.unique(np.stack([a.ravel(), b.ravel()], 1), axis=0)


def test_blocks_give_the_objects_of_the_whole_image(truth, whole):
    labels = in_blocks(truth).generate()
    assert labels.dtype == np.uint32 and labels.max() == whole.max() == len(np.unique(truth)) - 1
    assert np.array_equal(labels > 0, whole > 0)
    differ = (ndimage.grey_dilation(labels, 3) != ndimage.grey_erosion(labels, 3)) | (labels == 0)
    for k in range(1, labels.max() + 1):
        found = np.bincount(whole[(labels == k) & ~differ])
        assert found.argmax() > 0 and found.max() == found.sum(), "no object is cut, or joined with another"
    assert len(np.unique(labels)) == labels.max() + 1


def test_an_object_across_all_blocks_is_one(truth):
    labels = in_blocks(truth).generate()
    for band in (labels[710:730], labels[:590, 510:550]):
        assert len(np.unique(band)) == 1 and band[0, 0] > 0


def test_small_objects_are_left_out_by_their_size_in_the_whole_image(truth, whole):
    segmenter = in_blocks(truth)
    labels = segmenter.generate(min_size=500)
    areas = np.bincount(whole.ravel())[1:]
    assert labels.max() == (areas >= 500).sum() and np.bincount(labels.ravel())[1:].min() >= 500
    assert segmenter.generate(min_size=10**7).max() == 0 and "min_size" in segmenter.hint
    assert segmenter.generate(foreground_threshold=1.0).max() == 0 and "foreground_threshold" in segmenter.hint
    assert segmenter.generate(distance_threshold=2).max() == 0 and "distance_threshold" in segmenter.hint


def test_maps_in_blocks_are_those_of_the_whole_image(truth):
    blocks, segmenter = in_blocks(truth).maps, DenseInstanceSegmenter(Known(truth))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dense_blocks, "MOST_TILES", 10**6)
        segmenter.initialize(None, Embeddings(segmenter.predictor.store()))
    assert blocks.shape == segmenter.maps.shape and blocks.values.shape[1:] == segmenter.maps.values.shape[1:]
    np.testing.assert_allclose(blocks.values, segmenter.maps.values[:2], atol=2e-3)


def test_blocks_may_be_labelled_in_any_order_by_anybody(truth):
    segmenter = in_blocks(truth)
    expected = segmenter.generate()
    thresholds = (0.5, 0.55, 0.15, 1.0)
    found = list(segmenter.iter_labels(thresholds))
    np.random.default_rng(1).shuffle(found)
    joining, labels = dense.Joining(segmenter._blocks.blocks), np.zeros(GRID.shape, np.uint32)
    for one in found:
        joining.add(one)
        labels[one.block.inner] = one.labels
    tables, _, number = joining.tables()
    for one in found:
        labels[one.block.inner] = tables[one.block.index][labels[one.block.inner]]
    assert number == expected.max() and len(pairs_of(labels, expected)) == number + 1
    assert not joining._bands, "bands are forgotten when both sides were seen"


def test_each_tile_is_decoded_once_and_the_others_are_forgotten(truth):
    segmenter = in_blocks(truth)
    asked = segmenter.predictor.asked
    assert len(asked) <= len(GRID) + 1 and set(asked) == set(range(len(GRID)))
    assert not segmenter._blocks._recent


def test_an_interrupted_run_goes_on_where_it_was(truth, tmp_path):
    first = DenseInstanceSegmenter(Known(truth))
    store = first.predictor.store()
    store.path = tmp_path
    run = first.iter_initialize(Embeddings(store))
    for _ in range(4):
        next(run)
    run.close()  # as a cancel, or a killed process, leaves it
    assert len(list(tmp_path.rglob("*.npy"))) == 4
    again = in_blocks(truth, path=tmp_path)
    assert again.is_kept and len(set(again.predictor.asked)) < len(GRID)
    np.testing.assert_array_equal(again.generate(), in_blocks(truth).generate())
    read = in_blocks(truth, path=tmp_path)
    assert len(read.predictor.asked) == 1, "all blocks are there"
    other = DenseInstanceSegmenter(Known(truth))
    other.predictor.model_hash = "another"
    store = other.predictor.store()
    store.path = tmp_path
    other.initialize(None, Embeddings(store))
    assert set(other.predictor.asked) == set(range(len(GRID))), "maps of another model are not used"


def test_maps_that_memory_does_not_hold_lie_on_the_disc_for_the_time(truth, monkeypatch):
    expected = in_blocks(truth).generate()
    monkeypatch.setattr(dense_blocks, "IN_MEMORY", 10**5)
    segmenter = in_blocks(truth)
    folder = segmenter._blocks._folder
    assert not segmenter.is_kept and len(list(folder.iterdir())) == len(segmenter._blocks.blocks)
    np.testing.assert_array_equal(segmenter.generate(), expected)
    segmenter.clear_state()
    assert not folder.exists()


def test_tiles_that_were_left_out_stay_empty(truth):
    left_out = {tile.index for tile in GRID if tile.inner[0].start < 512}
    segmenter = DenseInstanceSegmenter(Known(truth))
    store = segmenter.predictor.store()
    store.is_skipped = lambda i, tile: tile in left_out
    segmenter.initialize(None, Embeddings(store))
    labels = segmenter.generate()
    assert not labels[:470].any() and labels[560:].any()
    store.is_skipped = lambda i, tile: True
    with pytest.raises(InputError, match="nothing to segment"):
        segmenter.initialize(None, Embeddings(store))


def test_hilltops_are_the_h_maxima():
    random = np.random.default_rng(0)
    for shape in ((3, 200), (150, 170)):
        for smoothing in (0, 1, 4):
            values = random.random(shape).astype("float32")
            values = ndimage.gaussian_filter(values, smoothing) if smoothing else np.round(values, 1)
            for prominence in (p for p in (0.01, 0.15, 0.6) if p < np.ptp(values)):
                for above in (0.3, 0.55, 0.9):
                    expected = (h_maxima(values, prominence) > 0) & (values > above)
                    np.testing.assert_array_equal(hilltops(values, prominence, above), expected)


def test_blocks_that_were_looked_at_closer_join_with_the_others(truth, whole, monkeypatch):
    fine = []

    def closer(predictor, embeddings, i, maps, objects, part, look_closer):
        if len(fine) % 2 == 0:
            values = maps.values.repeat(2, 1).repeat(2, 2)
            maps = dense_blocks.DenseMaps(values, maps.kind, maps.shape)
        fine.append(part)
        yield 0, 0, maps

    monkeypatch.setattr(dense_blocks, "iter_best_scale", closer)
    segmenter = in_blocks(truth)
    blocks = segmenter._blocks
    assert {blocks.fineness(block) for block in blocks.blocks} == {1, dense_blocks.FINER}
    labels = segmenter.generate()
    assert labels.max() == whole.max() and (labels > 0).sum() == pytest.approx((whole > 0).sum(), rel=0.02)
    for band in (labels[715:725], labels[:585, 515:545]):
        assert len(np.unique(band)) == 1 and band[0, 0] > 0
    assert segmenter.maps.values.shape[1:] == blocks.work


def test_images_are_looked_at_closer_up_to_a_size_and_larger_ones_are_told_of(truth, monkeypatch):
    asked = []

    def noted(predictor, embeddings, i, maps, objects, part, look_closer):
        asked.append(look_closer)
        yield 0, 0, maps

    monkeypatch.setattr(dense_blocks, "iter_best_scale", noted)
    monkeypatch.setattr(dense, "can_look_closer", lambda predictor, embeddings: True)
    for most, wanted, closer in ((64, None, False), (200, None, True), (64, True, True), (200, False, False)):
        monkeypatch.setattr(dense, "LOOKED_AT_CLOSER", most)
        segmenter = DenseInstanceSegmenter(Known(truth), wanted)
        segmenter.initialize(None, Embeddings(segmenter.predictor.store()))
        assert set(asked) == {closer}
        asked.clear()
    monkeypatch.setattr(dense, "LOOKED_AT_CLOSER", 64)
    monkeypatch.setattr(dense, "LOOK_CLOSER", (90.0, 90.0))
    segmenter = in_blocks(truth)
    assert segmenter.generate().any() and "look_closer" in segmenter.hint


def test_of_two_that_begin_at_once_none_removes_what_the_other_has_made(truth, tmp_path, monkeypatch):
    """The other begins, and makes a block, after this one has seen that nothing is there."""
    first, second = (dense_blocks.DenseBlocks(GRID, "offsets", "about", tmp_path / "maps") for _ in range(2))
    predictor, real = Known(truth), dense_blocks.locked
    store, block = predictor.store(), first.blocks[0]

    def maps_of(tile):
        return tile_maps(predictor, store.load(None, tile.index))

    def overtaken(folder):
        monkeypatch.setattr(dense_blocks, "locked", real)
        first.measure(maps_of(GRID[0]), GRID[0])
        first.write(block, first.stitch(block, maps_of))
        return real(folder)

    monkeypatch.setattr(dense_blocks, "locked", overtaken)
    second.measure(maps_of(GRID[0]), GRID[0])
    assert second.is_kept and [one.index for one in second.missing()] == [one.index for one in second.blocks][1:]
    assert np.array_equal(second.read(second.area(block)).values, first.read(first.area(block)).values)


def test_maps_of_something_else_are_removed(truth, tmp_path):
    maps = torch.from_numpy(Known(truth).maps[(slice(None), *GRID[0].outer)])
    for about, left in (("one", 0), ("one", 1), ("other", 0)):
        blocks = dense_blocks.DenseBlocks(GRID, "offsets", about, tmp_path / "maps")
        blocks.measure(maps, GRID[0])
        assert len(blocks.blocks) - len(blocks.missing()) == left
        blocks.write(blocks.blocks[0], blocks.stitch(blocks.blocks[0], lambda tile: None))
