"""The measures of tracking: equal to the challenge's own where that gives a result, and right where others fail."""

import numpy as np
import pytest

from micro_sam.errors import InputError
from micro_sam.evaluation.tracking import COLUMNS, evaluate_tracks
from micro_sam.io.tracks import TrackRow, Tracks, load_tracks, save_tracks, tracks_from_labels
from micro_sam.io.tracks.ctc import save_ctc
from micro_sam.sample_data import open_sample


def family(n_daughters=2, empty_first=0):
    labels = np.zeros((5 + empty_first, 20, 60), np.uint32)
    start = empty_first
    labels[start : start + 2, 5:12, 20:40] = 1
    rows = [TrackRow(1, start, start + 1)]
    for k in range(n_daughters):
        labels[start + 2 :, 5:12, 2 + 12 * k : 10 + 12 * k] = k + 2
        rows.append(TrackRow(k + 2, start + 2, start + 4, 1))
    return tracks_from_labels(labels, rows=rows)


@pytest.mark.parametrize("n_daughters", [0, 1, 2, 3])
@pytest.mark.parametrize("empty_first", [0, 2])
def test_tracks_compared_with_themselves_are_perfect(n_daughters, empty_first):
    tracks = family(n_daughters, empty_first)
    assert evaluate_tracks(tracks, tracks) == dict.fromkeys(COLUMNS, 1.0)


def test_a_result_without_objects_scores_0_and_two_empty_movies_1():
    truth, nothing = family(), np.zeros((5, 20, 60), np.uint32)
    assert evaluate_tracks(nothing, truth) == dict.fromkeys(COLUMNS, 0.0)
    assert evaluate_tracks(truth, nothing) == dict.fromkeys(COLUMNS, 0.0)
    assert evaluate_tracks(nothing, nothing) == dict.fromkeys(COLUMNS, 1.0)


def test_the_numbers_of_tracks_do_not_matter():
    truth = family()
    names = np.array([0, 9, 4, 7], np.uint32)
    rows = [TrackRow(int(names[r.track_id]), r.start, r.end, int(names[r.parent])) for r in truth.rows]
    assert evaluate_tracks(tracks_from_labels(names[truth.labels], rows=rows), truth)["TRA"] == 1


def test_a_lost_daughter_costs_her_masks_and_the_division():
    truth = family()
    labels = np.where(truth.labels == 3, 0, truth.labels)
    found = evaluate_tracks(tracks_from_labels(labels, rows=truth.rows[:2]), truth)
    assert found["DET"] == pytest.approx(1 - 3 * 10 / 80)
    # 3 nodes of 8, and 3 links of 7
    assert found["TRA"] == pytest.approx(1 - (3 * 10 + 3 * 1.5) / (80 + 7 * 1.5))
    assert found["SEG"] == pytest.approx(5 / 8)
    assert found["division_recall"] == 0 and found["division_f1"] == 0


def test_a_division_that_is_told_as_one_going_on_is_missing():
    truth = family()
    labels = np.where((truth.labels == 2), 1, truth.labels)
    found = evaluate_tracks(tracks_from_labels(labels), truth)
    assert found["DET"] == 1 and found["TRA"] < 1
    # one link is missing, one is of the wrong kind
    assert found["TRA"] == pytest.approx(1 - (1.5 + 1) / (80 + 7 * 1.5))
    assert found["division_recall"] == 0


def test_one_mask_over_two_cells_is_one_split():
    truth = family()
    labels = np.where(truth.labels == 3, 2, truth.labels)
    assert evaluate_tracks(tracks_from_labels(labels, {2: 1}), truth)["DET"] == pytest.approx(1 - 3 * 5 / 80)


