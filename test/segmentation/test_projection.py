"""The pieces of a step: prompts from masks, motion, interpolation."""

import numpy as np
import pytest

from micro_sam.errors import InputError
from micro_sam.segmentation.interpolation import centre_of, interpolate_masks, shifted
from micro_sam.segmentation.prompted.objects import union
from micro_sam.segmentation.prompted.projection import (
    PROJECTION_MODES,
    Projection,
    prompt_from_mask,
    resolve_projection,
)
from micro_sam.segmentation.propagation.motion import MotionModel
from micro_sam.segmentation.propagation.search import likeness
from micro_sam.segmentation.values import ObjectMask


def block(y0, x0, y1, x1, shape=(60, 100)):
    mask = np.zeros(shape, bool)
    mask[y0:y1, x0:x1] = True
    return ObjectMask.from_array(mask, 0.9)


def test_modes_are_the_five_of_the_library_and_may_be_given_as_mapping():
    assert PROJECTION_MODES == ("box", "mask", "points", "points_and_mask", "single_point")
    default = Projection(use_mask=True)
    assert resolve_projection("box", default) == Projection(use_box=True)
    assert resolve_projection("default", default) is default
    assert resolve_projection({"use_box": True, "use_mask": False}, default) == Projection(use_box=True)
    assert resolve_projection({"use_single_point": True}, default).use_points
    with pytest.raises(InputError, match="at least one true value"):
        resolve_projection({"use_circle": True}, default)


def test_boxes_grow_by_pixels_or_by_a_fraction_and_stay_in_the_image():
    mask, box = block(10, 20, 30, 60), Projection(use_box=True)
    assert prompt_from_mask(mask, box, (60, 100), 0.0).box.tolist() == [10, 20, 30, 60]
    assert prompt_from_mask(mask, box, (60, 100), 3).box.tolist() == [7, 17, 33, 63]
    assert prompt_from_mask(mask, box, (60, 100), 0.5).box.tolist() == [0, 0, 40, 80]


def test_points_of_a_mask_that_lie_outside_the_image_are_left_out():
    mask = block(0, 20, 20, 40)
    prompt = prompt_from_mask(mask, Projection(use_points=True), (60, 100))
    assert prompt.labels.tolist() == [1, 0, 0] and (prompt.points[1:, 0] > 20).all()
    alone = prompt_from_mask(mask, Projection(use_points=True, use_single_point=True), (60, 100))
    assert len(alone.points) == 1 and alone.box is None and alone.mask is None


def test_a_shifted_mask_is_cut_at_the_border_on_either_side():
    mask = block(10, 20, 30, 60)
    assert shifted(mask, (0.2, -0.4), (60, 100)) is mask
    assert shifted(mask, (5, -30), (60, 100)).box == (15, 0, 35, 30)
    assert shifted(mask, (40, 50), (60, 100)).box == (50, 70, 60, 100)
    assert shifted(mask, (0, 200), (60, 100)).is_empty and shifted(mask, (-50, 0), (60, 100)).is_empty


def test_the_motion_model_smooths_both_axes_on_their_own():
    motion = MotionModel(0.5)
    assert motion.shift() == (0, 0)
    motion.update(0, (10, 10))
    assert motion.shift() == (0, 0)
    motion.update(1, (13, 6))
    assert motion.shift() == (3, -4)
    motion.update(2, (14, 6))
    assert motion.shift() == (2, -2) and motion.shift(3) == (6, -6)


def test_motion_over_skipped_frames_and_backward_in_time_is_per_frame():
    motion = MotionModel(0.0)
    motion.update(9, (0, 0))
    motion.update(5, (8, -4))
    assert motion.shift() == (2, -1)


@pytest.mark.parametrize("smoothing", [-0.1, 1.0])
def test_a_smoothing_that_makes_no_sense_is_refused(smoothing):
    with pytest.raises(InputError, match="smoothing"):
        MotionModel(smoothing)


def test_interpolation_lies_between_the_outlines_even_when_these_do_not_overlap():
    a, b = block(10, 10, 30, 20), block(20, 60, 30, 90)
    middle = interpolate_masks(a, b, 0.5, (60, 100))
    assert np.abs(centre_of(middle) - (centre_of(a) + centre_of(b)) / 2).max() <= 1
    assert min(a.area, b.area) * 0.3 < middle.area < max(a.area, b.area)
    assert interpolate_masks(a, b, 0.0, (60, 100)).iou(a) > 0.95
    assert interpolate_masks(a, b, 1.0, (60, 100)).iou(b) > 0.95


def test_a_union_holds_the_pixels_of_both():
    a, b = block(10, 10, 30, 20), block(20, 15, 40, 30)
    assert np.array_equal(union([a, b]).full((60, 100)), a.full((60, 100)) | b.full((60, 100)))


def test_likeness_ignores_place_and_direction_but_not_size_and_elongation():
    plate, turned, disc = block(5, 5, 35, 15), block(40, 40, 50, 70), block(10, 10, 27, 27)
    assert likeness(plate, turned) > 0.95
    assert likeness(plate, disc) < 0.7
    assert likeness(plate, block(5, 5, 20, 10)) < 0.4
    assert likeness(plate, ObjectMask((0, 0, 0, 0), np.zeros((0, 0), bool))) == 0
