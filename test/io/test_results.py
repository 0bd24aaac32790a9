"""Only earlier results of the same kind are replaced, and nothing is written onto an input."""

import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile
import zarr

from micro_sam.errors import NotOurs, OutputError
from micro_sam.io import label_groups
from micro_sam.io.collisions import Inputs, check_not_input
from micro_sam.io.images import open_image
from micro_sam.io.labels import load_labels, save_labels
from micro_sam.io.marks import read_kind
from micro_sam.io.tracks import load_tracks, save_tracks

LABELS = (".tif", ".zarr", ".h5", ".npy", ".png")
TRACKS = ("", ".geff", ".xml", ".csv")


@pytest.fixture
def objects():
    labels = np.zeros((3, 40, 50), np.uint16)
    labels[:, 5:20, 5:20], labels[:, 25:35, 30:45] = 1, 2
    return labels


def content(path: Path) -> dict[str, bytes]:
    """Every file below a path."""
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    return {str(file.relative_to(path)): file.read_bytes() for file in files}


@pytest.mark.parametrize("suffix", LABELS)
def test_labels_replace_labels_and_carry_a_mark_that_others_do_not_mind(objects, tmp_path, suffix):
    labels = objects[0] if suffix == ".png" else objects
    path = save_labels(tmp_path / f"a{suffix}", labels)
    assert read_kind(path) == "labels"
    save_labels(path, labels * 2)
    readers = {
        ".tif": tifffile.imread,
        ".png": lambda p: __import__("imageio.v3").v3.imread(p),
        ".npy": lambda p: np.load(p, mmap_mode="r"),
        ".zarr": lambda p: zarr.open(str(p), mode="r")[:],
        ".h5": lambda p: h5py.File(p)["labels"][:],
    }
    assert np.array_equal(readers[suffix](path), labels * 2)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", TRACKS)
def test_tracks_replace_tracks_but_not_labels_and_the_other_way_round(objects, tmp_path, suffix):
    path = save_tracks(tmp_path / f"a{suffix}", objects)
    assert read_kind(path) == "tracks"
    save_tracks(path, objects * 2)
    assert [row.track_id for row in load_tracks(path).rows] == [2, 4]
    if suffix in (".xml", ".csv"):
        masks = tmp_path / "a_labels.tif"
        before = content(tmp_path)
        with pytest.raises(OutputError, match="holds tracks"):
            save_labels(masks, objects)
        assert content(tmp_path) == before
        save_labels(tmp_path / "b_labels.tif", objects)
        with pytest.raises(OutputError, match="holds labels"):
            save_tracks(tmp_path / f"b{suffix}", objects)
        assert not (tmp_path / f"b{suffix}").exists()


@pytest.mark.parametrize("suffix", [*LABELS, *TRACKS])
@pytest.mark.parametrize("there", ["file of another program", "folder with notes"])
def test_what_others_made_is_left_alone(objects, tmp_path, suffix, there):
    path = tmp_path / f"a{suffix}"
    if there == "folder with notes" or suffix == "":
        path.mkdir()
        (path / "mask000.tif" if suffix == "" else path / "image.tif").write_bytes(b"raw")
        (path / "notes.txt").write_text("mine")
    elif suffix in (".zarr", ".geff"):
        root = zarr.open_group(str(path), mode="w")
        root.create_array("0", data=objects)
    else:
        path.write_bytes(b"raw")
    before = content(tmp_path)
    save, data = (save_tracks, objects) if suffix in TRACKS else (save_labels, objects[0])
    with pytest.raises(OutputError) as error:
        save(path, data)
    assert content(tmp_path) == before and str(path) in str(error.value)
    if path.is_dir():  # not even if the user wants it
        with pytest.raises(OutputError, match="holds something else"):
            save(path, data, replace_unmarked=True)
        assert content(tmp_path) == before
    else:
        save(path, data, replace_unmarked=True)
        assert (tmp_path / f"a{suffix}.bak").read_bytes() == b"raw" and read_kind(path) is not None


@pytest.mark.parametrize("suffix", [".zarr", "", ".geff", ".h5"])
def test_a_result_to_which_something_was_added_is_not_replaced(objects, tmp_path, suffix):
    save = save_labels if suffix in LABELS else save_tracks
    path = save(tmp_path / f"a{suffix}", objects)
    if suffix == ".h5":
        with h5py.File(path, "a") as file:
            file["raw"] = objects
    elif suffix == "":
        (path / "raw.tif").write_bytes(b"raw")
    else:
        zarr.create_array(str(path / "raw"), data=objects, zarr_format=2)
    before = content(path)
    with pytest.raises(OutputError, match="holds something else .*raw"):
        save(path, objects)
    assert content(path) == before
    (tmp_path / "b").mkdir()
    path = save(tmp_path / "b" / f"a{suffix}", objects)
    if path.is_dir():  # what a file manager leaves is no content
        (path / ".DS_Store").write_bytes(b"x")
        save(path, objects)


