"""``micro_sam.info`` as a user and as a program reads it."""

import json
import subprocess
import sys

import pytest

from micro_sam import __version__
from micro_sam.cli.info import as_text, collect, main
from micro_sam.models.registry import get_model_names


@pytest.fixture(autouse=True)
def machine_with_one_download(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MICROSAM_CACHEDIR", str(tmp_path))
    monkeypatch.delenv("SAM_MODELS", raising=False)
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "vit_b").write_bytes(b"weights")


def test_json_tells_every_model_where_it_is_and_what_it_costs(capsys, tmp_path):
    assert main(["--json"]) == 0
    info = json.loads(capsys.readouterr().out)
    assert info["micro_sam"] == __version__ and info["packages"]["torch"]
    assert info["cache_directory"] == str(tmp_path) and "cpu" in info["devices"]
    models = {model["name"]: model for model in info["models"]}
    assert list(models) == get_model_names()
    assert models["nano_lm"]["status"] == "shipped" and models["nano_lm"]["bytes"] > 1e6
    assert models["vit_b"]["status"] == "cached" and models["vit_b"]["path"] == str(tmp_path / "models" / "vit_b")
    assert models["vit_h"]["status"] == "downloadable" and models["vit_h"]["url"].startswith("https://")
    assert models["vit_h"]["seconds_per_image"] > models["nano_lm"]["seconds_per_image"] > 0


def test_models_are_downloaded_by_name_as_in_1_8(capsys, tmp_path, monkeypatch):
    wanted = []

    def fetch(weights, progress=None):
        wanted.append(weights.filename)
        return tmp_path / weights.filename

    monkeypatch.setattr("micro_sam.models.build.fetch", fetch)
    assert main(["--download", "models", "vit_b_lm", "vit_t"]) == 0
    assert wanted == ["vit_b_lm", "vit_b_lm_decoder", "vit_t"]
    assert capsys.readouterr().out.split() == [str(tmp_path / name) for name in wanted]
    assert main(["--download", "models"]) == 0
    assert {name for name in get_model_names() if name != "nano_lm"} <= set(wanted)
    for wrong in (["--download", "models", "vit_x"], ["--download", "all"]):
        with pytest.raises(SystemExit) as stop:
            raise SystemExit(main(wrong))
        assert stop.value.code not in (0, None)


def test_the_table_has_a_row_for_every_model(capsys, tmp_path):
    assert main([]) == 0
    out = capsys.readouterr().out
    assert str(tmp_path) in out and "device" in out
    for name in get_model_names():
        assert f"\n{name} " in out
    assert max(map(len, out.splitlines())) < 160


def test_a_package_that_is_missing_is_named():
    info = collect()
    assert "not installed" in as_text({**info, "packages": {"napari": None}})


def test_info_opens_no_window_and_answers_an_unknown_argument_with_2():
    code = (
        "import sys; from micro_sam.cli.info import main; main(['--json']); "
        "print({'napari', 'PyQt6', 'torchvision', 'segment_anything'} & set(sys.modules))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip().endswith("set()")
    run = subprocess.run([sys.executable, "-m", "micro_sam.cli.info", "-x"], capture_output=True, text=True)
    assert run.returncode == 2 and "Traceback" not in run.stderr
