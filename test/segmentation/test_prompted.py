"""Prompts to masks: what is asked, what is refused, and what is found."""

import numpy as np
import pytest
from segmentation_helpers import Oracle, embed, iou, oracle_embeddings

from micro_sam.errors import InputError, NotComputedYet
from micro_sam.prompt_based_segmentation import (
    segment_from_box,
    segment_from_box_and_points,
    segment_from_mask,
    segment_from_points,
)
from micro_sam.segmentation.prompted.segment import segment_objects
from micro_sam.segmentation.values import ObjectMask, Prompts


def truth_of(labels, value):
    return ObjectMask.from_array(labels == value)


def test_a_click_finds_its_object(predictor, blobs, blob_embeddings):
    _, labels = blobs
    ious = []
    for value in range(1, 9):
        click = np.argwhere(labels == value).mean(0)
        (found,) = segment_objects(predictor, Prompts(points=[click], labels=[1]), blob_embeddings)
        ious.append(found.iou(truth_of(labels, value)))
    assert np.mean(ious) > 0.8


def test_several_boxes_are_several_objects(blobs):
    _, labels = blobs
    boxes = [truth_of(labels, value).box for value in (2, 5, 8)]
    found = segment_objects(Oracle(), Prompts(boxes=boxes), oracle_embeddings(labels))
    assert [one.iou(truth_of(labels, v)) > 0.9 for one, v in zip(found, (2, 5, 8), strict=True)] == [True] * 3


def test_boxes_and_negative_points_in_one_set(predictor, blobs, blob_embeddings):
    _, labels = blobs
    boxes = [truth_of(labels, value).box for value in (2, 5)]
    found = segment_objects(predictor, Prompts([(5, 5)], [0], boxes), blob_embeddings)
    assert len(found) == 2 and all(not one.is_empty for one in found)
    mask = segment_from_box_and_points(predictor, boxes[0], [(5, 5)], [0], blob_embeddings)
    assert mask.shape == (1, 240, 320) and mask.any()


def test_points_go_to_the_box_they_lie_in_and_negative_ones_to_all(blobs):
    _, labels = blobs
    oracle = Oracle()
    boxes = [truth_of(labels, value).box for value in (2, 5)]
    prompts = Prompts([(60, 160), (130, 200), (45, 270), (5, 5)], [1, 1, 1, 0], boxes)
    found = segment_objects(oracle, prompts, oracle_embeddings(labels))
    assert [call["labels"][0].tolist() for call in oracle.calls] == [[1, 0], [1, 0], [1, 0]]
    assert len(found) == 3 and found[2].iou(truth_of(labels, 3)) > 0.9


def test_batched_points_are_one_object_each(blobs):
    _, labels = blobs
    prompts = Prompts([(60, 160), (130, 200)], [1, 1])
    assert len(segment_objects(Oracle(), prompts, oracle_embeddings(labels))) == 1
    found = segment_objects(Oracle(), prompts, oracle_embeddings(labels), batched=True)
    assert [one.iou(truth_of(labels, v)) > 0.9 for one, v in zip(found, (2, 5), strict=True)] == [True, True]


def test_a_single_click_asks_for_three_masks_and_corrections_for_one(blobs):
    _, labels = blobs
    oracle, embeddings = Oracle(), oracle_embeddings(labels)
    first = segment_objects(oracle, Prompts([(60, 160)], [1]), embeddings)
    segment_objects(oracle, Prompts([(60, 160), (5, 5)], [1, 0]), embeddings, previous=first)
    assert [call["multimask"] for call in oracle.calls] == [True, False]
    assert oracle.calls[0]["mask_input"] is None
    np.testing.assert_array_equal(oracle.calls[1]["mask_input"][0, 0], first[0].logits)


def test_previous_answers_of_another_number_of_objects_are_not_used(blobs):
    _, labels = blobs
    oracle, embeddings = Oracle(), oracle_embeddings(labels)
    first = segment_objects(oracle, Prompts([(60, 160)], [1]), embeddings)
    segment_objects(oracle, Prompts([(60, 160), (130, 200)], [1, 1]), embeddings, batched=True, previous=first)
    assert all(call["mask_input"] is None for call in oracle.calls)


