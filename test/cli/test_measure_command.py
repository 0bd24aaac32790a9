"""``micro_sam.measure``."""

import numpy as np
import pandas as pd
import pytest
import tifffile

from micro_sam.cli.measure import main
from micro_sam.io.labels import save_labels


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    labels = np.zeros((3, 40, 50), np.uint16)
    labels[:, 5:15, 5:15], labels[1:, 20:35, 20:40] = 1, 2
    save_labels("labels.tif", labels, scale=(2.0, 0.5, 0.5))
    tifffile.imwrite("image.tif", labels * 10, imagej=True, metadata={"axes": "ZYX"})
    return tmp_path


def test_objects_of_a_volume(files, capsys):
    assert main("-s labels.tif -i image.tif -o objects.csv".split()) == 0
    table = pd.read_csv("objects.csv")
    assert list(table["volume_um3"]) == [150.0, 300.0] and list(table["mean_intensity"]) == [10, 20]
    assert "objects.csv: 2 objects, 2 rows" in capsys.readouterr().out


def test_the_same_file_as_a_movie_and_as_tracks(files):
    assert main("-s labels.tif -o frames.csv --movie".split()) == 0
    assert list(pd.read_csv("frames.csv")["frame"]) == [0, 1, 2, 1, 2]
    assert main("-s labels.tif -o tracks.csv --tracks --scale 30 0.5 0.5".split()) == 0
    assert "mean_speed_um_per_s" in pd.read_csv("tracks.csv")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("-s labels.tif -o labels.tif", "is the input"),
        ("-s labels.tif -o table.xlsx", "must end in .csv or .parquet"),
        ("-s labels.tif -o mine.csv", "was not written by this program"),
        ("-s labels.tif -i small.tif -o table.csv", "must be the same"),
        ("-s none.tif -o table.csv", "none.tif"),
        ("-s labels.tif -o mine.csv/table.csv", "is a file"),
    ],
)
def test_what_cannot_be_is_one_sentence_and_destroys_nothing(files, capsys, arguments, words):
    (files / "mine.csv").write_text("a,b\n1,2\n")
    tifffile.imwrite("small.tif", np.zeros((3, 40, 49), "uint8"))
    before = {path: path.read_bytes() for path in files.iterdir()}
    assert main(arguments.split()) == 2
    error = capsys.readouterr().err
    assert words in error and len(error.strip().splitlines()) == 1
    assert {path: path.read_bytes() for path in files.iterdir()} == before
