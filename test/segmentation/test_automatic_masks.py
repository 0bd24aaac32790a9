"""Automatic masks: the same as segment-anything's, thresholds without the network, states that cannot be mixed up."""

import numpy as np
import pytest
from segmentation_helpers import Oracle, embed, iou, oracle_embeddings

from micro_sam.embeddings.embeddings import Embeddings
from micro_sam.embeddings.store import MemoryStore
from micro_sam.embeddings.tiles import TileGrid
from micro_sam.errors import CacheError, InputError, NotComputedYet
from micro_sam.instance_segmentation import (
    AutomaticMaskGenerator,
    TiledAutomaticMaskGenerator,
    get_amg,
    mask_data_to_segmentation,
)
from micro_sam.segmentation.rle import decompress_rle, mask_from_rle


class Counting:
    """Counts the clicks that a predictor is asked about."""

    def __init__(self, predictor):
        self._predictor, self.asked = predictor, 0

    def __getattr__(self, name):
        return getattr(self._predictor, name)

    def decode(self, image, **prompts):
        self.asked += len(prompts["points"])
        return self._predictor.decode(image, **prompts)


@pytest.fixture(scope="module")
def generator(predictor, blob_embeddings):
    generator = AutomaticMaskGenerator(Counting(predictor), points_per_side=6)
    generator.initialize(None, blob_embeddings)
    return generator


def test_masks_agree_with_segment_anything(predictor, blobs):
    segment_anything = pytest.importorskip("segment_anything")
    from micro_sam.models.stock import to_segment_anything

    image = np.repeat(blobs[0][..., None], 3, -1)
    thresholds = {"pred_iou_thresh": 0.3, "stability_score_thresh": 0.5, "box_nms_thresh": 0.7}
    stock = segment_anything.SamAutomaticMaskGenerator(
        to_segment_anything(predictor.model), points_per_side=6, points_per_batch=12, **thresholds
    )
    expected = stock.generate(image)
    own = AutomaticMaskGenerator(predictor, points_per_side=6)
    store = MemoryStore(TileGrid((240, 320)))
    store.write(None, 0, predictor.encode(image))  # the image as it is: segment-anything does not stretch contrast
    own.initialize(None, Embeddings(store))
    found = own.generate(output_mode="binary_mask", **thresholds)
    assert len(found) == len(expected) > 3

    def key(record):
        return (*np.round(record["point_coords"][0], 3), record["predicted_iou"])

    for a, b in zip(sorted(found, key=key), sorted(expected, key=key), strict=True):
        assert set(a) == set(b)
        assert a["crop_box"] == b["crop_box"]
        np.testing.assert_allclose(a["point_coords"], b["point_coords"])
        assert abs(a["predicted_iou"] - b["predicted_iou"]) < 1e-3
        assert abs(a["stability_score"] - b["stability_score"]) < 5e-3
        assert iou(a["segmentation"], b["segmentation"]) > 0.995
        # segment-anything measures boxes to the last pixel, not beyond it
        assert np.abs(np.array(a["bbox"]) - (np.array(b["bbox"]) + (0, 0, 1, 1))).max() <= 1


def test_thresholds_cost_no_network_pass(generator):
    asked = generator.predictor.asked
    assert asked == 36
    counts = [
        len(generator.generate(pred_iou_thresh=t, stability_score_thresh=0.3, output_mode="rle"))
        for t in (0.2, 0.4, 0.9)
    ]
    assert counts == sorted(counts, reverse=True) and counts[0] > counts[2]
    own = generator.generate(0.7, 0.95)  # of nano models, which predict a lower quality than those of Segment Anything
    assert np.array_equal(generator.generate(), own)
    assert generator.predictor.asked == asked


def test_thresholds_that_keep_nothing_say_which_to_lower(generator):
    labels = generator.generate(pred_iou_thresh=0.999)
    assert labels.shape == (240, 320) and labels.max() == 0 and "pred_iou_thresh" in generator.hint
    generator.generate(pred_iou_thresh=0.1, stability_score_thresh=1.0)
    assert "stability_score_thresh" in generator.hint
    assert generator.generate(pred_iou_thresh=0.2, stability_score_thresh=0.3).max() > 0 and generator.hint is None


def test_the_minimum_size_has_an_effect(generator):
    def sizes(min_size):
        return np.bincount(generator.generate(0.2, 0.3, min_size=min_size).ravel())[1:]

    assert sizes(0).min() < 200 <= sizes(200).min()


