"""Objects in volumes: runs, corrections, stops, several at once."""

import numpy as np
import pytest

from micro_sam.errors import InputError
from micro_sam.segmentation.values import ObjectMask
from micro_sam.session.prompts import PointPrompt, PromptSet, ShapePrompt
from micro_sam.session.session import VolumeSession
from micro_sam.session.values import SliceAnswer

from .conftest import attach_fake, check_invariants, disc, snapshot

SHAPE = (20, 60, 70)


@pytest.fixture
def session(runs):
    return attach_fake(VolumeSession(SHAPE))


def slices_of(session, label=1):
    return [z for z in range(len(session.current)) if (session.current[z] == label).any()]


def test_a_run_extends_the_object_and_is_one_step_of_undo(session):
    session.prompts.add_point((10, 30, 30))
    before = snapshot(session)
    session.propagation.segment()
    assert slices_of(session) == list(range(4, 17))
    after = snapshot(session)
    session.undo()
    assert snapshot(session) == before
    session.redo()
    assert snapshot(session) == after


def test_only_the_slice_in_view_is_segmented_by_its_own_prompts(session, fake_network):
    session.prompts.add_point((3, 20, 20))
    session.prompts.add_point((10, 40, 40))
    session.segment.slice(10)
    assert slices_of(session) == [10]
    assert fake_network[-1][0][1].points.tolist() == [[40, 40]]


def test_a_slice_with_only_a_negative_point_stops_the_run(session):
    session.prompts.add_point((10, 30, 30))
    session.propagation.segment()
    session.prompts.add_point((14, 30, 30), positive=False)
    assert session.prompts.drawn.stop_slices == (14,)
    session.propagation.segment()
    assert slices_of(session) == list(range(4, 14))


def test_a_stop_takes_effect_at_once_and_undo_brings_the_slices_back(session):
    heard = []
    session.events.message.connect(heard.append)
    session.prompts.add_point((10, 30, 30))
    session.propagation.segment()
    whole = snapshot(session)
    assert slices_of(session) == list(range(4, 17))
    session.prompts.add_point((14, 30, 30), positive=False)
    assert slices_of(session) == list(range(4, 14)) and set(session.propagation.confidence) == set(range(4, 14))
    assert heard[-1] == "Slice 14 is a stop: the object ends before it."
    session.prompts.add_point((6, 30, 30), positive=False)
    assert slices_of(session) == list(range(7, 14))
    check_invariants(session)
    session.undo()
    session.undo()
    assert snapshot(session) == whole
    session.redo()
    session.objects.commit()
    assert np.flatnonzero(session.committed.any(axis=(1, 2))).tolist() == list(range(4, 14))


def test_a_stop_ends_all_current_objects_but_not_one_that_was_decided_on_both_sides(session):
    for z in (6, 13):
        session.prompts.add_point((z, 15, 15))
        session.segment.slice(z)
    session.prompts.add_point((13, 45, 50))
    session.segment.slice(13, batched=True)
    session.propagation.segment(batched=True)
    assert {10, 16} <= set(slices_of(session, 1)) and {10, 16} <= set(slices_of(session, 2))
    first = slices_of(session, 1)
    session.prompts.add_point((10, 45, 50), positive=False)
    assert slices_of(session, 1) == first and min(slices_of(session, 2)) == 11
    session.prompts.add_point((16, 45, 50), positive=False)
    assert max(slices_of(session, 1)) == max(slices_of(session, 2)) == 15
    check_invariants(session)


def test_a_stop_between_prompted_slices_empties_its_slice_only(session):
    for z in (5, 11):
        session.prompts.add_point((z, 30, 30))
    session.propagation.segment()
    found = slices_of(session)
    session.prompts.add_point((8, 30, 30), positive=False)
    assert slices_of(session) == [z for z in found if z != 8]


def test_a_stop_leaves_a_painted_slice_and_what_the_user_decided_beyond(session):
    session.prompts.add_point((10, 30, 30))
    session.propagation.segment()
    session.labels.paint("current", (slice(14, 15), slice(40, 42), slice(28, 30)), np.ones((1, 2, 2), "uint32"))
    found = slices_of(session)
    session.prompts.add_point((12, 30, 30), positive=False)
    assert slices_of(session) == [z for z in found if z != 12]


