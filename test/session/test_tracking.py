"""Objects in movies: tracks, divisions, corrections, committed lineages."""

import numpy as np
import pytest

from micro_sam.errors import InputError
from micro_sam.segmentation.values import ObjectMask
from micro_sam.session.lineage import Track
from micro_sam.session.session import TrackingSession

from .conftest import attach_fake, check_invariants, disc, snapshot

SHAPE = (12, 60, 80)


@pytest.fixture
def no_network(monkeypatch, fake_network):
    """The real tracking code over a projection that moves the mask by what the motion model expects."""
    from micro_sam.segmentation.interpolation import shifted
    from micro_sam.segmentation.propagation import tracking

    def project_mask(predictor, embeddings, t, mask, mode, shift=(0.0, 0.0), box_extension=0.0):
        moved = shifted(mask, shift, embeddings.grid.shape)
        return ObjectMask(moved.box, moved.mask, 0.8), 0.9

    monkeypatch.setattr(tracking, "project_mask", project_mask)
    return fake_network


@pytest.fixture
def session(no_network):
    session = attach_fake(TrackingSession(SHAPE))
    session.heard = []
    session.events.message.connect(session.heard.append)
    return session


def frames_of(session, label, name="current"):
    return [t for t, plane in enumerate(session.labels.layer(name)) if (plane == label).any()]


def divided(session):
    """A mother in frames 0 to 4 and two daughters after."""
    session.prompts.add_point((0, 30, 40))
    session.propagation.segment()
    session.prompts.add_point((4, 30, 40), state="division")
    session.prompts.add_point((5, 20, 30))
    session.tracks.set_active(3)
    session.prompts.add_point((5, 45, 60))
    session.propagation.segment()
    return session


# ---------------------------------------------------------------------- tracks at work


def test_one_click_is_followed_to_the_end_and_undone_in_one_step(session):
    session.prompts.add_point((2, 30, 40))
    before = snapshot(session)
    session.propagation.segment()
    assert frames_of(session, 1) == list(range(2, 12))
    session.undo()
    assert snapshot(session) == before


def test_backward_tracking_reaches_the_first_frame(session):
    session.prompts.add_point((5, 30, 40))
    session.propagation.segment(backward=True)
    assert frames_of(session, 1) == list(range(12))


def test_a_single_negative_point_ends_the_track(session):
    session.prompts.add_point((0, 30, 40))
    session.propagation.segment()
    session.prompts.add_point((6, 30, 40), positive=False)
    session.propagation.segment()
    assert frames_of(session, 1) == list(range(6))


def test_a_correction_replaces_only_what_follows(session):
    session.prompts.add_point((0, 30, 40))
    session.propagation.segment()
    before = session.current[:5].copy()
    session.prompts.add_point((5, 27, 40))
    session.propagation.segment()
    assert np.array_equal(session.current[:5], before)
    assert session.current[5, 21, 40] == 1 and session.current[5, 36, 40] == 0
    assert frames_of(session, 1) == list(range(12))


def test_a_track_without_its_last_prompt_leaves_nothing_and_undo_brings_it_back(session):
    point = session.prompts.add_point((2, 30, 40))
    other = session.prompts.add_shape("rectangle", [(2, 10, 10), (2, 20, 20)])
    session.prompts.set_track([other], 2)
    session.propagation.segment()
    before = snapshot(session)
    assert len(frames_of(session, 1, "current")) > 2 and frames_of(session, 2, "current")
    session.prompts.remove([point])
    assert not frames_of(session, 1, "current") and frames_of(session, 2, "current")
    session.undo()
    assert snapshot(session) == before


def test_motion_before_a_correction_is_remembered(session):
    for t in range(3):
        session.prompts.add_point((t, 20, 10 + 5 * t))
    session.propagation.segment()
    assert session.current[6, 20, 10 + 5 * 6] == 1
    session.prompts.add_point((7, 20, 10 + 5 * 7))
    session.propagation.segment()
    assert session.current[9, 20, 10 + 5 * 9] == 1


def test_only_changed_tracks_are_tracked_again(session):
    session.prompts.add_point((0, 15, 15))
    session.tracks.new()
    session.prompts.add_point((0, 45, 60))
    session.propagation.segment()
    session.prompts.add_point((4, 45, 66))
    assert [part.label for part in session.propagation.plan().parts] == [2]


def test_following_one_track_leaves_the_other_for_later(session):
    session.prompts.add_point((0, 15, 15))
    session.tracks.new()
    session.prompts.add_point((0, 45, 60))
    session.propagation.segment([2])
    assert frames_of(session, 1) in ([], [0])
    session.propagation.segment()
    assert frames_of(session, 1) == frames_of(session, 2) == list(range(12))


