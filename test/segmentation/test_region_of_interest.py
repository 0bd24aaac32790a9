"""Automatic segmentation of a region: only what the tiles around it see, and only objects whose centre lies inside."""

import numpy as np
import pytest
from scipy import ndimage
from segmentation_helpers import iou

from micro_sam.embeddings.embeddings import Embeddings
from micro_sam.embeddings.part import CroppedArray, PartGrid, part_of
from micro_sam.embeddings.store import MemoryStore
from micro_sam.embeddings.tiles import TileGrid
from micro_sam.errors import InputError
from micro_sam.models.predictor import Predictor
from micro_sam.segmentation.automatic.dense import DenseInstanceSegmenter, get_segmenter
from micro_sam.segmentation.files import automatic_instance_segmentation
from micro_sam.segmentation.region_of_interest import RegionOfInterest, RegionPart


def centres_of(labels):
    return ndimage.center_of_mass(labels > 0, labels, np.arange(1, labels.max() + 1))


@pytest.fixture
def encoded(monkeypatch):
    """How many tiles or slices are embedded."""
    counted, encode = [0], Predictor.encode_batch

    def encode_batch(self, images):
        counted[0] += len(images)
        return encode(self, images)

    monkeypatch.setattr(Predictor, "encode_batch", encode_batch)
    return counted


def test_a_part_of_a_grid_sees_what_its_tiles_see():
    whole = TileGrid((300, 400), (64, 80), (16, 20))
    part = PartGrid.around(whole, (140, 170, 150, 180))
    assert part.counts == (2, 2) and [part.index_in_whole(k) for k in range(4)] == [6, 7, 11, 12]
    (top, left), (height, width) = (s.start for s in part.area), part.shape
    covered = np.zeros(part.shape, int)
    for tile in part:
        covered[tile.inner] += 1
        same = whole[part.index_in_whole(tile.index)]
        assert [s.start + o for s, o in zip(tile.outer, (top, left), strict=True)] == list(same.origin)
        assert tile.shape == same.shape and part.tile_at(tile.inner[0].start, tile.inner[1].stop - 1) == tile
    assert (covered == 1).all()
    assert part.tiles_in((0, 0, height, width)) == list(part) and part.tiles_in((-9, -9, -5, -5)) == [part[0]]
    assert PartGrid.around(TileGrid((50, 60)), (1, 1, 5, 5)).shape == (50, 60)


def test_objects_are_kept_by_their_centre_and_whole():
    labels = np.zeros((60, 80), "uint32")
    labels[10:20, 10:20], labels[10:20, 25:45], labels[40:50, 60:70], labels[30:34, 28:40] = 3, 4, 7, 9
    region = RegionOfInterest(((0, 0), (0, 36), (59, 36), (59, 0)))
    part = RegionPart(region, Embeddings(MemoryStore(TileGrid((60, 80)))), (slice(5, 65), slice(0, 80)), (70, 80))
    found = part.place(labels)
    assert found.shape == (70, 80) and (found[5:65] > 0).tolist() == np.isin(labels, (3, 4, 9)).tolist()
    assert np.unique(found).tolist() == [0, 1, 2, 3]
    diagonal = RegionOfInterest(((-1, -1), (-1, 79), (59, -1)))
    assert np.unique(RegionPart(diagonal, part.embeddings, part.area, part.shape).place(labels)).tolist() == [0, 1, 2]


def test_objects_of_a_stack_end_with_the_slices_of_the_region():
    labels = np.zeros((6, 20, 20), "uint32")
    labels[0:3, 2:8, 2:8], labels[2:6, 10:16, 10:16] = 1, 2
    store = MemoryStore(TileGrid((20, 20)), 6)
    for numbers, kept in (((0, 0, 0, 3, 20, 20), 2), ((3, 0, 0, 6, 20, 20), 1), ((0, 9, 9, 6, 20, 20), 1)):
        part = RegionPart.of(RegionOfInterest.of_numbers(numbers), Embeddings(store))
        assert part.area[0] == slice(numbers[0], numbers[3])
        found = part.place(labels[part.area])
        assert found.shape == labels.shape and found.max() == kept
        assert not found[: numbers[0]].any() and not found[numbers[3] :].any()


