"""Instance segmentation from dense maps."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from segmentation_helpers import Oracle, embed, iou

from micro_sam.automatic_segmentation import automatic_instance_segmentation
from micro_sam.embeddings.compute import precompute_image_embeddings
from micro_sam.embeddings.embeddings import Embeddings
from micro_sam.embeddings.store import MemoryStore
from micro_sam.embeddings.tiles import TileGrid
from micro_sam.errors import CacheError, InputError
from micro_sam.evaluation.metrics import compare_labels
from micro_sam.instance_segmentation import AutomaticMaskGenerator, DenseInstanceSegmenter, get_segmenter
from micro_sam.models.predictor import ImageFeatures


@pytest.fixture(scope="module")
def segmenter(predictor, blob_embeddings):
    segmenter = DenseInstanceSegmenter(predictor)
    segmenter.initialize(None, blob_embeddings)
    return segmenter


def matched(found, truth):
    """For each object of the truth, the best overlap."""
    return [max(iou(found == k, truth == v) for k in range(1, found.max() + 1)) for v in range(1, truth.max() + 1)]


def test_all_objects_are_found_with_their_outlines(segmenter, blobs):
    labels = segmenter.generate()
    assert labels.dtype == np.uint32 and labels.shape == (240, 320) and labels.max() == 8
    assert min(matched(labels, blobs[1])) > 0.9


def test_tiles_leave_no_seam(predictor, blobs, tiled_blob_embeddings):
    segmenter = get_segmenter(predictor, is_tiled=True)
    steps = list(segmenter.iter_initialize(tiled_blob_embeddings))
    assert [done for done, _ in steps[:4]] == [1, 2, 3, 4] and steps[-1][0] == steps[-1][1]
    labels = segmenter.generate()
    assert labels.max() == 8 and min(matched(labels, blobs[1])) > 0.9


def test_the_minimum_size_has_an_effect_and_nothing_left_is_explained(segmenter):
    areas = np.bincount(segmenter.generate().ravel())[1:]
    cut = int(np.sort(areas)[3]) + 1
    assert segmenter.generate(min_size=cut).max() == (areas >= cut).sum()
    assert segmenter.generate(min_size=10**6).max() == 0 and "min_size" in segmenter.hint
    assert segmenter.generate(foreground_threshold=1.0).max() == 0 and "foreground_threshold" in segmenter.hint
    assert segmenter.generate(distance_threshold=2).max() == 0 and "distance_threshold" in segmenter.hint
    assert segmenter.generate().max() == 8 and segmenter.hint is None


def test_records_instead_of_labels(segmenter):
    labels, records = segmenter.generate(), segmenter.generate(output_mode="binary_mask")
    assert len(records) == 8
    for value, record in enumerate(records, 1):
        np.testing.assert_array_equal(record["segmentation"], labels == value)
        x, y, width, height = record["bbox"]
        assert record["area"] == (labels[y : y + height, x : x + width] == value).sum()


def test_a_state_is_taken_up_only_by_the_same_model_and_method(segmenter, predictor, tmp_path):
    np.savez(tmp_path / "state.npz", **segmenter.get_state())
    with np.load(tmp_path / "state.npz", allow_pickle=False) as file:
        state = dict(file)
    other = DenseInstanceSegmenter(predictor)
    other.set_state(state)
    np.testing.assert_array_equal(other.generate(), segmenter.generate())
    with pytest.raises(CacheError, match="method"):
        AutomaticMaskGenerator(predictor).set_state(state)


def test_a_model_without_a_dense_head_gets_the_mask_generator():
    assert isinstance(get_segmenter(Oracle()), AutomaticMaskGenerator)
    with pytest.raises(InputError, match="no dense head"):
        DenseInstanceSegmenter(Oracle())


def test_parameters_of_the_mask_generator_choose_it(predictor):
    assert isinstance(get_segmenter(predictor), DenseInstanceSegmenter)
    assert isinstance(get_segmenter(predictor, points_per_side=8), AutomaticMaskGenerator)


def test_distance_maps_of_finetuned_decoders(blobs):
    """Foreground, distance to the centre, closeness of the boundary: from features alone."""
    from scipy.ndimage import distance_transform_edt

    truth = blobs[1]
    maps = np.zeros((3, 1024, 1024), "float32")
    rows, columns = np.arange(768) * 240 // 768, np.arange(1024) * 320 // 1024
    fine = truth[np.ix_(rows, columns)]
    maps[1:, :768] = 1
    for value in range(1, 9):
        inside = fine == value
        depth = distance_transform_edt(inside)
        depth /= depth.max()
        maps[0, :768][inside] = 1
        maps[1, :768][inside] = 1 - depth[inside]
        maps[2, :768][inside] = 1 - depth[inside]
    predictor = Oracle()
    predictor.model = SimpleNamespace(
        image_size=1024,
        grid_size=64,
        dense_kind="distances",
        dense_from_features=lambda f: torch.from_numpy(maps)[None],
    )
    store = MemoryStore(TileGrid((240, 320)))
    store.write(None, 0, ImageFeatures(torch.zeros(1, 256, 64, 64), (768, 1024), (240, 320)))
    segmenter = get_segmenter(predictor)
    segmenter.initialize(None, Embeddings(store))
    labels = segmenter.generate()
    assert labels.max() == 8 and min(matched(labels, truth)) > 0.9


def test_an_empty_image_gives_an_empty_result(predictor):
    segmenter = get_segmenter(predictor)
    segmenter.initialize(None, embed(predictor, np.zeros((40, 90), "uint8")))
    assert segmenter.generate(foreground_threshold=0.9).shape == (40, 90)


def test_from_a_file_to_a_file(predictor, blobs, tmp_path):
    import tifffile

    tifffile.imwrite(tmp_path / "image.tif", blobs[0])
    labels = automatic_instance_segmentation(
        predictor, get_segmenter(predictor), tmp_path / "image.tif", tmp_path / "labels.tif", verbose=False, min_size=20
    )
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "labels.tif"), labels)
    assert min(matched(labels, blobs[1])) > 0.9


def test_small_objects_are_found_in_the_image_enlarged(predictor):
    y, x = np.ogrid[:400, :500]
    image = np.random.default_rng(0).normal(40, 5, (400, 500))
    truth = np.zeros((400, 500), "uint32")
    for k, (cy, cx) in enumerate(np.mgrid[20:390:16, 20:490:17].reshape(2, -1).T, 1):
        truth[((y - cy) / 6) ** 2 + ((x - cx) / 6.5) ** 2 <= 1] = k
    image = (image + 120 * (truth > 0)).clip(0, 255).astype("uint8")
    embeddings = precompute_image_embeddings(predictor, image, verbose=False)
    found = {}
    for name, picture in (("enlarged", image), ("as it is", None)):
        embeddings.image = picture
        segmenter = get_segmenter(predictor)
        steps = list(segmenter.iter_initialize(embeddings))
        assert steps[-1][0] == steps[-1][1] and [a for a, _ in steps] == sorted({a for a, _ in steps})
        found[name] = compare_labels(segmenter.generate(), truth)["SA50"]
    assert found["enlarged"] > max(0.8, found["as it is"])


def test_large_objects_are_not_looked_at_again(predictor, monkeypatch):
    y, x = np.ogrid[:300, :300]
    image = np.where((y - 150) ** 2 + (x - 140) ** 2 < 60**2, 180, 40).astype("uint8")
    embeddings = precompute_image_embeddings(predictor, image, verbose=False)
    monkeypatch.setattr(predictor, "encode", None)
    segmenter = get_segmenter(predictor)
    segmenter.initialize(image, embeddings)
    assert segmenter.generate().max() == 1


def test_slices_of_stacks_are_not_looked_at_again(predictor, monkeypatch):
    stack = np.random.default_rng(0).integers(0, 255, (2, 64, 64)).astype("uint8")
    embeddings = precompute_image_embeddings(predictor, stack, verbose=False)
    monkeypatch.setattr(predictor, "encode", None)
    assert list(get_segmenter(predictor).iter_initialize(embeddings, 1)) == [(1, 1)]


def test_the_windows_sliders_begin_where_the_library_does():
    from micro_sam.sam_annotator.state.options import DenseThresholds
    from micro_sam.segmentation.automatic.dense import DISTANCE, PROMINENCE

    sliders = dict(DenseThresholds())
    assert sliders["distance_threshold"] == DISTANCE["offsets"] and sliders["prominence"] == PROMINENCE["offsets"]
