"""``micro_sam.train``: answers at once, one sentence for a mistake, a weight file in the end."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile

from micro_sam.cli import train
from micro_sam.io.run_file import ask_to_stop, read_run


def make_set(folder: Path, count: int = 2) -> tuple[str, str]:
    for kind in ("images", "labels"):
        (folder / kind).mkdir()
    for number in range(count):
        labels = np.zeros((64, 64), np.uint8)
        labels[10:30, 12:34], labels[40:55, 40:60] = 1, 2
        image = (labels > 0) * 150 + np.random.default_rng(number).integers(0, 60, labels.shape)
        tifffile.imwrite(folder / "images" / f"{number}.tif", image.astype(np.uint8))
        tifffile.imwrite(folder / "labels" / f"{number}.tif", labels)
    return str(folder / "images"), str(folder / "labels")


def test_help_imports_nothing_heavy():
    code = (
        "import sys\nfrom micro_sam.cli import train\n"
        "try: train.main(['-h'])\nexcept SystemExit: pass\n"
        "assert not {'torch', 'napari', 'skimage', 'pandas'} & set(sys.modules), 'heavy import'"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "--recipe" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-o", "a.safetensors"], "nothing to learn from"),
        (["-l", "x", "-o", "a.safetensors"], "belong together"),
        (["-i", "nowhere", "-o", "a.safetensors"], "nowhere"),
        (["-i", "x", "-l", "y", "-o", "a.pt"], ".safetensors"),
        (["--recipe", "nothing", "-o", "a.safetensors"], "nano_lm"),
        (["-i", "x", "-l", "y", "-c", "nothing.pt", "-o", "a.safetensors"], "no checkpoint"),
        (["-i", "nowhere", "-l", "nowhere", "-o", "a.safetensors"], "nowhere"),
    ],
)
def test_mistakes_are_answered_in_a_sentence(arguments, message, capsys):
    assert train.main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error


def test_wrong_checkpoint_is_answered_in_a_sentence(tmp_path, capsys):
    images, labels = make_set(tmp_path)
    wrong = tmp_path / "wrong.pt"
    wrong.write_text("no weights")
    assert train.main(["-i", images, "-l", labels, "-c", str(wrong), "-o", str(tmp_path / "a.safetensors")]) == 2
    assert "wrong.pt" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("image", "labels", "message"),
    [
        (np.zeros((64, 64), np.uint8), np.ones((64, 50), np.uint8), "do not match"),
        (np.zeros((64, 64), np.uint8), np.zeros((64, 64), np.uint8), "has an object"),
        (np.zeros((64, 64), np.uint8), np.ones((64, 64), np.uint8), "only one image"),
        (np.zeros((5, 64, 64), np.uint8), np.ones((64, 64), np.uint8), "5 channels"),
        (np.zeros((9000, 9000), np.uint8), np.ones((9000, 9000), np.uint8), "Cut pieces"),
    ],
)
def test_data_that_cannot_be_learned_from_end_with_a_sentence_and_exit_code_2(tmp_path, capsys, image, labels, message):
    tifffile.imwrite(tmp_path / "a.tif", image)
    tifffile.imwrite(tmp_path / "a_objects.tif", labels)
    assert train.main(["-i", str(tmp_path / "a.tif"), "-o", str(tmp_path / "mine.safetensors"), "-m", "nano_lm"]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not (tmp_path / "mine.safetensors").exists()


def test_command_trains_and_writes(tmp_path, capsys):
    images, labels = make_set(tmp_path)
    output = tmp_path / "mine.safetensors"
    common = ["--steps", "1", "--batch_size", "1", "--objects", "2", "--trainable", "decoder", "-d", "cpu"]
    assert train.main(["-i", images, "-l", labels, "-m", "nano_lm", "-o", str(output), *common]) == 0
    assert capsys.readouterr().out.strip() == str(output)
    assert output.exists() and output.with_suffix(".md").exists()
    assert train.main(["-i", images, "-l", labels, "-o", str(output), *common]) == 2
    assert "exists already" in capsys.readouterr().err


def test_other_programs_follow_and_stop_a_run_by_its_file(tmp_path, capsys):
    images, labels = make_set(tmp_path)
    output, run = tmp_path / "mine.safetensors", tmp_path / "run.json"
    command = ["-i", images, "-l", labels, "-m", "nano_lm", "-o", str(output), "--run_file", str(run), "--steps", "2"]
    command += ["--batch_size", "1", "--objects", "2", "--trainable", "decoder", "-d", "cpu"]
    ask_to_stop(run)
    assert train.main(command) == 130
    assert read_run(run) == {"state": "stopped", "step": 0, "steps": 2}
    assert "give the command again" in capsys.readouterr().err
    assert train.main(command) == 0
    content = read_run(run)
    assert content["state"] == "done" and content["output"] == str(output)
    assert [row["step"] for row in content["validations"]] == [0, 1, 2]
    assert train.main(command) == 2
    assert read_run(run)["state"] == "failed" and "exists already" in read_run(run)["error"]