def test_a_second_box_in_a_frame_begins_a_new_track(session):
    for x in (10, 40):
        session.prompts.add_shape("rectangle", [(0, 20, x), (0, 30, x + 12)])
    assert [shape.track_id for shape in session.prompts.drawn.shapes] == [1, 2]
    session.segment.slice(0)
    assert sorted(np.unique(session.current[0])) == [0, 1, 2]


def test_prompts_of_a_frame_give_one_object_per_track(session):
    session.prompts.add_point((3, 15, 15))
    session.prompts.add_point((3, 15, 20))
    session.tracks.new()
    session.prompts.add_point((3, 45, 60))
    session.segment.slice(3)
    assert session.current[3, 15, 15] == session.current[3, 15, 20] == 1 and session.current[3, 45, 60] == 2
    assert frames_of(session, 1) == [3]


def test_a_new_prompt_asks_the_network_only_for_its_track(session, no_network):
    session.prompts.add_point((3, 15, 15))
    session.segment.slice(3)
    session.tracks.new()
    session.prompts.add_point((3, 45, 60))
    before = len(no_network)
    session.segment.slice(3)
    assert len(no_network) == before + 1


# ---------------------------------------------------------------------- divisions


def test_a_division_ends_the_mother_and_starts_two_daughters_in_the_next_frame(session):
    divided(session)
    assert frames_of(session, 1) == list(range(5))
    assert frames_of(session, 2) == frames_of(session, 3) == list(range(5, 12))
    work = session.tracks.current
    assert work[1].division == 4 and work[2].parent == work[3].parent == 1 and work[2].begin == 5


def test_a_division_that_was_found_is_marked_in_one_step_of_undo(session):
    session.prompts.add_point((0, 30, 40))
    session.propagation.segment()
    before = snapshot(session)
    assert session.prompts.divide(1, (4, 30, 40), [(5, 45, 60), (5, 20, 30)]) == (2, 3)
    assert [(p.track_id, p.state, p.z) for p in session.prompts.drawn.points] == [
        *[(1, "track", 0), (1, "division", 4), (2, "track", 5), (3, "track", 5)]
    ]
    session.propagation.segment()
    assert frames_of(session, 1) == list(range(5)) and frames_of(session, 2) == list(range(5, 12))
    assert session.current[5, 45, 60] == 2 and session.current[5, 20, 30] == 3
    session.undo()
    assert session.undo() == "Mark division"
    assert snapshot(session) == before
    with pytest.raises(InputError, match="last one"):
        session.prompts.divide(1, (11, 30, 40), [(11, 45, 60), (11, 20, 30)])
    check_invariants(session)


def test_a_box_marks_a_division_too(session):
    session.prompts.add_shape("rectangle", [(0, 20, 20), (0, 32, 36)])
    session.tracks.set_next_state("division")
    session.prompts.add_shape("rectangle", [(3, 20, 20), (3, 32, 36)])
    assert sorted(session.tracks.current) == [1, 2, 3]
    assert session.tracks.next_state == "track" and session.tracks.active == 2


def test_the_mask_of_a_division_does_not_leak_into_other_frames(session):
    session.prompts.add_point((0, 30, 40))
    session.prompts.add_point((4, 10, 10), state="division")
    session.propagation.segment()
    assert session.current[3, 10, 10] == 0 and session.current[5].max() == 0


def test_prompts_for_an_ended_track_are_refused_with_a_sentence(session):
    divided(session)
    before = snapshot(session)
    with pytest.raises(InputError, match=r"Track 1 has ended: it divides in frame 4.*daughters \(2 and 3\)"):
        session.prompts.add_point((7, 30, 40), track_id=1)
    with pytest.raises(InputError, match="Track 2 begins after the division of track 1"):
        session.prompts.add_point((3, 30, 40), track_id=2)
    assert snapshot(session) == before


def test_later_prompts_of_a_divided_track_go_to_its_first_daughter(session):
    session.prompts.add_point((0, 30, 40))
    later = session.prompts.add_point((8, 30, 44))
    session.prompts.add_point((4, 30, 42), state="division")
    assert session.prompts.drawn[later].track_id == 2
    assert "Its later prompts belong to track 2" in session.heard[-1]


def test_daughters_are_followed_back_to_the_division(session):
    session.prompts.add_point((0, 30, 40))
    session.prompts.add_point((4, 30, 40), state="division")
    session.prompts.add_point((8, 20, 30))
    session.propagation.segment()
    assert frames_of(session, 2) == list(range(5, 12))


