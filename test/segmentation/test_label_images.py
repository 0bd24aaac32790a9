"""Label images from masks, and small tools around them."""

import time

import numpy as np
import pytest
from segmentation_helpers import iou

from micro_sam.errors import InputError
from micro_sam.prompt_generators import PointAndBoxPromptGenerator
from micro_sam.segmentation.automatic.mask_output import remove_small_regions
from micro_sam.segmentation.labels import (
    apply_nms,
    compute_iou,
    get_centers_and_bounding_boxes,
    mask_data_to_segmentation,
    nms,
    segmentation_to_one_hot,
)
from micro_sam.segmentation.rle import compress_rle, decompress_rle, mask_from_rle, rle_from_object
from micro_sam.segmentation.suppression import suppress
from micro_sam.segmentation.values import ObjectMask


def record(rows, columns, score=0.9, shape=(40, 60)):
    mask = np.zeros(shape, bool)
    mask[rows, columns] = True
    return {"segmentation": mask, "predicted_iou": score, "area": int(mask.sum())}


def test_nms_agrees_with_torchvision():
    torchvision = pytest.importorskip("torchvision")
    import torch

    random = np.random.default_rng(0)
    low = random.integers(0, 80, (200, 2))
    boxes = np.concatenate([low, low + random.integers(1, 40, (200, 2))], 1).astype("float32")
    scores = random.random(200).astype("float32")
    for threshold in (0.1, 0.5, 0.7):
        expected = torchvision.ops.nms(torch.from_numpy(boxes), torch.from_numpy(scores), threshold).numpy()
        np.testing.assert_array_equal(nms(boxes, scores, threshold), expected)
    assert len(nms(np.zeros((0, 4)), np.zeros(0), 0.5)) == 0


def test_nms_of_boxes_of_all_sizes_agrees_with_torchvision():
    torchvision = pytest.importorskip("torchvision")
    import torch

    random = np.random.default_rng(1)
    low = random.uniform(-500, 4000, (6000, 2))
    size = np.exp(random.uniform(0, 7, (6000, 2)))
    boxes = np.concatenate([low, low + size], 1)
    boxes[::2] = boxes[1::2] + random.normal(0, 1, (3000, 4))  # doublets: half of the boxes are suppressed
    boxes[:20, 2:] = boxes[:20, :2]  # without area
    boxes = boxes.astype("float32")
    scores = random.integers(0, 500, 6000).astype("float32")  # many are equal
    for threshold in (0, 0.01, 0.5, 0.9, 1):
        order = np.argsort(-scores, kind="stable")  # torchvision does not say which of equals comes first
        expected = order[torchvision.ops.nms(torch.tensor(boxes[order]), -torch.arange(6000.0), threshold).numpy()]
        np.testing.assert_array_equal(nms(boxes, scores, threshold), expected)
    assert nms(boxes, scores, -0.1).tolist() == [int(np.argmax(scores))]


def test_nms_of_boxes_that_are_hard_to_tell_apart_agrees_with_torchvision():
    torchvision = pytest.importorskip("torchvision")
    import torch

    random = np.random.default_rng(3)
    steps = np.arange(400)[:, None] % 20
    sets = {
        "nested": np.concatenate([500 - steps * (1, 2), 500 + steps * (3, 1) + 1], 1),
        "on the borders of cells": 2.0 ** np.concatenate([steps, steps, steps + 1, steps + 1], 1),
        "thin": np.concatenate([random.uniform(0, 50, (400, 2)), random.uniform(51, 5000, (400, 2)) ** (0.5, 1)], 1),
        "far away": 1e6 + np.concatenate([random.integers(0, 9, (400, 2)), random.integers(10, 20, (400, 2))], 1),
        "tiny": random.integers(0, 9, (400, 2))[:, [0, 1, 0, 1]] / 1e4 + (0, 0, 1e-3, 1e-3),
        "one place": np.tile([[3, 4, 9, 10]], (400, 1)),
        "inside out": random.uniform(0, 9, (400, 4)),
    }
    for boxes in sets.values():
        boxes = boxes.astype("float32")
        scores = random.permutation(len(boxes)).astype("float32")
        for threshold in (0.05, 0.11, 0.3, 0.5, 0.7, 0.95):
            expected = torchvision.ops.nms(torch.tensor(boxes), torch.tensor(scores), threshold).numpy()
            np.testing.assert_array_equal(nms(boxes, scores, threshold), expected)


