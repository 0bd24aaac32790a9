"""An object is followed through time from the frames in which it is known."""

import numpy as np
import pytest
from oracle_stack import masks_of, oracle_stack, painted
from segmentation_helpers import Oracle, iou

from micro_sam.errors import InputError
from micro_sam.segmentation.prompted.projection import PROJECTION_MODES
from micro_sam.segmentation.propagation.tracking import iter_track
from micro_sam.segmentation.values import ObjectMask

SHAPE = (12, 90, 150)


def disc(centre, radius=9, shape=SHAPE[1:]):
    y, x = np.ogrid[: shape[0], : shape[1]]
    return (y - centre[0]) ** 2 + (x - centre[1]) ** 2 <= radius**2


def moving(velocity, n_frames=12, start=(30, 20), radius=9, value=3):
    """A disc that moves steadily by ``velocity`` (dy, dx) pixels per frame."""
    labels = np.zeros((n_frames, *SHAPE[1:]), "uint32")
    for t in range(n_frames):
        labels[t][disc(np.array(start) + t * np.array(velocity), radius)] = value
    return labels


def track(labels, masks, **options):
    return list(iter_track(Oracle(), oracle_stack(labels), masks, **options))


@pytest.mark.parametrize("projection", [*PROJECTION_MODES, "default"])
def test_every_projection_follows_a_steady_object(projection):
    labels = moving((2, 5))
    steps = track(labels, masks_of(labels, 3, [0]), projection=projection)
    assert [step.t for step in steps] == list(range(12)) and steps[0].source == "prompt"
    assert iou(painted(steps, labels.shape), labels == 3) > 0.95


def test_the_mask_is_shifted_along_both_axes_by_the_smoothed_displacement():
    labels = moving((2, 5))
    steps = track(labels, masks_of(labels, 3, [0, 1]), projection="box")
    assert steps[1].shift == (0.0, 0.0)
    for step in steps[2:]:
        assert np.allclose(step.shift, (2, 5), atol=0.3)
        assert step.overlap > 0.9
    one = track(labels, masks_of(labels, 3, [0]), projection="single_point")
    assert np.allclose(one[2].shift, (2, 5), atol=0.3)  # as soon as two frames are known


def test_backward_runs_mirror_forward_ones():
    labels = moving((2, 5))
    steps = track(labels, masks_of(labels, 3, [11]), backward=True)
    assert [step.t for step in steps] == list(range(11, -1, -1))
    assert np.allclose(steps[2].shift, (-2, -5), atol=0.3)
    assert iou(painted(steps, labels.shape), labels == 3) > 0.95


def test_a_track_ends_where_the_object_is_gone_and_says_so():
    labels = moving((0, 3))
    labels[6:] = 0
    steps = track(labels, masks_of(labels, 3, [0]))
    assert steps[-1].t == 6 and steps[-1].source == "stop" and steps[-1].mask is None
    assert "frame 6" in steps[-1].reason and len(steps) == 7


def test_a_negative_point_ends_the_track_before_its_frame():
    labels = moving((0, 3))
    steps = track(labels, masks_of(labels, 3, [2]), stops=[7])
    assert [step.t for step in steps] == [2, 3, 4, 5, 6]
    backward = track(labels, masks_of(labels, 3, [9]), stops=[4], backward=True)
    assert [step.t for step in backward] == [9, 8, 7, 6, 5]


def test_a_division_is_a_mother_with_a_last_frame_and_daughters_with_their_own_starts():
    labels = moving((0, 3), n_frames=12)
    labels[6:] = 0
    for t in range(6, 12):
        labels[t][disc((30 - 8 - t, 40), 7)] = 4
        labels[t][disc((30 + 8 + t, 40), 7)] = 5
    mother = track(labels, masks_of(labels, 3, [0]), last=5)
    assert [step.t for step in mother] == list(range(6)) and all(step.mask is not None for step in mother)
    for daughter in (4, 5):
        steps = track(labels, masks_of(labels, daughter, [6]))
        assert [step.t for step in steps] == list(range(6, 12))
        assert iou(painted(steps, labels.shape), labels == daughter) > 0.9