def test_the_mask_of_a_polygon_is_a_mask_prompt(blobs):
    _, labels = blobs
    oracle, embeddings = Oracle(), oracle_embeddings(labels)
    area = truth_of(labels, 5)
    segment_objects(oracle, Prompts(boxes=[area.box], masks=(area,)), embeddings)
    logits = oracle.calls[0]["mask_input"][0, 0]
    scale = 256 / 320
    assert logits[int(130 * scale), int(200 * scale)] > 0 and logits[int(60 * scale), int(160 * scale)] < 0
    assert (logits[int(np.ceil(240 * scale)) :] < 0).all()  # the padding of an image that is not square


@pytest.mark.parametrize("point", [(-3, 10), (10, 320), (240, 10), (10, -1)])
def test_a_point_outside_the_image_is_refused_with_its_position(blobs, point):
    embeddings = oracle_embeddings(blobs[1])
    with pytest.raises(InputError, match="outside the image"):
        segment_objects(Oracle(), Prompts([point], [1]), embeddings)
    with pytest.raises(ValueError, match=f"x={point[1]}"):
        segment_from_points(Oracle(), np.array([point]), np.array([1]), embeddings)


@pytest.mark.parametrize("point", [(0, 319), (239, 0), (239.4, 319.4), (-0.4, 0)])
def test_points_on_border_pixels_are_taken(predictor, blob_embeddings, point):
    assert len(segment_objects(predictor, Prompts([point], [1]), blob_embeddings)) == 1


def test_boxes_are_sorted_and_clipped_and_refused_without_area(blobs):
    _, labels = blobs
    embeddings = oracle_embeddings(labels)
    y0, x0, y1, x1 = truth_of(labels, 3).box
    straight = segment_from_box(Oracle(), (y0, x0, y1, x1), embeddings)
    assert (segment_from_box(Oracle(), (y1, x1, y0, x0), embeddings) == straight).all()
    assert (segment_from_box(Oracle(), (y0, x0, y1, 1000), embeddings) == straight).all()
    for box, words in (((10, 10, 10, 50), "no area"), ((300, 10, 400, 50), "outside the image")):
        with pytest.raises(InputError, match=words):
            segment_from_box(Oracle(), box, embeddings)
        with pytest.raises(InputError, match=words):
            segment_objects(Oracle(), Prompts(boxes=[box]), embeddings)


def test_the_box_extension_is_pixels_or_a_fraction(blobs):
    oracle, embeddings = Oracle(), oracle_embeddings(blobs[1])
    for extension, expected in ((3, [97, 147, 153, 253]), (0.1, [95, 140, 155, 260])):
        segment_from_box(oracle, (100, 150, 150, 250), embeddings, box_extension=extension)
        assert oracle.calls[-1]["boxes"][0].tolist() == expected


def test_no_prompt_and_only_negative_points_are_refused(blobs):
    embeddings = oracle_embeddings(blobs[1])
    with pytest.raises(InputError, match="no prompts"):
        segment_objects(Oracle(), Prompts(), embeddings)
    with pytest.raises(InputError, match="only negative"):
        segment_objects(Oracle(), Prompts([(3, 3)], [0]), embeddings)
    with pytest.raises(InputError, match="needs a label"):
        Prompts([(3, 3)], [])


def test_features_that_are_not_there_yet(blobs):
    with pytest.raises(NotComputedYet):
        segment_objects(Oracle(), Prompts([(3, 3)], [1]), oracle_embeddings(blobs[1], leave_out=[0]))


@pytest.mark.parametrize("value", [1, 7, -2, 255, True])
def test_any_non_zero_label_is_the_mask(blobs, value):
    _, labels = blobs
    mask = np.where(labels == 5, value, 0).astype(bool if value is True else "int16")
    found = segment_from_mask(Oracle(), mask, oracle_embeddings(labels))
    assert found.shape == (1, 240, 320) and found.dtype == bool and iou(found[0], labels == 5) > 0.9


