"""``micro_sam.export``: arguments and how it ends; what it writes is tested with the models."""

import subprocess
import sys

import pytest

from micro_sam.cli.export import main


def end(capsys, *arguments):
    code = main(list(arguments))
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    return code, captured.err.strip()


def test_a_model_must_be_named(capsys, tmp_path):
    code, message = end(capsys, "-o", str(tmp_path / "x"))
    assert code == 2 and "-m NAME" in message


def test_a_missing_model_or_checkpoint_is_one_sentence(capsys, tmp_path):
    code, message = end(capsys, "-m", "vit_x", "-o", str(tmp_path / "x"))
    assert code == 2 and "There is no model 'vit_x'" in message
    code, message = end(capsys, "-c", str(tmp_path / "no.pt"), "-o", str(tmp_path / "x"))
    assert code == 2 and "no.pt does not exist" in message and len(message.splitlines()) == 1
    (tmp_path / "text.pt").write_text("hello")
    code, message = end(capsys, "-c", str(tmp_path / "text.pt"), "-o", str(tmp_path / "x"))
    assert code == 2 and "no file of weights" in message
    assert not (tmp_path / "x").exists()


def test_an_output_that_exists_or_cannot_be_written_is_one_sentence(capsys, tmp_path):
    (tmp_path / "file").write_text("mine")
    code, message = end(capsys, "-m", "nano_lm", "-o", str(tmp_path / "file"))
    assert code == 2 and "exists already" in message
    code, message = end(capsys, "-m", "nano_lm", "-o", str(tmp_path / "file" / "export"))
    assert code == 2 and "is a file" in message and len(message.splitlines()) == 1
    assert (tmp_path / "file").read_text() == "mine"


def test_an_unknown_format_names_those_there_are(capsys, tmp_path):
    with pytest.raises(SystemExit) as exit:
        main(["-m", "nano_lm", "-o", str(tmp_path / "x"), "--format", "tflite"])
    assert exit.value.code == 2 and "onnx" in capsys.readouterr().err


def test_bad_arguments_are_answered_before_anything_heavy_is_imported(tmp_path):
    code = (
        "import sys; from micro_sam.cli.export import main; "
        f"assert main(['-m', 'nano_lm', '-o', {str(tmp_path)!r}]) == 2; "
        "print(sorted({'torch', 'numpy', 'onnx'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.stdout.strip() == "[]", run.stderr


def test_licence_and_author_belong_to_bioimage_io_and_its_package_is_a_zip(capsys, tmp_path):
    code, message = end(capsys, "-m", "nano_lm", "-o", str(tmp_path / "x"), "--licence", "MIT")
    assert code == 2 and "--format bioimageio" in message
    code, message = end(capsys, "-m", "nano_lm", "-o", str(tmp_path / "x"), "--format", "bioimageio")
    assert code == 2 and ".zip" in message
