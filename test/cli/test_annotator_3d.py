"""The command of the 3D annotator: what it passes on, and how it refuses what cannot be a volume."""

import subprocess
import sys

import imageio.v3 as imageio
import numpy as np
import pytest
import tifffile

from micro_sam.cli.annotator_3d import main

STACK = (7, 64, 80)


@pytest.fixture
def stack(tmp_path):
    path = tmp_path / "stack.tif"
    tifffile.imwrite(path, np.random.default_rng(0).integers(0, 255, STACK).astype(np.uint8))
    return path


def write(path, shape, dtype=np.uint8):
    values = np.random.default_rng(0).integers(0, 200, shape).astype(dtype)
    (imageio.imwrite if path.suffix == ".png" else tifffile.imwrite)(path, values)
    return path


def test_help_needs_neither_napari_nor_torch():
    program = (
        "import sys; from micro_sam.cli.annotator_3d import main\n"
        "try: main(['-h'])\n"
        "except SystemExit as end: print(end.code, {m for m in ('torch', 'napari', 'qtpy') if m in sys.modules})"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "--segmentation_result" in result.stdout and result.stdout.rstrip().endswith("0 set()")


def test_arguments_reach_the_tool(stack, monkeypatch):
    calls = []
    monkeypatch.setattr("micro_sam.sam_annotator.annotator_3d", lambda raw, **options: calls.append((raw, options)))
    arguments = ["-i", str(stack), "-m", "nano_lm", "-e", "cache.zarr", "-s", "labels.tif", "--tile_shape", "32", "40"]
    arguments += ["--axes", "ZYX"]
    assert main([*arguments, "--halo", "4", "8", "-d", "cpu"]) == 0
    ((raw, options),) = calls
    assert raw == str(stack)
    assert options["model_type"] == "nano_lm" and options["device"] == "cpu"
    assert options["embedding_path"] == "cache.zarr" and options["segmentation_result"] == "labels.tif"
    assert options["tile_shape"] == (32, 40) and options["halo"] == (4, 8) and options["axes"] == "ZYX"


@pytest.mark.parametrize(
    ("name", "shape", "expected"),
    [
        ("image.tif", (64, 80), "annotator_2d"),
        ("one_slice.tif", (1, 64, 80), "several slices"),
        ("colours.png", (64, 80, 3), "annotator_2d"),
        ("channels_first.tif", (3, 64, 80), "channels"),
        ("four_axes.tif", (5, 6, 64, 80), "(5, 6, 64, 80)"),
        ("channels_of_slices.tif", (3, 20, 64, 80), "3 channels of 20 slices (axes CZYX)"),
        ("slices_with_channels.tif", (20, 2, 64, 80), "20 slices with 2 channels (axes ZCYX)"),
        ("many_axes.tif", (30, 20, 64, 80), "choose one"),
        ("five_axes.tif", (5, 6, 7, 64, 80), "(5, 6, 7, 64, 80)"),
    ],
)
def test_an_image_that_is_no_volume_is_one_sentence(tmp_path, capsys, name, shape, expected):
    path = write(tmp_path / name, shape)
    assert main(["-i", str(path), "-m", "nano_lm"]) == 2
    assert_one_message(capsys.readouterr().err, expected)


@pytest.mark.parametrize(
    ("shape", "dtype", "expected"),
    [
        ((6, 64, 80), np.uint16, "(6, 64, 80)"),
        ((64, 80), np.uint16, "(64, 80)"),
        ((7, 80, 64), np.uint16, "(7, 80, 64)"),
        (STACK, np.float32, "whole numbers"),
    ],
)
def test_a_result_that_does_not_fit_is_one_sentence(tmp_path, stack, capsys, shape, dtype, expected):
    path = tmp_path / "labels.tif"
    tifffile.imwrite(path, np.full(shape, 0.5 if dtype is np.float32 else 3, dtype))
    assert main(["-i", str(stack), "-m", "nano_lm", "-s", str(path)]) == 2
    assert_one_message(capsys.readouterr().err, expected)


def test_files_that_are_not_there_and_arguments_that_contradict(tmp_path, stack, capsys):
    labels = write(tmp_path / "labels.tif", STACK, np.uint16)
    for arguments, expected in (
        (["-i", str(tmp_path / "no.tif")], "no.tif"),
        (["-i", "sample:unknown"], "nuclei_volume"),
        (["-i", "sample:cell"], "annotator_2d"),
        (["-s", str(labels)], "image"),
        (["-i", str(stack), "-s", str(tmp_path / "no.tif")], "no.tif"),
        (["-i", str(stack), "--halo", "8", "8"], "--tile_shape"),
        (["-i", str(stack), "-c", str(tmp_path / "no.pt")], "no.pt"),
    ):
        assert main([*arguments, "-m", "nano_lm"]) == 2, arguments
        assert_one_message(capsys.readouterr().err, expected)


def assert_one_message(text: str, expected: str) -> None:
    assert text.startswith("micro_sam.annotator_3d: ") and expected in text
    assert len(text.strip().splitlines()) == 1 and "Traceback" not in text
