"""The main job on a machine without a screen: the sample is segmented and written."""

import os
import subprocess
import sys

import imageio.v3 as imageio
import numpy as np
import pytest
import tifffile

from micro_sam.cli import demo
from micro_sam.errors import OutputError
from micro_sam.sample_data import open_sample


def test_without_a_screen_labels_and_a_picture_with_outlines_are_written(tmp_path):
    environment = {key: value for key, value in os.environ.items() if key not in ("DISPLAY", "WAYLAND_DISPLAY")}
    done = subprocess.run(
        [sys.executable, "-m", "micro_sam.cli.demo"], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    folder = tmp_path / demo.FOLDER
    assert str(folder) in done.stdout and all(name in done.stdout for name in demo.FILES)
    assert "ssh -X" in done.stdout and "micro_sam.automatic_segmentation" in done.stdout
    image = open_sample(demo.SAMPLE).image
    objects, clicked = (tifffile.imread(folder / name) for name in demo.FILES[:2])
    cell = image > 140  # the one bright object of a phase image
    for mask in (objects == objects[demo.CLICK], clicked > 0):
        assert objects[demo.CLICK] > 0 and mask.shape == image.shape
        assert (mask & cell).sum() / (mask | cell).sum() > 0.8
    picture = imageio.imread(folder / "outlines.png")
    drawn = (picture != np.stack([image] * 3, -1)).any(-1)
    assert 100 < drawn.sum() < 0.02 * image.size
    assert {tuple(color) for color in picture[drawn].tolist()} == set(demo.OUTLINES.values())


def test_a_second_try_takes_a_new_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert demo.new_folder(None).name == demo.FOLDER
    assert demo.new_folder(None).name == f"{demo.FOLDER}_2"


def test_a_folder_that_holds_something_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match="new folder"):
        demo.new_folder(str(tmp_path))


def test_where_one_may_not_write_the_results_go_to_a_temporary_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(demo.Path, "mkdir", lambda *_, **__: (_ for _ in ()).throw(PermissionError("read-only")))
    folder = demo.new_folder(None)
    assert folder.is_dir() and folder.is_absolute()
    folder.rmdir()
