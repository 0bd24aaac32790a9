"""``micro_sam.inference`` with the calls of micro-sam 1.8."""

from pathlib import Path

import known
import numpy as np
import pytest

from micro_sam import inference
from micro_sam.errors import InputError
from micro_sam.models.build import build_model
from micro_sam.models.predictor import ImageFeatures, Predictor

REFERENCE = np.load(Path(__file__).parent / "reference.npz")


@pytest.fixture(scope="module")
def known_predictor():
    """A vit_t with the decoder weights for which the answers of 1.8.14 are known; its encoder is not asked."""
    sam = build_model("vit_t")
    state = sam.state_dict()
    parts = {n: tuple(v.shape) for n, v in state.items() if n.startswith(("prompt_encoder.", "mask_decoder."))}
    sam.load_state_dict(known.weights(parts), strict=False)
    predictor = Predictor(sam)
    predictor.set_features(ImageFeatures(known.features(), known.INPUT_SIZE, known.SHAPE))
    return predictor


@pytest.mark.parametrize(
    ("name", "prompts"),
    [
        ("boxes", {"boxes": known.BOXES}),
        ("points", {"points": known.POINTS, "point_labels": np.ones((3, 1), int)}),
        ("multi", {"points": known.POINTS, "point_labels": np.ones((3, 1), int), "multimasking": True}),
    ],
)
def test_many_prompts_give_the_masks_of_1_8(known_predictor, name, prompts):
    masks = inference.batched_inference(known_predictor, None, 2, return_instance_segmentation=False, **prompts)
    assert np.allclose([one["predicted_iou"] for one in masks], REFERENCE[f"iou_{name}"], atol=1e-4)
    areas = np.array([one["area"] for one in masks])
    assert (np.abs(areas - REFERENCE[f"area_{name}"]) <= 0.01 * areas + 2).all()
    assert [one["seg_id"] for one in masks] == [1, 2, 3] and masks[0]["logits"].shape == (1, 256, 256)


def test_many_prompts_make_a_label_image(predictor, blobs, embeddings):
    image, truth = blobs
    boxes = np.array([[24, 20, 77, 61], [124, 25, 177, 66]])
    labels = inference.batched_inference(predictor, image, 1, boxes, segmentation_ids=[7, 9], verbose_embeddings=False)
    assert set(np.unique(labels)) == {0, 7, 9} and (labels[truth == 1] == 7).mean() > 0.7
    tiled = inference.batched_tiled_inference(
        predictor, image, 2, boxes=boxes, tile_shape=(96, 112), halo=(40, 40), verbose_embeddings=False, min_size=10
    )
    assert tiled.max() == 2 and (tiled[truth == 1] > 0).mean() > 0.7
    with pytest.raises(InputError, match="no prompt"):
        inference.batched_inference(predictor, image, 1)
    with pytest.raises(InputError, match="a number"):
        inference.batched_inference(predictor, image, 1, boxes, mask_threshold="auto")
