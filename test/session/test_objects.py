"""Committed objects of one image: commit, load, correct, delete, merge, paint."""

import json

import numpy as np
import pytest

from micro_sam.errors import InputError
from micro_sam.session.session import Session, VolumeSession

from .conftest import SHAPE, attach_fake, check_invariants, commit_disc, disc, snapshot

# ---------------------------------------------------------------------- commit


def test_commit_gives_a_new_id_clears_prompts_and_makes_the_next_point_positive(session):
    session.prompts.set_next_polarity(False)
    session.prompts.add_point((10, 10), positive=True)
    session.segment.slice()
    report = session.objects.commit()
    assert report.ids == (1,) and report.areas == {1: disc(SHAPE, (10, 10)).sum()}
    assert not len(session.prompts.drawn) and not session.has_current and session.prompts.next_positive
    assert session.heard[-1] == "Object 1 committed (113 pixels). Click the next object."


def test_pixels_that_are_committed_are_kept_by_default(session):
    commit_disc(session, 20, 20)
    before = session.committed.copy()
    session.prompts.add_point((20, 26))
    session.segment.slice()
    report = session.objects.commit()
    assert (session.committed[before > 0] == 1).all() and report.kept > 0
    assert "stayed with the objects committed before" in report.message


def test_an_object_that_lies_on_committed_ones_is_refused(session):
    commit_disc(session, 20, 20)
    session.prompts.add_point((20, 20))
    session.segment.slice()
    before = snapshot(session)
    with pytest.raises(InputError, match="lies completely on committed objects"):
        session.objects.commit()
    assert snapshot(session) == before


def test_overwriting_says_who_lost_what(session):
    a = commit_disc(session, 20, 20)
    b = commit_disc(session, 40, 60)
    session.prompts.add_shape("rectangle", [(10, 10), (30, 30)])
    session.prompts.add_point((40, 62))
    session.segment.slice()
    report = session.objects.commit(preserve="none")
    assert report.lost[a] == 113 and report.vanished == (a,) and b in session.objects
    assert a not in session.objects and f"Nothing is left of {a}" in report.message
    session.undo()
    assert session.objects[a].area == 113


def test_automatic_objects_that_overlap_committed_ones_are_left_out_whole(session):
    commit_disc(session, 20, 20)
    auto = np.zeros(SHAPE, np.int64)
    auto[24:30, 18:24], auto[40:45, 40:45], auto[40:45, 50:55] = 7, 90, 3
    session.automatic.show(auto)
    report = session.objects.commit("auto", "objects")
    assert report.left_out == (7,) and report.ids == (2, 3)
    assert session.committed[42, 52] == 2 and session.committed[42, 42] == 3
    assert session.objects[2].source == "auto" and not session.auto.any()


def test_committing_automatic_objects_leaves_the_object_at_work_alone(session):
    session.prompts.add_point((10, 10))
    session.segment.slice()
    auto = np.zeros(SHAPE, np.int64)
    auto[40:45, 40:45] = 1
    session.automatic.show(auto)
    session.objects.commit("auto")
    assert session.has_current and len(session.prompts.drawn) == 1


def test_ids_are_never_used_twice(session):
    commit_disc(session, 10, 10)
    session.objects.delete([commit_disc(session, 30, 30)])
    assert commit_disc(session, 30, 50) == 3


def test_a_commit_tells_only_the_smallest_region(session):
    session.regions.clear()
    commit_disc(session, 20, 30)
    assert ("committed", (slice(14, 27), slice(24, 37))) in session.regions


def test_a_commit_looks_at_the_touched_slices_only(fake_network):
    """A volume that could not be allocated twice: nothing may copy or scan it."""
    session = attach_fake(VolumeSession((3, 50, 70)))
    touched = []
    plane = session.state.plane
    session.state.plane = lambda name, z: touched.append(z) or plane(name, z)
    session.prompts.add_point((1, 20, 20))
    session.segment.slice(1)
    session.objects.commit()
    session.undo()
    session.redo()
    assert set(touched) == {1}