def test_daughters_without_prompts_are_named(session):
    session.prompts.add_point((0, 30, 40))
    session.prompts.add_point((4, 30, 40), state="division")
    assert "Track 3 has no prompts yet: go to frame 5" in session.propagation.segment()


def test_removing_the_mark_of_a_division_gives_the_track_back(session):
    session.prompts.add_point((0, 30, 40))
    mark = session.prompts.add_point((4, 30, 40), state="division")
    session.prompts.remove([mark])
    assert sorted(session.tracks.current) == [1] and session.tracks.current[1].last is None
    session.prompts.add_point((9, 30, 40))
    assert session.tracks.active == 1


@pytest.mark.parametrize(
    "t, positive, words",
    [(11, True, "is the last one"), (5, False, "positive point or a box"), (7, True, "frames 4 and 7")],
)
def test_divisions_that_cannot_be_are_refused(session, t, positive, words):
    session.prompts.add_point((0, 30, 40))
    if t == 7:
        session.prompts.add_point((4, 30, 40), state="division")
    with pytest.raises(InputError, match=words):
        session.prompts.add_point((t, 30, 40), positive=positive, track_id=1, state="division")


# ---------------------------------------------------------------------- committed tracks


def test_commit_keeps_the_lineage_and_ids_stay_unique(session):
    for number in (0, 3):
        divided(session)
        session.objects.commit("current", "none" if number else "pixels")
        assert session.tracks.lineage[number + 1] == Track(number + 1, 0, 4)
        assert session.tracks.lineage.daughters(number + 1) == (number + 2, number + 3)
        check_invariants(session)
    assert session.tracks.active == 1 and not len(session.prompts.drawn) and not session.has_current


def test_undo_of_a_commit_brings_tracks_and_lineage_back(session):
    divided(session)
    before = snapshot(session)
    session.objects.commit()
    after = snapshot(session)
    session.undo()
    assert snapshot(session) == before and len(session.tracks.lineage) == 0
    session.redo()
    assert snapshot(session) == after


def test_a_reopened_track_keeps_its_id_its_mother_and_its_daughters(session):
    divided(session)
    session.objects.commit()
    lineage = session.tracks.lineage
    session.objects.reopen(1)
    assert 1 not in session.tracks.lineage and session.tracks.current[1].last == 4
    with pytest.raises(InputError, match="has ended"):
        session.prompts.add_point((6, 30, 40))
    session.prompts.add_point((3, 30, 44))
    session.propagation.segment()
    session.objects.commit()
    assert session.tracks.lineage == lineage
    session.objects.reopen(2)
    with pytest.raises(InputError, match="begins after its mother"):
        session.prompts.add_point((2, 30, 40))
    session.prompts.clear()
    assert session.tracks.lineage == lineage
    check_invariants(session)


def series(*tracks):
    labels = np.zeros(SHAPE, np.uint32)
    for i, start, end, (y, x) in tracks:
        labels[start : end + 1] += (disc(SHAPE[1:], (y, x), 5) * i).astype(np.uint32)
    return labels


@pytest.fixture
def loaded(session):
    labels = series(
        (1, 0, 5, (30, 40)), (2, 6, 11, (30, 20)), (3, 6, 9, (30, 60)), (9, 0, 11, (10, 10)), (4, 3, 8, (50, 10))
    )
    session.objects.load(labels, {1: [2, 3]})
    session.truth = labels
    return session


def test_loaded_tracks_are_the_ones_that_were_saved(loaded):
    assert np.array_equal(loaded.committed, loaded.truth)
    assert loaded.tracks.lineage.to_dict() == {1: [2, 3]} and loaded.tracks.lineage[9] == Track(9, 0, 11)
    points = loaded.tracks.points()
    assert len(points) == 6 + 6 + 4 + 12 + 6 and points[0].tolist() == [1, 0, 30, 40]


@pytest.mark.parametrize(
    "lineage, words",
    [({1: [7]}, "not in the label images"), ({9: [2]}, "goes on until"), ({1: [2], 3: [2]}, "two mothers")],
)
def test_a_lineage_that_does_not_fit_is_refused(session, loaded, lineage, words):
    before = snapshot(session)
    with pytest.raises(InputError, match=words):
        session.objects.load(loaded.truth, lineage)
    with pytest.raises(InputError, match="shape"):
        session.objects.load(loaded.truth[:5], None)
    assert snapshot(session) == before


def test_a_track_with_a_gap_is_cut_and_linked(session):
    labels = series((4, 0, 3, (30, 40)), (4, 6, 8, (30, 40)), (5, 9, 11, (30, 40)))
    session.objects.load(labels, {4: [5]})
    assert session.tracks.lineage.to_dict() == {4: [6], 6: [5]}
    assert frames_of(session, 6, "committed") == [6, 7, 8]
    assert "missing in frame 4" in session.heard[-1]
    check_invariants(session)


