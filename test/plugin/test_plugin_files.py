"""The napari plugin without a window: its manifest, what it reads and what it writes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from npe2 import PluginManifest
from npe2.manifest.utils import import_python_name

import micro_sam
from micro_sam.io.labels import load_labels, save_labels
from micro_sam.io.tracks import TrackRow, save_tracks
from micro_sam.plugin import files
from micro_sam.sam_annotator.state.tool import LayerNames
from micro_sam.sample_data import sample_names
from micro_sam.session.journal.recorder import Journal
from micro_sam.session.session import Session


def test_every_command_of_the_manifest_exists():
    manifest = PluginManifest.from_file(Path(micro_sam.__file__).with_name("napari.yaml"))
    commands = {command.id: import_python_name(str(command.python_name)) for command in manifest.contributions.commands}
    assert all(map(callable, commands.values()))
    offered = manifest.contributions
    used = [one.command for kind in (offered.widgets, offered.readers, offered.writers) for one in kind]
    used += [sample.command for sample in offered.sample_data]
    assert sorted(used) == sorted(commands)


def test_every_sample_opens():
    names = [data[0][1]["name"] for data in map(lambda name: getattr(files, name)(), _samples())]
    assert sorted(names) == sorted(sample_names(offline=True))


def _samples():
    return [name for name in dir(files) if name.startswith("sample_")]


@pytest.mark.parametrize("name", ["a.tif", "a.zarr", "a.h5", "a.npy", "a.geojson"])
def test_labels_are_written_and_read_again(tmp_path, name):
    labels = np.zeros((40, 50), np.uint32)
    labels[3:9, 4:12], labels[20:30, 20:25] = 1, 300
    attributes = {"scale": np.array([0.5, 0.25]), "units": ("micrometer", "micrometer")}
    path = str(tmp_path / name)
    assert files.write_labels(path, labels, attributes) == [path]
    ((data, options, kind),) = files.get_reader(path)(path)
    assert kind == "labels" and (np.array_equal(data, labels) or name == "a.geojson")
    if name in ("a.tif", "a.zarr"):
        assert options["scale"] == pytest.approx((0.5, 0.25))


@pytest.mark.parametrize("name", ["movie_RES", "movie.geff", "movie.xml", "movie.csv"])
def test_tracks_come_with_their_divisions(tmp_path, name):
    labels = np.zeros((3, 30, 30), np.uint16)
    labels[0, 3:6, 3:6], labels[1:, 3:6, 9:12], labels[1:, 20:23, 9:12] = 1, 2, 3
    save_tracks(tmp_path / name, labels, [TrackRow(1, 0, 0), TrackRow(2, 1, 2, 1), TrackRow(3, 1, 2, 1)])
    (masks, _, kind), (positions, options, other) = files.get_reader(str(tmp_path / name))(str(tmp_path / name))
    assert (kind, other) == ("labels", "tracks") and np.array_equal(masks, labels) and len(positions) == 5
    assert options["graph"] == {2: [1], 3: [1]}


def test_a_session_is_read_without_a_change(tmp_path):
    session = Session((30, 40))
    session.keeper.journal = Journal(tmp_path / "a.session", {"image": {"shape": [30, 40]}})
    labels = np.zeros((30, 40), int)
    labels[2:9, 2:9] = 1
    session.automatic.show(labels)
    session.objects.commit("auto")
    session.labels.paint("current", (slice(12, 20), slice(12, 20)), np.ones((8, 8), int))
    session.keeper.journal.close()
    before = {path: path.read_bytes() for path in (tmp_path / "a.session").iterdir()}
    committed, current = files.get_reader(str(tmp_path / "a.session"))(str(tmp_path / "a.session"))
    assert np.array_equal(committed[0], labels) and current[0].sum() == 64
    assert before.items() <= {path: path.read_bytes() for path in (tmp_path / "a.session").iterdir()}.items()


def test_a_cache_is_a_picture(tmp_path):
    from micro_sam.util import get_sam_model, precompute_image_embeddings

    image = np.random.default_rng(0).integers(0, 255, (60, 80)).astype("uint8")
    precompute_image_embeddings(get_sam_model("nano_lm"), image, save_path=tmp_path / "e.zarr", verbose=False)
    ((picture, options, kind),) = files.get_reader(str(tmp_path / "e.zarr"))(str(tmp_path / "e.zarr"))
    assert kind == "image" and options["rgb"] and picture.shape[-1] == 3
    assert np.multiply(picture.shape[:2], options["scale"]) == pytest.approx((60, 80))


def test_files_of_other_programs_are_left_to_other_readers(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((9, 9), "uint16"))
    (tmp_path / "a.csv").write_text("a,b\n1,2\n")
    (tmp_path / "empty_RES").mkdir()
    for name in ("a.tif", "a.csv", "empty_RES", "none.zarr"):
        assert files.get_reader(str(tmp_path / name)) is None
    save_labels(tmp_path / "b.tif", np.eye(9, dtype=int))
    assert files.get_reader([str(tmp_path / "a.tif"), str(tmp_path / "b.tif")]) is None
    assert load_labels(tmp_path / "b.tif").any()


def test_a_second_tool_in_a_viewer_gets_other_names():
    names = LayerNames()
    assert names.beside(["mine", "raw"]) == names
    second = names.beside(["committed_objects", "raw"])
    assert second.committed == "committed_objects (2)" and second.raw == "raw (2)" and second.tracks == ""
    assert names.beside(["prompts", "box_prompts (2)"]).prompts == "prompts (3)"
