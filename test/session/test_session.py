"""One image: prompts, segmentation, commit, correction. Tests are named by what a user relies on."""

import threading

import numpy as np
import pytest

from micro_sam.errors import InputError, NotComputedYet
from micro_sam.session.prompts import PointPrompt, ShapePrompt
from micro_sam.session.session import Session, VolumeSession

from .conftest import SHAPE, attach_fake, commit_disc, disc, snapshot


def click(session, *position, positive=True):
    """What the window does on a click: a prompt, and the preview when the network has answered."""
    session.prompts.add_point(position, positive)
    session.segment.apply(
        session.segment.compute(session.segment.plan(position[0] if session.ndim == 3 else None)), preview=True
    )


# ---------------------------------------------------------------------- prompts to masks


def test_a_point_gives_a_mask_where_it_was_clicked(session):
    session.prompts.add_point((10, 60))
    session.segment.slice()
    assert np.array_equal(session.current > 0, disc(SHAPE, (10, 60)))


def test_boxes_points_and_negative_points_work_together(session):
    session.prompts.add_shape("rectangle", [(5, 5), (20, 25)])
    session.prompts.add_point((10, 10))
    session.prompts.add_point((12, 20), positive=False)
    session.segment.slice()
    assert session.current[6, 6] == 1 and session.current[12, 20] == 0


def test_several_boxes_give_several_objects(session):
    for x in (5, 25, 45):
        session.prompts.add_shape("rectangle", [(5, x), (15, x + 12)])
    session.segment.slice()
    assert sorted(np.unique(session.current)) == [0, 1, 2, 3]
    assert session.objects.commit().ids == (1, 2, 3)


def test_a_smaller_object_is_not_hidden_by_a_larger_one(session):
    session.prompts.add_shape("rectangle", [(20, 20), (25, 25)])
    session.prompts.add_shape("rectangle", [(10, 10), (40, 40)])
    session.segment.slice()
    assert session.current[22, 22] == 1 and session.current[12, 12] == 2


@pytest.mark.parametrize("kind", ["ellipse", "polygon"])
def test_ellipses_and_polygons_become_a_box_and_its_area(session, kind):
    corners = [(10, 20), (10, 60), (30, 60), (30, 20)] if kind == "ellipse" else [(10, 20), (30, 20), (30, 60)]
    session.prompts.add_shape(kind, corners)
    prompts = session.segment.plan().prompts
    assert prompts.boxes.tolist() == [[10, 20, 30, 60]]
    area = prompts.masks[0].full(SHAPE)
    assert area.sum() == pytest.approx({"ellipse": np.pi * 10 * 20, "polygon": 400}[kind], rel=0.12)
    assert not area[12, 57] and area[28, 24] == (kind == "polygon")


def test_a_rectangle_that_sticks_out_is_clipped_to_the_image(session):
    session.prompts.add_shape("rectangle", [(-10, 50), (20, 90)])
    assert session.segment.plan().prompts.boxes.tolist() == [[0, 50, 20, 69]]


def test_an_answer_guides_the_next_one_only_while_points_are_added(session):
    first = session.prompts.add_point((10, 60))
    session.segment.slice()
    session.prompts.add_point((12, 62))
    assert session.segment.plan().previous is not None
    session.segment.slice()
    session.prompts.move_point(first, (40, 10))
    assert session.segment.plan().previous is None


# ---------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    "act, words",
    [
        (lambda s: s.segment.plan(), "no prompts in the image"),
        (lambda s: s.prompts.add_point((50, 10)), "outside the image"),
        (lambda s: s.prompts.add_point((10, 70)), "outside the image"),
        (lambda s: s.prompts.add_point((np.nan, 10)), "not a finite number"),
        (lambda s: s.prompts.add_point((1, 10, 10)), "need 2 coordinates"),
        (lambda s: s.prompts.add_shape("rectangle", [(5, 80), (9, 90)]), "outside the image"),
        (lambda s: s.prompts.add_shape("rectangle", [(5, 8), (5, 12)]), "no area"),
        (lambda s: s.prompts.add_shape("polygon", [(5, 8), (5, 12)]), "not complete"),
        (lambda s: s.prompts.add_shape("line", [(5, 8), (5, 12), (7, 12)]), "not a line"),
        (lambda s: s.prompts.remove([3]), "There is no prompt 3"),
        (lambda s: s.objects.commit(), "no current object to commit"),
        (lambda s: s.objects.commit("auto"), "no automatic segmentation"),
        (lambda s: s.objects.commit("current", "some"), "not by 'some'"),
        (lambda s: s.objects.delete([4]), "no committed object 4"),
        (lambda s: s.objects.reopen(4), "no committed object 4"),
        (lambda s: s.labels.layer("raw"), "no label layer 'raw'"),
        (lambda s: s.labels.paint("current", (slice(0, 3), slice(0, 3)), np.ones((2, 2), int)), "have the shape"),
        (lambda s: s.labels.paint("current", (slice(0, 2), slice(0, 2)), np.full((2, 2), -1)), "whole numbers"),
    ],
)
def test_what_cannot_be_done_is_refused_with_a_sentence_and_changes_nothing(session, act, words):
    before = snapshot(session)
    with pytest.raises(InputError, match=words):
        act(session)
    assert snapshot(session) == before and not session.history.can_undo


