"""Whole objects of a volume by maps that tell the truth: runs, corrections, ends, several at once."""

import numpy as np
import pytest
from scipy import ndimage

from micro_sam.errors import InputError
from micro_sam.segmentation.volume.maps import VolumeMaps
from micro_sam.session.queries import maps_ready
from micro_sam.session.session import VolumeSession

from .conftest import attach_fake, check_invariants, disc, snapshot

SHAPE = (24, 60, 80)
ONE, TWO = (12, 30, 24), (12, 30, 60)


def ball(centre, radius=9.0):
    z, y, x = np.ogrid[tuple(slice(0, n) for n in SHAPE)]
    return sum((a - c) ** 2 for a, c in zip((z, y, x), centre, strict=True)) <= radius**2


def maps_of(*masks):
    depth = np.zeros(SHAPE)
    for mask in masks:
        inside = ndimage.distance_transform_edt(mask)
        depth = np.maximum(depth, inside / inside.max())
    return VolumeMaps.from_arrays(np.any(masks, axis=0).astype("float32"), depth)


@pytest.fixture(scope="module")
def maps():
    return maps_of(ball(ONE), ball(TWO))


@pytest.fixture
def session(runs, maps):
    session = attach_fake(VolumeSession(SHAPE))
    session.model.attach_maps(maps)
    return session


def iou(mask, truth):
    return (mask & truth).sum() / (mask | truth).sum()


def test_one_click_gives_the_whole_object_in_one_step_of_undo(session, runs):
    session.prompts.add_point(ONE)
    before = snapshot(session)
    session.propagation.segment(method="auto")
    assert runs == [] and iou(session.current == 1, ball(ONE)) > 0.85
    assert set(session.propagation.confidence) == set(session.labels.current_slices)
    assert (
        session.propagation.confidence[ONE[0]].source == "prompt"
        and session.propagation.confidence[ONE[0] + 3].source == "maps"
    )
    assert session.propagation.weakest_slice() in session.labels.current_slices
    after = snapshot(session)
    session.undo()
    assert snapshot(session) == before
    session.redo()
    assert snapshot(session) == after
    check_invariants(session)


def test_a_new_result_takes_the_place_of_the_one_before_in_all_slices(session, runs):
    session.prompts.add_point(ONE)
    session.propagation.segment(method="propagation")
    assert runs and session.current[ONE[0] - 6, 30, 24 + 5] == 1
    session.prompts.add_point((ONE[0] + 4, 30, 24))
    session.propagation.segment(method="auto")
    assert iou(session.current == 1, ball(ONE)) > 0.85


def test_without_maps_the_object_goes_from_slice_to_slice(session, runs):
    session.model.attach_maps(None)
    session.prompts.add_point(ONE)
    with pytest.raises(InputError, match="no maps"):
        session.propagation.plan(method="maps")
    session.propagation.segment(method="auto")
    assert len(runs) == 1


def test_maps_that_are_not_known_around_the_prompts_are_not_used_by_auto(session, runs, maps):
    growing = VolumeMaps(maps.geometry)
    session.model.attach_maps(growing)
    session.prompts.add_point(ONE)
    assert not maps_ready(session.state, growing)
    session.propagation.segment(method="auto")
    assert len(runs) == 1


def test_maps_of_another_volume_are_refused(session):
    with pytest.raises(InputError, match="another volume|has the shape"):
        session.model.attach_maps(VolumeMaps.from_arrays(np.zeros((3, 9, 9)), np.zeros((3, 9, 9))))


def test_a_slice_with_only_a_negative_point_ends_the_object(session):
    session.prompts.add_point(ONE)
    session.propagation.segment(method="maps")
    session.prompts.add_point((16, 30, 24), positive=False)
    session.propagation.segment(method="maps")
    assert max(session.labels.current_slices) == 15 and min(session.labels.current_slices) < 6


