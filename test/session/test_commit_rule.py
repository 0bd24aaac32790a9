"""A commit leaves no junk: mostly covered objects, rims, crumbs; and nothing of a user's goes without a word."""

import numpy as np
import pytest
from scipy import ndimage

from micro_sam.errors import InputError
from micro_sam.session.session import Session, TrackingSession, VolumeSession
from micro_sam.session.values import PRESERVE_MODES

from .conftest import SHAPE, attach_fake, check_invariants, commit_disc, snapshot


def committed(shape, *blocks):
    """A label image with blocks (label, *slices)."""
    labels = np.zeros(shape, np.uint32)
    for label, *index in blocks:
        labels[tuple(index)] = label
    return labels


def rows(a, b):
    return slice(a, b)


def pieces(mask):
    return ndimage.label(mask)[1]


def box(session, y0, x0, y1, x1):
    """A current object that fills a box, its ends included."""
    session.prompts.add_shape("rectangle", [(y0, x0), (y1, x1)])
    session.segment.slice()


# ---------------------------------------------------------------------- automatic objects


def test_an_automatic_object_that_is_mostly_covered_is_left_out(session):
    session.objects.load(committed(SHAPE, (1, rows(10, 30), rows(10, 30))))
    session.automatic.show(committed(SHAPE, (5, rows(10, 30), rows(15, 38)), (6, rows(40, 48), rows(40, 48))))
    report = session.objects.commit("auto")
    assert report.left_out == (5,) and report.ids == (2,) and set(session.objects) == {1, 2}
    assert "1 left out (committed objects are there)" in report.message
    assert not session.auto.any(), "what is left out is gone from the automatic layer, too"


def test_of_a_cut_automatic_object_the_largest_piece_stays(session):
    session.objects.load(committed(SHAPE, (1, rows(0, 50), rows(30, 40))))
    session.automatic.show(committed(SHAPE, (5, rows(10, 20), rows(24, 60))))  # 60 pixels left of it, 200 right of it
    report = session.objects.commit("auto")
    assert report.cut == (5,) and report.areas == {2: 200}
    assert session.committed[15, 45] == 2 and session.committed[15, 26] == 0
    assert "1 cut to the largest piece" in report.message and report.message.count("\n") == 0


def test_a_rest_below_the_minimal_size_is_left_out(session):
    session.objects.load(committed(SHAPE, (1, rows(10, 14), rows(10, 20))))
    session.automatic.show(committed(SHAPE, (5, rows(10, 18), rows(10, 20)), (6, rows(40, 48), rows(40, 48))))
    assert session.objects.commit("auto", min_size=41).left_out == (5,)
    session.undo()
    assert session.objects.commit("auto", min_size=40).areas == {2: 40, 3: 64}


def test_an_automatic_object_in_pieces_becomes_one_even_where_nothing_cuts_it(session):
    labels = committed(SHAPE, (5, rows(0, 10), rows(0, 10)), (5, rows(0, 3), rows(20, 23)))
    session.automatic.show(labels)
    assert session.objects.commit("auto").areas == {1: 100}
    session.undo()
    session.automatic.show(labels, in_pieces=True)  # labels of another program stay as they are
    assert session.objects.commit("auto").areas == {1: 109}


def test_pieces_that_touch_at_a_corner_only_are_two(session):
    session.automatic.show(committed(SHAPE, (5, rows(0, 10), rows(0, 10)), (5, rows(10, 16), rows(10, 16))))
    assert session.objects.commit("auto").areas == {1: 100}


def test_when_all_automatic_objects_are_covered_nothing_changes_and_it_is_said(session):
    session.objects.load(committed(SHAPE, (1, rows(10, 30), rows(10, 30))))
    session.automatic.show(committed(SHAPE, (5, rows(11, 30), rows(11, 33))))
    before = snapshot(session)
    with pytest.raises(InputError, match="committed objects cover most of it"):
        session.objects.commit("auto")
    assert snapshot(session) == before


def test_a_volume_object_is_one_piece_through_its_slices(fake_network):
    session = attach_fake(VolumeSession((6, 40, 50)))
    session.objects.load(committed(session.shape, (1, rows(2, 3), rows(0, 40), rows(0, 50))))
    session.automatic.show(committed(session.shape, (5, rows(0, 6), rows(10, 20), rows(10, 20))))
    report = session.objects.commit("auto")
    assert report.areas == {2: 300} and session.objects[2].slices == (3, 6)
    check_invariants(session)


def test_a_track_is_decided_frame_by_frame_and_cut_where_it_is_covered(fake_network):
    session = attach_fake(TrackingSession((8, 40, 50)))
    session.objects.load(committed(session.shape, (1, rows(3, 5), rows(10, 20), rows(12, 24))))
    session.automatic.show(committed(session.shape, (5, rows(0, 8), rows(10, 20), rows(10, 20))))
    report = session.objects.commit("auto")
    tracks = {track.id: (track.start, track.end, track.parent) for track in session.tracks.lineage.tracks}
    assert tracks == {1: (3, 4, None), 2: (0, 2, None), 3: (5, 7, 2)}
    assert "Track 2 is missing in frame 3" in report.message
    session.undo()
    assert set(session.objects) == {1} and session.auto.any()