def test_a_stop_between_prompted_slices_is_refused_with_a_sentence(session):
    for z, positive in ((5, True), (8, False), (11, True)):
        session.prompts.add_point((z, 30, 30), positive=positive)
    with pytest.raises(InputError, match="Slice 8 says that the object is not there"):
        session.propagation.plan()


def test_a_correction_changes_only_what_lies_between_decided_slices(session, runs):
    session.prompts.add_point((4, 30, 30))
    session.prompts.add_point((10, 30, 30))
    session.propagation.segment()
    below = session.current[:4].copy()
    session.prompts.add_point((14, 30, 40))
    session.propagation.segment()
    assert runs[-1]["z_range"] == (10, 19) and sorted(runs[-1]["masks"]) == [10, 14]
    assert np.array_equal(session.current[:4], below)
    assert session.current[15, 30, 40] == 1 and session.current[15, 30, 24] == 0


def test_a_cancelled_run_keeps_what_is_there_and_is_undone_in_one_step(session):
    messages = []
    session.events.message.connect(messages.append)
    session.prompts.add_point((10, 30, 30))
    before = snapshot(session)
    request = session.propagation.plan()
    steps = session.propagation.compute(request)
    for _ in range(5):
        assert session.propagation.apply_step(next(steps))
    steps.close()
    session.propagation.finish(request, cancelled=True)
    assert slices_of(session) and "Cancelled" in messages[-1]
    session.undo()
    assert snapshot(session) == before


@pytest.mark.parametrize("act", ["undo", "add_point", "clear", "commit"])
def test_a_run_shows_nothing_more_once_the_person_does_something_else(session, act):
    session.prompts.add_point((10, 30, 30))
    request = session.propagation.plan()
    steps = session.propagation.compute(request)
    for _ in range(5):
        session.propagation.apply_step(next(steps))
    {
        "undo": session.undo,
        "add_point": lambda: session.prompts.add_point((2, 5, 5)),
        "clear": session.prompts.clear,
        "commit": session.objects.commit,
    }[act]()
    now = snapshot(session)
    assert not session.propagation.apply_step(next(steps))
    session.propagation.finish(request, cancelled=True)
    assert snapshot(session) == now


def test_several_boxes_become_several_objects_through_the_volume(session):
    for y, x in ((5, 5), (5, 40), (40, 20)):
        session.prompts.add_shape("rectangle", [(8, y, x), (8, y + 10, x + 10)])
    session.propagation.segment()
    assert [slices_of(session, k) for k in (1, 2, 3)] == [list(range(2, 15))] * 3
    report = session.objects.commit()
    assert report.ids == (1, 2, 3)
    assert [len(session.objects[i].prompts.shapes) for i in report.ids] == [1, 1, 1]


def test_each_positive_point_is_an_object_when_batched(session):
    session.prompts.add_point((8, 15, 15))
    session.prompts.add_point((8, 45, 50))
    session.propagation.segment(batched=True)
    assert sorted(np.unique(session.current)) == [0, 1, 2]


def test_a_reopened_object_is_corrected_and_keeps_its_id(session, runs):
    session.prompts.add_point((8, 30, 30))
    session.propagation.segment()
    session.objects.commit()
    session.prompts.add_point((8, 50, 10))
    session.propagation.segment()
    session.objects.commit()
    session.objects.reopen(1)
    assert session.prompts.drawn.slices == (8,) and slices_of(session) == list(range(2, 15))
    session.prompts.add_point((12, 30, 40))
    session.propagation.segment()
    assert runs[-1]["z_range"] == (8, 19)
    assert session.objects.commit().ids == (1,)
    assert sorted(session.objects) == [1, 2]
    check_invariants(session)


def test_a_loaded_object_is_kept_beyond_its_corrections(session):
    labels = np.zeros(SHAPE, np.uint32)
    labels[3:17] = disc(SHAPE[1:], (30, 30)) * 7
    session.objects.load(labels)
    session.objects.reopen(7)
    session.prompts.add_point((8, 30, 36))
    session.prompts.add_point((10, 30, 36))
    session.propagation.segment()
    session.objects.commit()
    changed = [z for z in range(20) if ((session.committed[z] == 7) != (labels[z] == 7)).any()]
    assert changed == [8, 9, 10]