def test_delete_split_merge_relink_and_divide_are_undone_exactly(loaded):
    acts = [
        lambda: loaded.objects.delete([1]),
        lambda: loaded.tracks.split(9, 4),
        lambda: loaded.tracks.split(2, 8, link=True),
        lambda: loaded.objects.merge([1, 2]),
        lambda: loaded.tracks.relink(3, None),
        lambda: loaded.tracks.divide(9, 4),
        lambda: loaded.labels.paint(
            "committed", (slice(3, 4), slice(0, 60), slice(30, 50)), np.zeros((1, 60, 20), int)
        ),
    ]
    start = snapshot(loaded)
    for act in acts:
        act()
        check_invariants(loaded)
        check_tracks(loaded)
        after = snapshot(loaded)
        assert after != start
        loaded.undo()
        assert snapshot(loaded) == start
        loaded.redo()
        assert snapshot(loaded) == after
        loaded.undo()


def check_tracks(session):
    """The lineage says of every track exactly the frames it has."""
    lineage = session.tracks.lineage
    assert set(lineage) == set(session.objects)
    for track in lineage.tracks:
        assert frames_of(session, track.id, "committed") == list(track.frames)


def test_the_acts_do_what_their_names_say(loaded):
    assert loaded.tracks.split(9, 4) == 10 and loaded.tracks.lineage[10] == Track(10, 4, 11)
    assert loaded.objects.merge([9, 10]) == 9 and loaded.tracks.lineage[9] == Track(9, 0, 11)
    loaded.tracks.relink(3, None)
    assert loaded.tracks.lineage.to_dict() == {1: [2]}
    assert loaded.tracks.divide(9, 3) == (11, 3)
    assert loaded.tracks.lineage.to_dict() == {1: [2], 9: [3, 11]} and loaded.tracks.lineage[9].end == 5
    loaded.objects.delete([9])
    assert loaded.tracks.lineage.to_dict() == {1: [2]}


def test_acts_that_cannot_be_are_refused_with_a_sentence(loaded):
    before = snapshot(loaded)
    for act, words in [
        (lambda: loaded.tracks.split(9, 0), "cannot be split"),
        (lambda: loaded.tracks.relink(2, 9), "Split track 9"),
        (lambda: loaded.tracks.relink(2, 77), "does not exist"),
        (lambda: loaded.tracks.divide(1, 2), "begins inside it"),
        (lambda: loaded.objects.delete([77]), "no committed object 77"),
    ]:
        with pytest.raises(InputError, match=words):
            act()
    assert snapshot(loaded) == before


def test_tracks_with_a_frame_between_them_cannot_be_merged(session):
    session.objects.load(series((1, 0, 3, (30, 40)), (2, 6, 8, (30, 40))))
    with pytest.raises(InputError, match="none of them has an object in frame 4"):
        session.objects.merge([1, 2])


def test_automatic_tracks_are_committed_with_their_lineage(session):
    labels = series((5, 0, 5, (30, 40)), (7, 6, 11, (30, 20)), (8, 6, 9, (30, 60)))
    session.automatic.show(labels, lineage={5: [7, 8]})
    session.objects.commit("auto")
    assert session.tracks.lineage.to_dict() == {1: [2, 3]}
    session.undo()
    session.undo()
    assert not session.auto.any()


def test_centres_of_tracks_follow_every_edit(loaded):
    loaded.tracks.points()
    loaded.objects.delete([9])
    assert 9 not in loaded.tracks.points()[:, 0]
    loaded.undo()
    assert (loaded.tracks.points()[:, 0] == 9).sum() == 12


@pytest.mark.parametrize("seed", range(10))
def test_random_acts_on_tracks_are_undone_and_redone_exactly(session, seed):
    rng = np.random.default_rng(seed)
    start = snapshot(session)
    for _ in range(60):
        before, done = snapshot(session), len(session.history.done)
        name = random_act(session, rng)
        check_invariants(session)
        check_tracks(session)
        if len(session.history.done) == done + 1 and name != "redo":
            after = snapshot(session)
            session.undo()
            assert snapshot(session) == before, name
            session.redo()
            assert snapshot(session) == after, name
    while session.history.can_redo:
        session.redo()
    end = snapshot(session)
    while session.history.can_undo:
        session.undo()
        check_tracks(session)
    assert snapshot(session) == start
    while session.history.can_redo:
        session.redo()
    assert snapshot(session) == end


