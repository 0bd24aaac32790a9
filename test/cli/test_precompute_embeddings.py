"""The command that computes embeddings on a machine without a display."""

import os
import re
import signal
import subprocess
import sys
import time

import imageio.v3 as imageio
import numpy as np
import pytest
import tifffile

from micro_sam.cli.precompute_embeddings import main
from micro_sam.embeddings.embeddings import as_embeddings


@pytest.fixture
def image(tmp_path):
    rng = np.random.default_rng(0)
    path = tmp_path / "cells.tif"
    tifffile.imwrite(path, rng.integers(0, 4000, (60, 80)).astype("uint16"))
    return path


def test_help_loads_nothing_heavy():
    result = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "micro_sam.cli.precompute_embeddings", "-h"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "--tile_shape" in result.stdout
    loaded = {line.rpartition("|")[2].strip().split(".")[0] for line in result.stderr.splitlines()}
    assert not loaded & {"torch", "napari", "zarr", "skimage"}


def test_second_run_computes_nothing_and_says_so(image, tmp_path, capsys, monkeypatch):
    arguments = ["-i", str(image), "-o", str(tmp_path / "e"), "-m", "nano_lm", "-d", "cpu"]
    assert main(arguments) == 0
    shown = capsys.readouterr()
    assert "1 slice embedded" in shown.out
    assert re.search(r"1/1 \[00:\d\d<00:00", shown.err), "a progress bar with the time that is left"
    embeddings = as_embeddings(tmp_path / "e")
    assert embeddings.is_complete() and embeddings.model_name == "nano_lm" and embeddings.shape == (60, 80)
    monkeypatch.setattr("micro_sam.models.predictor.Predictor.encode_batch", None)
    assert main(arguments) == 0
    assert "nothing to compute" in capsys.readouterr().out


def test_no_window_toolkit_is_imported(image, tmp_path):
    program = (
        "import sys; from micro_sam.cli.precompute_embeddings import main; code = main(sys.argv[1:]); "
        "bad = {m.split('.')[0] for m in sys.modules} & {'napari', 'qtpy', 'PyQt6', 'PyQt5', 'PySide6', 'vispy', "
        "'torchvision', 'segment_anything', 'triton', 'magicgui'}; print(bad); sys.exit(code or bool(bad))"
    )
    arguments = ["-i", str(image), "-o", str(tmp_path / "e"), "-m", "nano_lm", "--tile_shape", "40", "40"]
    result = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    assert as_embeddings(tmp_path / "e").is_complete()


def test_folder_with_pattern_gets_one_cache_per_image(tmp_path, capsys):
    folder = tmp_path / "images"
    folder.mkdir()
    for name, shape in (("a.tif", (50, 60)), ("a.png", (60, 50)), ("b.tif", (70, 60))):
        imageio.imwrite(folder / name, np.random.default_rng(1).integers(0, 255, shape).astype("uint8"))
    (folder / "notes.tif").write_text("no image")
    arguments = ["-i", str(folder), "-o", str(tmp_path / "out"), "-m", "nano_lm", "-d", "cpu"]
    assert main([*arguments, "--pattern", "[ab].*"]) == 0
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["a_png.zarr", "a_tif.zarr", "b.zarr"]
    assert as_embeddings(tmp_path / "out" / "a_png.zarr").shape == (60, 50)
    capsys.readouterr()
    assert main([*arguments, "--pattern", "b.* n*".split()[0]]) == 0
    assert "nothing to compute" in capsys.readouterr().out
    assert main([*arguments, "--pattern", "[bn]*.tif"]) == 2, "one bad image does not stop the others"
    assert "1 of 2 images" in capsys.readouterr().err


