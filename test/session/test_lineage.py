"""Lineages: what can be, what is refused, and that every operation can be taken back."""

import numpy as np
import pytest

from micro_sam.errors import InputError
from micro_sam.session.lineage import Lineage, Track


@pytest.fixture
def family():
    return Lineage([Track(1, 0, 4), Track(2, 5, 9, 1), Track(3, 5, 7, 1), Track(4, 8, 9, 3), Track(7, 0, 9)])


def test_mothers_point_to_daughters_and_never_back(family):
    assert family.to_dict() == {1: [2, 3], 3: [4]}
    assert family.to_napari_graph() == {2: [1], 3: [1], 4: [3]}
    assert family.daughters(1) == (2, 3) and family.descendants(1) == (2, 3, 4)
    assert family.roots == (1, 7) and family.divisions == (1,)


def test_rows_and_dicts_lead_back_to_the_same_lineage(family):
    assert Lineage.from_rows(family.to_rows()) == family
    extents = {track.id: (track.start, track.end) for track in family.tracks}
    assert Lineage.from_dict(extents, family.to_dict()) == family


@pytest.mark.parametrize(
    "tracks, words",
    [
        ([Track(1, 0, 4, 2), Track(2, 5, 6, 1)], "each be the daughter of the other"),
        ([Track(1, 0, 4, 1)], "its own daughter"),
        ([Track(1, 0, 4, 9)], "does not exist"),
        ([Track(1, 0, 4), Track(2, 4, 6, 1)], "Split track 1 at frame 4"),
        ([Track(1, 0, 4), Track(1, 5, 6)], "exists twice"),
        ([Track(1, 3, 2)], "cannot go from frame 3"),
        ([Track(0, 3, 4)], "0 is the background"),
        ([Track(1, 0, 1, 3), Track(2, 2, 3, 1), Track(3, 4, 5, 2)], "goes on until"),
    ],
)
def test_a_lineage_that_cannot_be_is_refused_with_a_sentence(tracks, words):
    with pytest.raises(InputError, match=words):
        Lineage(tracks)


def test_a_daughter_of_two_mothers_is_refused():
    with pytest.raises(InputError, match="two mothers"):
        Lineage.from_dict({1: (0, 1), 2: (0, 1), 3: (2, 3)}, {1: [3], 2: [3]})


def test_a_lineage_of_unknown_tracks_is_refused():
    with pytest.raises(InputError, match="not in the label images"):
        Lineage.from_dict({1: (0, 1)}, {1: [3]})
    with pytest.raises(InputError, match="does not exist"):
        Lineage.from_dict({1: (0, 1)}, {9: [1]})


def test_deleting_a_mother_makes_her_daughters_founders(family):
    assert family.delete([1]).roots == (2, 3, 7)


def test_the_second_part_of_a_split_track_keeps_the_daughters(family):
    split = family.split(3, 6, 9)
    assert split[3].end == 5 and split[9] == Track(9, 6, 7) and split[4].parent == 9
    assert family.split(3, 6, 9, link=True)[9].parent == 3


def test_merging_undoes_a_split(family):
    assert family.split(3, 6, 9).merge(3, 9) == family
    assert family.split(3, 6, 9, link=True).merge(3, 9) == family


@pytest.mark.parametrize("frame", [5, 8, -1])
def test_a_track_is_split_only_inside(family, frame):
    with pytest.raises(InputError, match="cannot be split"):
        family.split(3, frame, 9)


def test_merging_over_a_gap_or_a_division_is_refused(family):
    with pytest.raises(InputError, match="very next frame"):
        family.merge(3, 7)
    with pytest.raises(InputError, match="divides"):
        family.merge(1, 2)


def test_dividing_cuts_the_mother_and_links_both_daughters():
    lineage = Lineage([Track(1, 0, 9), Track(2, 5, 9)]).divide(1, 4, (3, 2))
    assert lineage.to_dict() == {1: [2, 3]} and lineage[3] == Track(3, 5, 9, 1)


def test_relinking_needs_a_mother_that_ended(family):
    assert family.relink(4, None).to_dict() == {1: [2, 3]}
    with pytest.raises(InputError, match="Split track 7 at frame 8"):
        family.relink(4, 7)


def random_operation(lineage, following, rng):
    ids = rng.permutation(list(lineage)).tolist()
    operations = {
        "delete": lambda: lineage.delete(ids[:1]) if len(ids) > 3 else lineage,
        "split": lambda: lineage.split(ids[0], int(rng.integers(0, 12)), following, bool(rng.random() < 0.5)),
        "merge": lambda: lineage.merge(ids[0], ids[1]),
        "relink": lambda: lineage.relink(ids[0], rng.choice([None, ids[1]])),
        "divide": lambda: lineage.divide(ids[0], int(rng.integers(0, 12)), (following, ids[1])),
        "add": lambda: lineage.add(Track(following, *sorted(rng.integers(0, 12, 2).tolist()))),
    }
    return operations[str(rng.choice(list(operations)))]()


@pytest.mark.parametrize("seed", range(20))
def test_random_operations_keep_the_lineage_valid_and_the_old_value_untouched(seed, family):
    rng = np.random.default_rng(seed)
    lineage = family
    for following in range(100, 160):
        old, before = lineage, lineage.tracks
        try:
            lineage = random_operation(lineage, following, rng)
        except InputError:
            pass
        assert old.tracks == before
        assert Lineage.from_rows(lineage.to_rows()) == lineage
        for track in lineage.tracks:
            assert track.parent is None or lineage[track.parent].end < track.start