def random_act(session, rng):
    t, y, x = int(rng.integers(SHAPE[0])), int(rng.integers(8, 52)), int(rng.integers(8, 72))
    ids = rng.permutation(list(session.objects)).tolist()
    work = list(session.tracks.ids)

    def paint(name):
        region = (slice(t, t + 1), slice(y - 6, y + 6), slice(x - 6, x + 6))
        session.labels.paint(name, region, np.full((1, 12, 12), rng.integers(0, 4)))

    acts = {
        "point": lambda: session.prompts.add_point((t, y, x), positive=bool(rng.random() < 0.8)),
        "point of a track": lambda: session.prompts.add_point((t, y, x), track_id=int(rng.choice(work))),
        "division": lambda: session.prompts.add_point((t, y, x), state="division"),
        "box": lambda: session.prompts.add_shape("rectangle", [(t, y - 5, x - 5), (t, y + 5, x + 5)]),
        "new track": session.tracks.new,
        "choose": lambda: session.tracks.set_active(int(rng.choice(work))),
        "remove": lambda: session.prompts.remove([p.id for p in session.prompts.drawn][: rng.integers(1, 3)]),
        "segment": lambda: session.segment.slice(t),
        "track": lambda: session.propagation.segment(backward=bool(rng.random() < 0.3)),
        "commit": lambda: session.objects.commit("current", str(rng.choice(["pixels", "objects", "none"]))),
        "reopen": lambda: session.objects.reopen(*ids[:1]) if ids else None,
        "clear": session.prompts.clear,
        "delete": lambda: session.objects.delete(ids[:1]),
        "merge": lambda: session.objects.merge(ids[:2]),
        "split": lambda: session.tracks.split(ids[0], t, bool(rng.random() < 0.5)) if ids else None,
        "relink": lambda: session.tracks.relink(ids[0], ids[1]) if len(ids) > 1 else None,
        "divide": lambda: session.tracks.divide(ids[0], ids[1]) if len(ids) > 1 else None,
        "paint": lambda: paint("current"),
        "paint committed": lambda: paint("committed"),
        "undo": session.undo,
        "redo": session.redo,
    }
    name = str(rng.choice(list(acts)))
    try:
        acts[name]()
    except InputError:
        pass
    return name


def test_after_a_commit_the_next_object_is_track_1_again(session):
    session.prompts.add_point((0, 30, 40))
    assert session.tracks.new() == 2
    session.prompts.add_point((0, 10, 10))
    session.undo()
    assert session.tracks.active == 2  # the click was wrong, not the wish
    session.prompts.add_point((0, 10, 12))
    session.propagation.segment()
    session.objects.commit()
    assert session.tracks.active == 1 and session.tracks.ids == (1,)


def test_a_commit_names_the_numbers_of_tracks_before_and_after(session):
    divided(session)
    session.objects.commit()
    assert session.heard[-1].startswith("3 tracks committed (ids 1 to 3).")
    divided(session)
    session.objects.commit(preserve="none")
    assert session.heard[-1].startswith("Tracks 1, 2 and 3 committed as tracks 4, 5 and 6.")
    session.objects.reopen(4)
    assert session.heard[-1].startswith("Track 4 is open again.")
    session.objects.commit()
    assert session.heard[-1].startswith("Track 1 committed as track 4.")
    session.objects.delete([5, 6])
    assert session.heard[-1] == "Tracks 5 and 6 deleted. Undo brings them back."


def test_a_stop_says_what_it_does_to_its_track(session):
    session.prompts.add_point((0, 30, 40))
    session.prompts.add_point((6, 30, 40), positive=False)
    assert session.heard[-1] == "Frame 6 is a stop: track 1 ends before it. Press V to end it there."


def test_a_stop_ends_its_track_at_once(session):
    session.prompts.add_point((0, 30, 40))
    session.propagation.segment()
    session.tracks.new()
    session.prompts.add_point((0, 10, 12))
    session.propagation.segment()
    before = snapshot(session)
    frames = [t for t, plane in enumerate(session.current) if (plane == 1).any()]
    others = [t for t, plane in enumerate(session.current) if (plane == 2).any()]
    assert frames[-1] > 6
    session.tracks.set_active(1)
    session.prompts.add_point((6, 30, 40), positive=False)
    assert session.heard[-1] == "Frame 6 is a stop: track 1 ends before it."
    assert [t for t, plane in enumerate(session.current) if (plane == 1).any()] == [t for t in frames if t < 6]
    assert [t for t, plane in enumerate(session.current) if (plane == 2).any()] == others
    check_invariants(session)
    session.undo()
    assert snapshot(session) == before
