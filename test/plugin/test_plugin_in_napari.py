"""The plugin through napari itself, without a window: ``viewer.open``, ``open_sample`` and ``layers.save``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from napari.layers import Image, Labels, Tracks

from micro_sam.errors import InputError, OutputError
from micro_sam.io.labels import load_labels, save_labels
from micro_sam.io.tracks import TrackRow, load_tracks, save_tracks, tracks_from_labels
from micro_sam.io.tracks.ctc import save_ctc
from micro_sam.sample_data.catalogue import open_sample
from micro_sam.session.journal.places import make_header
from micro_sam.session.journal.recorder import Journal
from micro_sam.session.replaying import KINDS

ROWS = [TrackRow(1, 0, 0), TrackRow(2, 1, 2, 1), TrackRow(3, 1, 2, 1)]
GRAPH = {2: [1], 3: [1]}
SCALES = {"2d": (0.5, 0.25), "3d": (2.0, 0.5, 0.25), "tracking": (60.0, 0.5, 0.25)}


def movie() -> np.ndarray:
    """Three frames with a mother and two daughters."""
    labels = np.zeros((3, 30, 40), np.uint16)
    labels[0, 3:6, 3:6], labels[1:, 3:6, 9:12], labels[1:, 20:23, 9:12] = 1, 2, 3
    return labels


def objects(tool: str = "2d") -> np.ndarray:
    """Labels for a session of a tool."""
    return movie()[1] if tool == "2d" else movie()


def is_same(labels: np.ndarray, truth: np.ndarray) -> bool:
    """Whether labels cover what the truth does; GeoJSON knows neither empty borders nor ids."""
    found = np.zeros(truth.shape, bool)
    found[tuple(slice(size) for size in labels.shape)] = np.asarray(labels) > 0
    return np.array_equal(found, truth > 0)


def save_session(path: Path, tool: str) -> None:
    """A session of a tool: committed objects, and a current one that was painted."""
    labels = objects(tool)
    image = {"name": "a", "shape": list(labels.shape), "scale": list(SCALES[tool])}
    session = KINDS[tool](labels.shape)
    session.keeper.journal = Journal(path, make_header(tool, image, None, path))
    session.objects.load(labels, {1: [2, 3]} if tool == "tracking" else None)
    if tool != "tracking":
        box = (slice(12, 16), slice(12, 20)) if tool == "2d" else (slice(1, 2), slice(12, 16), slice(12, 20))
        session.labels.paint("current", box, np.ones([part.stop - part.start for part in box], int))
    session.keeper.journal.close()


def save_embeddings(path: Path) -> None:
    from micro_sam.util import get_sam_model, precompute_image_embeddings

    image = np.random.default_rng(0).integers(0, 255, (60, 80)).astype("uint8")
    precompute_image_embeddings(get_sam_model("nano_lm"), image, save_path=path, verbose=False)


def save_series(path: Path) -> None:
    path.mkdir()
    for name in "ba":
        save_labels(path / f"{name}.tif", objects(), (0.5, 0.25))
    (path / "a.session").mkdir()


def labels_to(path: Path) -> None:
    save_labels(path, objects())


def tracks_to(path: Path) -> None:
    save_tracks(path, movie(), ROWS, scale=SCALES["tracking"])


FILES = {
    "a.session": (lambda path: save_session(path, "2d"), [Labels, Labels]),
    "volume.session": (lambda path: save_session(path, "3d"), [Labels, Labels]),
    "movie.session": (lambda path: save_session(path, "tracking"), [Labels, Tracks]),
    "movie_RES": (tracks_to, [Labels, Tracks]),
    "movie_GT": (lambda path: save_ctc(path, tracks_from_labels(movie(), rows=ROWS), True), [Labels, Tracks]),
    "movie.geff": (tracks_to, [Labels, Tracks]),
    "movie.xml": (tracks_to, [Labels, Tracks]),
    "movie.csv": (tracks_to, [Labels, Tracks]),
    "labels.zarr": (labels_to, [Labels]),
    "labels.ome.zarr": (labels_to, [Labels]),
    "embeddings.zarr": (save_embeddings, [Image]),
    "labels.h5": (labels_to, [Labels]),
    "labels.hdf5": (labels_to, [Labels]),
    "labels.geojson": (labels_to, [Labels]),
    "series": (save_series, [Labels, Labels]),
}


def test_each_pattern_of_the_manifest_has_a_file_here(manifest):
    (reader,) = manifest.contributions.readers
    assert all(any(Path(name).match(pattern) for name in FILES) for pattern in reader.filename_patterns)


@pytest.mark.parametrize("name", FILES)
def test_napari_opens_what_the_plugin_claims(viewer, tmp_path, name):
    write, kinds = FILES[name]
    path = tmp_path / name
    write(path)
    layers = viewer.open(str(path), plugin="micro_sam")
    assert [type(layer) for layer in layers] == kinds and list(viewer.layers) == layers
    for layer in layers:
        if isinstance(layer, Tracks):
            assert layer.graph == GRAPH and len(layer.data) == 5
    if kinds[0] is Labels:
        assert is_same(layers[0].data, movie() if layers[0].ndim == 3 else objects())


@pytest.mark.parametrize("tool", KINDS)
def test_a_session_of_each_tool_lies_where_its_image_does(viewer, tmp_path, tool):
    save_session(tmp_path / "mine.session", tool)
    layers = viewer.open(str(tmp_path / "mine.session"), plugin="micro_sam")
    names = ["mine", "mine tracks" if tool == "tracking" else "mine current"]
    assert [layer.name for layer in layers] == names
    assert np.array_equal(layers[0].data, objects(tool))
    assert all(tuple(layer.scale)[-layers[0].ndim :] == SCALES[tool] for layer in layers)
    if tool != "tracking":
        assert (layers[1].data > 0).sum() == 32


def test_a_session_without_its_tool_or_scale_is_read_too(viewer, tmp_path):
    """As earlier versions wrote them."""
    session = KINDS["3d"](movie().shape)
    session.keeper.journal = Journal(tmp_path / "a.session", {"image": {"shape": [3, 30, 40]}})
    session.objects.load(movie())
    session.keeper.journal.close()
    (layer,) = viewer.open(str(tmp_path / "a.session"), plugin="micro_sam")
    assert np.array_equal(layer.data, movie()) and tuple(layer.scale) == (1, 1, 1)


def test_a_folder_of_a_series_opens_with_its_first_result_shown(viewer, tmp_path):
    save_series(tmp_path / "series")
    layers = viewer.open(str(tmp_path / "series"), plugin="micro_sam")
    assert [(layer.name, layer.visible) for layer in layers] == [("a", True), ("b", False)]
    assert all(tuple(layer.scale) == (0.5, 0.25) for layer in layers)


def test_a_folder_with_images_of_others_is_left_to_other_readers(viewer, tmp_path):
    save_series(tmp_path / "series")
    tifffile.imwrite(tmp_path / "series" / "raw.tif", np.zeros((9, 9), "uint8"))
    (tmp_path / "empty").mkdir()
    for name in ("series", "empty"):
        with pytest.raises(ValueError, match="refused"):
            viewer.open(str(tmp_path / name), plugin="micro_sam")
    assert not viewer.layers


def test_more_results_than_napari_can_show_are_refused_in_a_sentence(viewer, tmp_path, monkeypatch):
    monkeypatch.setattr("micro_sam.plugin.files.MOST_RESULTS", 1)
    save_series(tmp_path / "series")
    with pytest.raises(InputError, match="holds 2 results"):
        viewer.open(str(tmp_path / "series"), plugin="micro_sam")


@pytest.mark.parametrize(
    ("key", "name"), [("coins", "coins"), ("volume", "nuclei_volume"), ("movie", "dividing_cells")]
)
def test_samples_open(viewer, key, name):
    (layer,) = viewer.open_sample("micro_sam", key)
    assert isinstance(layer, Image) and np.array_equal(layer.data, open_sample(name).image)


# ---------------------------------------------------------------- writing


def endings(manifest, command: str) -> set[str]:
    (writer,) = [one for one in manifest.contributions.writers if one.command == f"micro_sam.{command}"]
    return set(writer.filename_extensions)


LABELS = (".tif", ".zarr", ".h5", ".npy", ".geojson", ".png")
TRACKS = (".geff", ".xml", ".csv")


def test_each_ending_of_the_manifest_is_saved_here(manifest):
    assert endings(manifest, "write_labels") == set(LABELS) and endings(manifest, "write_tracks") == set(TRACKS)
    assert endings(manifest, "write_challenge") == set()


@pytest.mark.parametrize("suffix", LABELS)
def test_labels_are_saved_and_read_again(viewer, tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    viewer.add_labels(objects(), scale=(0.5, 0.25), units=("um", "um"))
    assert viewer.layers.save(str(path), selected=False, plugin="micro_sam") == [str(path)]
    saved = load_labels(path)
    assert is_same(saved, objects()) and (suffix == ".geojson" or np.array_equal(saved, objects()))


@pytest.mark.parametrize("suffix", LABELS)
def test_a_volume_is_saved_where_the_format_holds_one(viewer, tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    viewer.add_labels(movie())
    if suffix == ".png":
        with pytest.raises(OutputError, match="2D labels"):
            viewer.layers.save(str(path), selected=False, plugin="micro_sam")
        assert not path.exists()
    else:
        viewer.layers.save(str(path), selected=False, plugin="micro_sam")
        saved = load_labels(path)
        assert is_same(saved, movie()) and (suffix == ".geojson" or np.array_equal(saved, movie()))


def test_the_dialog_names_the_formats_for_what_is_selected(viewer):
    from napari.plugins._npe2 import file_extensions_string_for_layers

    add_tracks(viewer)
    for layers, expected in (
        (viewer.layers[:1], "micro_sam labels (*.tif *.zarr *.h5 *.npy *.geojson *.png)"),
        (viewer.layers[1:], "micro_sam tracks (*.geff *.xml *.csv)"),
        (viewer.layers, "micro_sam tracks (*.geff *.xml *.csv);;micro_sam Cell Tracking Challenge (*.*)"),
    ):
        filters = file_extensions_string_for_layers(list(layers))[0].split(";;")
        assert [one for one in filters if one.startswith("micro_sam")] == expected.split(";;")


def add_tracks(viewer, masks: bool = True) -> None:
    if masks:
        viewer.add_labels(movie())
    positions = tracks_from_labels(movie(), rows=ROWS).positions
    viewer.add_tracks(positions, graph={2: [1], 3: [1]}, scale=SCALES["tracking"], units=("s", "um", "um"))


@pytest.mark.parametrize("suffix", TRACKS)
@pytest.mark.parametrize("masks", [True, False])
def test_tracks_are_saved_with_their_divisions_and_read_again(viewer, tmp_path, suffix, masks):
    path = tmp_path / f"a{suffix}"
    add_tracks(viewer, masks)
    assert viewer.layers.save(str(path), selected=False, plugin="micro_sam") == [str(path)]
    tracks = load_tracks(path)
    assert list(tracks.rows) == ROWS and (tracks.labels is not None) == masks
    assert np.allclose(tracks.positions, tracks_from_labels(movie()).positions)
    if masks:
        assert np.array_equal(tracks.labels, movie())
    if suffix != ".csv":
        assert tracks.scale == pytest.approx(SCALES["tracking"])
    again = type(viewer)().open(str(path), plugin="micro_sam")
    assert again[-1].graph == GRAPH and len(again) == 1 + masks


def test_tracks_and_masks_without_an_ending_are_a_folder_of_the_challenge(viewer, tmp_path):
    add_tracks(viewer)
    path = tmp_path / "movie_RES"
    assert viewer.layers.save(str(path), selected=False, plugin="micro_sam") == [str(path)]
    assert (path / "res_track.txt").read_text().splitlines() == ["1 0 0 0", "2 1 2 1", "3 1 2 1"]
    assert np.array_equal(load_tracks(path).labels, movie())


def test_tracks_alone_without_an_ending_are_a_geff(viewer, tmp_path):
    add_tracks(viewer, masks=False)
    (path,) = viewer.layers.save(str(tmp_path / "a"), selected=False, plugin="micro_sam")
    assert path == str(tmp_path / "a.geff") and list(load_tracks(path).rows) == ROWS


@pytest.mark.parametrize("name", ["a.geff", "a.xml", "a.csv", "a_RES"])
def test_earlier_tracks_are_replaced_and_nothing_else_is(viewer, tmp_path, name):
    add_tracks(viewer)
    path = tmp_path / name
    for _ in range(2):
        viewer.layers.save(str(path), selected=False, plugin="micro_sam")
    other = tmp_path / f"b{name[1:]}"
    if path.is_dir():
        other.mkdir()
        (other / "notes.txt").write_text("mine")
    else:
        other.write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(OutputError, match=r"not written by this program|holds something else"):
        viewer.layers.save(str(other), selected=False, plugin="micro_sam")
    assert sorted(tmp_path.rglob("*")) == before


def test_tracks_that_are_not_those_of_the_masks_are_refused_in_a_sentence(viewer, tmp_path):
    viewer.add_labels(movie())
    viewer.add_tracks(np.array([[1, 0, 4.0, 4.0], [7, 1, 4.0, 10.0]]))
    with pytest.raises(OutputError, match="track 2"):
        viewer.layers.save(str(tmp_path / "a.geff"), selected=False, plugin="micro_sam")
    assert not list(tmp_path.iterdir())


def test_tracks_of_other_programs_are_saved_or_refused_in_a_sentence(viewer, tmp_path):
    """Ids may begin with 0; volumes and tracks that merge are in none of the formats."""
    viewer.add_tracks(np.array([[0, 0, 4.0, 4.0], [1, 1, 4.0, 10.0]]), graph={1: [0]})
    viewer.layers.save(str(tmp_path / "a.csv"), selected=False, plugin="micro_sam")
    assert load_tracks(tmp_path / "a.csv").rows == (TrackRow(1, 0, 0), TrackRow(2, 1, 1, 1))
    places = np.array([[1, 0, 4.0, 4.0], [2, 0, 9.0, 9.0], [3, 1, 4.0, 10.0]])
    for data, graph, words in (
        (np.insert(places, 2, 0, axis=1), {}, "tracks of 2D images"),
        (places, {3: [1, 2]}, "has 2 mothers"),
        (places, {2: [1]}, "A mother ends before"),
    ):
        viewer.layers.clear()
        viewer.add_tracks(data, graph=graph)
        with pytest.raises(OutputError, match=f"(?i){words}"):
            viewer.layers.save(str(tmp_path / "b.csv"), selected=False, plugin="micro_sam")
    assert not (tmp_path / "b.csv").exists()


@pytest.mark.parametrize("tool", KINDS)
def test_what_a_session_holds_is_saved_with_its_size_of_a_pixel(viewer, tmp_path, tool):
    """Session to layers, layers to a file, and the file to layers again."""
    save_session(tmp_path / "a.session", tool)
    first, *others = viewer.open(str(tmp_path / "a.session"), plugin="micro_sam")
    if tool != "tracking":
        viewer.layers.remove(others[0])
    path = tmp_path / ("a.geff" if tool == "tracking" else "a.zarr")
    viewer.layers.save(str(path), selected=False, plugin="micro_sam")
    again = type(viewer)().open(str(path), plugin="micro_sam")
    assert np.array_equal(again[0].data, first.data)
    assert all(tuple(layer.scale)[-len(SCALES[tool]) :] == pytest.approx(SCALES[tool]) for layer in again)