def test_rims_around_a_committed_track_do_not_become_a_track(fake_network):
    session = attach_fake(TrackingSession((5, 40, 50)))
    session.objects.load(committed(session.shape, (1, rows(0, 5), rows(12, 26), rows(12, 26))))
    auto = committed(session.shape, (5, rows(0, 5), rows(10, 28), rows(10, 28)), (6, 0, rows(0, 6), rows(30, 36)))
    session.automatic.show(auto)
    assert session.objects.commit("auto").left_out == (5,) and len(session.tracks.lineage) == 2


# ---------------------------------------------------------------------- prompted objects


def test_a_prompted_object_that_is_mostly_covered_stays_open_and_the_message_says_why(session):
    session.objects.load(committed(SHAPE, (1, rows(10, 30), rows(10, 30))))
    box(session, 10, 15, 29, 36)
    before = snapshot(session)
    with pytest.raises(InputError, match=r"lies mostly \(68 %\) on committed objects.*Correct it"):
        session.objects.commit()
    assert snapshot(session) == before and session.has_current and len(session.prompts.drawn) == 1
    assert session.objects.commit(preserve="none").ids == (2,)


def test_the_pieces_that_positive_points_ask_for_stay(session):
    session.objects.load(committed(SHAPE, (1, rows(0, 50), rows(30, 34))))
    session.prompts.add_point((20, 27))
    session.prompts.add_point((20, 37))
    session.segment.slice()
    assert session.current.any() and pieces((session.current > 0) & (session.committed == 0)) == 2
    report = session.objects.commit()
    assert pieces(session.committed == 2) == 2 and report.cut == ()


def test_a_piece_without_a_prompt_is_left_out_with_a_word(session):
    session.objects.load(committed(SHAPE, (1, rows(0, 50), rows(24, 27))))
    session.prompts.add_point((20, 21))
    session.segment.slice()
    report = session.objects.commit()
    assert pieces(session.committed == 2) == 1 and session.committed[20, 21] == 2 and report.cut == (1,)
    assert "in other pieces left out" in report.message


def test_of_several_current_objects_those_that_are_covered_stay_open(session):
    commit_disc(session, 20, 20)
    for point in ((20, 22), (20, 50), (40, 30)):
        session.prompts.add_point(point)
    session.segment.slice(batched=True)
    before = snapshot(session)
    report = session.objects.commit()
    assert report.labels == (2, 3) and report.stay_open == (1,) and report.ids == (2, 3)
    assert set(np.unique(session.current)) == {0, 1} and "Still open" in report.message
    assert [point.position for point in session.prompts.drawn.points] == [(20, 22)]
    assert session.objects[2].prompts.points[0].position == (20, 50)
    check_invariants(session)
    after = snapshot(session)
    session.undo()
    assert snapshot(session) == before
    session.redo()
    assert snapshot(session) == after
    session.objects.commit(preserve="none")
    assert not session.has_current and not len(session.prompts.drawn)


def test_tracks_of_one_lineage_are_committed_together_or_not_at_all(fake_network):
    session = attach_fake(TrackingSession((6, 60, 80)))
    session.objects.load(committed(session.shape, (1, rows(0, 6), rows(0, 30), rows(0, 30))))
    session.prompts.add_point((0, 45, 60))
    session.prompts.add_point((2, 45, 60), state="division")
    session.prompts.add_point((3, 15, 15))  # this daughter lies on a committed track
    session.segment.slice(0), session.segment.slice(2), session.segment.slice(3)
    before = snapshot(session)
    with pytest.raises(InputError, match="Nothing was committed"):
        session.objects.commit()
    assert snapshot(session) == before


def test_what_the_user_painted_stays_in_all_its_pieces_however_small(session):
    session.objects.load(committed(SHAPE, (1, rows(10, 40), rows(10, 40))))
    values = committed((40, 40), (1, rows(0, 40), rows(0, 40)))
    session.labels.paint("current", (slice(5, 45), slice(5, 45)), values)
    session.labels.paint("current", (slice(0, 2), slice(60, 62)), np.ones((2, 2), np.uint32))
    report = session.objects.commit()
    assert report.areas == {2: 40 * 40 - 30 * 30 + 4}


# ---------------------------------------------------------------------- what is overwritten


def test_crumbs_of_an_older_object_are_removed_and_undo_brings_them_back(session):
    session.objects.load(committed(SHAPE, (1, rows(10, 30), rows(10, 30))))
    before = session.committed.copy()
    box(session, 10, 12, 29, 18)  # 40 pixels stay left of it, 220 right of it
    report = session.objects.commit(preserve="none")
    assert report.crumbs == {1: 40} and session.objects[1].area == 220
    assert pieces(session.committed == 1) == 1 and "Small pieces that were left of 1 are removed" in report.message
    check_invariants(session)
    session.undo()
    assert np.array_equal(session.committed, before)