def test_all_output_modes_hold_the_same_masks(generator):
    masks = [
        generator.generate(0.2, 0.3, output_mode=mode, min_mask_region_area=20)
        for mode in ("binary_mask", "rle", "coco_rle")
    ]
    for a, b, c in zip(*masks, strict=True):
        np.testing.assert_array_equal(a["segmentation"], mask_from_rle(b["segmentation"]))
        assert decompress_rle(c["segmentation"])["counts"] == b["segmentation"]["counts"]
        assert a["area"] == a["segmentation"].sum() == sum(b["segmentation"]["counts"][1::2])
    np.testing.assert_array_equal(
        mask_data_to_segmentation(masks[0]), mask_data_to_segmentation(masks[1], shape=(240, 320))
    )
    with pytest.raises(InputError, match="output mode"):
        generator.generate(output_mode="polygons")


def test_a_state_gives_the_same_labels_and_survives_a_file(generator, predictor, tmp_path):
    np.savez(tmp_path / "state.npz", **generator.get_state())
    with np.load(tmp_path / "state.npz", allow_pickle=False) as file:
        other = AutomaticMaskGenerator(Counting(predictor), points_per_side=6)
        other.set_state(dict(file))
    np.testing.assert_array_equal(other.generate(0.2, 0.3), generator.generate(0.2, 0.3))
    assert other.predictor.asked == 0


def test_a_state_of_other_parameters_or_another_model_is_refused(generator, predictor):
    state = generator.get_state()
    with pytest.raises(CacheError, match="another settings"):
        AutomaticMaskGenerator(predictor, points_per_side=7).set_state(state)
    other = Counting(predictor)
    other.model_hash = "of other weights"
    with pytest.raises(CacheError, match="another model"):
        AutomaticMaskGenerator(other, points_per_side=6).set_state(state)
    with pytest.raises(CacheError, match="not a state"):
        AutomaticMaskGenerator(predictor).set_state({"x": np.zeros(3)})


def test_generating_before_initializing_and_after_clearing(predictor, blob_embeddings):
    generator = AutomaticMaskGenerator(predictor, points_per_side=1)
    assert not generator.is_initialized
    with pytest.raises(NotComputedYet):
        generator.generate()
    generator.initialize(None, blob_embeddings)
    assert generator.is_initialized
    generator.clear_state()
    with pytest.raises(NotComputedYet):
        generator.generate()


def test_a_cancelled_run_leaves_nothing_behind(predictor, blob_embeddings):
    generator = AutomaticMaskGenerator(predictor, points_per_side=4, points_per_batch=4)
    run = generator.iter_initialize(blob_embeddings)
    assert next(run) == (4, 16)
    run.close()
    assert not generator.is_initialized


def test_progress_is_reported_to_the_end(predictor, blob_embeddings):
    told = []
    AutomaticMaskGenerator(predictor, points_per_side=3, points_per_batch=4).initialize(
        None, blob_embeddings, pbar_init=lambda total, text: told.append(total), pbar_update=told.append
    )
    assert told == [9, 4, 4, 1]


def test_crops_find_small_objects_and_need_the_image(predictor, blobs, blob_embeddings):
    generator = AutomaticMaskGenerator(predictor, points_per_side=6, crop_n_layers=1)
    with pytest.raises(InputError, match="need the image"):
        generator.initialize(None, blob_embeddings)
    generator.initialize(blobs[0], blob_embeddings)
    records = generator.generate(0.1, 0.3, output_mode="rle")
    assert len({tuple(record["crop_box"]) for record in records}) > 1


def test_tiles_put_cut_objects_together():
    labels = np.zeros((200, 300), "uint32")
    labels[20:60, 20:70] = 1
    labels[90:150, 60:240] = 2
    embeddings = oracle_embeddings(labels, (100, 100), (20, 20))
    generator = get_amg(Oracle(), True, points_per_side=6)
    assert isinstance(generator, TiledAutomaticMaskGenerator)
    generator.initialize(None, embeddings)
    found = generator.generate(0.6, 0.5)
    assert found.max() == 2
    assert all(max(iou(found == k, labels == v) for k in (1, 2)) > 0.95 for v in (1, 2))


def test_an_empty_image_gives_an_empty_result(predictor):
    embeddings = embed(predictor, np.zeros((64, 80), "uint8"))
    generator = AutomaticMaskGenerator(predictor, points_per_side=2)
    generator.initialize(None, embeddings)
    assert generator.generate().shape == (64, 80) and (generator.generate() == 0).all()
