"""What all commands share: arguments and how a command ends."""

import importlib
import re
import subprocess
import sys

import pytest

from micro_sam.cli import _common
from micro_sam.cli._annotator import AnnotatorOptions, TrackingOptions
from micro_sam.cli._common import make_parser, run
from micro_sam.cli._fields import read_options
from micro_sam.errors import InputError
from micro_sam.sam_annotator.state.settings import Settings


def annotator(*arguments, kind=AnnotatorOptions):
    return read_options(make_parser("annotator_2d", "Annotate.", kind), kind, list(arguments))


def test_short_and_long_arguments_mean_the_same():
    short = annotator(
        "-i", "a.tif", "-k", "raw", "-e", "cache", "-s", "s.tif", "-sk", "seg", "-m", "vit_b", "-d", "cpu"
    )
    long = annotator(
        *("--input", "a.tif", "--key", "raw", "--embedding_path", "cache", "--segmentation_result", "s.tif"),
        *("--segmentation_key", "seg", "--model_type", "vit_b", "--device", "cpu"),
    )
    assert short == long and short.model.model_type == "vit_b"


def test_without_arguments_the_defaults_are_those_of_the_functions_and_the_window_chooses_the_model():
    options = annotator()
    settings = Settings.of(options.model.model_type, options.model.checkpoint)
    assert (settings.model_type, settings.offered) == ("nano_lm", "vit_h")
    assert not options.show_embeddings and not options.precompute_amg_state
    names = ("raw", "key", "embedding_path", "segmentation_result", "checkpoint_path", "device", "tile_shape", "halo")
    arguments = options.arguments()
    assert all(arguments[name] is None for name in (*names, "model_type"))


def test_the_tracking_annotator_names_its_result_differently():
    options = annotator("-t", "tracks.tif", "-tk", "labels", kind=TrackingOptions).arguments()
    assert (options["tracking_result"], options["tracking_key"]) == ("tracks.tif", "labels")
    assert "segmentation_result" not in options


def test_with_a_checkpoint_the_type_is_left_to_the_file_unless_it_is_said(tmp_path):
    path = tmp_path / "mine.pt"
    path.touch()
    assert annotator("-c", str(path)).model.model_type is None
    assert annotator("-c", str(path), "-m", "vit_t").model.model_type == "vit_t"
    for wrong in (tmp_path, tmp_path / "other.pt"):
        with pytest.raises(InputError, match=str(wrong)):
            annotator("-c", str(wrong))


def test_tiles_become_tuples():
    options = annotator("--tile_shape", "512", "256", "--halo", "64", "0").tiling
    assert (options.tile_shape, options.halo) == ((512, 256), (64, 0))
    with pytest.raises(InputError, match="--tile_shape"):
        annotator("--halo", "8", "8")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-m", "vit_x"], "no model 'vit_x'"),
        (["--tile_shape", "512"], "expected 2 arguments"),
        (["--tile_shape", "0", "512"], "at least 1 pixel"),
        (["--tile_shape", "512", "512", "--halo", "-1", "3"], "negative|expected 2"),
        (["--tile_shape", "a", "b"], "no whole number"),
        (["--unknown"], "unrecognized"),
    ],
)
def test_arguments_that_cannot_be_end_with_a_message_and_exit_code_2(capsys, arguments, message):
    with pytest.raises(SystemExit) as end:
        annotator(*arguments)
    assert end.value.code == 2
    error = capsys.readouterr().err
    assert "micro_sam.annotator_2d: error:" in error
    assert re.search(message, error)


def test_a_foreseen_problem_is_one_message_without_traceback(capsys):
    @run
    def main(arguments=None):
        raise InputError("The image is empty; give another one.")

    assert main([]) == 2
    assert capsys.readouterr().err == "micro_sam.test_common: The image is empty; give another one.\n"


def test_a_bug_keeps_its_traceback():
    @run
    def main(arguments=None):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        main([])


def test_interruption_and_success_have_their_exit_codes(capsys):
    def stop(arguments=None):
        raise KeyboardInterrupt

    assert run(stop)([]) == 130 and "stopped" in capsys.readouterr().err
    assert run(lambda arguments=None: None)([]) == 0
    assert run(lambda arguments=None: 3)([]) == 3


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux has machines without a screen")
@pytest.mark.parametrize("name", ["annotator_2d", "annotator_3d", "annotator_tracking", "image_series_annotator"])
def test_machine_without_a_screen_is_one_sentence(name, tmp_path, capsys, monkeypatch):
    for variable in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"):
        monkeypatch.delenv(variable, raising=False)
    main = importlib.import_module(f"micro_sam.cli.{name}").main
    arguments = ["-i", str(tmp_path), "-o", str(tmp_path)] if name == "image_series_annotator" else []
    assert main([*arguments, "-m", "nano_lm"]) == 2
    error = capsys.readouterr().err
    assert "precompute_embeddings" in error and "Traceback" not in error


def test_version_is_printed(capsys):
    with pytest.raises(SystemExit) as end:
        annotator("--version")
    assert end.value.code == 0 and capsys.readouterr().out.startswith("micro_sam ")


def test_parsing_imports_nothing_heavy():
    code = (
        "import sys; from micro_sam.cli import _annotator as a, _common as c, _fields as f; kind = a.AnnotatorOptions; "
        "f.read_options(c.make_parser('x', '', kind), kind, ['-m', 'nano_lm', '--tile_shape', '5', '5']); "
        "print(sorted({'torch', 'numpy', 'napari', 'zarr', 'skimage'} & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"


def test_help_explains_every_argument():
    parser = make_parser("annotator_2d", "Annotate.", AnnotatorOptions)
    assert all(action.help for action in parser._actions)
    assert "sample:NAME" in parser.format_help() and _common.FAILED == 2