@pytest.mark.parametrize(
    "use",
    [
        {},
        {"use_mask": False},
        {"use_box": False},
        {"use_box": False, "use_mask": False, "use_points": True},
        {"use_box": False, "use_mask": False, "use_points": True, "use_single_point": True},
    ],
)
def test_a_mask_projects_to_its_object(predictor, blobs, blob_embeddings, use):
    _, labels = blobs
    found = segment_from_mask(predictor, labels == 4, blob_embeddings, **use)
    assert found.shape == (1, 240, 320)
    assert found[0][labels == 4].any() or use == {"use_box": False}


def test_an_empty_mask_gives_an_empty_result(blobs):
    embeddings = oracle_embeddings(blobs[1])
    empty = np.zeros((240, 320), "uint8")
    mask, scores, logits = segment_from_mask(Oracle(), empty, embeddings, return_all=True)
    assert not mask.any() and mask.shape == (1, 240, 320) and scores.tolist() == [0] and logits.shape == (1, 256, 256)
    assert segment_from_mask(Oracle(), empty, embeddings, box=(100, 170, 160, 230)).any()


def test_a_mask_of_another_shape_is_refused(blobs):
    with pytest.raises(InputError, match="shape"):
        segment_from_mask(Oracle(), np.ones((320, 240)), oracle_embeddings(blobs[1]))


def test_results_have_the_documented_shapes(predictor, blob_embeddings):
    points, labels = np.array([[60, 160]]), np.array([1])
    mask, scores, logits = segment_from_points(predictor, points, labels, blob_embeddings, return_all=True)
    assert mask.shape == (1, 240, 320) and mask.dtype == bool and scores.shape == (1,) and logits.shape == (1, 256, 256)
    masks, scores, logits = segment_from_points(
        predictor, points, labels, blob_embeddings, multimask_output=True, return_all=True
    )
    assert masks.shape == (3, 240, 320) and scores.shape == (3,) and logits.shape == (3, 256, 256)
    logits = segment_from_mask(predictor, mask[0], blob_embeddings, return_logits=True)
    assert logits.shape == (1, 240, 320) and logits.dtype == np.float32


def test_masks_agree_with_predict_on_an_image_that_is_set(predictor, blobs):
    image = np.repeat(blobs[0][..., None], 3, -1)
    predictor.set_image(image)
    try:
        expected, _, _ = predictor.predict(np.array([[160, 60], [40, 180]]), np.array([1, 0]), multimask_output=False)
        points, labels = np.array([[60, 160], [180, 40]]), np.array([1, 0])
        np.testing.assert_array_equal(segment_from_points(predictor, points, labels), expected)
        box = np.array([100, 170, 160, 230])
        expected, _, _ = predictor.predict(box=box[[1, 0, 3, 2]], multimask_output=False)
        np.testing.assert_array_equal(segment_from_box(predictor, box), expected)
    finally:
        predictor.reset_image()
    with pytest.raises(InputError, match="image_embeddings"):
        segment_from_box(predictor, box)


def test_y_and_x_are_not_swapped_at_the_corners_of_a_long_image(predictor):
    image = np.full((60, 400), 10, "uint8")
    y, x = np.mgrid[:60, :400]
    disc = (y - 40) ** 2 + (x - 370) ** 2 < 15**2
    image[disc] = 200
    embeddings = embed(predictor, image)
    found = segment_from_points(predictor, np.array([[40, 370]]), np.array([1]), embeddings)
    assert iou(found[0], disc) > 0.6


def test_islands_that_nobody_clicked_are_dropped(blobs):
    labels = np.where(blobs[1] > 0, 1, 0)  # to the oracle all blobs are one object
    embeddings = oracle_embeddings(labels)
    (one,) = segment_objects(Oracle(), Prompts([(60, 160)], [1]), embeddings)
    assert iou(one.full(labels.shape), blobs[1] == 2) > 0.9
    (two,) = segment_objects(Oracle(), Prompts([(60, 160), (130, 200)], [1, 1]), embeddings)
    assert iou(two.full(labels.shape), np.isin(blobs[1], (2, 5))) > 0.9
    assert segment_from_points(Oracle(), np.array([[60, 160]]), np.array([1]), embeddings).sum() > 5 * one.area