def test_only_negative_points_are_refused_with_a_hint(session):
    session.prompts.add_point((10, 10), positive=False)
    with pytest.raises(InputError, match="Add a positive point or a box"):
        session.segment.plan()


def test_segmenting_before_the_model_is_there_is_refused(fake_network):
    session = Session(SHAPE)
    session.prompts.add_point((10, 10))
    with pytest.raises(InputError, match="not ready yet"):
        session.segment.plan()


def test_a_slice_without_embeddings_is_not_computed_yet(fake_network):
    session = attach_fake(VolumeSession((4, 50, 70)))
    session.model.embeddings.missing = {2}
    session.prompts.add_point((2, 10, 10))
    session.prompts.add_point((1, 10, 10))
    with pytest.raises(NotComputedYet, match="slice 2"):
        session.segment.plan(2)
    session.segment.slice(1)


@pytest.mark.parametrize("shape", [(5,), (2, 3, 4, 5), (0, 4)])
def test_images_of_other_dimensions_are_refused(shape):
    with pytest.raises(InputError, match="shape"):
        Session(shape)


def test_prompts_outside_the_image_are_dropped_from_what_a_layer_shows(session):
    heard = []
    session.events.prompts_changed.connect(heard.append)
    kept = session.prompts.replace([PointPrompt(None, (10, 10)), PointPrompt(None, (10, 200))])
    assert len(kept) == 1 and heard[-1] == session.prompts.drawn
    assert "1 prompt outside the image removed" in session.heard[-1]


def test_an_answer_without_pixels_says_what_to_do(session):
    session.prompts.add_point((10, 10))
    session.prompts.add_point((10, 10), positive=False)
    session.prompts.add_point((5, 10), positive=False)
    request = session.segment.plan()
    result = session.segment.compute(request)
    empty = type(result)(request, tuple(type(m)((0, 0, 0, 0), np.zeros((0, 0), bool)) for m in result.masks))
    assert session.segment.apply(empty)
    assert "finds no object" in session.heard[-1] and not session.has_current
    with pytest.raises(InputError, match="no current object"):
        session.objects.commit()


# ---------------------------------------------------------------------- preview


def test_undo_takes_back_the_click_and_the_mask_before_it_returns(session):
    click(session, 10, 10)
    before = snapshot(session)
    click(session, 14, 14)
    assert session.undo() == "Add point"
    assert snapshot(session) == before
    session.redo()
    assert session.current[18, 14] == 1


def test_a_late_answer_to_a_click_is_dropped_when_another_click_came(session):
    session.prompts.add_point((10, 10))
    late = session.segment.compute(session.segment.plan())
    session.prompts.add_point((30, 30))
    assert not session.segment.apply(late, preview=True)
    assert not session.has_current


@pytest.mark.parametrize("act", ["undo", "clear", "paint", "commit"])
def test_a_late_answer_does_not_bring_back_what_is_gone(session, act):
    session.prompts.add_point((10, 10))
    session.segment.slice()
    late = session.segment.compute(session.segment.plan())
    {
        "undo": session.undo,
        "clear": session.prompts.clear,
        "paint": lambda: session.labels.paint("current", (slice(0, 2), slice(0, 2)), np.ones((2, 2), int)),
        "commit": session.objects.commit,
    }[act]()
    now = snapshot(session)
    assert not session.segment.apply(late)
    assert snapshot(session) == now


def test_removing_the_last_prompt_removes_its_mask(session):
    click(session, 10, 10)
    session.prompts.remove([session.prompts.drawn.points[0].id])
    assert not session.has_current
    session.undo()
    assert session.has_current


def test_pressing_s_after_the_preview_is_no_step_of_its_own(session):
    click(session, 10, 10)
    steps = len(session.history.done)
    state = snapshot(session)["labels"]
    session.segment.slice()
    session.undo()
    if len(session.history.done) == steps:
        session.undo()
    assert snapshot(session)["labels"] != state


def test_run_can_be_called_from_another_thread(session):
    session.prompts.add_point((10, 10))
    request, results = session.segment.plan(), []
    worker = threading.Thread(target=lambda: results.append(session.segment.compute(request)))
    before = snapshot(session)
    worker.start()
    worker.join()
    assert snapshot(session) == before
    assert session.segment.apply(results[0])


# ---------------------------------------------------------------------- history


def test_the_oldest_steps_are_forgotten_when_memory_is_full(fake_network):
    session = attach_fake(Session(SHAPE, max_history_bytes=60_000))
    rng = np.random.default_rng(0)
    for _ in range(30):
        session.labels.paint("auto", (slice(0, 50), slice(0, 70)), rng.integers(0, 9, SHAPE))
    assert 1 <= len(session.history.done) < 30 and session.history.nbytes <= 60_000
    assert session.undo() and session.redo()