def test_an_older_object_that_loses_most_of_itself_is_removed_with_a_word(session):
    a = commit_disc(session, 20, 20)
    box(session, 14, 15, 26, 30)
    report = session.objects.commit(preserve="none")
    assert report.vanished == (a,) and f"Nothing is left of {a}; undo brings it back" in report.message
    session.undo()
    assert session.objects[a].area == 113


def test_pieces_of_a_merged_object_that_nothing_touches_stay(session):
    labels = committed(SHAPE, (1, rows(0, 10), rows(0, 10)), (2, rows(20, 30), rows(20, 30)))
    session.objects.load(labels)
    session.objects.merge([1, 2])
    box(session, 0, 0, 9, 5)
    report = session.objects.commit(preserve="none")
    assert report.crumbs == {1: 40} and session.objects[1].area == 100
    assert (session.committed[20:30, 20:30] == 1).all()


def test_a_reopened_merged_object_keeps_its_pieces(session):
    labels = committed(SHAPE, (1, rows(0, 10), rows(0, 10)), (2, rows(20, 30), rows(20, 30)))
    session.objects.load(labels)
    session.objects.merge([1, 2])
    session.objects.reopen(1)
    assert session.objects.commit().areas == {1: 200}


def test_an_object_that_was_painted_keeps_what_is_not_overwritten(session):
    session.labels.paint("committed", (slice(10, 30), slice(10, 30)), np.full((20, 20), 1))
    box(session, 10, 12, 29, 27)
    session.objects.commit(preserve="none")
    assert session.objects[1].area == 20 * 20 - 20 * 16


def test_a_size_that_is_none_is_refused(session):
    commit_disc(session, 20, 20)
    with pytest.raises(InputError, match="minimal size"):
        session.objects.commit(min_size=-1)


# ---------------------------------------------------------------------- whatever comes


def smooth_labels(rng, shape, number):
    """Blobs that touch, as a watershed makes them."""
    seeds = np.zeros(shape, int)
    for label in range(1, number + 1):
        seeds[tuple(rng.integers(size) for size in shape)] = label
    distance, nearest = ndimage.distance_transform_edt(seeds == 0, return_indices=True)
    labels = np.where(distance < rng.uniform(5, 9), seeds[tuple(nearest)], 0)
    labels[ndimage.gaussian_filter(rng.random(shape), 2) > 0.53] = 0
    return labels.astype(np.uint32)


KINDS = {Session: (70, 90), VolumeSession: (6, 40, 50), TrackingSession: (6, 40, 50)}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(6))
def test_random_commits_leave_whole_objects_only_and_undo_is_exact(kind, seed, fake_network):
    shape, rng = KINDS[kind], np.random.default_rng(seed)
    session = attach_fake(kind(shape))
    start = snapshot(session)
    for _ in range(6):
        labels = smooth_labels(rng, shape, int(rng.integers(4, 12)))
        for plane in labels if kind is TrackingSession else [labels]:
            plane[np.bincount(plane.ravel())[plane] < 12] = 0  # as the segmenters do
        session.automatic.show(labels)
        preserve, before = str(rng.choice(PRESERVE_MODES)), snapshot(session)
        try:
            report = session.objects.commit("auto", preserve, min_size=12)
        except InputError:
            assert snapshot(session) == before
            continue
        after = snapshot(session)
        check_invariants(session)
        for plane in session.committed if kind is TrackingSession else [session.committed]:
            for i in np.unique(plane[plane > 0]):
                assert pieces(plane == i) == 1 and (plane == i).sum() >= 12
        assert preserve == "none" or not report.lost
        session.undo()
        assert snapshot(session) == before
        session.redo()
        assert snapshot(session) == after
    while session.history.can_undo:
        session.undo()
    assert snapshot(session) == start


@pytest.mark.parametrize("across", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_pieces_of_runs_are_those_of_an_image(seed, across):
    from micro_sam.session.edits.pieces import Spans
    from micro_sam.session.label_edits import Runs

    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, (5, 13, 17)).astype(np.uint32)
    other = rng.integers(0, 2, labels.shape).astype(np.uint32)
    windows = {z: ((2, 3, 15, 20), Runs.of(other[z], labels[z])) for z in range(5)}
    windows = {z: ((2, 3, 15, 20), runs) for z, (_, runs) in windows.items()}
    spans = Spans.of(windows, 1)
    piece, number = spans.pieces(spans.label.astype(int), across)
    planes = [labels] if across else list(labels)
    assert number == sum(pieces(plane == value) for plane in planes for value in (1, 2, 3))
    image = np.zeros(labels.shape, int)
    for z, y, left, right, value in zip(spans.z, spans.y, spans.left, spans.right, piece, strict=True):
        image[z, y - 2, left - 3 : right - 3] = value + 1
    assert ((image > 0) == (labels > 0)).all()
    for value in range(1, number + 1):
        assert len(np.unique(labels[image == value])) == 1 and pieces(image == value) == 1
