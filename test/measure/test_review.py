"""Which objects are worth a look first."""

import numpy as np
import pandas as pd

from micro_sam.measure import measure_objects
from micro_sam.measure.review import review_order


def some(n=12):
    labels = np.zeros((20 * n, 60), int)
    for k in range(n):
        labels[20 * k + 4 : 20 * k + 14, 20 : 30 + k % 3] = k + 1
    return labels


def test_objects_without_a_fault_come_last_in_the_order_of_their_ids():
    order = review_order(measure_objects(some()), some().shape)
    assert [doubt.id for doubt in order] == list(range(1, 13)) and all(doubt.score == 0 for doubt in order)


def test_each_fault_is_a_reason_in_words():
    labels = some()
    labels[5:7, 50:52] = 3  # a second piece
    labels[64:74, 20:60] = 4  # four times larger, and at the border
    labels[85:, 20:60][labels[85:, 20:60] == 5] = 0
    labels[90, 20:22] = 5  # very small
    table = measure_objects(labels, certainty={1: 0.3, 2: 0.95, 7: 0.6})
    order = review_order(table, labels.shape)
    words = {doubt.id: doubt.reasons for doubt in order if doubt.reasons}
    assert words[1] == ("certainty 0.30",) and words[7] == ("certainty 0.60",)
    assert words[3] == ("in 2 pieces",)
    assert words[4] == ("3.6 times larger than most", "cut by the border of the image")
    assert words[5][0].endswith("times smaller than most")
    assert set(words) == {1, 3, 4, 5, 7} and 2 not in words
    assert [doubt.id for doubt in order][:2] == [5, 1]
    assert all(a.score >= b.score for a, b in zip(order, order[1:], strict=False))


def test_sizes_of_few_objects_say_nothing_and_nothing_is_nothing():
    labels = some(4)
    labels[4:14, 20:59] = 1
    assert not any(doubt.reasons for doubt in review_order(measure_objects(labels)))
    assert review_order(measure_objects(np.zeros((9, 9), int)), (9, 9)) == []


def test_tracks_with_gaps_and_jumps_of_size():
    table = pd.DataFrame(
        {
            "id": [1, 2, 3, 4],
            "first_frame": [0, 0, 2, 0],
            "last_frame": [9, 9, 2, 9],
            "frames": [10, 7, 1, 10],
            "pieces": [1, 1, 1, 1],
            "largest_size_step": [1.1, 1.2, np.nan, 2.1],
        }
    )
    order = review_order(table)
    assert [doubt.id for doubt in order] == [2, 4, 3, 1]
    assert order[0].reasons == ("missing in 3 of its frames",)
    assert order[1].reasons == ("its size changes by a factor of 2.1",) and order[3].score == 0
