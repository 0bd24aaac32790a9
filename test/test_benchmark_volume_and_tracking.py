"""The benchmark of volumes and tracks runs, and its figures mean what they say."""

import sys
from pathlib import Path

import numpy as np
import pytest

from micro_sam.io.tracks import TrackRow, tracks_from_labels
from micro_sam.sample_data import open_sample

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
benchmark = pytest.importorskip("volume_and_tracking")


def test_perfect_tracks_have_perfect_figures():
    pytest.importorskip("ctc_metrics")
    sample = open_sample("dividing_cells")
    truth = tracks_from_labels(sample.labels, rows=sample.tracks)
    figures = benchmark.challenge_figures(sample.labels, list(sample.tracks), truth)
    assert figures == {"TRA": 1, "DET": 1, "SEG": 1}
    lost = np.where(sample.labels == 5, 0, sample.labels)
    rows = [row for row in sample.tracks if row.track_id != 5]
    assert benchmark.challenge_figures(lost, rows, truth)["TRA"] < 1


def test_a_track_with_a_hole_is_cut_for_the_challenge():
    labels = np.zeros((5, 20, 20), np.uint32)
    labels[[0, 1, 3, 4], 3:9, 3:9] = 1
    tracks = benchmark.without_gaps(labels, [TrackRow(1, 0, 4)])
    assert tracks.rows == (TrackRow(1, 0, 1), TrackRow(2, 3, 4))
