"""The simulated user."""

import numpy as np
import pytest

from micro_sam.errors import InputError
from micro_sam.evaluation.interactive import evaluate_image, next_click, simulate
from micro_sam.segmentation.values import ObjectMask


def square(rows, columns, shape=(60, 80)):
    mask = np.zeros(shape, bool)
    mask[rows, columns] = True
    return mask


def scripted(*answers):
    """A segmentation that gives these masks in turn, and keeps the prompts."""
    asked = []

    def segment(predictor, prompts, embeddings, i, previous=None):
        asked.append((prompts, previous))
        return [ObjectMask.from_array(answers[min(len(asked), len(answers)) - 1])]

    segment.asked = asked
    return segment


TRUTH = square(slice(10, 30), slice(10, 50))


def test_the_next_click_is_in_the_middle_of_the_largest_error():
    truth = ObjectMask.from_array(TRUTH)
    missing = ObjectMask.from_array(square(slice(10, 30), slice(10, 25)))
    (y, x), label = next_click(truth, missing)
    assert label == 1 and 18 <= y <= 21 and 33 <= x <= 42
    too_much = ObjectMask.from_array(TRUTH | square(slice(35, 60), slice(10, 50)))
    (y, x), label = next_click(truth, too_much)
    assert label == 0 and y >= 40
    assert next_click(truth, truth) is None
    assert next_click(truth, ObjectMask.from_array(np.zeros_like(TRUTH)))[1] == 1


def test_corrections_follow_the_error_and_hand_back_the_last_answer():
    half = square(slice(10, 30), slice(10, 30))
    segment = scripted(half, TRUTH | square(slice(40, 60), slice(0, 20)), TRUTH)
    trial = simulate(None, None, ObjectMask.from_array(TRUTH), "point", 2, segment=segment)
    assert trial.ious == pytest.approx((0.5, 800 / 1200, 1.0))
    assert [call[0].labels.tolist() for call in segment.asked] == [[1], [1, 1], [1, 1, 0]]
    assert segment.asked[0][1] is None and segment.asked[1][1][0].area == half.sum()


def test_a_box_start_and_a_perfect_answer():
    segment = scripted(TRUTH)
    trial = simulate(None, None, ObjectMask.from_array(TRUTH), "box", 3, segment=segment)
    assert trial.ious == (1.0,) * 4 and len(segment.asked) == 1
    assert segment.asked[0][0].boxes.tolist() == [[10, 10, 30, 50]] and len(segment.asked[0][0].points) == 0


def test_objects_are_drawn_the_same_way_every_time():
    labels = np.kron(np.arange(1, 13).reshape(3, 4), np.pad(np.ones((16, 16), int), 2))
    chosen = [[t.label for t in evaluate_image(None, None, labels, max_objects=5, segment=scripted(labels == 1))]] * 2
    assert len(chosen[0]) == 5 and chosen[0] == chosen[1]
    assert not list(evaluate_image(None, None, labels, min_size=1000, segment=scripted(labels == 1)))


def test_wrong_starts_are_refused():
    with pytest.raises(InputError, match="point"):
        simulate(None, None, ObjectMask.from_array(TRUTH), "scribble")
    with pytest.raises(InputError, match="empty"):
        simulate(None, None, ObjectMask.from_array(np.zeros((4, 4))))