def test_sliders_that_show_many_results_are_one_step(session):
    for number in range(1, 5):
        auto = np.zeros(SHAPE, int)
        auto[: number * 5] = number
        session.automatic.show(auto, threshold=number)
    assert session.undo() == "Segment all objects" and not session.auto.any() and not session.history.can_undo


def test_an_automatic_result_without_objects_says_which_threshold_to_lower(session):
    session.automatic.show(np.zeros(SHAPE, int))
    assert "Lower" in session.heard[-1]


def test_undo_and_redo_at_their_ends_do_nothing(session):
    assert session.undo() is None and session.redo() is None


def test_redo_is_gone_after_something_new(session):
    session.prompts.add_point((10, 10))
    session.undo()
    session.prompts.add_point((20, 20))
    assert not session.history.can_redo


@pytest.mark.parametrize(
    "act, name",
    [
        (lambda s: s.prompts.add_shape("ellipse", [(1, 1), (9, 9)]), "Add ellipse"),
        (lambda s: s.prompts.set_polarity([1], False), "Change point"),
        (lambda s: s.prompts.remove([1]), "Remove point"),
        (lambda s: s.prompts.replace([PointPrompt(None, (i, i)) for i in range(3)]), "Change prompts"),
        (lambda s: s.prompts.replace(shapes=[ShapePrompt(None, "polygon", ((1, 1), (9, 9), (1, 9)))]), "Add polygon"),
    ],
)
def test_changes_of_prompts_have_names(session, act, name):
    session.prompts.add_point((10, 10))
    act(session)
    assert session.undo() == name


def test_a_prompt_keeps_its_identity_when_it_changes(session):
    i = session.prompts.add_point((10, 10))
    session.prompts.move_point(i, (12, 13))
    session.prompts.set_polarity([i], False)
    assert session.prompts.drawn[i] == PointPrompt(i, (12, 13), positive=False)
    session.undo()
    assert session.prompts.drawn[i].positive


def test_two_sessions_do_not_know_of_each_other(fake_network):
    one, two = attach_fake(Session(SHAPE)), attach_fake(Session(SHAPE))
    commit_disc(one, 10, 10)
    assert not two.committed.any() and not two.history.can_undo


def test_recomputing_the_embeddings_keeps_everything(session):
    commit_disc(session, 20, 20)
    session.prompts.add_point((40, 40))
    before = snapshot(session)
    late = session.segment.compute(session.segment.plan())
    attach_fake(session)
    assert snapshot(session) == before
    assert not session.segment.apply(late)


def test_the_next_unlabelled_object_is_found_in_reading_order(session):
    auto = np.zeros(SHAPE, int)
    auto[5:10, 40:45], auto[6:11, 5:10], auto[30:35, 5:10], auto[40:45, 40:45] = 1, 2, 3, 4
    session.automatic.show(auto)
    session.labels.paint("committed", (slice(30, 32), slice(5, 7)), np.ones((2, 2), int))
    first = session.automatic.next_unlabelled()
    second = session.automatic.next_unlabelled(first)
    third = session.automatic.next_unlabelled(second)
    assert [first, second, third, session.automatic.next_unlabelled(third)] == [(7, 42), (8, 7), (42, 42), None]


def test_an_object_of_a_volume_is_proposed_once(fake_network):
    session = VolumeSession((4, 50, 70))
    auto = np.zeros(session.shape, int)
    auto[1:3, 5:10, 5:10], auto[2:4, 30:35, 30:35] = 1, 2
    session.automatic.show(auto)
    first = session.automatic.next_unlabelled()
    assert first == (1, 7, 7) and session.automatic.next_unlabelled(first) == (2, 32, 32)
    assert session.automatic.next_unlabelled((2, 32, 32)) is None


def test_commit_without_an_object_points_at_the_automatic_segmentation(session):
    labels = np.zeros(session.shape, int)
    labels[2:6, 2:6] = 1
    session.automatic.show(labels)
    with pytest.raises(InputError, match="choose auto_segmentation"):
        session.objects.commit()
    session.objects.commit("auto")
    with pytest.raises(InputError, match="Click an object first.$"):
        session.objects.commit()


def test_the_next_point_is_positive_where_a_negative_one_would_correct_nothing(session):
    session.prompts.set_next_polarity(False)
    session.prompts.add_point((20, 20))
    assert not session.prompts.next_positive
    session.undo()
    assert session.prompts.next_positive
    first = session.prompts.add_point((20, 20))
    session.segment.slice()
    session.prompts.set_next_polarity(False)
    session.prompts.add_point((40, 40))
    session.undo()
    assert not session.prompts.next_positive and session.has_current
    session.prompts.remove([first])
    assert session.prompts.next_positive
