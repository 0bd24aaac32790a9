"""Tracks survive a round trip through every format, and readers that are not ours accept what we write."""

import shutil

import numpy as np
import pytest
import tifffile

from micro_sam.errors import InputError
from micro_sam.io.tracks import TrackRow, load_tracks, save_tracks
from micro_sam.sample_data import open_sample


@pytest.fixture(scope="module")
def movie():
    sample = open_sample("dividing_cells")
    return sample.labels[:12], tuple(
        TrackRow(row.track_id, row.start, min(row.end, 11), row.parent) for row in sample.tracks if row.start < 12
    )


PATHS = ["folder", "result.geff", "result.xml", "result.csv"]


@pytest.mark.parametrize("name", PATHS)
def test_a_round_trip_loses_nothing(movie, tmp_path, name):
    labels, rows = movie
    path = save_tracks(tmp_path / name, labels, rows)
    loaded = load_tracks(path, shape=labels.shape)
    assert loaded.rows == rows
    assert np.array_equal(loaded.labels, labels) and loaded.labels.dtype == np.uint32


@pytest.mark.parametrize("name", PATHS)
def test_saving_again_replaces_the_old_result(movie, tmp_path, name):
    labels, rows = movie
    save_tracks(tmp_path / name, labels, rows)
    fewer = np.where(labels == 5, labels, 0)
    save_tracks(tmp_path / name, fewer)
    assert [row.track_id for row in load_tracks(tmp_path / name).rows] == [5]


@pytest.mark.parametrize("name", PATHS)
def test_a_movie_without_tracks_can_be_saved(tmp_path, name):
    path = save_tracks(tmp_path / name, np.zeros((3, 20, 30), np.uint32))
    loaded = load_tracks(path)
    assert loaded.rows == () and not loaded.labels.any()


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize("shape", [(1, 20, 30), (2, 1, 30), (2, 30, 1)])
def test_movies_of_one_frame_row_or_column_come_back(tmp_path, name, shape):
    labels = np.zeros(shape, np.uint32)
    labels[:, :4, :4] = 3
    loaded = load_tracks(save_tracks(tmp_path / name, labels), shape=shape)
    assert np.array_equal(loaded.labels, labels) and [row.track_id for row in loaded.rows] == [3]


def test_frames_that_are_volumes_are_refused_as_such(tmp_path):
    save_tracks(tmp_path / "a_RES", np.ones((2, 20, 30), np.uint16))
    tifffile.imwrite(tmp_path / "a_RES" / "mask000.tif", np.ones((4, 20, 30), np.uint16))
    with pytest.raises(InputError, match="mask000.tif is a volume of the shape .4, 20, 30."):
        load_tracks(tmp_path / "a_RES")


@pytest.mark.parametrize("name", ["result.geff", "result.xml", "result.csv"])
def test_without_masks_lineage_and_positions_remain(movie, tmp_path, name):
    labels, rows = movie
    path = save_tracks(tmp_path / name, labels, rows)
    shutil.rmtree(path / "labels") if path.is_dir() else (tmp_path / "result_labels.tif").unlink()
    loaded = load_tracks(path)
    assert loaded.labels is None and loaded.rows == rows
    track, t, y, x = loaded.positions[0]
    assert np.allclose(np.argwhere(labels[int(t)] == track).mean(0), (y, x))


def test_a_mother_with_one_daughter_keeps_both_ids(tmp_path):
    labels = np.zeros((4, 20, 30), np.uint32)
    labels[:2, 3:9, 3:9], labels[2:, 4:10, 4:10] = 7, 3
    rows = (TrackRow(3, 2, 3, 7), TrackRow(7, 0, 1))
    for name in PATHS:
        assert load_tracks(save_tracks(tmp_path / name, labels, rows)).rows == rows


def test_a_label_series_is_tracks_without_divisions(movie, tmp_path):
    labels, _ = movie
    tifffile.imwrite(tmp_path / "labels.tif", labels)
    for source in (labels, tmp_path / "labels.tif"):
        loaded = load_tracks(source)
        assert np.array_equal(loaded.labels, labels)
        assert all(row.parent == 0 for row in loaded.rows)