@pytest.mark.parametrize("suffix", [".tif", ".png", ".npy", ".xml", ".csv", ""])
def test_a_result_that_another_program_wrote_anew_has_no_mark_any_more(objects, tmp_path, suffix):
    tracks, labels = suffix in TRACKS, objects[0] if suffix == ".png" else objects
    path = (save_tracks if tracks else save_labels)(tmp_path / f"a{suffix}", labels)
    if suffix == ".xml":
        import xml.etree.ElementTree as ElementTree

        ElementTree.parse(path).write(path)
    elif suffix == ".csv":
        import pandas

        pandas.read_csv(path).to_csv(path, index=False)
    elif suffix == ".npy":
        np.save(path, np.load(path))
    else:
        file = path / "mask001.tif" if suffix == "" else path
        if suffix == ".png":
            import imageio.v3 as imageio

            imageio.imwrite(file, imageio.imread(file))
        else:
            tifffile.imwrite(file, tifffile.imread(file))
    assert read_kind(path) is None
    with pytest.raises(NotOurs):
        (save_tracks if tracks else save_labels)(path, labels)


def test_masks_of_somebody_else_are_not_taken_for_a_part_of_new_tracks(objects, tmp_path):
    (tmp_path / "cells_labels.tif").write_bytes(b"raw")
    for agreed in (False, True):
        with pytest.raises(OutputError, match="in the way"):
            save_tracks(tmp_path / "cells.xml", objects, replace_unmarked=agreed)
    assert [p.name for p in tmp_path.iterdir()] == ["cells_labels.tif"]


def make_as_before(folder: Path, objects: np.ndarray) -> None:
    """Results in the layout of the versions that wrote no mark."""
    import csv

    tifffile.imwrite(folder / "a.tif", objects, compression="zlib", metadata={"axes": "ZYX"})
    array = zarr.create_array(str(folder / "a.zarr"), shape=objects.shape, dtype="uint16", zarr_format=2)
    array[...] = objects
    with h5py.File(folder / "a.h5", "w") as file:
        file["labels"] = objects
    save_tracks(folder / "m.geff", objects)
    (folder / "m.geff" / ".zattrs").write_text(
        (folder / "m.geff" / ".zattrs").read_text().replace('"micro_sam"', '"some_program"')
    )
    save_tracks(folder / "m.xml", objects)
    lines = (folder / "m.xml").read_text().splitlines(keepends=True)
    (folder / "m.xml").write_text("".join(line for line in lines if "<!--" not in line))
    tifffile.imwrite(folder / "m_labels.tif", objects, compression="zlib")
    (folder / "m_RES").mkdir()
    for t, mask in enumerate(objects):
        tifffile.imwrite(folder / "m_RES" / f"mask{t:03d}.tif", mask, compression="zlib")
    (folder / "m_RES" / "res_track.txt").write_text("1 0 2 0\n2 0 2 0\n")
    with open(folder / "c.csv", "w", newline="") as file:
        csv.writer(file).writerows([["track_id", "t", "y", "x", "parent_id"], [1, 0, 7.0, 7.0, 0]])


@pytest.mark.parametrize("name", ["a.tif", "a.zarr", "a.h5", "m.geff", "m.xml", "m_RES"])
def test_results_of_earlier_versions_are_opened_and_replaced_when_the_user_says_so(objects, tmp_path, name):
    make_as_before(tmp_path, objects)
    path = tmp_path / name
    tracks = name.startswith("m")
    save, load = (save_tracks, load_tracks) if tracks else (save_labels, load_labels)
    loaded = load(path)
    assert np.array_equal(loaded.labels if tracks else loaded, objects)
    with pytest.raises(NotOurs, match="not written by this program"):
        save(path, objects)
    save(path, objects * 3, replace_unmarked=True)
    again = load(path)
    assert (again.labels if tracks else again).max() == 6
    backup = tmp_path / f"{name}.bak"
    assert backup.exists()
    if name == "m.xml":
        assert (tmp_path / "m_labels.tif.bak").exists()
    save(path, objects)  # from now on it is ours
    assert not (tmp_path / f"{name}.bak2").exists()


