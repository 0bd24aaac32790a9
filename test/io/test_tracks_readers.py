"""Programs for tracks and this one read each other's files.

Checked with funtracks 2.2.0, laptrack 0.17.1, pytrackmate 1.3.4, btrack 0.7.0, traccuracy 0.4.3, geff 1.3.1; files of
trackastra 0.5.6 and ultrack 0.8.0 are kept beside the test, with the scripts that made them (files/make_*.py).
"""

import shutil
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest

from micro_sam.errors import InputError
from micro_sam.io.tracks import TrackRow, load_tracks, save_tracks, tracks_from_labels

FAMILY = (TrackRow(1, 0, 1), TrackRow(2, 2, 3, 1), TrackRow(3, 2, 3, 1))
FILES = Path(__file__).parent / "files"
SCALES = [None, (60.0, 0.5, 0.5)]

pytestmark = pytest.mark.filterwarnings("ignore")  # label_prop is the older name of node_prop; both are written


@pytest.fixture
def labels():
    labels = np.zeros((4, 20, 30), np.uint32)
    labels[:2, 3:9, 3:9], labels[2:, 3:9, 3:9], labels[2:, 12:18, 12:18] = 1, 2, 3
    return labels


def from_funtracks(path):
    importing = pytest.importorskip("funtracks.import_export")
    return importing.import_from_geff(path, segmentation_path=path / "labels")


@pytest.mark.parametrize("scale", SCALES)
def test_funtracks_finds_the_masks_of_our_geff(labels, tmp_path, scale):
    tracks = from_funtracks(save_tracks(tmp_path / "a.geff", labels, FAMILY, scale=scale))
    assert tracks.graph_solution.num_nodes() == 6 and tracks.graph_solution.num_edges() == 5
    assert np.array_equal(np.asarray(tracks.segmentation) > 0, labels > 0)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("relabel", ["tracklet", None])
@pytest.mark.parametrize("options", [{}, {"zarr_format": 3}, {"seg_file_format": "tiff"}])
def test_geffs_of_funtracks_open_with_their_masks(labels, tmp_path, scale, relabel, options):
    tracks = from_funtracks(save_tracks(tmp_path / "a.geff", labels, FAMILY, scale=scale))
    from funtracks.import_export import export_to_geff

    export_to_geff(tracks, tmp_path / "theirs", seg_relabel=relabel, **options)
    for path in (tmp_path / "theirs", tmp_path / "theirs" / "tracks.geff"):
        loaded = load_tracks(path)
        assert loaded.rows == FAMILY and np.array_equal(loaded.labels, labels)


@pytest.mark.parametrize("scale", SCALES)
def test_geffs_of_funtracks_without_masks_have_places_in_pixels(labels, tmp_path, scale):
    tracks = from_funtracks(save_tracks(tmp_path / "a.geff", labels, FAMILY, scale=scale))
    from funtracks.import_export import export_to_geff

    export_to_geff(tracks, tmp_path / "theirs", save_segmentation=False)
    loaded = load_tracks(tmp_path / "theirs")
    assert loaded.rows == FAMILY and loaded.labels is None
    assert np.allclose(loaded.positions, tracks_from_labels(labels, rows=FAMILY).positions)


def test_masks_that_funtracks_numbered_by_lineage_are_refused_in_plain_words(labels, tmp_path):
    tracks = from_funtracks(save_tracks(tmp_path / "a.geff", labels, FAMILY))
    from funtracks.import_export import export_to_geff

    export_to_geff(tracks, tmp_path / "theirs", seg_relabel="lineage")
    with pytest.raises(InputError, match="cannot be told apart"):
        load_tracks(tmp_path / "theirs")


@pytest.mark.parametrize("names", [False, True])
def test_tables_of_funtracks_open(labels, tmp_path, names):
    tracks = from_funtracks(save_tracks(tmp_path / "a.geff", labels, FAMILY))
    from funtracks.import_export import export_to_csv

    export_to_csv(tracks, tmp_path / "a.csv", use_display_names=names)
    assert load_tracks(tmp_path / "a.csv").rows == FAMILY


def test_traccuracy_finds_the_masks_of_our_geff(labels, tmp_path):
    loaders = pytest.importorskip("traccuracy.loaders")
    path = save_tracks(tmp_path / "a.geff", labels, FAMILY)
    graph = loaders.load_geff_data(str(path), load_geff_seg=True)
    assert np.array_equal(graph.segmentation, labels) and len(graph.get_divisions()) == 1
    found = {(node[graph.frame_key], node[graph.label_key]) for node in graph.nodes.values()}
    assert found == {(0, 1), (1, 1), (2, 2), (2, 3), (3, 2), (3, 3)}