# readers that are not ours


def test_ctc_folders_score_perfectly_against_themselves_in_the_challenge_metrics(movie, tmp_path):
    ctc_metrics = pytest.importorskip("ctc_metrics.scripts.evaluate")
    labels, rows = movie
    save_tracks(tmp_path / "01_RES", labels, rows)
    from micro_sam.io.tracks.ctc import save_ctc
    from micro_sam.io.tracks.tracks import tracks_from_labels

    save_ctc(tmp_path / "01_GT", tracks_from_labels(labels, rows=rows), ground_truth=True)
    result = ctc_metrics.evaluate_sequence(
        str(tmp_path / "01_RES"), str(tmp_path / "01_GT"), metrics=["Valid", "DET", "TRA"], threads=1
    )
    assert result["Valid"] == 1 and result["DET"] == 1 and result["TRA"] == 1


def test_ctc_folders_open_in_traccuracy_with_the_same_divisions(movie, tmp_path):
    loaders = pytest.importorskip("traccuracy.loaders")
    labels, rows = movie
    path = save_tracks(tmp_path / "01_RES", labels, rows)
    graph = loaders.load_ctc_data(str(path), str(path / "res_track.txt"), name="ours")
    assert len(graph.get_divisions()) == len({row.parent for row in rows if row.parent})


def test_geff_passes_the_validator_of_the_format(movie, tmp_path):
    geff = pytest.importorskip("geff")
    from geff.core_io import read_to_memory
    from geff.validate.data import ValidationConfig

    labels, rows = movie
    path = save_tracks(tmp_path / "result.geff", labels, rows)
    geff.validate_structure(str(path))
    config = ValidationConfig(graph=True, tracklet=True)
    graph = read_to_memory(str(path), data_validation=config)
    assert graph["metadata"].directed and len(graph["node_ids"]) == sum(len(np.unique(f)) - 1 for f in labels)


def test_trackmate_files_open_in_the_converter_of_geff(movie, tmp_path):
    converter = pytest.importorskip("geff.convert")
    from geff.core_io import read_to_memory

    labels, rows = movie
    path = save_tracks(tmp_path / "result.xml", labels, rows)
    converter.from_trackmate_xml_to_geff(path, tmp_path / "converted.geff")
    graph = read_to_memory(str(tmp_path / "converted.geff"))
    assert len(graph["node_ids"]) == sum(len(np.unique(frame)) - 1 for frame in labels)
    sources = np.asarray(graph["edge_ids"])[:, 0]
    divisions = (np.unique(sources, return_counts=True)[1] == 2).sum()
    assert divisions == len({row.parent for row in rows if row.parent})


def test_napari_shows_the_table_as_tracks(movie, tmp_path):
    layers = pytest.importorskip("napari.layers")
    labels, rows = movie
    loaded = load_tracks(save_tracks(tmp_path / "result.csv", labels, rows))
    layer = layers.Tracks(loaded.positions, graph={row.track_id: [row.parent] for row in rows if row.parent})
    assert set(layer.data[:, 0].astype(int)) == {row.track_id for row in rows}


# what cannot be used


def small(tmp_path, name="folder"):
    labels = np.zeros((4, 20, 30), np.uint32)
    labels[:2, 3:9, 3:9], labels[2:, 3:9, 3:9], labels[2:, 12:18, 12:18] = 1, 2, 3
    rows = (TrackRow(1, 0, 1), TrackRow(2, 2, 3, 1), TrackRow(3, 2, 3, 1))
    return save_tracks(tmp_path / name, labels, rows)