def test_a_negative_point_splits_off_a_touching_neighbour(runs):
    near = (12, 30, 36)
    session = attach_fake(VolumeSession(SHAPE))
    foreground = (ball(ONE) | ball(near)).astype("float32")
    depth = ndimage.distance_transform_edt(foreground)
    session.model.attach_maps(VolumeMaps.from_arrays(foreground, np.minimum(depth, 6) / 6))
    session.prompts.add_point(ONE)
    session.propagation.segment(method="maps")
    assert session.current[near] == 1
    session.prompts.add_point((12, 30, 40), positive=False)
    session.propagation.segment(method="maps")
    assert session.current[12, 30, 40] == 0 and iou(session.current == 1, ball(ONE)) > 0.7


def test_a_negative_point_at_the_side_of_a_slice_of_its_own_does_not_end_the_object(session):
    session.prompts.add_point(ONE)
    session.prompts.add_point((17, 30, 24))
    live(session)
    whole = session.current.copy()
    session.prompts.add_point((14, 30, 31), positive=False)
    assert live(session) and session.current[14, 30, 31] == 0
    assert session.current[14].sum() > 0.5 * whole[14].sum() and set(session.labels.current_slices) >= {13, 14, 15, 17}
    session.prompts.add_point((9, 5, 60), positive=False)  # not in the object at all
    assert live(session) and 9 in session.labels.current_slices and min(session.labels.current_slices) < 9


def test_a_negative_point_in_another_slice_splits_off_a_touching_neighbour(runs):
    near = (12, 30, 40)
    session = attach_fake(VolumeSession(SHAPE))
    session.model.attach_maps(maps_of(ball(ONE), ball(near)))
    session.prompts.add_point(ONE)
    session.prompts.add_point(near)
    live(session)
    assert session.current[near] == 1
    session.prompts.remove([session.prompts.drawn.points[1].id])
    session.prompts.add_shape("rectangle", [(12, 20, 14), (12, 40, 50)])
    live(session)
    assert session.current[near] == 1
    session.prompts.add_point((14, 30, 42), positive=False)
    live(session)
    assert session.current[near] == 0 and iou(session.current == 1, ball(ONE)) > 0.7
    assert max(session.labels.current_slices) > 16


def test_a_painted_slice_is_exact_and_changes_its_neighbours(session):
    session.prompts.add_point(ONE)
    session.propagation.segment(method="maps")
    before = session.current.copy()
    z = 15
    square = np.zeros(SHAPE[1:], np.uint32)
    square[26:34, 18:26] = 1
    session.labels.paint("current", (slice(z, z + 1), slice(0, 60), slice(0, 80)), square[None])
    session.propagation.segment(method="maps")
    assert np.array_equal(session.current[z], square)
    assert not np.array_equal(session.current[z + 1], before[z + 1])
    assert np.array_equal(session.current[6], before[6])
    assert session.propagation.confidence[z].source == "painted"


def test_a_slice_that_was_erased_ends_the_object(session):
    session.prompts.add_point(ONE)
    session.propagation.segment(method="maps")
    empty = np.zeros((1, *SHAPE[1:]), np.uint32)
    session.labels.paint("current", (slice(15, 16), slice(0, 60), slice(0, 80)), empty)
    session.propagation.segment(method="maps")
    assert np.flatnonzero(session.current.any(axis=(1, 2))).max() == 14


def test_boxes_and_points_are_several_objects(session):
    for y, x in ((20, 14), (20, 50)):
        session.prompts.add_shape("rectangle", [(12, y, x), (12, y + 20, x + 20)])
    session.propagation.segment(method="auto")
    assert iou(session.current == 1, ball(ONE)) > 0.85 and iou(session.current == 2, ball(TWO)) > 0.85
    session.prompts.clear()
    session.prompts.add_point(TWO)
    session.prompts.add_point(ONE)
    session.propagation.segment(method="auto", batched=True)
    assert iou(session.current == 1, ball(TWO)) > 0.85 and iou(session.current == 2, ball(ONE)) > 0.85


def test_several_objects_are_corrected_each_by_its_own_prompts(session):
    session.prompts.add_point(ONE)
    session.prompts.add_point(TWO)
    session.propagation.segment(method="auto", batched=True)
    session.prompts.add_point((17, *TWO[1:]))
    session.propagation.segment(method="auto", batched=True)
    assert sorted(np.unique(session.current)) == [0, 1, 2]
    assert iou(session.current == 1, ball(ONE)) > 0.85 and iou(session.current == 2, ball(TWO)) > 0.8


