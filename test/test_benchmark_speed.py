"""The benchmark of speed tells what has become slower, and what takes the time."""

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
import measuring


def report(**ratios) -> dict:
    return {"results": [{"task": task, "precision": "fp32", "ratio": ratio} for task, ratio in ratios.items()]}


def test_only_ratios_that_fell_are_regressions():
    old, new = report(encoder=1.9, decoder=4.0, click=3.0), report(encoder=1.85, decoder=3.0, click=3.5, automatic=2.0)
    assert measuring.regressions(old, new) == [("decoder, fp32", 4.0, 3.0)]


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