def test_stack_is_embedded_slice_by_slice_and_goes_on_after_a_kill(tmp_path):
    stack = np.random.default_rng(0).integers(0, 255, (12, 64, 64)).astype("uint8")
    path, cache = tmp_path / "stack.tif", tmp_path / "e"
    tifffile.imwrite(path, stack)
    arguments = ["-i", str(path), "-o", str(cache), "-m", "nano_lm", "-d", "cpu"]
    command = [sys.executable, "-m", "micro_sam.cli.precompute_embeddings", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while len(list(cache.glob("features/*.0.0.0.0"))) < 2 and time.monotonic() < deadline:
        assert process.poll() is None or len(list(cache.glob("features/*.0.0.0.0"))) == 12
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    stored = {p.name: p.stat().st_mtime_ns for p in cache.glob("state/checksum/*.0")}
    assert main(arguments) == 0
    embeddings = as_embeddings(cache)
    assert embeddings.is_complete() and embeddings.n_slices == 12
    for name, when in stored.items():
        assert (cache / "state" / "checksum" / name).stat().st_mtime_ns == when, "what was stored is not computed again"


def bad_inputs():
    return {
        "missing": (["-i", "{tmp}/nothing.tif"], "There is no file"),
        "empty": (["-i", "{tmp}/empty.tif"], "is empty"),
        "text": (["-i", "{tmp}/text.tif"], "cannot be read as a tif"),
        "folder": (["-i", "{tmp}/folder"], "no images"),
        "pattern": (["-i", "{tmp}", "--pattern", "*.xyz"], "Nothing matches the pattern"),
        "pattern of a file": (["-i", "{tmp}/cells.tif", "--pattern", "*"], "must be a folder"),
        "1D": (["-i", "{tmp}/line.npy"], "at least two axes"),
        "5D": (["-i", "{tmp}/five.npy"], "choose one channel"),
        "2D as 3D": (["-i", "{tmp}/cells.tif", "-n", "3"], "annotator_2d"),
        "3D as 2D": (["-i", "{tmp}/stack.npy", "-n", "2"], "annotator_3d"),
        "halo alone": (["-i", "{tmp}/cells.tif", "--halo", "8", "8"], "--tile_shape"),
        "small tile": (["-i", "{tmp}/cells.tif", "--tile_shape", "2", "2"], "too small"),
        "batch": (["-i", "{tmp}/cells.tif", "--batch_size", "0"], "--batch_size"),
        "checkpoint": (["-i", "{tmp}/cells.tif", "-c", "{tmp}/text.tif"], "text.tif"),
        "output": (["-i", "{tmp}/cells.tif", "-o", "{tmp}/text.tif"], "is a file"),
        "sample": (["-i", "sample:unicorn"], "unicorn"),
    }


@pytest.mark.parametrize("case", bad_inputs())
def test_every_bad_input_is_one_sentence_and_exit_code_2(image, tmp_path, capsys, case):
    (tmp_path / "empty.tif").touch()
    (tmp_path / "text.tif").write_text("text")
    (tmp_path / "folder").mkdir()
    np.save(tmp_path / "line.npy", np.zeros(9))
    np.save(tmp_path / "five.npy", np.zeros((2, 3, 2, 20, 20)))
    np.save(tmp_path / "stack.npy", np.zeros((9, 20, 20)))
    options, words = bad_inputs()[case]
    arguments = ["-o", str(tmp_path / "e"), "-d", "cpu", *(o.format(tmp=tmp_path) for o in options)]
    if case != "checkpoint":
        arguments += ["-m", "nano_lm"]
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert words in error and "Traceback" not in error
    assert not (tmp_path / "e").exists(), "nothing is left behind"


def test_a_cache_where_one_may_only_read_is_used(image, tmp_path, capsys, monkeypatch):
    arguments = ["-i", str(image), "-o", str(tmp_path / "e"), "-m", "nano_lm", "-d", "cpu"]
    assert main(arguments) == 0
    allowed = os.access
    monkeypatch.setattr(os, "access", lambda path, mode, **more: not mode & os.W_OK and allowed(path, mode, **more))
    assert main(arguments) == 0 and "nothing to compute" in capsys.readouterr().out
    assert main([*arguments, "-p"]) == 2 and "may not be written to" in capsys.readouterr().err, "-p adds something"
    arguments[3] = str(tmp_path / "new")
    assert main(arguments) == 2 and "may not be written to" in capsys.readouterr().err


def test_cache_of_another_image_is_refused(image, tmp_path, capsys):
    arguments = ["-o", str(tmp_path / "e"), "-m", "nano_lm", "-d", "cpu"]
    assert main(["-i", str(image), *arguments]) == 0
    tifffile.imwrite(tmp_path / "other.tif", tifffile.imread(image) + 1)
    assert main(["-i", str(tmp_path / "other.tif"), *arguments]) == 2
    assert "do not belong to this image" in capsys.readouterr().err
    assert main(["-i", str(image), *arguments, "--tile_shape", "40", "40"]) == 2
    assert "tile shape differs" in capsys.readouterr().err


@pytest.mark.parametrize(
    "content", ["nan", "infinite", "constant", "bool", "int64", "negative", "pixel", "strip", "rgba"]
)
def test_unusual_images_are_embedded(tmp_path, content):
    rng = np.random.default_rng(0)
    image = {
        "nan": np.where(rng.random((30, 40)) < 0.1, np.nan, 1.0),
        "infinite": np.where(rng.random((30, 40)) < 0.1, np.inf, 1.0),
        "constant": np.full((30, 40), 7, "uint16"),
        "bool": rng.random((30, 40)) < 0.5,
        "int64": rng.integers(-(10**12), 10**12, (30, 40)),
        "negative": rng.normal(0, 5, (30, 40)),
        "pixel": np.ones((1, 1), "uint8"),
        "strip": rng.integers(0, 255, (3000, 30)).astype("uint8"),
        "rgba": rng.integers(0, 255, (30, 40, 4)).astype("uint8"),
    }[content]
    np.save(tmp_path / "a.npy", image)
    assert main(["-i", str(tmp_path / "a.npy"), "-o", str(tmp_path / "e"), "-m", "nano_lm", "-d", "cpu"]) == 0
    embeddings = as_embeddings(tmp_path / "e")
    assert embeddings.is_complete() and embeddings.shape == image.shape[:2]
    assert np.isfinite(embeddings.load(tile=0).features.numpy()).all()