def test_an_object_that_was_opened_again_is_corrected_and_keeps_its_id(session, runs):
    session.prompts.add_point(ONE)
    session.propagation.segment(method="auto")
    session.objects.commit()
    session.objects.reopen(1)
    session.prompts.add_point((16, 30, 24), positive=False)
    session.propagation.segment(method="auto")
    assert runs == [] and max(session.labels.current_slices) == 15
    assert session.objects.commit().ids == (1,)
    check_invariants(session)


def test_a_loaded_object_is_kept_beyond_its_corrections(session):
    labels = np.zeros(SHAPE, np.uint32)
    labels[3:17] = disc(SHAPE[1:], (30, 30)) * 7
    session.objects.load(labels)
    session.objects.reopen(7)
    session.prompts.add_point((8, 30, 36))
    session.propagation.segment(method="auto")
    session.objects.commit()
    assert [z for z in range(24) if ((session.committed[z] == 7) != (labels[z] == 7)).any()] == [8]


def test_prompts_at_which_the_maps_show_nothing_are_told_and_keep_what_is_there(session, monkeypatch):
    messages = []
    session.events.message.connect(messages.append)
    session.model.attach_maps(maps_of(ball(TWO)))
    session.prompts.add_point((3, 50, 10))
    session.segment.slice(3)
    session.propagation.segment(method="maps")
    assert session.current[3, 50, 10] == 1 and messages[-1]


def live(session, **options):
    """What a window does after an act, when maps are there."""
    request = session.propagation.plan(method="auto", **options)
    return session.propagation.apply_whole(request, list(session.propagation.compute(request)))


def test_a_live_answer_is_one_step_of_undo_with_the_act_that_asked(session):
    empty = snapshot(session)
    session.prompts.add_point(ONE)
    assert session.propagation.whole_object_asked and live(session)
    whole = snapshot(session)
    assert iou(session.current == 1, ball(ONE)) > 0.85
    square = np.zeros((1, *SHAPE[1:]), np.uint32)
    square[0, 26:34, 18:26] = 1
    session.labels.paint("current", (slice(15, 16), slice(0, 60), slice(0, 80)), square)
    assert session.propagation.whole_object_asked and live(session)
    assert session.current[16].sum() < 150 and np.array_equal(session.current[15], square[0])
    session.undo()
    assert snapshot(session) == whole and not session.propagation.whole_object_asked
    session.undo()
    assert snapshot(session) == empty
    check_invariants(session)


def test_a_live_answer_that_comes_too_late_is_not_shown(session):
    session.prompts.add_point(ONE)
    request = session.propagation.plan(method="auto")
    steps = list(session.propagation.compute(request))
    session.undo()
    before = snapshot(session)
    assert not session.propagation.apply_whole(request, steps) and snapshot(session) == before


def paint(session, z, value=1, where=(slice(26, 34), slice(20, 29))):
    """A rectangle of the label and nothing else (0: nothing at all) in a slice."""
    plane = np.zeros_like(session.current[z])
    plane[where] = value
    session.labels.paint("current", (slice(z, z + 1), slice(0, SHAPE[1]), slice(0, SHAPE[2])), plane[None])


def test_nothing_is_asked_of_the_maps_where_there_are_none(session):
    session.model.attach_maps(None)
    session.prompts.add_point(ONE)
    assert not session.propagation.whole_object_asked
    session.prompts.clear()
    paint(session, 12)
    assert not session.propagation.whole_object_asked


def test_a_painted_slice_without_any_prompt_gives_the_whole_object(session, runs):
    start = snapshot(session)
    paint(session, 12, where=disc(SHAPE[1:], ONE[1:], 9))
    painted = session.current[12].copy()
    assert session.propagation.whole_object_asked and live(session)
    assert np.array_equal(session.current[12], painted) and runs == []
    assert iou(session.current == 1, ball(ONE)) > 0.8
    first = snapshot(session)
    paint(session, 15, where=(slice(28, 31), slice(22, 26)))
    assert session.propagation.whole_object_asked and live(session)
    assert session.current[15].sum() == 12 and session.current[16].sum() < 100
    session.undo()
    assert snapshot(session) == first
    session.undo()
    assert snapshot(session) == start
    check_invariants(session)