def test_label_arrays_are_never_replaced(session):
    arrays = [session.current, session.committed, session.auto]
    commit_disc(session, 20, 20)
    session.prompts.clear()
    session.objects.load(np.ones(SHAPE, int))
    session.undo()
    assert all(a is b for a, b in zip(arrays, [session.current, session.committed, session.auto], strict=True))


# ---------------------------------------------------------------------- committed objects


def test_loaded_labels_keep_their_ids_and_new_ones_count_on(session):
    labels = np.zeros(SHAPE, np.uint16)
    labels[:5, :5], labels[10:15, :5] = 7, 4000
    session.objects.load(labels)
    assert np.array_equal(session.committed, labels) and set(session.objects) == {7, 4000}
    assert commit_disc(session, 30, 50) == 4001


@pytest.mark.parametrize("dtype", [bool, np.int64, np.float32, np.uint8])
def test_labels_of_any_integer_kind_are_loaded(session, dtype):
    labels = disc(SHAPE, (20, 20)).astype(dtype)
    session.objects.load(labels[None])
    assert session.objects[1].area == labels.sum()


@pytest.mark.parametrize(
    "labels, words",
    [
        (np.zeros((70, 50), int), "has the shape"),
        (np.full(SHAPE, -1), "values from -1"),
        (np.full(SHAPE, 2**33), "values from"),
        (np.full(SHAPE, 0.5), "not whole numbers"),
        (np.full(SHAPE, np.nan), "not whole numbers"),
        (np.full(SHAPE, 1j), "data type"),
    ],
)
def test_label_images_that_do_not_fit_are_refused(session, labels, words):
    commit_disc(session, 20, 20)
    before = snapshot(session)
    with pytest.raises(InputError, match=words):
        session.objects.load(labels)
    assert snapshot(session) == before


def test_a_reopened_object_comes_back_with_its_prompts_and_keeps_its_id(session):
    session.prompts.add_point((20, 20))
    session.prompts.add_point((20, 26), positive=False)
    session.segment.slice()
    prompts, area = session.prompts.drawn, session.current.copy()
    session.objects.commit()
    commit_disc(session, 40, 60)
    before = snapshot(session)
    session.objects.reopen(1)
    assert session.prompts.drawn == prompts and np.array_equal(session.current, area) and 1 not in session.objects
    assert session.objects.reopened == 1
    assert session.objects.commit().ids == (1,)
    assert session.objects[1].prompts == prompts
    session.undo()
    session.undo()
    assert snapshot(session) == before


def test_clearing_a_reopened_object_puts_it_back_as_it_was(session):
    commit_disc(session, 20, 20)
    committed, record = session.committed.copy(), session.objects[1]
    session.objects.reopen(1)
    session.prompts.add_point((22, 40))
    session.segment.slice()
    session.prompts.clear()
    assert np.array_equal(session.committed, committed) and session.objects[1] == record
    assert "Object 1 is back as it was" in session.heard[-1]


def test_reopening_while_another_object_is_at_work_is_refused(session):
    commit_disc(session, 20, 20)
    session.prompts.add_point((40, 40))
    with pytest.raises(InputError, match="Commit it"):
        session.objects.reopen(1)


def test_merged_objects_keep_all_their_prompts(session):
    a, b = commit_disc(session, 20, 20), commit_disc(session, 20, 30)
    assert session.objects.merge([b, a]) == a
    assert session.objects[a].area == (session.committed == a).sum() > 113
    assert len(session.objects[a].prompts) == 2 and b not in session.objects
    with pytest.raises(InputError, match="at least two"):
        session.objects.merge([a])