def test_prompts_on_later_frames_correct_the_track_and_bridge_what_was_lost():
    labels = moving((1, 4))
    truth = labels.copy()
    labels[5:8] = 0
    steps = {step.t: step for step in track(labels, masks_of(labels, 3, [0, 9]))}
    assert [steps[t].source for t in (4, 5, 6, 7, 8, 9, 10)] == [
        "propagated",
        *["interpolated"] * 3,
        "propagated",
        "prompt",
        "propagated",
    ]
    assert all(iou(steps[t].mask.full(SHAPE[1:]), truth[t] == 3) > 0.8 for t in (5, 6, 7))


def test_a_sudden_jump_is_followed_by_looking_around():
    labels = moving((0, 1))
    for t in range(5, 12):
        labels[t] = 0
        labels[t][disc((46, 25 + t))] = 3  # 16 pixels away: no overlap with where it was
    followed = track(labels, masks_of(labels, 3, [0]), projection="single_point")
    assert iou(painted(followed, labels.shape), labels == 3) > 0.95
    blind = track(labels, masks_of(labels, 3, [0]), projection="single_point", search=False)
    assert blind[-1].t == 5 and blind[-1].source == "stop"


def test_looking_around_does_not_jump_to_a_neighbour_that_was_there_before():
    labels = moving((0, 1))
    for t in range(12):
        labels[t][disc((52, 25 + t))] = 4
    labels[5:][labels[5:] == 3] = 0
    steps = track(labels, masks_of(labels, 3, [0]), projection="single_point")
    assert steps[-1].t == 5 and steps[-1].source == "stop"


def test_settled_tracks_are_not_taken_twice():
    labels = moving((0, 1))
    labels[5:] = 0
    for t in range(5, 12):
        labels[t][disc((45, 20 + t))] = 4  # appears when track 3 is gone
    settled = np.where(labels == 4, labels, 0)
    free = track(labels, masks_of(labels, 3, [0]), projection="single_point")
    kept_off = track(labels, masks_of(labels, 3, [0]), projection="single_point", occupied=settled)
    assert free[-1].t == 11 and kept_off[-1].t == 5


def test_a_settled_track_can_be_done_again():
    labels = moving((0, 3))
    steps = track(labels, masks_of(labels, 3, [0]), occupied=labels)
    assert [step.t for step in steps if step.mask is not None] == list(range(12))


def test_a_track_that_leaves_the_image_ends():
    labels = moving((0, 14), start=(30, 60))
    steps = track(labels, masks_of(labels, 3, [0, 1]))
    last = max(step.t for step in steps if step.mask is not None)
    assert 5 <= last <= 7 and steps[-1].source == "stop"


@pytest.mark.parametrize("tile_shape, halo", [((48, 48), (12, 12))])
def test_tracks_cross_tiles(tile_shape, halo):
    labels = moving((2, 5))
    embeddings = oracle_stack(labels, tile_shape, halo)
    for projection in ("mask", "single_point"):
        steps = iter_track(Oracle(), embeddings, masks_of(labels, 3, [0]), projection=projection)
        assert iou(painted(steps, labels.shape), labels == 3) > 0.9


LABELS = moving((0, 3))


@pytest.mark.parametrize(
    "masks, options, message",
    [
        ({}, {}, "no object to track"),
        ({3: ObjectMask((0, 0, 0, 0), np.zeros((0, 0), bool))}, {}, "empty in frame 3"),
        (masks_of(LABELS, 3, [0]), {"stops": [40]}, "Frame 40 is not in the movie"),
        (masks_of(LABELS, 3, [0, 8]), {"stops": [5]}, "ends with frame 4"),
        (masks_of(LABELS, 3, [0, 8]), {"last": 6}, "ends with frame 6"),
        (masks_of(LABELS, 3, [0]), {"projection": "circle"}, "single_point"),
        (masks_of(LABELS, 3, [0]), {"motion_smoothing": 1.0}, "smoothing"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_computed(masks, options, message):
    with pytest.raises(InputError, match=message):
        iter_track(Oracle(), oracle_stack(LABELS), masks, **options)