def test_an_object_whose_only_painted_slice_is_erased_leaves_nothing(session):
    paint(session, 12)
    live(session)
    whole = snapshot(session)
    paint(session, 12, value=0)
    assert (
        not session.current.any() and not session.labels.current_slices and not session.propagation.whole_object_asked
    )
    session.undo()
    assert snapshot(session) == whole
    check_invariants(session)


@pytest.mark.parametrize("method", ["maps", "propagation"])
def test_an_object_without_its_last_prompt_leaves_nothing_and_undo_brings_it_back(session, runs, method):
    point = session.prompts.add_point(ONE)
    negative = session.prompts.add_point((16, 30, 24), positive=False)
    session.propagation.segment(method=method)
    whole = snapshot(session)
    session.prompts.remove([point])
    assert not session.current.any() and not session.propagation.confidence and negative in session.prompts.drawn
    session.undo()
    assert snapshot(session) == whole
    session.prompts.set_polarity([point], False)
    assert not session.current.any()
    session.undo()
    assert snapshot(session) == whole
    check_invariants(session)


def test_one_of_several_objects_goes_with_its_prompt(session):
    one, two = session.prompts.add_point(ONE), session.prompts.add_point(TWO)
    session.propagation.segment(method="auto", batched=True)
    session.prompts.remove([two])
    assert iou(session.current == 1, ball(ONE)) > 0.85 and not (session.current == 2).any()
    session.undo()
    session.prompts.remove([one])
    assert iou(session.current == 2, ball(TWO)) > 0.85 and not (session.current == 1).any()
    check_invariants(session)


def test_an_object_with_a_painted_slice_stays_without_prompts(session):
    point = session.prompts.add_point(ONE)
    live(session)
    paint(session, 15)
    live(session)
    session.prompts.remove([point])
    assert session.current[15].any() and session.propagation.whole_object_asked and live(session)
    assert session.current[12].any()


def test_a_loaded_object_stays_when_its_correction_is_removed(session):
    labels = np.zeros(SHAPE, np.uint32)
    labels[3:17] = disc(SHAPE[1:], (30, 30)) * 7
    session.objects.load(labels)
    session.objects.reopen(7)
    point = session.prompts.add_point((8, 30, 36))
    session.propagation.segment(method="auto")
    session.prompts.remove([point])
    assert session.current[3:8].any(axis=(1, 2)).all()


@pytest.mark.parametrize("exact", ["painted", "imposed"])
def test_exact_slices_are_kept_by_an_object_that_is_opened_again(session, exact):
    session.prompts.add_point(ONE)
    live(session)
    session.prompts.add_point((15, 30, 24))
    live(session)
    if exact == "imposed":
        session.segment.slice(15)
    else:
        paint(session, 15)
    live(session)
    plane = session.current[15].copy()
    (first,) = session.objects.commit().ids
    assert getattr(session.objects[first], exact) == (15,)
    for click in ((9, 30, 24), (10, 30, 22)):  # again after another commit
        session.objects.reopen(first)
        session.prompts.add_point(click)
        assert session.propagation.whole_object_asked and live(session)
        assert np.array_equal(session.current[15], plane)
        assert session.objects.commit().ids == (first,)
    check_invariants(session)


def test_the_mask_of_a_slice_that_was_asked_for_is_imposed_there(session):
    session.prompts.add_point(ONE)
    live(session)
    session.prompts.add_point((15, 30, 24))
    live(session)
    assert session.current[15].sum() > 180, "the mask of the network does not agree with the maps"
    session.segment.slice(15)
    live(session)
    assert np.array_equal(session.current[15] == 1, disc(SHAPE[1:], (30, 24)))
    check_invariants(session)


def test_a_run_by_maps_shows_nothing_once_the_prompts_have_changed(session):
    session.prompts.add_point(ONE)
    request = session.propagation.plan(method="maps")
    steps = list(session.propagation.compute(request))
    session.prompts.add_point((13, 30, 24))
    before = snapshot(session)
    assert not any(session.propagation.apply_step(step) for step in steps)
    assert snapshot(session) == before
