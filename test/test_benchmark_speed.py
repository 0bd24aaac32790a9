"""The benchmark of speed tells what has become slower, and what takes the time."""

import argparse
import json
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
import measuring
import speed


def report(**ratios) -> dict:
    return {"results": [{"task": task, "precision": "fp32", "ratio": ratio} for task, ratio in ratios.items()]}


def test_only_ratios_that_fell_are_regressions():
    old, new = report(encoder=1.9, decoder=4.0, click=3.0), report(encoder=1.85, decoder=3.0, click=3.5, automatic=2.0)
    assert measuring.regressions(old, new) == [("decoder, fp32", 4.0, 3.0)]


def test_reports_that_were_not_measured_alike_are_not_compared(tmp_path, capsys):
    old, new = tmp_path / "old.json", tmp_path / "new.json"
    old.write_text(json.dumps({"threads": 1, "keep_memory": True, **report(decoder=3.0)}))  # before --same-malloc
    new.write_text(json.dumps({"threads": 1, "keep_memory": True, "same_malloc": False, **report(decoder=4.0)}))
    assert speed.compare_reports(old, new) == 2
    assert "same_malloc: True before, False now" in capsys.readouterr().err
    new.write_text(json.dumps({"threads": 1, "keep_memory": True, "same_malloc": True, **report(decoder=2.0)}))
    assert speed.compare_reports(old, new) == 1 and speed.compare_reports(old, old) == 0


def test_both_sides_are_measured_and_units_divide_the_times():
    calls = []
    result = measuring.compare("task", lambda: calls.append("stock"), lambda: calls.append("ours"), 3, units=4)
    assert calls == ["stock", "ours"] * 4  # once more to warm up
    assert result.turns == 3 and result.ratio_min <= result.ratio <= result.ratio_max
    assert measuring.format_row(result).count("|") == measuring.HEADER.splitlines()[0].count("|")


def test_the_profile_names_operations_with_their_shapes():
    with measuring.OpProfile() as profile:
        torch.ones(4, 5) @ torch.ones(5, 6)
    assert "mm.default" in profile.table() and "4x5 5x6" in profile.table()


def test_a_profile_of_an_unknown_task_names_those_there_are(monkeypatch, capsys):
    task = speed.Task("vit_b decoder", lambda: None, lambda: torch.ones(2) + 1, 1)
    monkeypatch.setattr(speed, "tasks", lambda *_: iter([task]))
    options = argparse.Namespace(models=[], precision=["fp32"], device="cpu", no_encoders=False, profile="vit_b")
    assert speed.profile(options) == 0 and "add.Tensor" in capsys.readouterr().out
    options.profile = "vit_x"
    assert speed.profile(options) == 1 and "vit_b decoder" in capsys.readouterr().err


def test_a_runtime_is_compared_with_pytorch_and_its_features_with_fp32(monkeypatch, tmp_path, capsys):
    pytest.importorskip("onnxruntime", reason="comes with the extra 'onnx', which is optional")
    monkeypatch.setenv("MICROSAM_CACHEDIR", str(tmp_path))
    monkeypatch.setattr(speed, "compare", lambda *args, **kwargs: measuring.compare(*args[:3], 1, **kwargs))
    options = argparse.Namespace(models=["nano"], precision=["fp32", "bf16"], backends=["onnx"], quick=True)
    options.output = tmp_path / "speed.json"
    speed.backends(options)
    printed = capsys.readouterr()
    assert len({line.count("|") for line in printed.out.strip().splitlines()}) == 1
    assert "nano_lm encoder, onnx" in printed.out and "not in bf16" in printed.err
    assert "largest_difference" in options.output.read_text()
