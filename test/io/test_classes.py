"""Classes of objects beside a result."""

import numpy as np
import pandas as pd
import pytest
import tifffile

from micro_sam.cli.measure import main
from micro_sam.errors import InputError, NotOurs, OutputError
from micro_sam.io.classes import (
    Classes,
    class_image,
    class_image_beside,
    classes_beside,
    load_classes,
    save_class_image,
    save_classes,
)
from micro_sam.io.images import find_images, open_image
from micro_sam.io.labels import load_labels, save_labels
from micro_sam.io.marks import read_kind
from micro_sam.training.data import find_files

CLASSES = Classes(((1, "rund, groß", "#ff0000"), (4, "leer", "#00ff00")), {7: 1, 3: 1})


@pytest.mark.parametrize(
    ("result", "beside"),
    [
        ("a.tif", "a_classes.csv"),
        ("a.b.tif", "a.b_classes.csv"),
        ("a.ome.zarr", "a_classes.csv"),
        ("movie_RES", "movie_RES_classes.csv"),
        ("movie.geff", "movie_classes.csv"),
    ],
)
def test_classes_lie_beside_the_result_and_come_back(tmp_path, result, beside):
    assert classes_beside(tmp_path / result).name == beside
    assert load_classes(tmp_path / result) == Classes()
    assert save_classes(tmp_path / result, CLASSES) == tmp_path / beside
    assert load_classes(tmp_path / result) == CLASSES
    assert CLASSES.names == {3: "rund, groß", 7: "rund, groß"}
    assert save_classes(tmp_path / result, Classes()) is None and not (tmp_path / beside).exists()


def test_what_is_not_ours_stays(tmp_path):
    place = tmp_path / "a_classes.csv"
    place.write_text("mine,too\n1,2\n")
    for classes in (CLASSES, Classes()):
        with pytest.raises(NotOurs):
            save_classes(tmp_path / "a.tif", classes)
    assert place.read_text() == "mine,too\n1,2\n"
    with pytest.raises(InputError, match="no table of classes"):
        load_classes(tmp_path / "a.tif")
    place.write_text("id,class,name,colour\n1,12,a,#000000\n")
    with pytest.raises(InputError, match="not numbered 1 to 9"):
        load_classes(tmp_path / "a.tif")


def test_class_image_and_column_of_the_table(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    labels = np.zeros((3, 20, 30), np.uint32)
    labels[:, 2:5, 2:5], labels[1, 8:12, 8:12], labels[2, 15:18, 3:9] = 3, 5, 7
    image = class_image(labels, {3: 1, 7: 4, 9: 2})
    assert image.dtype == np.uint8 and np.array_equal(image, np.where(labels == 3, 1, np.where(labels == 7, 4, 0)))
    assert not class_image(labels, {}).any()
    save_labels("labels.tif", labels)
    save_classes("labels.tif", CLASSES)
    assert main("-s labels.tif -o table.csv".split()) == 0
    assert pd.read_csv("table.csv", keep_default_na=False)["class"].tolist() == ["rund, groß", "", "rund, groß"]


@pytest.mark.parametrize(("kind", "axes"), [("classes", "ZYX"), ("track_classes", "TYX")])
def test_the_image_of_classes_lies_beside_the_result_and_goes_with_the_classes(tmp_path, kind, axes):
    labels = np.zeros((3, 20, 30), np.uint32)
    labels[:, 2:5, 2:5], labels[1, 8:12, 8:12], labels[2, 15:18, 3:9] = 3, 5, 7
    result, place = tmp_path / "movie.geff", tmp_path / "movie_classes.tif"
    assert class_image_beside(result) == place
    assert save_class_image(result, labels, CLASSES, (2.0, 0.5, 0.5), kind=kind) == place
    saved = open_image(place)
    assert saved.axes == axes and np.allclose(saved.scale, (2.0, 0.5, 0.5)) and read_kind(place) == kind
    assert np.array_equal(load_labels(place), np.where((labels == 3) | (labels == 7), 1, 0))
    assert save_class_image(result, labels, Classes(CLASSES.known, {5: 4}), kind=kind) == place
    assert sorted(np.unique(load_labels(place))) == [0, 4]
    assert save_class_image(result, labels, Classes(CLASSES.known), kind=kind) is None and not place.exists()


def test_an_image_of_classes_replaces_and_removes_nothing_else(tmp_path):
    labels, place = np.eye(9, dtype=np.uint32), tmp_path / "a_classes.tif"
    save_labels(place, labels * 3)  # the result of an image that is called so
    before = place.read_bytes()
    assert save_class_image(tmp_path / "a.tif", labels, Classes()) is None and place.read_bytes() == before
    with pytest.raises(OutputError, match="holds labels of this program"):
        save_class_image(tmp_path / "a.tif", labels, Classes(CLASSES.known, {1: 4}))
    assert place.read_bytes() == before
    tifffile.imwrite(place, np.zeros((4, 4), np.uint8))
    before = place.read_bytes()
    assert save_class_image(tmp_path / "a.tif", labels, Classes()) is None
    with pytest.raises(NotOurs):
        save_class_image(tmp_path / "a.tif", labels, Classes(CLASSES.known, {1: 4}))
    assert place.read_bytes() == before
    place.unlink()
    save_class_image(tmp_path / "a.tif", labels, Classes(CLASSES.known, {1: 4}))
    with pytest.raises(OutputError, match="holds classes of this program"):
        save_labels(place, labels)


def test_large_classes_are_written_in_parts(tmp_path, monkeypatch):
    monkeypatch.setattr("micro_sam.io.labels.LARGEST_RESULT", 0)
    labels = np.zeros((1200, 700), np.uint32)
    labels[3:600, 3:600], labels[700:900, 20:40] = 1, 2
    save_class_image(tmp_path / "a.tif", labels, Classes(CLASSES.known, {1: 4, 2: 1}))
    with tifffile.TiffFile(tmp_path / "a_classes.tif") as file:
        assert file.pages.first.is_tiled
    assert np.array_equal(
        load_labels(tmp_path / "a_classes.tif"), np.where(labels == 1, 4, np.where(labels == 2, 1, 0))
    )


def test_in_a_folder_of_images_or_labels_images_of_classes_are_passed_over(tmp_path):
    labels = np.eye(40, dtype=np.uint32)
    for name in ("a", "b_classes"):  # an image may be called so
        save_labels(tmp_path / f"{name}.tif", labels)
        save_class_image(tmp_path / f"{name}.tif", labels, Classes(CLASSES.known, {1: 4}))
    assert len(list(tmp_path.iterdir())) == 4
    for wanted in (None, "*.tif"):
        found = find_images(tmp_path, wanted, as_labels=True)
        assert [path.name for path in found] == ["a.tif", "b_classes.tif"]
    assert [path.name for path in find_files([str(tmp_path / "*.tif")], "label image")] == ["a.tif", "b_classes.tif"]
    assert find_files([str(tmp_path / "a_classes.tif")], "label image"), "who names it gets it"