def test_a_region_of_tiles_finds_what_the_whole_image_shows_there(predictor, tiled_blob_embeddings, blobs):
    image, truth = blobs
    region = RegionOfInterest.of_numbers((0, 0, 78, 100))
    part = RegionPart.of(region, tiled_blob_embeddings)
    assert part.area == (slice(0, 160), slice(0, 200)) and len(part.embeddings.grid) == 1
    assert part.embeddings.image.shape == (160, 200)
    grid_of_clicks = get_segmenter(predictor, True, points_per_side=6)
    for segmenter, thresholds in (
        (DenseInstanceSegmenter(predictor), {}),
        (grid_of_clicks, {"stability_score_thresh": 0.7}),
    ):
        for _ in segmenter.iter_initialize(part.embeddings):
            pass
        found = part.place(segmenter.generate(**thresholds))
        assert found.shape == image.shape and region.holds(np.array(centres_of(found))).all()
        assert max(iou(found == k, truth == 1) for k in range(1, found.max() + 1)) > 0.7
    with pytest.raises(InputError, match="outside the image"):
        RegionPart.of(RegionOfInterest.of_numbers((900, 900, 950, 950)), tiled_blob_embeddings)


def test_only_the_tiles_that_see_the_region_are_embedded(predictor, blobs, encoded, tmp_path):
    image, truth = blobs
    call = {"tile_shape": (60, 80), "halo": (16, 16), "verbose": False, "embedding_path": tmp_path / "e.zarr"}
    segmenter = DenseInstanceSegmenter(predictor)
    found = automatic_instance_segmentation(predictor, segmenter, image, region=(10, 20, 70, 80), **call)
    assert encoded[0] == 4 and found.shape == image.shape and found.max() == 1 and iou(found == 1, truth == 1) > 0.6
    with pytest.raises(InputError, match="leave z0 and z1 out"):
        automatic_instance_segmentation(predictor, segmenter, image, region=(0, 10, 20, 5, 70, 80), **call)


def test_a_lazy_image_is_read_where_the_region_is(predictor, blobs):
    image, truth = blobs

    class Lazy:
        shape, dtype, ndim, read = image.shape, image.dtype, 2, 0

        def __getitem__(self, index):
            found = image[index]
            Lazy.read = max(Lazy.read, found.size)
            return found

    segmenter = DenseInstanceSegmenter(predictor)
    tiles = {"tile_shape": (60, 80), "halo": (16, 16), "verbose": False}
    found = automatic_instance_segmentation(predictor, segmenter, Lazy(), region=(10, 20, 70, 80), **tiles)
    assert found.max() == 1 and iou(found == 1, truth == 1) > 0.6


@pytest.mark.parametrize("method", ["maps", "slices"])
def test_a_volume_is_segmented_in_the_slices_and_the_plane_of_a_region(predictor, blobs, encoded, method):
    image, truth = blobs
    volume = np.stack([image] * 6)
    segmenter = DenseInstanceSegmenter(predictor)
    found = automatic_instance_segmentation(
        predictor, segmenter, volume, ndim=3, region=(1, 0, 0, 4, 100, 100), method=method, verbose=False
    )
    assert encoded[0] == 3 and found.shape == volume.shape and not found[0].any() and not found[4:].any()
    assert found.max() == 1 and iou(found[2] == 1, truth == 1) > 0.7


def test_part_embeddings_are_those_of_the_image_where_nothing_is_left_out(tiled_blob_embeddings):
    assert part_of(tiled_blob_embeddings, (0, 0, 240, 320))[0] is tiled_blob_embeddings


@pytest.mark.parametrize("numbers", [(1, 2, 3), (5, 5, 5, 9), (3, 0, 0, 2, 9, 9)])
def test_a_region_without_area_is_refused(numbers):
    with pytest.raises(InputError, match="region"):
        RegionOfInterest.of_numbers(numbers)


@pytest.mark.parametrize(
    "index",
    [
        np.s_[0],
        np.s_[-1],
        np.s_[1:3],
        np.s_[:, 2:-1],
        np.s_[2, -3:, ::2],
        np.s_[3:1],
        np.s_[-1, -1, -1],
        np.s_[1, ...],
        (),
    ],
)
def test_a_part_of_an_array_is_indexed_as_an_array_of_its_own(index):
    array = np.arange(6 * 8 * 9 * 3).reshape(6, 8, 9, 3)
    area = np.s_[1:5, 2:8, 3:7]
    part, own = CroppedArray(array, area), array[area]
    np.testing.assert_array_equal(part[index], own[index])
    assert part.shape == own.shape and len(part) == 4 and part.dtype == own.dtype
    np.testing.assert_array_equal(np.asarray(part), own)