@pytest.mark.parametrize(
    "table, message",
    [
        ("1 0 1 0\n2 2 3 1\n3 2 3 9\n", "mother of track 3 is track 9, which does not exist"),
        ("1 0 1 3\n2 2 3 1\n3 2 3 1\n", "circle"),
        ("1 0 1 1\n2 2 3 1\n3 2 3 1\n", "circle"),
        ("1 0 1 0\n2 2 3 1\n3 2 3 1\n3 2 3 2\n", "two mothers"),
        ("1 0 1 0\n2 2 3 1\n", "masks of track 3"),
        ("1 0 1 0\n2 2 3 1\n3 2 3 1\n4 0 3 0\n", "track 4, which has no mask"),
        ("1 0 1 0\n2 2 9 1\n3 2 3 1\n", "until frame 9, but the label series has 4 frames"),
        ("1 0 1 0\n2 2 2 1\n3 2 3 1\n", "Track 2 has masks in frames 2 to 3"),
        ("1 0 1 0\n2 2 3 1\n3 1 3 1\n", "A mother ends before her daughters begin"),
        ("1 0 1 0\n2 2 three 1\n3 2 3 1\n", "Line 2"),
        ("1 0 1 0\n2 2 3\n3 2 3 1\n", "Line 2"),
    ],
)
def test_a_table_that_contradicts_itself_or_the_masks_is_refused_in_a_sentence(tmp_path, table, message):
    path = small(tmp_path)
    (path / "res_track.txt").write_text(table)
    with pytest.raises(InputError, match=message):
        load_tracks(path)


def test_missing_parts_of_a_folder_are_named(tmp_path):
    path = small(tmp_path)
    (path / "mask001.tif").unlink()
    with pytest.raises(InputError, match="frame 1 is missing"):
        load_tracks(path)
    path = small(tmp_path)
    (path / "res_track.txt").unlink()
    with pytest.raises(InputError, match="not the table res_track.txt"):
        load_tracks(path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty"):
        load_tracks(tmp_path / "empty")
    with pytest.raises(InputError, match="does not exist"):
        load_tracks(tmp_path / "nothing")


def test_tracks_of_another_movie_are_refused(tmp_path):
    path = small(tmp_path)
    with pytest.raises(InputError, match="4 frames"):
        load_tracks(path, shape=(5, 20, 30))
    with pytest.raises(InputError, match="another frame size"):
        load_tracks(path, shape=(4, 20, 31))


def test_what_a_format_cannot_hold_is_refused_before_anything_is_written(tmp_path):
    labels = np.zeros((4, 20, 30), np.uint32)
    labels[[0, 3], 3:9, 3:9] = 1
    with pytest.raises(InputError, match="no mask in frame 1"):
        save_tracks(tmp_path / "folder", labels)
    with pytest.raises(InputError, match="GEFF"):
        save_tracks(tmp_path / "folder", np.where(labels > 0, 70000, 0))
    with pytest.raises(InputError, match=".geff"):
        save_tracks(tmp_path / "result.avi", labels)
    assert not list(tmp_path.iterdir())
    for name in ("result.geff", "result.xml", "result.csv"):
        assert load_tracks(save_tracks(tmp_path / name, labels)).rows == (TrackRow(1, 0, 3),)


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("x.xml", "<TrackMate", "no readable XML"),
        ("x.xml", "<a/>", "no TrackMate file"),
        ("x.csv", "a,b\n1,2\n", "no column track_id"),
        ("x.csv", "track_id,t,y,x\n1,0,a,2\n", "no number"),
        ("x.csv", "track_id,t,y,x,parent_id\n1,0,2,2,0\n2,1,2,2,1\n2,2,2,2,3\n", "two mothers"),
    ],
)
def test_files_that_are_something_else_are_refused(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=message):
        load_tracks(tmp_path / name)


def test_a_merging_graph_is_refused():
    from micro_sam.io.tracks.graph import rows_from_graph

    with pytest.raises(InputError, match="two mothers"):
        rows_from_graph([0, 0, 1], [(0, 2), (1, 2)])


def test_tracks_of_a_graph_end_where_it_branches():
    from micro_sam.io.tracks.graph import rows_from_graph

    rows, ids = rows_from_graph([0, 1, 2, 2, 3], [(0, 1), (2, 1), (1, 3), (4, 3)])
    assert rows == [TrackRow(1, 0, 1), TrackRow(2, 2, 2, 1), TrackRow(3, 2, 3, 1)]
    assert ids.tolist() == [1, 1, 2, 3, 3]
