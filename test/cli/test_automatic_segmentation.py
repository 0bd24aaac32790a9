"""``micro_sam.automatic_segmentation``: label images from the command line."""

import numpy as np
import pytest
import tifffile

from micro_sam.cli._fields import read_options
from micro_sam.cli.automatic_segmentation import SegmentationOptions, build_parser, main, plan
from micro_sam.sample_data import open_sample


@pytest.fixture(scope="module")
def coins():
    return open_sample("coins").image


def test_an_image_becomes_a_label_image(tmp_path, coins, capsys):
    tifffile.imwrite(tmp_path / "coins.tif", coins)
    output = tmp_path / "labels.tif"
    assert main(["-i", str(tmp_path / "coins.tif"), "-o", str(output), "-m", "nano_lm", "-d", "cpu"]) == 0
    labels = tifffile.imread(output)
    assert labels.shape == coins.shape and len(np.unique(labels)) > 10
    assert "objects" in capsys.readouterr().out


def test_a_folder_is_segmented_once_and_thresholds_act(tmp_path, coins, capsys):
    (tmp_path / "in").mkdir()
    for name in ("a", "b"):
        tifffile.imwrite(tmp_path / "in" / f"{name}.tif", coins[:200, :200])
    call = ["-i", str(tmp_path / "in"), "--pattern", "*.tif", "-o", str(tmp_path / "out"), "-m", "nano_lm", "-d", "cpu"]
    assert main([*call, "--threshold", "min_size", "1000000"]) == 0
    assert not tifffile.imread(tmp_path / "out" / "a.tif").any()
    (tmp_path / "out" / "a.tif").unlink()
    assert main(call) == 0
    assert tifffile.imread(tmp_path / "out" / "a.tif").any()
    assert "b.tif is there already" in capsys.readouterr().out


def test_images_of_one_name_in_several_folders_have_results_of_their_own(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / "in" / folder).mkdir(parents=True)
        tifffile.imwrite(tmp_path / "in" / folder / "cells.tif", np.zeros((20, 30), "uint8"))
    call = ["-i", str(tmp_path / "in"), "--pattern", "**/*.tif", "-o", str(tmp_path / "out"), "-m", "nano_lm"]
    planned = plan(read_options(build_parser(), SegmentationOptions, call))
    assert [output.name for _, output in planned] == ["a_cells_tif.tif", "b_cells_tif.tif"]
    assert len({job.cache_path for job, _ in planned}) == 2


@pytest.mark.parametrize(
    ("extra", "sentence"),
    [
        (["--threshold", "sharpness", "1"], "no threshold 'sharpness'"),
        (["--threshold", "min_size", "many"], "needs a number"),
        (["-n", "3"], "3D"),
    ],
)
def test_bad_arguments_end_with_one_sentence(tmp_path, coins, capsys, extra, sentence):
    tifffile.imwrite(tmp_path / "coins.tif", coins)
    call = ["-i", str(tmp_path / "coins.tif"), "-o", str(tmp_path / "labels.tif"), "-m", "nano_lm", "-d", "cpu"]
    assert main([*call, *extra]) == 2
    error = capsys.readouterr().err
    assert sentence in error and "Traceback" not in error
    assert not (tmp_path / "labels.tif").exists()


def test_an_output_that_cannot_be_is_refused_before_any_work(tmp_path, capsys):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((20, 30), "uint8"))
    for output in (tmp_path, tmp_path / "nowhere" / "labels.tif"):
        assert main(["-i", str(tmp_path / "a.tif"), "-o", str(output), "-m", "nano_lm"]) == 2
        assert str(output) in capsys.readouterr().err


def test_a_stack_is_segmented_by_the_maps_of_the_volume_or_slice_by_slice(tmp_path, monkeypatch):
    from micro_sam.segmentation.volume import automatic, maps

    z, y, x = np.ogrid[:13, :24, :24]
    ball = (z - 6) ** 2 + (y - 12) ** 2 + (x - 12) ** 2 < 30
    tifffile.imwrite(tmp_path / "stack.tif", np.where(ball, 200, 20).astype("uint8"), metadata={"axes": "ZYX"})
    opened, merged = [], []
    open_maps, merge = maps.open_volume_maps, automatic.merge_instance_segmentation_3d
    monkeypatch.setattr(
        "micro_sam.segmentation.volume.scripts.open_volume_maps", lambda *a: opened.append(a[2]) or open_maps(*a)
    )
    monkeypatch.setattr(automatic, "merge_instance_segmentation_3d", lambda *a, **k: merged.append(1) or merge(*a, **k))
    call = ["-i", str(tmp_path / "stack.tif"), "-n", "3", "-m", "nano_lm", "-d", "cpu", "-o"]
    assert main([*call, str(tmp_path / "maps.tif"), "--scale", "1", "1", "1"]) == 0
    labels = tifffile.imread(tmp_path / "maps.tif")
    assert labels.shape == ball.shape and (labels[ball] > 0).mean() > 0.5 and len(np.unique(labels[3:10, 12, 12])) == 1
    assert opened == [(1.0, 1.0, 1.0)] and not merged
    assert main([*call, str(tmp_path / "slices.tif"), "--volume_method", "slices"]) == 0
    assert merged and len(opened) == 1


def test_only_the_objects_of_a_region_are_segmented(tmp_path, coins, capsys):
    tifffile.imwrite(tmp_path / "coins.tif", coins)
    output = tmp_path / "labels.tif"
    call = ["-i", str(tmp_path / "coins.tif"), "-o", str(output), "-m", "nano_lm", "-d", "cpu"]
    assert main([*call, "--region", "30", "60", "140", "190"]) == 0
    labels = tifffile.imread(output)
    assert labels.shape == coins.shape and 2 <= labels.max() <= 8
    assert not labels[200:].any() and not labels[:, 260:].any()
    for numbers, sentence in ((["1", "2"], "needs 4 numbers"), (["900", "900", "950", "950"], "outside the image")):
        assert main([*call[:3], str(tmp_path / "other.tif"), *call[4:], "--region", *numbers]) == 2
        assert sentence in capsys.readouterr().err