def test_pixel_size_of_saved_labels_is_read_back(objects, tmp_path):
    large = objects.astype(np.uint32)
    large[0, 0, 0] = 100_000
    for labels in (objects, large, objects[0]):
        scale = (2.0, 0.5, 0.25)[-labels.ndim :]
        opened = open_image(save_labels(tmp_path / "a.tif", labels, scale))
        assert opened.scale == pytest.approx(scale) and opened.unit == "µm" and opened.axes == "ZYX"[-labels.ndim :]
    page = tifffile.TiffFile(save_labels(tmp_path / "a.tif", objects, (2.0, 0.5, 0.25))).imagej_metadata
    assert page["unit"] == "um" and page["spacing"] == 2.0


def test_hdf5_on_a_full_disc_ends_with_a_sentence_and_keeps_the_old_file(objects, tmp_path):
    path = save_labels(tmp_path / "a.h5", objects)
    code = (
        "import resource, signal, sys, numpy as np\nfrom micro_sam.io.labels import save_labels\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\nresource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))\n"
        "noise = np.random.default_rng(0).integers(0, 60000, (3, 200, 200)).astype('uint16')\n"
        "try: save_labels(sys.argv[1], noise)\n"
        "except OSError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True)
    assert done.returncode == 0 and "Nothing was lost" in done.stdout, done.stderr
    assert np.array_equal(load_labels(path), objects) and [p.name for p in tmp_path.iterdir()] == ["a.h5"]


# ------------------------------------------------------------------ inputs


@pytest.fixture
def raw(tmp_path, monkeypatch):
    """A folder to work in with a raw image."""
    monkeypatch.chdir(tmp_path)
    tifffile.imwrite("raw.tif", np.zeros((4, 4), np.uint8))
    return tmp_path / "raw.tif"


def test_an_input_is_found_behind_every_spelling(raw):
    (raw.parent / "sub").mkdir()
    (raw.parent / "sub" / "link.tif").symlink_to(raw)
    os.link(raw, raw.parent / "sub" / "hard.tif")
    (raw.parent / "folder").symlink_to(raw.parent)
    spellings = ("raw.tif", "./raw.tif", "sub/../raw.tif", raw, "sub/link.tif", "sub/hard.tif", "folder/raw.tif")
    for one in spellings:
        for other in spellings:
            with pytest.raises(OutputError, match="is the input"):
                check_not_input(one, other)
    check_not_input("new.tif", raw)
    check_not_input("raw.tif.bak", raw)
    check_not_input(None, raw)


def test_names_in_another_case_are_compared_as_the_file_system_does(raw, monkeypatch):
    check_not_input("RAW.tif", raw)  # another file here
    stat = os.stat

    def insensitive(path, *arguments, **options):
        return stat(str(path).replace("RAW", "raw"), *arguments, **options)

    monkeypatch.setattr(os, "stat", insensitive)
    with pytest.raises(OutputError, match="is the input"):
        check_not_input("RAW.tif", raw)


def test_an_output_inside_or_around_an_input_is_refused(raw):
    root = zarr.open_group("image.zarr", mode="w", zarr_format=2)
    root.create_array("0", data=np.zeros((4, 4)))
    zarr.open_group("image.zarr/labels", mode="a", zarr_format=2).create_group("cells")
    for output in ("image.zarr", "image.zarr/", "image.zarr/0", "image.zarr/labels", "image.zarr/labels/cells"):
        with pytest.raises(OutputError, match="is the input|lies inside"):
            check_not_input(output, "image.zarr/")
    check_not_input("image.zarr/labels/new", "image.zarr")
    os.makedirs("outer.zarr/inner")
    tifffile.imwrite("outer.zarr/inner/x.tif", np.zeros((4, 4)))
    with pytest.raises(OutputError, match="holds the input"):
        check_not_input("outer.zarr", "outer.zarr/inner/x.tif")
    os.makedirs("slices")
    with pytest.raises(OutputError, match="lies inside"):
        check_not_input("slices/labels.tif", "slices")
    check_not_input("slices/table.csv", "slices")


def test_an_output_that_the_next_run_would_take_for_an_input_is_refused(raw):
    os.makedirs("images/sub")
    for name in ("images/a.tif", "images/sub/b.tif"):
        tifffile.imwrite(name, np.zeros((4, 4)))
    with pytest.raises(OutputError, match="is the input"):
        check_not_input("images/a.tif", "images", pattern="*.tif")
    for output, source, pattern in (
        ("images/new.tif", "images", "*.tif"),
        ("images/new.tif", "images/*.tif", None),
        ("images/deep/down/new.tif", "images", "**/*.tif"),
    ):
        with pytest.raises(OutputError, match="matches the pattern"):
            check_not_input(output, source, pattern=pattern)
    for output, source, pattern in (
        ("images/results/a.tif", "images", "*.tif"),
        ("images/new.png", "images/*.tif", None),
        ("results/a.tif", "images", "**/*.tif"),
    ):
        check_not_input(output, source, pattern=pattern)


def test_samples_are_no_place_to_write_to(raw):
    check_not_input("coins.tif", "sample:coins")
    with pytest.raises(OutputError, match="sample"):
        check_not_input("sample:coins", "raw.tif")


def test_many_outputs_are_compared_with_many_inputs_without_looking_at_each_pair(raw, monkeypatch):
    os.makedirs("images")
    for k in range(200):
        Path(f"images/{k}.tif").write_bytes(b"")
    inputs, calls, stat = Inputs(*(f"images/{k}.tif" for k in range(200))), [], os.stat
    monkeypatch.setattr(os, "stat", lambda *a, **k: calls.append(a) or stat(*a, **k))
    for k in range(200):
        inputs.check(f"results/{k}.tif")
    assert len(calls) < 200 * 40


def test_labels_are_added_to_an_ome_zarr_as_a_new_group(objects, tmp_path):
    for version in (2, 3):
        image = tmp_path / f"image{version}.zarr"
        root = zarr.open_group(str(image), mode="w", zarr_format=version)
        root.create_array("0", data=objects.astype("uint8"))
        level = {"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [2.0, 0.5, 0.5]}]}
        axes = [{"name": n, "type": "space", "unit": "micrometer"} for n in "zyx"]
        described = {"multiscales": [{"axes": axes, "datasets": [level], "version": "0.4"}]}
        root.attrs.update(described if version == 2 else {"ome": {"version": "0.5", **described}})
        before = content(image)
        save_labels(image / "labels" / "cells", objects, scale=(2.0, 0.5, 0.5))
        save_labels(image / "labels" / "nuclei", objects)
        after = content(image)
        assert {name: after[name] for name in before} == before
        attributes = dict(zarr.open_group(str(image / "labels"), mode="r").attrs)
        assert attributes.get("ome", attributes)["labels"] == ["cells", "nuclei"]
        opened = open_image(image / "labels" / "cells")
        assert opened.axes == "ZYX" and opened.scale == (2.0, 0.5, 0.5)
        assert np.array_equal(load_labels(image, "labels/nuclei"), objects)
        with pytest.raises(OutputError, match="exists already"):
            save_labels(image / "labels" / "cells", objects)


@pytest.mark.parametrize("version", [2, 3])
def test_groups_of_labels_that_are_added_at_once_are_all_listed(tmp_path, monkeypatch, version):
    image, objects, real = tmp_path / "image.zarr", np.eye(9, dtype="uint16"), label_groups.locked
    zarr.open_group(str(image), mode="w", zarr_format=version)

    def overtaken(folder):
        monkeypatch.setattr(label_groups, "locked", real)
        save_labels(image / "labels" / "cells", objects)
        return real(folder)

    monkeypatch.setattr(label_groups, "locked", overtaken)
    save_labels(image / "labels" / "nuclei", objects)
    attributes = dict(zarr.open_group(str(image / "labels"), mode="r").attrs)
    assert attributes.get("ome", attributes)["labels"] == ["cells", "nuclei"]


def test_a_group_of_labels_that_came_while_one_was_written_is_not_replaced(tmp_path, monkeypatch):
    image, objects, real = tmp_path / "image.zarr", np.eye(9, dtype="uint16"), label_groups.write_pyramid
    zarr.open_group(str(image), mode="w", zarr_format=2)

    def overtaken(*arguments):
        monkeypatch.setattr(label_groups, "write_pyramid", real)
        save_labels(image / "labels" / "cells", objects)
        real(*arguments)

    monkeypatch.setattr(label_groups, "write_pyramid", overtaken)
    with pytest.raises(OutputError, match="exists already"):
        save_labels(image / "labels" / "cells", 2 * objects)
    assert np.array_equal(load_labels(image, "labels/cells"), objects)
    assert sorted(path.name for path in (image / "labels").iterdir() if not path.name.startswith(".z")) == ["cells"]
