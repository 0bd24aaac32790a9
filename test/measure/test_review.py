"""Which objects are worth a look first."""

import numpy as np
import pandas as pd
import pytest

from micro_sam.measure import measure_objects
from micro_sam.measure.review import review_order, tile_cuts


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


def disc(labels: np.ndarray, object_id: int, y: float, x: float, radius: float) -> None:
    rows, columns = np.indices(labels.shape[-2:])
    labels[..., (rows - y) ** 2 + (columns - x) ** 2 <= radius**2] = object_id


def tiled() -> np.ndarray:
    """Tiles of 64 x 64: 1 is cut from below, 2 from the right, 3 reaches over a border, 4 only touches one."""
    labels = np.zeros((192, 192), np.uint32)
    disc(labels, 1, 60, 30, 14)
    labels[64:, :][labels[64:, :] == 1] = 0
    disc(labels, 2, 100, 128, 12)
    labels[:, :128][labels[:, :128] == 2] = 0
    disc(labels, 3, 128, 64, 15)
    disc(labels, 4, 64 - 1 - 12, 100, 12)
    disc(labels, 5, 30, 150, 12)
    labels[60:64, 0:4] = 6  # flat, but too short to say anything
    return labels


def test_an_object_with_a_straight_side_on_the_border_of_a_tile_is_doubtful():
    labels = tiled()
    table = measure_objects(labels)
    cuts = tile_cuts(table, labels, (64, 64))
    assert set(cuts) == {1, 2} and cuts[2] == 25 and 25 <= cuts[1] <= 29
    order = review_order(table, labels.shape, cut_by_tiles=cuts)
    assert {doubt.id for doubt in order[:2]} == {1, 2} and order[0].score >= 0.5
    words = {doubt.id: doubt.reasons for doubt in order}
    assert words[2] == ("cut by the border of a tile (25 pixels)",) and not words[3] and not words[4]
    assert words[6] == ("cut by the border of the image",)
    assert not tile_cuts(table, labels, (192, 192)), "the border of the image is none between tiles"
    assert not tile_cuts(measure_objects(np.zeros((9, 9), int)), np.zeros((9, 9), int), (4, 4))


@pytest.mark.parametrize("movie", [False, True])
def test_in_stacks_one_cut_slice_or_frame_is_enough(movie):
    labels = np.zeros((3, 192, 192), np.uint32)
    labels[1] = tiled()
    disc(labels[0], 5, 30, 150, 12)
    assert set(tile_cuts(measure_objects(labels, movie=movie), labels, (64, 64))) == {1, 2}
    assert not tile_cuts(measure_objects(labels, movie=movie), labels, (192, 192))


def test_a_division_that_a_track_passes_is_a_reason_with_its_frame():
    table = pd.DataFrame(
        {"id": [1, 2], "first_frame": [0, 0], "last_frame": [9, 9], "frames": [10, 10], "largest_size_step": [2.1, 1.1]}
    )
    order = review_order(table, passed_divisions={2: 4, 7: 1})
    assert [doubt.id for doubt in order] == [2, 1]
    assert order[0].reasons == ("passes a division in frame 4",)
    both = review_order(table, passed_divisions={1: 4})
    assert both[0].id == 1 and both[0].score > order[0].score
    assert both[0].reasons == ("passes a division in frame 4", "its size changes by a factor of 2.1")
