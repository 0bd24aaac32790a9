"""``micro_sam.multi_dimensional_segmentation`` with the calls of micro-sam 1.8."""

import numpy as np

from micro_sam import automatic_segmentation, multi_dimensional_segmentation


def test_tracks_for_napari_are_those_of_1_8():
    labels = np.zeros((4, 20, 20), int)
    labels[:2, 2:6, 2:6], labels[2:, 2:4, 2:4], labels[2:, 6:9, 6:9] = 1, 2, 3
    labels[:, 15:18, 15:18] = 4
    data, graph = multi_dimensional_segmentation.get_napari_track_data(labels, [{1: [2, 3], 2: [], 3: []}, {4: []}])
    assert graph == {2: [1], 3: [1]} and data.shape == (10, 4)
    assert data[0].tolist() == [1, 0, 3.5, 3.5] and [3, 2, 7, 7] in data.tolist() and [2, 3, 2.5, 2.5] in data.tolist()


def test_a_movie_is_tracked(predictor, blobs, tmp_path):
    movie = np.stack([np.roll(blobs[0], 2 * t, 1) for t in range(3)])
    _, segmenter = automatic_segmentation.get_predictor_and_segmenter(
        "nano_lm", segmentation_mode="ais", predictor=predictor
    )
    tracks, lineages = automatic_segmentation.automatic_tracking(
        predictor, segmenter, movie, tmp_path / "tracks", verbose=False, tracking_model="general_2d", min_size=50
    )
    assert tracks.shape == movie.shape and len(lineages) == 4 and (tmp_path / "tracks" / "res_track.txt").exists()
    assert multi_dimensional_segmentation.get_napari_track_data(tracks, lineages)[0].shape == (12, 4)