def worse(labels, rows, seed):
    """The tracks, moved by some pixels, with masks lost at the end and two tracks swapped."""
    rng = np.random.default_rng(seed)
    labels = np.roll(labels, (seed, seed), (1, 2)).copy()
    for lost in rng.choice(np.unique(labels[-1])[1:], 2, replace=False):
        labels[-1][labels[-1] == lost] = 0
    long = [row.track_id for row in rows if row.start == 0 and row.end > 6]
    a, b = rng.choice(long, 2, replace=False)
    late = labels[4:].copy()
    labels[4:][late == a], labels[4:][late == b] = b, a
    extents = {row.track_id: row for row in tracks_from_labels(labels).rows}
    known = [row for row in rows if row.track_id in extents]
    mothers = {r.track_id: r.parent for r in known if r.parent and extents[r.parent].end < extents[r.track_id].start}
    return tracks_from_labels(labels, mothers)


@pytest.mark.parametrize("seed", [0, 1, 3])
def test_the_measures_are_those_of_the_challenge(tmp_path, seed):
    evaluate = pytest.importorskip("ctc_metrics.scripts.evaluate")
    sample = open_sample("dividing_cells")
    rows = [TrackRow(r.track_id, r.start, min(r.end, 11), r.parent) for r in sample.tracks if r.start < 12]
    truth = tracks_from_labels(sample.labels[:12], rows=rows)
    result = worse(truth.labels, rows, seed)
    save_ctc(tmp_path / "01_GT", truth, ground_truth=True)
    save_ctc(tmp_path / "01_RES", result)
    theirs = evaluate.evaluate_sequence(str(tmp_path / "01_RES"), str(tmp_path / "01_GT"), threads=1)
    ours = evaluate_tracks(tmp_path / "01_RES", tmp_path / "01_GT")
    assert theirs["TRA"] < 1
    for name in ("SEG", "DET", "TRA"):
        assert ours[name] == pytest.approx(theirs[name]), name


def test_ground_truth_folders_have_all_that_the_challenges_metrics_read(tmp_path):
    evaluate = pytest.importorskip("ctc_metrics.scripts.evaluate")
    tracks = family()
    save_ctc(tmp_path / "01_GT", tracks, ground_truth=True)
    save_ctc(tmp_path / "01_GT", tracks, ground_truth=True)  # ours, so it is replaced
    save_ctc(tmp_path / "01_RES", tracks)
    found = evaluate.evaluate_sequence(str(tmp_path / "01_RES"), str(tmp_path / "01_GT"), threads=1)
    assert found["SEG"] == 1 and found["Valid"] == 1 and found["BC(0)"] == 1
    assert load_tracks(tmp_path / "01_GT").rows == tracks.rows


def test_the_command_prints_the_measures_and_writes_a_table(tmp_path, capsys):
    from micro_sam.cli.evaluate import main

    truth = family()
    save_tracks(tmp_path / "truth", truth.labels, truth.rows)
    save_tracks(tmp_path / "result.geff", truth.labels, truth.rows)
    paths = ["-l", str(tmp_path / "truth"), "-s", str(tmp_path / "result.geff")]
    assert main([*paths, "--tracks", "-o", str(tmp_path / "table.csv")]) == 0
    assert "TRA" in capsys.readouterr().out
    assert "result.geff,1.0,1.0,1.0,1.0,1.0,1.0" in (tmp_path / "table.csv").read_text()
    assert main(["-l", str(tmp_path / "nothing"), *paths[2:], "--tracks"]) == 2
    assert "does not exist" in capsys.readouterr().err


def test_what_cannot_be_compared_is_refused(tmp_path):
    tracks = family()
    with pytest.raises(InputError, match="not of one movie"):
        evaluate_tracks(tracks, family(empty_first=1))
    with pytest.raises(InputError, match="only positions"):
        evaluate_tracks(Tracks(tracks.rows, None, tracks.positions), tracks)
    with pytest.raises(InputError, match="does not exist"):
        evaluate_tracks(tmp_path / "nothing", save_tracks(tmp_path / "a.geff", tracks.labels, tracks.rows))
