"""The command of the tracking annotator: what it passes on, and how it refuses what cannot be a movie or its tracks."""

import subprocess
import sys

import imageio.v3 as imageio
import numpy as np
import pytest
import tifffile

from micro_sam.cli.annotator_tracking import main

MOVIE = (6, 64, 80)


@pytest.fixture
def movie(tmp_path):
    path = tmp_path / "movie.tif"
    tifffile.imwrite(path, np.random.default_rng(0).integers(0, 255, MOVIE).astype(np.uint8))
    return path


@pytest.fixture
def refused(movie, capsys, monkeypatch):
    """Call it with arguments: the command must end with one sentence, before any window."""
    monkeypatch.setattr("napari.Viewer", lambda *_, **__: pytest.fail("a window was opened"))

    def check(expected, *arguments):
        capsys.readouterr()
        assert main([*map(str, arguments), "-m", "nano_lm"]) == 2
        text = capsys.readouterr().err
        assert text.startswith("micro_sam.annotator_tracking: ") and expected in text
        assert len(text.strip().splitlines()) == 1 and "Traceback" not in text

    return check


def ctc(folder, rows, n_frames=MOVIE[0]):
    """A folder of the Cell Tracking Challenge; every track is a square of its own in its frames."""
    folder.mkdir()
    labels = np.zeros((n_frames, *MOVIE[1:]), np.uint16)
    for track, begin, end, _ in rows:
        labels[begin : end + 1, 8 * track : 8 * track + 6, 5:20] = track
    for t, plane in enumerate(labels):
        tifffile.imwrite(folder / f"mask{t:03d}.tif", plane)
    (folder / "res_track.txt").write_text("".join(" ".join(map(str, row)) + "\n" for row in rows))
    return folder


def test_help_needs_neither_napari_nor_torch():
    program = (
        "import sys; from micro_sam.cli.annotator_tracking import main\n"
        "try: main(['-h'])\n"
        "except SystemExit as end: print(end.code, {m for m in ('torch', 'napari', 'qtpy') if m in sys.modules})"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "--tracking_result" in result.stdout and result.stdout.rstrip().endswith("0 set()")


def test_arguments_reach_the_tool(movie, monkeypatch):
    calls = []
    monkeypatch.setattr(
        "micro_sam.sam_annotator.annotator_tracking", lambda raw, **options: calls.append((raw, options))
    )
    arguments = ["-i", str(movie), "-m", "nano_lm", "-e", "cache.zarr", "-t", "movie_RES", "-tk", "labels"]
    assert main([*arguments, "--tile_shape", "32", "40", "--halo", "4", "8", "-d", "cpu"]) == 0
    ((raw, options),) = calls
    assert raw == str(movie)
    assert options["model_type"] == "nano_lm" and options["device"] == "cpu"
    assert options["embedding_path"] == "cache.zarr" and options["tracking_result"] == "movie_RES"
    assert options["tracking_key"] == "labels" and options["tile_shape"] == (32, 40) and options["halo"] == (4, 8)


@pytest.mark.parametrize(
    ("name", "shape", "expected"),
    [
        ("time_missing.tif", (64, 80), "annotator_2d"),
        ("one_frame.tif", (1, 64, 80), "several frames"),
        ("colours.png", (64, 80, 3), "annotator_2d"),
        ("four_axes.tif", (5, 6, 64, 80), "(5, 6, 64, 80)"),
        ("five_axes.tif", (5, 6, 7, 64, 80), "(5, 6, 7, 64, 80)"),
    ],
)
def test_an_image_that_is_no_movie_is_one_sentence(tmp_path, refused, name, shape, expected):
    path, values = tmp_path / name, np.random.default_rng(0).integers(0, 200, shape).astype(np.uint8)
    (imageio.imwrite if path.suffix == ".png" else tifffile.imwrite)(path, values)
    refused(expected, "-i", path)


@pytest.mark.parametrize(
    ("shape", "dtype", "expected"),
    [((5, 64, 80), np.uint16, "5 frames"), ((6, 80, 64), np.uint16, "(6, 80, 64)"), (MOVIE, np.float32, "whole")],
)
def test_labels_that_do_not_fit_are_one_sentence(tmp_path, movie, refused, shape, dtype, expected):
    path = tmp_path / "labels.tif"
    tifffile.imwrite(path, np.full(shape, 0.5 if dtype is np.float32 else 3, dtype))
    refused(expected, "-i", movie, "-t", path)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([(1, 0, 2, 2), (2, 3, 5, 1)], "circle"),
        ([(1, 0, 2, 0), (2, 3, 5, 7)], "track 7, which does not exist"),
        ([(1, 0, 4, 0), (2, 3, 5, 1)], "A mother ends before her daughters begin"),
        ([(1, 0, 2, 0), (1, 0, 2, 0)], "listed twice"),
        ([(1, 0, 9, 0)], "9"),
    ],
)
def test_a_lineage_that_cannot_be_is_one_sentence(tmp_path, movie, refused, rows, expected):
    refused(expected, "-i", movie, "-t", ctc(tmp_path / "movie_RES", rows))


def test_results_that_are_not_there_or_of_another_movie(tmp_path, movie, refused):
    refused("does not exist", "-i", movie, "-t", tmp_path / "no_RES")
    refused("8 frames", "-i", movie, "-t", ctc(tmp_path / "long_RES", [(1, 0, 2, 0)], n_frames=8))
    (tmp_path / "empty").mkdir()
    refused("empty", "-i", movie, "-t", tmp_path / "empty")
    refused("movie", "-t", tmp_path / "long_RES")
    refused("no.tif", "-i", tmp_path / "no.tif")
    refused("--tile_shape", "-i", movie, "--halo", "8", "8")
