"""The predictor against ``segment_anything.SamPredictor`` with the same weights."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from segment_anything import SamPredictor
from segment_anything.modeling import Sam as StockSam

from micro_sam.errors import InputError
from micro_sam.models.modules import decoding
from micro_sam.models.predictor import ImageFeatures, Predictor
from micro_sam.models.sam import Sam
from micro_sam.models.stock import to_segment_anything

TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    torch.manual_seed(0)
    sam = Sam.from_architecture("nano")
    sam.decode_window = None  # the whole grid, as segment_anything
    with torch.no_grad():
        for parameter in sam.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    return Predictor(sam)


@pytest.fixture(scope="module")
def stock(predictor) -> StockSam:
    return to_segment_anything(predictor.model)


@pytest.fixture(scope="module")
def vit_predictor() -> Predictor:
    """The decoder of the vit architectures on features that no encoder made."""
    torch.manual_seed(1)
    sam = Sam.from_architecture("vit_t")
    with torch.no_grad():
        for parameter in sam.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    return Predictor(sam)


def some_image(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height).integers(0, 256, (height, width, 3), dtype=np.uint8)


def some_features(predictor: Predictor, original_size=(300, 500), seed: int = 0) -> ImageFeatures:
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(1, predictor.model.embed_dim, 64, 64, generator=generator)
    size = predictor.model.image_size
    return ImageFeatures(features, (round(size * original_size[0] / original_size[1]), size), original_size)


def some_prompts(kind: str, count: int, size=(300, 500)) -> dict:
    rng = np.random.default_rng(count)
    prompts = {}
    if "points" in kind:
        prompts["points"] = rng.random((count, 2, 2)) * size
        prompts["labels"] = rng.integers(-1, 2, (count, 2))
    if "boxes" in kind:
        corners = np.sort(rng.random((count, 2, 2)) * size, axis=1)
        prompts["boxes"] = corners.reshape(count, 4)
    if "masks" in kind:
        prompts["mask_input"] = rng.normal(0, 5, (count, 1, 256, 256)).astype(np.float32)
    return prompts


def decode_as_stock(predictor: Predictor, stock: StockSam, image: ImageFeatures, prompts: dict, multimask: bool):
    """What SamPredictor does between its arguments and the low-resolution logits."""
    transform = SamPredictor(stock).transform
    points = boxes = masks = None
    if "points" in prompts:
        coords = transform.apply_coords(prompts["points"][..., ::-1], image.original_size)
        points = (torch.as_tensor(coords, dtype=torch.float), torch.as_tensor(prompts["labels"]))
    if "boxes" in prompts:
        xyxy = prompts["boxes"].reshape(-1, 2, 2)[..., ::-1].reshape(-1, 4)
        boxes = torch.as_tensor(transform.apply_boxes(xyxy, image.original_size), dtype=torch.float)
    if "mask_input" in prompts:
        masks = torch.as_tensor(prompts["mask_input"])
    with torch.no_grad():
        sparse, dense = stock.prompt_encoder(points, boxes, masks)
        return stock.mask_decoder(image.features, stock.prompt_encoder.get_dense_pe(), sparse, dense, multimask)


@pytest.mark.parametrize("size", [(512, 512), (300, 500), (700, 400), (40, 25)])
def test_set_image_and_predict_agree_with_stock(predictor, stock, size):
    reference = SamPredictor(stock)
    image = some_image(*size)
    reference.set_image(image)
    predictor.set_image(image)
    assert predictor.is_image_set
    assert (predictor.input_size, predictor.original_size) == (reference.input_size, reference.original_size)
    torch.testing.assert_close(predictor.get_image_embedding(), reference.features, atol=TOLERANCE, rtol=0)

    # the same features for both, so that the difference of the encoders is not counted twice
    predictor.set_features(ImageFeatures(reference.features, reference.input_size, reference.original_size))
    height, width = size
    low_res = np.random.default_rng(0).normal(0, 3, (1, 256, 256)).astype(np.float32)
    point = {"point_coords": np.array([[width * 0.3, height * 0.6]]), "point_labels": np.array([1])}
    box = {"box": np.array([width * 0.2, height * 0.1, width * 0.7, height * 0.9])}
    for prompt in (point, box, point | box, point | {"mask_input": low_res}):
        for multimask in (True, False):
            expected = reference.predict(**prompt, multimask_output=multimask, return_logits=True)
            actual = predictor.predict(**prompt, multimask_output=multimask, return_logits=True)
            for a, b in zip(actual, expected, strict=True):
                np.testing.assert_allclose(a, b, atol=TOLERANCE, rtol=0)
            masks = predictor.predict(**prompt, multimask_output=multimask)[0]
            differs = masks != (expected[0] > 0)
            assert masks.dtype == bool
            assert np.all(np.abs(expected[0][differs]) < TOLERANCE)


@pytest.mark.parametrize("kind", ["points", "boxes", "points boxes", "masks", "points masks", "points boxes masks"])
def test_decoded_masks_and_scores_agree_with_stock_for_all_kinds_of_prompts(vit_predictor, kind):
    image = some_features(vit_predictor)
    stock = to_segment_anything(vit_predictor.model)
    for count, multimask in ((1, True), (3, False)):
        prompts = some_prompts(kind, count)
        decoded = vit_predictor.decode(image, **prompts, multimask_output=multimask)
        logits, scores = decode_as_stock(vit_predictor, stock, image, prompts, multimask)
        assert decoded.low_res_logits.shape == (count, 3 if multimask else 1, 256, 256)
        torch.testing.assert_close(decoded.low_res_logits, logits, atol=TOLERANCE, rtol=0)
        torch.testing.assert_close(decoded.scores, scores, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("count", [1, 2, 5, 64])
def test_any_number_of_prompts_gives_what_each_gives_alone(predictor, stock, count):
    prompts = some_prompts("points", count)
    decoded = predictor.decode(some_features(predictor), **prompts)
    assert decoded.low_res_logits.shape == (count, 1, 256, 256)
    for i in {0, count // 2, count - 1}:
        alone = {name: values[i : i + 1] for name, values in prompts.items()}
        logits, scores = decode_as_stock(predictor, stock, some_features(predictor), alone, False)
        torch.testing.assert_close(decoded.low_res_logits[i : i + 1], logits, atol=TOLERANCE, rtol=0)
        torch.testing.assert_close(decoded.scores[i : i + 1], scores, atol=TOLERANCE, rtol=0)


def test_repeated_prompts_on_an_image_agree_whether_or_not_its_projections_are_kept(predictor):
    image, prompts = some_features(predictor), some_prompts("points", 1)
    first = predictor.decode(image, **prompts).low_res_logits
    for _ in range(4):
        again = predictor.decode(image, **prompts).low_res_logits
    assert predictor._sides.get(image.features, 0).projected is not None
    torch.testing.assert_close(first, again, atol=TOLERANCE, rtol=0)


def test_what_is_kept_of_an_image_follows_its_features_and_the_weights(predictor):
    prompts = some_prompts("points", 3)
    image = some_features(predictor)
    predictor.decode(image, **prompts)
    other = some_features(predictor, seed=5)
    expected = predictor.decode(other, **prompts).low_res_logits
    image.features.copy_(other.features)  # in place: the same tensor with other content
    torch.testing.assert_close(predictor.decode(image, **prompts).low_res_logits, expected)

    weight = predictor.model.prompt_encoder.no_mask_embed.weight
    with torch.no_grad():
        weight.add_(0.5)
        changed = predictor.decode(image, **prompts).low_res_logits
        weight.sub_(0.5)
    assert (changed - expected).abs().max() > 1e-3


def test_masks_below_the_score_threshold_come_back_empty_and_the_others_unchanged(predictor):
    image, prompts = some_features(predictor), some_prompts("points", 7)
    everything = predictor.decode(image, **prompts, multimask_output=True)
    threshold = float(everything.scores.median())
    some = predictor.decode(image, **prompts, multimask_output=True, score_threshold=threshold)
    kept = everything.scores >= threshold
    torch.testing.assert_close(some.scores, everything.scores)
    torch.testing.assert_close(some.low_res_logits[kept], everything.low_res_logits[kept], atol=1e-5, rtol=0)
    assert (some.low_res_logits[~kept] == decoding.EMPTY_LOGIT).all()
    none = predictor.decode(image, **prompts, score_threshold=1e9)
    assert (none.low_res_logits < 0).all()


def test_padding_points_let_prompts_of_different_length_share_a_call(predictor):
    image = some_features(predictor)
    points = np.array([[[100.0, 50.0], [0.0, 0.0]], [[10.0, 20.0], [30.0, 40.0]]])
    a = predictor.decode(image, points=points, labels=[[1, -1], [1, 0]]).low_res_logits
    points[0, 1] = 77.0  # where a padding point lies does not matter
    b = predictor.decode(image, points=points, labels=[[1, -1], [1, 0]]).low_res_logits
    torch.testing.assert_close(a, b)


@pytest.mark.parametrize(
    "prompts, message",
    [
        ({}, "no prompt"),
        ({"points": np.zeros((1, 1, 2))}, "labels"),
        ({"points": np.zeros((1, 2)), "labels": np.ones(1)}, "shape"),
        ({"boxes": np.zeros(4)}, "shape"),
        ({"mask_input": np.zeros((1, 1, 64, 64))}, "shape"),
        ({"boxes": np.zeros((2, 4)), "points": np.zeros((1, 1, 2)), "labels": np.ones((1, 1))}, "same number"),
    ],
)
def test_prompts_that_cannot_be_used_are_refused(predictor, prompts, message):
    with pytest.raises(InputError, match=message):
        predictor.decode(some_features(predictor), **prompts)


@pytest.mark.parametrize("image", [np.zeros((8, 8), np.uint8), np.zeros((8, 8, 3)), np.zeros((3, 8, 8), np.uint8)])
def test_images_that_cannot_be_used_are_refused(predictor, image):
    with pytest.raises(InputError, match="uint8"):
        predictor.encode(image)


def test_predict_without_an_image_says_what_to_do(predictor):
    predictor.reset_image()
    assert not predictor.is_image_set and predictor.features is None
    with pytest.raises(RuntimeError, match="set_image"):
        predictor.predict(point_coords=np.zeros((1, 2)), point_labels=np.ones(1))


def test_nano_starting_weights_agree_with_their_reference(shared_data, monkeypatch):
    folder = Path(shared_data).parent / "models"
    if not (folder / "nano_reference.py").is_file():
        pytest.skip("the reference of nano_lm is not on this machine")
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    import nano_reference

    reference = nano_reference.load(folder / "nano_lm_start.safetensors")
    ours = Sam.from_architecture("nano")
    ours.load_state_dict(reference.state_dict())
    image = torch.randn(1, 3, 512, 512)
    with torch.no_grad():
        features, dense = ours.encode(image)
        torch.testing.assert_close(features, reference.image_encoder(image), atol=TOLERANCE, rtol=0)
        expected = reference.dense_head(reference.image_encoder.trunk(image))
        torch.testing.assert_close(dense, expected, atol=TOLERANCE, rtol=0)
