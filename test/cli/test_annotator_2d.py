"""The command that opens the 2D annotator: what it refuses, and how quickly. The window itself is tested elsewhere."""

import subprocess
import sys

import imageio.v3 as imageio
import numpy as np
import pytest

from micro_sam.cli.annotator_2d import main


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "image.png"
    imageio.imwrite(path, np.random.default_rng(0).integers(0, 255, (40, 60), dtype="uint8"))
    return path


def test_help_loads_nothing_heavy_and_shows_every_option():
    result = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "micro_sam.cli.annotator_2d", "-h"],
        capture_output=True,
        text=True,
        check=True,
    )
    for option in (
        *("-i", "--input", "-k", "--key", "-e", "--embedding_path", "-s", "--segmentation_result", "-sk"),
        *("--segmentation_key", "-m", "--model_type", "-c", "--checkpoint", "-d", "--device", "--show_embeddings"),
        *("--tile_shape", "--halo", "--precompute_amg_state"),
    ):
        assert option in result.stdout, option
    loaded = {line.rpartition("|")[2].strip().split(".")[0] for line in result.stderr.splitlines()}
    assert not loaded & {"torch", "napari", "qtpy", "skimage"}


def refused(capsys, *arguments) -> str:
    """The message of a call that must end with exit code 2 and one message without a traceback."""
    try:
        code = main([str(argument) for argument in arguments])
    except SystemExit as end:  # argparse
        code = end.code
    error = capsys.readouterr().err
    assert code == 2, error
    assert "Traceback" not in error
    return error


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["-m", "vit_x"], "vit_h"),
        (["--halo", "16", "16"], "--tile_shape"),
        (["--tile_shape", "0", "64"], "pixel"),
        (["-c", "missing.pt"], "missing.pt"),
        (["-i", "missing.tif"], "missing.tif"),
        (["-i", "sample:nothing"], "coins"),
        (["-s", "labels.tif"], "--input"),
        (["-d", "cuda:99"], "cuda:99"),
    ],
)
def test_arguments_that_cannot_be_are_one_sentence(arguments, says, capsys):
    assert says in refused(capsys, *arguments)


def test_files_that_are_no_image_are_one_sentence(tmp_path, capsys):
    empty, text, folder = tmp_path / "empty.tif", tmp_path / "text.tif", tmp_path / "folder"
    empty.touch()
    text.write_text("this is no image")
    folder.mkdir()
    for path in (empty, text, folder):
        assert path.name in refused(capsys, "-i", path, "-m", "nano_lm")


def test_stack_is_not_an_image(tmp_path, capsys):
    path = tmp_path / "stack.npy"
    np.save(path, np.zeros((8, 64, 64), "uint8"))
    assert "annotator" in refused(capsys, "-i", path, "-m", "nano_lm")


def test_result_of_another_shape_or_kind_is_one_sentence(image, tmp_path, capsys):
    small, floats = tmp_path / "small.npy", tmp_path / "floats.npy"
    np.save(small, np.ones((10, 10), "int32"))
    np.save(floats, np.full((40, 60), 0.5))
    assert "(10, 10)" in refused(capsys, "-i", image, "-s", small, "-m", "nano_lm")
    assert "whole numbers" in refused(capsys, "-i", image, "-s", floats, "-m", "nano_lm")
    assert "nothing.npy" in refused(capsys, "-i", image, "-s", tmp_path / "nothing.npy", "-m", "nano_lm")


def test_all_options_reach_the_tool(image, tmp_path, monkeypatch):
    import micro_sam.sam_annotator

    seen = {}
    monkeypatch.setattr(micro_sam.sam_annotator, "annotator_2d", lambda raw, **options: seen.update(raw=raw, **options))
    arguments = ["-i", image, "-e", tmp_path / "e.zarr", "-s", "l.tif", "-sk", "labels", "-k", "raw", "-m", "vit_b"]
    arguments += ["-d", "cpu", "--tile_shape", "64", "32", "--halo", "8", "4", "--show_embeddings"]
    arguments += ["--axes", "YX"]
    assert main([str(a) for a in (*arguments, "--precompute_amg_state")]) == 0
    assert seen == {
        "decoder_path": None,
        "prefer_decoder": True,
        "raw": str(image),
        "axes": "YX",
        "embedding_path": str(tmp_path / "e.zarr"),
        "show_embeddings": True,
        "segmentation_result": "l.tif",
        "model_type": "vit_b",
        "tile_shape": (64, 32),
        "halo": (8, 4),
        "precompute_amg_state": True,
        "checkpoint_path": None,
        "device": "cpu",
        "key": "raw",
        "segmentation_key": "labels",
        "session": None,
        "resume": "ask",
    }