def test_painted_slices_are_kept_by_a_run(session):
    session.prompts.add_point((10, 30, 30))
    session.propagation.segment()
    session.labels.paint("current", (slice(12, 13), slice(0, 5), slice(0, 5)), np.ones((1, 5, 5), int))
    painted = session.current[12].copy()
    session.propagation.segment()
    assert np.array_equal(session.current[12], painted)
    assert session.current[13, 2, 2] == 1


def test_painted_slices_are_committed_wherever_they_lie(session):
    """A z-range left over from a run must not limit what is committed."""
    session.prompts.add_point((10, 30, 30))
    session.propagation.segment()
    session.labels.paint("current", (slice(0, 1), slice(0, 5), slice(0, 5)), np.ones((1, 5, 5), int))
    session.objects.commit()
    assert (session.committed[0] == 1).sum() == 25


def test_the_weakest_slice_is_one_nobody_decided(session):
    session.prompts.add_point((10, 30, 30))
    session.propagation.segment()
    assert session.propagation.weakest_slice() not in (None, 10)
    assert (
        session.propagation.confidence[10].source == "prompt"
        and session.propagation.confidence[12].source == "propagated"
    )
    assert VolumeSession(SHAPE).propagation.weakest_slice() is None


def test_runs_that_cannot_be_are_refused_before_anything_is_computed(session):
    with pytest.raises(InputError, match="There is no object to extend"):
        session.propagation.plan()
    session.prompts.add_point((10, 30, 30))
    with pytest.raises(InputError, match="between 0 and 1"):
        session.propagation.plan(iou_threshold=80)
    with pytest.raises(InputError, match="3D tool needs a stack"):
        VolumeSession((30, 40))


def test_one_slice_is_a_volume_too(runs):
    session = attach_fake(VolumeSession((1, 40, 40)))
    session.prompts.add_point((0, 20, 20))
    session.propagation.segment()
    assert session.objects.commit().ids == (1,)


def test_a_run_that_was_planned_later_makes_the_one_before_stale(session):
    session.prompts.add_point((10, 30, 30))
    first = session.propagation.plan()
    steps = session.propagation.compute(first)
    session.propagation.apply_step(next(steps))
    second = session.propagation.plan()
    assert not session.propagation.apply_step(next(steps))
    assert all(session.propagation.apply_step(step) for step in session.propagation.compute(second))


def test_a_stop_is_announced(session):
    heard = []
    session.events.message.connect(heard.append)
    session.prompts.add_point((10, 30, 30))
    session.prompts.add_point((14, 30, 30), positive=False)
    assert heard[-1].startswith("Slice 14 is a stop")


def test_each_object_of_an_answer_knows_its_prompts():
    def point(k, y, x, positive=True):
        return PointPrompt(k, (0, y, x), positive)

    def box(k, y):
        return ShapePrompt(k, "rectangle", ((0, y, 2), (0, y, 10), (0, y + 8, 10), (0, y + 8, 2)))

    boxes = (box(1, 2), box(2, 20))
    inside, one, two, no = point(3, 22, 5), point(4, 30, 50), point(5, 31, 60), point(6, 40, 5, False)
    drawn = PromptSet((inside, one, no, two), boxes)
    masks = (ObjectMask((0, 0, 1, 1), np.ones((1, 1), bool), 1.0),) * 3
    answer = SliceAnswer(masks, (1, 2, 3), drawn)
    assert answer.drawn_for(1) == PromptSet((no,), boxes[:1])
    assert answer.drawn_for(2) == PromptSet((inside, no), boxes[1:])
    assert answer.drawn_for(3) == PromptSet((one, two, no))
    each = SliceAnswer((*masks, masks[0]), (1, 2, 3, 4), drawn, batched=True)
    assert each.drawn_for(4) == PromptSet((two, no)) and each.drawn_for(5) == PromptSet()