@pytest.mark.parametrize("scale", SCALES)
def test_pytrackmate_reads_our_spots_in_their_units(labels, tmp_path, scale):
    pytrackmate = pytest.importorskip("pytrackmate")
    path = save_tracks(tmp_path / "a.xml", labels, FAMILY, scale=scale)
    spots = pytrackmate.trackmate_peak_import(path, get_tracks=True)
    dt, dy, dx = scale or (1, 1, 1)
    assert len(spots) == 6 and spots["label"].nunique() == 1  # a whole lineage is one track there
    assert sorted(zip(spots["t"], spots["y"], spots["x"], strict=True))[-1] == (3 * dt, 14.5 * dy, 14.5 * dx)


@pytest.mark.parametrize("scale", SCALES)
def test_the_converter_of_geff_takes_our_trackmate_file_without_a_warning_and_we_take_its_result(
    labels, tmp_path, scale
):
    from geff.convert import from_trackmate_xml_to_geff

    path = save_tracks(tmp_path / "a.xml", labels, FAMILY, scale=scale)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        from_trackmate_xml_to_geff(path, tmp_path / "b.geff")
    assert load_tracks(tmp_path / "b.geff").rows == FAMILY


def test_our_ctc_folder_and_that_of_geffs_converter_agree(labels, tmp_path):
    from geff.convert import from_ctc_to_geff

    path = save_tracks(tmp_path / "01_RES", labels, FAMILY)
    from_ctc_to_geff(path, tmp_path / "b.geff")
    assert load_tracks(tmp_path / "b.geff").rows == FAMILY


def laptrack_of(labels):
    laptrack = pytest.importorskip("laptrack")
    import pandas as pd

    spots = pd.DataFrame(tracks_from_labels(labels).positions[:, 1:], columns=["frame", "y", "x"])
    spots["frame"] = spots["frame"].astype(int)
    tracker = laptrack.LapTrack(cutoff=15**2, splitting_cutoff=20**2)
    return tracker.predict_dataframe(spots, ["y", "x"], frame_col="frame", only_coordinate_cols=False)


def test_tables_of_laptrack_open_with_their_tracks_from_0(labels, tmp_path):
    tracks, _, _ = laptrack_of(labels)
    tracks.to_csv(tmp_path / "a.csv")  # divisions are another table there
    assert load_tracks(tmp_path / "a.csv").rows == tuple(TrackRow(r.track_id, r.start, r.end) for r in FAMILY)


@pytest.mark.parametrize("options", [{}, {"axis_names": ["frame", "y", "x"], "axis_types": ["time", "space", "space"]}])
def test_geffs_of_laptrack_open_with_divisions(labels, tmp_path, options):
    tables = laptrack_of(labels)
    import geff
    from laptrack.data_conversion import dataframes_to_geff_networkx

    geff.write(dataframes_to_geff_networkx(*tables, ["y", "x"]), tmp_path / "a.geff", **options)
    assert load_tracks(tmp_path / "a.geff").rows == FAMILY


def test_tables_of_btrack_open_with_founders_that_are_their_own_mothers(labels, tmp_path):
    btypes = pytest.importorskip("btrack.btypes")
    from btrack.io import export_CSV

    places = tracks_from_labels(labels).positions
    tracks = []
    for row in FAMILY:
        spots = [
            btypes.PyTrackObject.from_dict({"ID": k, "t": int(t), "x": x, "y": y, "z": 0.0, "label": 1, "prob": 1.0})
            for k, (track, t, y, x) in enumerate(places)
            if track == row.track_id
        ]
        tracks.append(btypes.Tracklet(row.track_id, spots, parent=row.parent or row.track_id))
        tracks[-1].root, tracks[-1].generation = 1, int(row.parent > 0)
    export_CSV(tmp_path / "a.csv", tracks)
    loaded = load_tracks(tmp_path / "a.csv")
    assert loaded.rows == FAMILY and np.allclose(loaded.positions, places)


@pytest.mark.parametrize("name", ["ctc", "graph.zarr"])
def test_results_of_trackastra_open_with_their_masks(labels, tmp_path, name):
    with zipfile.ZipFile(FILES / "trackastra.zip") as file:
        file.extractall(tmp_path)
    loaded = load_tracks(tmp_path / name)
    assert loaded.rows == FAMILY and np.array_equal(loaded.labels, labels)
    if name == "graph.zarr":
        shutil.rmtree(tmp_path / name / "segmentation")
        assert load_tracks(tmp_path / name).labels is None


@pytest.mark.parametrize("name", ["ultrack.csv", "ultrack.xml"])
def test_exports_of_ultrack_open_with_divisions(labels, name):
    loaded = load_tracks(FILES / name)
    assert loaded.rows == FAMILY
    assert np.allclose(loaded.positions, tracks_from_labels(labels, rows=FAMILY).positions)
