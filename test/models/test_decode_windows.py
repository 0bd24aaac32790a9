"""Nano's decoder works in a window around the prompt: the same masks where it was trained so, complete ones always."""

import numpy as np
import pytest
import torch
from skimage.filters import gaussian
from skimage.measure import label, regionprops

from micro_sam.models.build import get_sam_model
from micro_sam.models.decode_windows import OUTSIDE_LOGIT, cut_off, paste, place_windows
from micro_sam.sample_data import open_sample

GRID, WINDOW, STRIDE = 64, 32, 8


@pytest.fixture(scope="module")
def predictor():
    return get_sam_model("nano_lm", "cpu")


@pytest.fixture(scope="module")
def coins(predictor):
    image = open_sample("coins").image
    return predictor.encode(np.repeat(image[..., None], 3, axis=-1))


@pytest.fixture
def whole(predictor):
    """Decodes on the whole grid."""

    def decode(*args, **kwargs):
        predictor.model.decode_window = None
        try:
            return predictor.decode(*args, **kwargs)
        finally:
            predictor.model.decode_window = WINDOW

    return decode


def test_window_holds_all_prompts_and_lies_in_the_frame():
    points = torch.tensor([[[0.0, 0.0], [40.0, 100.0]], [[500.0, 300.0], [-1.0, -1.0]]])
    corner, fits = place_windows((GRID, GRID), WINDOW, STRIDE, points, None, None)
    assert fits.all() and (corner >= 0).all() and (corner <= GRID - WINDOW).all()
    assert corner.tolist() == [[0, 0], [22, 32]]  # (y, x); the padding point says nothing


def test_prompts_that_are_far_apart_do_not_fit():
    points = torch.tensor([[[10.0, 10.0], [500.0, 500.0]]])
    boxes = torch.tensor([[10.0, 10.0, 20.0, 300.0]])
    assert not place_windows((GRID, GRID), WINDOW, STRIDE, points, None, None)[1].any()
    assert not place_windows((GRID, GRID), WINDOW, STRIDE, None, boxes, None)[1].any()


def test_window_does_not_look_at_padding():
    points = torch.tensor([[[300.0, 200.0]]])
    corner, fits = place_windows((40, GRID), WINDOW, STRIDE, points, None, None)
    assert fits.all() and corner.tolist() == [[8, 22]]  # of 40 rows the last 32
    corner, fits = place_windows((WINDOW, 20), WINDOW, STRIDE, None, torch.tensor([[0.0, 0.0, 160.0, 256.0]]), None)
    assert fits.all() and corner.tolist() == [[0, 0]]  # all there is


def test_mask_prompt_places_the_window():
    mask = torch.full((2, 1, 4 * GRID, 4 * GRID), -5.0)
    mask[0, 0, 200:220, 100:140] = 5  # mask positions: a quarter of a feature position
    corner, fits = place_windows((GRID, GRID), WINDOW, STRIDE, None, None, mask)
    assert fits.tolist() == [True, False]  # an empty mask says nothing about where
    assert corner[0].tolist() == [32, 14]


def test_mask_that_ends_at_the_window_is_noticed_unless_the_image_ends_there():
    logits = torch.full((2, 1, 4 * WINDOW, 4 * WINDOW), -1.0)
    logits[:, :, 0, 5] = 1
    assert cut_off(logits, torch.tensor([[0, 7], [3, 7]]), (GRID, GRID)).tolist() == [False, True]


def test_outside_of_the_window_is_background():
    whole = paste(torch.ones(1, 2, 128, 128), torch.tensor([[4, 8]]), 4 * GRID)
    assert whole.shape == (1, 2, 256, 256)
    assert (whole[:, :, 16:144, 32:160] == 1).all() and (whole == OUTSIDE_LOGIT).sum() == 2 * (256**2 - 128**2)


@pytest.mark.parametrize("kind", ["points", "box", "mask"])
def test_windowed_masks_are_as_good_as_those_of_the_whole_grid(predictor, coins, whole, kind):
    image = open_sample("coins").image
    regions = regionprops(label(gaussian(image, 2, preserve_range=True) > 120))
    truth = sorted(regions, key=lambda region: -region.solidity * (region.area > 400))[:6]
    prompts = {"boxes": np.array([region.bbox for region in truth])}
    if kind == "points":
        prompts = {"points": np.array([region.centroid for region in truth])[:, None], "labels": np.ones((6, 1), int)}
    if kind == "mask":
        prompts["mask_input"] = whole(coins, **prompts).low_res_logits

    def overlaps(decode):
        decoded, found = decode(coins, multimask_output=kind == "points", **prompts), []
        assert decoded.low_res_logits.shape == (6, decoded.scores.shape[1], 256, 256)
        for logits, best, region in zip(decoded.low_res_logits, decoded.scores.argmax(1), truth, strict=True):
            mask = predictor.upscale(logits[best, None], coins)[0].numpy() > 0
            wanted = np.zeros_like(mask)
            wanted[tuple(region.coords.T)] = True
            found.append((mask & wanted).sum() / (mask | wanted).sum())
        return np.mean(found)

    assert overlaps(predictor.decode) > overlaps(whole) - 0.03


def test_number_of_prompts_does_not_change_their_masks(predictor, coins):
    boxes = np.array([[40, 50, 80, 90], [100, 40, 150, 90], [0, 0, 300, 380], [180, 270, 235, 325]])
    together = predictor.decode(coins, boxes=boxes)
    for k, box in enumerate(boxes):
        alone = predictor.decode(coins, boxes=box[None])
        torch.testing.assert_close(alone.low_res_logits[0], together.low_res_logits[k], atol=1e-4, rtol=0)


def test_object_that_is_larger_than_the_window_is_decoded_on_the_whole_grid(predictor, coins, whole):
    large = {"boxes": np.array([[0, 0, 300, 380]])}
    torch.testing.assert_close(predictor.decode(coins, **large).low_res_logits, whole(coins, **large).low_res_logits)


def test_no_prompts_at_all_give_no_masks(predictor, coins):
    nothing = predictor.decode(coins, points=np.zeros((0, 1, 2)), labels=np.zeros((0, 1)))
    assert nothing.low_res_logits.shape == (0, 1, 256, 256)