def test_a_mask_with_a_thin_arm_is_suppressed_by_the_same_without():
    whole = np.zeros((60, 300), bool)
    whole[10:50, 10:50] = True
    arm = whole.copy()
    arm[30, 50:290] = True
    objects = [ObjectMask.from_array(mask, score) for mask, score in ((whole, 0.9), (arm, 0.8))]
    assert [one.score for one in suppress(objects, 0.8)] == [0.9]
    assert len(suppress(objects, 0.9)) == 2


def test_suppression_of_boxes_costs_no_square_of_their_number():
    def seconds(number, side):
        random = np.random.default_rng(2)
        low = np.repeat(random.uniform(0, side, (number // 4, 2)), 4, 0) + random.normal(0, 2, (number, 2))
        boxes = np.concatenate([low, low + random.uniform(20, 40, (number, 2))], 1)
        begin = time.process_time()
        kept = nms(boxes, random.random(number), 0.5)
        assert number / 5 < len(kept) < number
        return time.process_time() - begin

    seconds(1000, 1000)
    ratio = min(seconds(40000, 8000) / seconds(5000, 8000 / 8**0.5) for _ in range(3))
    print(f"8 times as many boxes take {ratio:.1f} times as long")
    assert ratio < 24  # 64 if each was compared with all others


@pytest.mark.parametrize("over_min", [False, True])
def test_suppression_of_masks_is_that_of_all_pairs(over_min):
    random = np.random.default_rng(3)
    masks = []
    for y, x in random.integers(0, 300, (400, 2)):
        size = random.integers(2, 60, 2)
        masks.append(ObjectMask.from_array(random.random(size) > 0.3, float(random.random()), offset=(y, x)))
    masks.append(ObjectMask((0, 0, 0, 0), np.zeros((0, 0), bool), 2.0))
    for threshold in (0.0, 0.2, 0.6):
        expected = []
        for one in sorted(masks, key=lambda mask: -mask.score):
            shares = [one.intersection(other) for other in expected]
            sizes = [
                min(one.area, other.area) if over_min else one.area + other.area - shared
                for other, shared in zip(expected, shares, strict=True)
            ]
            if all(shared / max(size, 1) <= threshold for shared, size in zip(shares, sizes, strict=True)):
                expected.append(one)
        assert [id(one) for one in suppress(masks, threshold, over_min)] == [id(one) for one in expected]


def test_masks_to_labels():
    masks = [record(slice(0, 10), slice(0, 20)), record(slice(5, 8), slice(15, 30)), record(slice(30, 32), slice(0, 2))]
    labels = mask_data_to_segmentation(masks, label_masks=False)
    assert labels.dtype == np.uint32 and labels.max() == 3 and (labels[:10, :20] == 1).all()
    assert (mask_data_to_segmentation(masks, label_masks=False, merge_exclusively=False)[5:8, 15:30] == 2).all()
    assert mask_data_to_segmentation(masks, min_object_size=10).max() == 2
    assert mask_data_to_segmentation(masks, max_object_size=100).max() == 2
    assert (mask_data_to_segmentation([], shape=(4, 5)) == np.zeros((4, 5))).all()
    with pytest.raises(InputError, match="shape"):
        mask_data_to_segmentation([])


def test_a_mask_that_is_the_background_is_removed():
    masks = [record(slice(0, 40), slice(0, 60)), record(slice(5, 8), slice(15, 30))]
    labels = mask_data_to_segmentation(masks, with_background=True, merge_exclusively=False)
    assert labels.max() == 1 and (labels > 0).sum() == 45


def test_duplicates_are_removed_and_better_masks_keep_shared_pixels():
    predictions = [
        record(slice(0, 20), slice(0, 20), 0.8),
        record(slice(0, 20), slice(1, 20), 0.9),
        record(slice(15, 30), slice(10, 30), 0.7),
    ]
    for by_box in (True, False):
        labels = apply_nms(predictions, shape=(40, 60), perform_box_nms=by_box)
        assert labels.max() == 2 and (labels[0:20, 1:20] == 1).all() and (labels[:20, 0] == 0).all()
    assert apply_nms(predictions, shape=(40, 60), min_size=350).max() == 1
    assert apply_nms([], shape=(4, 6), perform_box_nms=True).shape == (4, 6)


def test_run_length_codes_keep_masks():
    random = np.random.default_rng(1)
    for density in (0.0, 0.02, 0.5, 1.0):
        mask = random.random((23, 31)) < density
        rle = rle_from_object(ObjectMask.from_array(mask), mask.shape)
        assert sum(rle["counts"]) == mask.size
        np.testing.assert_array_equal(mask_from_rle(rle), mask)
        assert decompress_rle(compress_rle(rle)) == rle
    with pytest.raises(InputError, match="fill"):
        mask_from_rle({"size": [3, 3], "counts": [4]})


def test_small_holes_and_islands():
    mask = np.zeros((40, 40), bool)
    mask[5:25, 5:25] = True
    mask[10:12, 10:12] = False
    mask[35:37, 35:37] = True
    cleaned, changed = remove_small_regions(ObjectMask.from_array(mask), 10)
    assert changed and cleaned.area == 400
    assert not remove_small_regions(cleaned, 10)[1]


def test_overlap_of_masks():
    a, b = np.zeros((4, 4), int), np.zeros((4, 4), bool)
    assert compute_iou(a, b) == 0
    a[:2], b[1:3] = 7, True
    assert compute_iou(a, b) == pytest.approx(1 / 3)
    one, other = ObjectMask.from_array(a), ObjectMask.from_array(b)
    assert one.iou(other) == pytest.approx(1 / 3) and one.intersection(other) == 4
    with pytest.raises(InputError, match="shapes"):
        compute_iou(a, np.zeros((4, 5)))


def test_ids_of_any_size_need_no_memory_for_those_below():
    labels = np.zeros((30, 40), np.uint32)
    labels[2:6, 3:9], labels[20:25, 20:25] = 7, 4_000_000_000
    centers, boxes = get_centers_and_bounding_boxes(labels)
    assert boxes == {7: (2, 3, 6, 9), 4_000_000_000: (20, 20, 25, 25)} and centers[4_000_000_000] == (22, 22)


def test_centres_lie_inside_and_boxes_around():
    labels = np.zeros((30, 50), int)
    labels[5:25, 10:14] = 3
    labels[21:25, 10:40] = 3  # an L: its centroid lies outside of it
    centers, boxes = get_centers_and_bounding_boxes(labels)
    y, x = centers[3]
    assert labels[int(y), int(x)] == 3 and boxes[3] == (5, 10, 25, 40)
    y, x = get_centers_and_bounding_boxes(labels, mode="p")[0][3]
    assert labels[int(y), int(x)] == 0


def test_one_hot():
    labels = np.array([[0, 4], [9, 4]])
    masks = segmentation_to_one_hot(labels)
    assert masks.shape == (2, 1, 2, 2) and masks.sum(dim=(1, 2, 3)).tolist() == [2, 1]
    assert segmentation_to_one_hot(labels, [9]).shape == (1, 1, 2, 2)


def test_prompts_from_masks_lie_where_they_should():
    masks = np.zeros((2, 1, 50, 60), bool)
    masks[0, 0, 10:20, 10:30] = True
    masks[1, 0, 30:48, 40:58] = True
    generator = PointAndBoxPromptGenerator(3, 4, dilation_strength=5, get_box_prompts=True, seed=0)
    points, labels, boxes, nothing = generator(masks)
    assert points.shape == (2, 7, 2) and labels.tolist() == [[1, 1, 1, 0, 0, 0, 0]] * 2 and nothing is None
    assert boxes.tolist() == [[10, 10, 30, 20], [40, 30, 58, 48]]  # x before y, as Segment Anything takes them
    for mask, where, label in zip(masks[:, 0], points.numpy(), labels.numpy(), strict=True):
        assert (mask[where[:, 1], where[:, 0]] == label).all()
    with pytest.raises(InputError, match="empty"):
        generator(np.zeros((1, 4, 4)))


def test_an_object_mask_stays_in_its_box():
    full = np.zeros((50, 80), bool)
    full[10:20, 30:60] = True
    mask = ObjectMask.from_array(full)
    assert mask.box == (10, 30, 20, 60) and mask.area == 300 and iou(mask.full(full.shape), full) == 1
    labels = np.zeros((50, 80), "uint32")
    mask.paint(labels, 6)
    assert (labels == 6).sum() == 300
    assert ObjectMask.from_array(np.zeros((4, 4))).is_empty
    with pytest.raises(InputError, match="another size"):
        ObjectMask((0, 0, 3, 3), np.ones((2, 2)))
