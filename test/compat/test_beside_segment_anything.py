"""Functions of micro-sam 1.8 beside segment-anything: one embedding of a vit_b of random weights, and tile by tile."""

import known
import numpy as np
import pytest
import torch
from segment_anything import SamAutomaticMaskGenerator, SamPredictor

from micro_sam import inference, prompt_based_segmentation, util
from micro_sam.embeddings.compute import network_image
from micro_sam.instance_segmentation import AutomaticMaskGenerator, TiledAutomaticMaskGenerator
from micro_sam.models.build import build_model
from micro_sam.models.predictor import Predictor
from micro_sam.models.stock import to_segment_anything

EMBEDDINGS = {"features": known.features().numpy(), "input_size": known.INPUT_SIZE, "original_size": known.SHAPE}
POINTS, LABELS = np.array([[60, 80], [100, 150]]), np.array([1, 0])  # y before x
BOX = np.array([20, 30, 110, 150])


@pytest.fixture(scope="module")
def vit_b():
    """Random weights, of which the quality is between 0.5 and 1 and the masks are not noise alone."""
    with torch.device("meta"):
        sam = build_model("vit_b")
    sam.to_empty(device="cpu")  # 90 million numbers of the encoder that nobody asks for
    parts = {
        n: tuple(v.shape) for n, v in sam.state_dict().items() if n.startswith(("prompt_encoder.", "mask_decoder."))
    }
    state = known.weights(parts)
    for name in state:
        if name.startswith("mask_decoder.iou_prediction_head.layers.2."):
            state[name] = state[name] * 0.1 + (0.8 if name.endswith("bias") else 0)
        elif name.startswith("mask_decoder.output_hypernetworks_mlps") and "layers.2" in name:
            state[name] = state[name] * 10
    sam.load_state_dict(state, strict=False)
    return Predictor(sam, "vit_b")


@pytest.fixture(scope="module")
def stock_predictor(vit_b):
    """Segment-anything with the same weights; images that are set get the one embedding."""
    predictor = SamPredictor(to_segment_anything(vit_b.model))

    def set_image(_image, _format="RGB"):
        predictor.features = known.features()
        predictor.input_size, predictor.original_size = known.INPUT_SIZE, known.SHAPE
        predictor.is_image_set = True

    predictor.set_image = set_image
    return predictor


@pytest.fixture
def stock(stock_predictor):
    """The same with the image set; its generator of masks takes it away."""
    stock_predictor.set_image(None)
    return stock_predictor


def agree(found, expected):
    """Masks, scores and logits of both, where they can differ by rounding only."""
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.shape == theirs.shape
        if ours.dtype == bool:
            assert (ours == theirs).mean() > 0.999 and 0.01 < theirs.mean() < 0.99
        else:
            assert np.abs(ours - theirs).max() < 1e-3 * max(1, np.abs(theirs).max())


def clicks():
    return {"point_coords": POINTS[:, ::-1], "point_labels": LABELS}


def test_points_and_boxes_give_what_segment_anything_gives(vit_b, stock):
    ours, box = prompt_based_segmentation, BOX[[1, 0, 3, 2]]
    arguments = {"image_embeddings": EMBEDDINGS, "return_all": True}
    for multimask in (False, True):
        several = {"multimask_output": multimask}
        found = ours.segment_from_points(vit_b, POINTS, LABELS, **arguments, **several)
        agree(found, stock.predict(**clicks(), **several))
        agree(ours.segment_from_box(vit_b, BOX, **arguments, **several), stock.predict(box=box, **several))
    found = ours.segment_from_box_and_points(vit_b, BOX, POINTS, LABELS, **arguments)
    agree(found, stock.predict(**clicks(), box=box, multimask_output=False))
    found = ours.segment_from_points(vit_b, POINTS[:1], LABELS[:1], **arguments)
    three = stock.predict(POINTS[:1, ::-1], LABELS[:1], multimask_output=True)
    chosen = np.abs(three[1] - found[1]).argmin()  # by quality and stability, not by quality alone
    agree(found, [values[[chosen]] for values in three])


def test_an_embedding_that_is_set_is_that_of_predict(vit_b, stock):
    assert util.set_precomputed(vit_b, EMBEDDINGS) is vit_b and torch.equal(vit_b.get_image_embedding(), stock.features)
    agree(vit_b.predict(**clicks()), stock.predict(**clicks()))
    assert np.array_equal(
        prompt_based_segmentation.segment_from_points(vit_b, POINTS, LABELS),
        vit_b.predict(**clicks(), multimask_output=False)[0],
    )
    vit_b.reset_image()


def test_many_boxes_give_what_each_gives(vit_b, stock):
    util.set_precomputed(vit_b, EMBEDDINGS)
    records = inference.batched_inference(vit_b, None, 2, known.BOXES, return_instance_segmentation=False)
    for record, box in zip(records, known.BOXES, strict=True):
        masks, scores, _ = stock.predict(box=box, multimask_output=False)
        assert abs(record["predicted_iou"] - scores[0]) < 1e-3
        assert (record["segmentation"].numpy() == masks[0]).mean() > 0.999
    vit_b.reset_image()


