"""The command of the series tool: what it passes on, what it refuses. The window itself is tested elsewhere."""

import numpy as np
import pytest
import tifffile

from micro_sam.cli.image_series_annotator import build_parser, main


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for name in ("a.tif", "b.tif"):
        tifffile.imwrite(folder / name, np.random.default_rng(0).integers(0, 255, (40, 60), dtype="uint8"))
    return folder


def refused(capsys, *arguments) -> str:
    """The message of a call that must end with exit code 2 and one message without a traceback."""
    try:
        code = main([str(argument) for argument in arguments])
    except SystemExit as end:  # argparse
        code = end.code
    error = capsys.readouterr().err
    assert code == 2 and "Traceback" not in error, error
    return error


def test_all_options_reach_the_tool(folder, tmp_path, monkeypatch):
    import micro_sam.sam_annotator

    seen = {}
    monkeypatch.setattr(
        micro_sam.sam_annotator,
        "image_folder_annotator",
        lambda *places, **options: seen.update(options, places=places),
    )
    arguments = [
        "-i",
        folder,
        "-o",
        tmp_path / "out",
        "-p",
        "*.tif",
        "-e",
        tmp_path / "e",
        "-m",
        "nano_lm",
        "-d",
        "cpu",
    ]
    assert (
        main(
            [
                str(a)
                for a in (*arguments, "--tile_shape", "64", "32", "--halo", "8", "4", "--is_volumetric", "-k", "raw")
            ]
        )
        == 0
    )
    assert seen == {
        "initial_segmentation_folder": None,
        "initial_segmentation_pattern": "*",
        "prefer_decoder": True,
        "places": (str(folder), str(tmp_path / "out"), "*.tif"),
        "model_type": "nano_lm",
        "embedding_path": str(tmp_path / "e"),
        "tile_shape": (64, 32),
        "halo": (8, 4),
        "precompute_amg_state": False,
        "checkpoint_path": None,
        "device": "cpu",
        "is_volumetric": True,
        "skip_segmented": True,
        "key": "raw",
        "resume": True,
    }
    main(["-i", str(folder), "-o", str(tmp_path / "out"), "--with_segmented"])
    assert seen["skip_segmented"] is False and seen["places"][2] == "*" and seen["model_type"] is None


def test_what_cannot_be_is_one_sentence(folder, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    (tmp_path / "empty").mkdir()
    out = tmp_path / "out"
    assert "--output_folder" in refused(capsys, "-i", folder)
    assert "nowhere" in refused(capsys, "-i", tmp_path / "nowhere", "-o", out)
    assert "no images" in refused(capsys, "-i", tmp_path / "empty", "-o", out)
    assert "*.png" in refused(capsys, "-i", folder, "-o", out, "-p", "*.png")
    assert "is a file" in refused(capsys, "-i", folder, "-o", tmp_path / "file")
    assert "overwritten" in refused(capsys, "-i", folder, "-o", folder)
    assert "--tile_shape" in refused(capsys, "-i", folder, "-o", out, "--halo", "4", "4")
    assert "annotator_2d" in refused(capsys, "-i", folder, "-o", out, "--is_volumetric", "-m", "nano_lm")
    assert not out.exists()


def test_input_that_is_a_file_is_one_sentence(folder, tmp_path, capsys):
    assert "folder" in refused(capsys, "-i", folder / "a.tif", "-o", tmp_path / "out")


def test_help_explains_every_argument():
    assert all(action.help for action in build_parser()._actions)