def test_an_object_in_pieces_is_split_and_undo_puts_it_together(session):
    a, b, c = commit_disc(session, 20, 20), commit_disc(session, 20, 45), commit_disc(session, 45, 20)
    session.objects.merge([a, b])
    before = session.committed.copy()
    ids = session.objects.split([a, c])
    assert ids[0] == a and ids[2] == c and len(ids) == 3 and ids[1] not in (a, b, c)
    for i in ids:
        assert session.objects[i].area == (session.committed == i).sum() > 0
    assert ((session.committed > 0) == (before > 0)).all()
    assert session.objects[ids[1]].source == "split" and not len(session.objects[ids[1]].prompts)
    session.undo()
    assert (session.committed == before).all() and ids[1] not in session.objects
    with pytest.raises(InputError, match="one piece"):
        session.objects.split([c])
    assert (session.committed == before).all()


def test_the_record_of_an_object_says_how_it_was_made(session):
    commit_disc(session, 20, 20)
    record = session.objects[1]
    assert record.source == "prompts" and record.model_name == "fake" and record.score == pytest.approx(0.9)
    assert record.prompts.points[0].position == (20, 20)
    json.dumps(record.record())


def test_an_object_is_found_by_a_click(session):
    commit_disc(session, 20, 20)
    assert session.objects.at((20.4, 19.6)) == 1
    assert session.objects.at((45, 45)) == session.objects.at((-3, 500)) == 0


# ---------------------------------------------------------------------- painting


def test_a_brush_that_drew_into_the_array_itself_can_be_undone(session):
    before = session.current[5:8, 5:9].copy()
    session.current[5:8, 5:9] = 1
    session.labels.paint("current", (slice(5, 8), slice(5, 9)), session.current[5:8, 5:9].copy(), before)
    assert session.objects.commit().areas == {1: 12}
    session.undo()
    session.undo()
    assert not session.current.any()


def test_painting_committed_labels_keeps_the_records_true(session):
    commit_disc(session, 20, 20)
    session.labels.paint("committed", (slice(18, 40), slice(18, 22)), np.zeros((22, 4), int))
    check_invariants(session)
    session.labels.paint("committed", (slice(40, 44), slice(60, 64)), np.full((4, 4), 12))
    assert session.objects[12].source == "painted" and session.objects[12].area == 16
    session.labels.paint("committed", (slice(0, 50), slice(0, 70)), np.zeros(SHAPE, int))
    assert not session.objects


def test_other_content_of_a_layer_is_one_step_and_what_stays_keeps_its_record():
    session = Session((20, 30))
    session.objects.load(np.pad(np.full((4, 5), 3), ((0, 16), (0, 25))))
    record, before = session.objects[3], session.committed.copy()
    array = session.committed
    labels = before.astype("int64")
    labels[10:12, 10:15] = 8
    session.labels.replace("committed", labels)
    assert session.committed is array and np.array_equal(array, labels)
    assert session.objects[3] == record and session.objects[8].area == 10
    session.undo()
    assert np.array_equal(array, before) and set(session.objects) == {3}
    session.labels.replace("committed", array[::-1])  # a view of the session's own array
    assert np.array_equal(array, before[::-1])
    with pytest.raises(InputError, match="shape"):
        session.labels.replace("committed", np.zeros((5, 5), int))
    assert np.array_equal(array, before[::-1])


def test_one_automatic_object_is_committed_and_the_others_stay(session):
    labels = np.zeros(session.shape, np.uint32)
    labels[2:12, 2:12], labels[2:12, 14:24], labels[14:24, 2:24] = 3, 5, 8
    session.automatic.show(labels)
    report = session.objects.commit("auto", only=[5])
    assert report.labels == (5,) and session.automatic.at((5, 5)) == 3 and session.automatic.at((5, 18)) == 0
    assert np.array_equal(session.auto, np.where(labels == 5, 0, labels))
    assert np.array_equal(session.committed > 0, labels == 5)
    session.undo()
    assert np.array_equal(session.auto, labels) and not session.committed.any()
    with pytest.raises(InputError):
        session.objects.commit("auto", only=[77])