def same_records(found, expected):
    def order(record):
        return (*np.round(record["point_coords"][0], 2), record["predicted_iou"])

    assert len(found) == len(expected) > 0
    for ours, theirs in zip(sorted(found, key=order), sorted(expected, key=order), strict=True):
        np.testing.assert_allclose(ours["point_coords"], theirs["point_coords"], atol=1e-3)
        assert abs(ours["predicted_iou"] - theirs["predicted_iou"]) < 1e-3
        assert (ours["segmentation"] == theirs["segmentation"]).mean() > 0.999


def test_a_grid_of_clicks_gives_what_segment_anything_gives(vit_b, stock):
    thresholds = {"pred_iou_thresh": 0.5, "stability_score_thresh": 0.4, "box_nms_thresh": 0.9}
    expected = SamAutomaticMaskGenerator(stock.model, points_per_side=2, **thresholds)
    expected.predictor = stock
    ours = AutomaticMaskGenerator(vit_b, points_per_side=2)
    ours.initialize(None, EMBEDDINGS)
    found = ours.generate(output_mode="binary_mask", **thresholds)
    same_records(found, expected.generate(np.zeros((*known.SHAPE, 3), "uint8")))


@pytest.fixture(scope="module")
def tiles(predictor, blobs):
    """Tiled embeddings; and segment-anything with the weights of the shipped model, and what it sees of each tile."""
    embeddings = util.precompute_image_embeddings(
        predictor, blobs[0], tile_shape=(96, 112), halo=(40, 40), ndim=2, verbose=False
    )
    pixels = [network_image(blobs[0], None, tile.outer, embeddings.store) for tile in embeddings.grid]
    return embeddings, to_segment_anything(predictor.model), pixels


def test_tiled_embeddings_are_those_of_each_tile(tiles):
    embeddings, model, pixels = tiles
    stock = SamPredictor(model)
    for tile in (0, 3):
        stock.set_image(pixels[tile])
        group = embeddings["features"]
        assert np.abs(np.asarray(group[str(tile)]) - stock.features.numpy()).max() < 1e-3
        assert tuple(group[str(tile)].attrs["input_size"]) == stock.input_size
        assert tuple(group[str(tile)].attrs["original_size"]) == stock.original_size


def test_a_box_in_a_tile_gives_what_segment_anything_gives_there(tiles, predictor, monkeypatch):
    embeddings, model, pixels = tiles
    monkeypatch.setattr(predictor.model, "decode_window", None)  # the whole grid, as segment-anything
    stock, tile = SamPredictor(model), embeddings.grid[2]
    stock.set_image(pixels[2])
    corner = np.array([area.start for area in tile.outer])
    box = np.array([95, 34, 136, 87])
    expected = stock.predict(box=(box - np.tile(corner, 2))[[1, 0, 3, 2]], multimask_output=False)[0][0]
    found = prompt_based_segmentation.segment_from_box(predictor, box, embeddings, close_ups=False)[0]
    assert (expected & ~found[tile.outer]).mean() < 1e-3 and expected.sum() > 500
    more, others = found.copy(), np.zeros_like(found)
    more[tile.outer] &= ~expected
    for other in embeddings.grid:
        if other.index != tile.index:
            others[other.outer] = True
    assert (more & ~others).mean() < 1e-3  # where the mask reaches into other tiles, they add to it
    assert found.sum() < 1.2 * np.prod(box[2:] - box[:2])


def test_a_grid_of_clicks_in_tiles_is_that_of_each_tile(tiles, predictor):
    embeddings, model, pixels = tiles
    thresholds = {"pred_iou_thresh": 0.4, "stability_score_thresh": 0.6}
    ours = TiledAutomaticMaskGenerator(predictor, 4)
    ours.initialize(None, embeddings)
    # without removing what two tiles see; segment-anything does not know of other tiles
    found = ours.generate(output_mode="binary_mask", crop_nms_thresh=1.0, **thresholds)
    expected = []
    for tile, image in zip(embeddings.grid, pixels, strict=True):
        inner, outer = ([area[0].start, area[1].start, area[0].stop, area[1].stop] for area in (tile.inner, tile.outer))
        corner, size = np.array(outer[:2]), np.array(outer[2:]) - outer[:2]
        grid = ours.point_grids[0][:, ::-1] * size + corner
        mine = ((grid >= np.array(inner[:2]) - 0.5) & (grid < np.array(inner[2:]) - 0.5)).all(1)
        stock = SamAutomaticMaskGenerator(
            model, points_per_side=None, point_grids=[ours.point_grids[0][mine]], **thresholds
        )
        for record in stock.generate(image):
            if record["segmentation"].mean() >= 0.95:  # a tile that is one object is background here
                continue
            full = np.zeros(embeddings.grid.shape, bool)
            full[tile.outer] = record["segmentation"]
            place = np.array(record["point_coords"]) + corner[::-1]
            expected.append(record | {"segmentation": full, "point_coords": place.tolist()})
    same_records(found, expected)
