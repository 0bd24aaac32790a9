"""Classes of objects beside a result."""

import numpy as np
import pandas as pd
import pytest

from micro_sam.cli.measure import main
from micro_sam.errors import InputError, NotOurs
from micro_sam.io.classes import Classes, class_image, classes_beside, load_classes, save_classes
from micro_sam.io.labels import save_labels

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
