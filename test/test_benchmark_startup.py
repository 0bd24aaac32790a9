"""The benchmark of start-up: who takes turns, what the programs see, and its tables; no window is opened."""

import os
import sys
from pathlib import Path

import pytest

pytest.importorskip("resource", reason="processor time of other processes is read as on Linux and Mac")
sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
import startup


def moment(seconds: float) -> dict:
    return {"seconds": seconds, "cpu": seconds / 2, "GB": 1.5}


def row(model, starts, program="ours", failed=None) -> dict:
    return {"case": {"program": program, "python": "python", "model": model}, "starts": starts, "failed": failed}


def columns(table: str) -> set[int]:
    return {line.count("|") for line in table.splitlines()}


def test_the_peer_takes_turns_where_it_has_the_model():
    cases = startup.list_cases(["nano_lm", "vit_b"], "other/python")
    assert [(case.program, case.model) for case in cases] == [
        ("napari alone", None),
        ("ours", "nano_lm"),
        ("ours", "vit_b"),
        ("micro-sam 1.8", "vit_b"),
    ]
    assert [case.is_peer for case in cases] == [False, False, False, True] and cases[3].python == "other/python"
    assert not any(case.is_peer for case in startup.list_cases(["vit_b"], None))


def test_each_program_sees_its_own_package_and_an_empty_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    ours, peer = startup.environment(False, 1, tmp_path), startup.environment(True, 1, tmp_path)
    assert ours["PYTHONPATH"] == str(startup.ROOT) and "PYTHONPATH" not in peer
    for environment in (ours, peer):
        assert "PYTHONDONTWRITEBYTECODE" not in environment
        assert environment["MICROSAM_CACHEDIR"] == str(tmp_path) and environment["OMP_NUM_THREADS"] == "1"


def test_the_table_has_medians_with_ranges_and_says_what_failed():
    starts = [{"window": moment(s), "click": moment(s + 1), "mask": moment(s + 2)} for s in (3.0, 1.0, 2.0)]
    rows = [
        row(None, [{"window": moment(1.0)}], "napari alone"),
        row("nano_lm", starts),
        row("vit_b", [], "micro-sam 1.8", "ImportError: no module"),
    ]
    table = startup.starts_table(rows)
    assert "| ours | nano_lm | 3 | 2.0 (1.0 to 3.0) | 4.0 (3.0 to 5.0) | 1.0 (0.5 to 1.5) |" in table
    assert "ImportError: no module" in table and len(columns(table)) == 1


def test_without_a_screen_imports_and_help_are_measured(monkeypatch, tmp_path, capsys):
    monkeypatch.delenv("DISPLAY", raising=False)
    output = tmp_path / "startup.json"
    assert startup.main(["--runs", "1", "--output", str(output)]) == 0
    printed = capsys.readouterr()
    assert "| ours | 1 | 0.0" in printed.out and "no screen" in printed.err
    assert len(columns(printed.out.strip())) == 1 and output.exists()
    assert os.environ.get("DISPLAY") is None


def test_a_program_that_fails_is_named_by_its_last_line(tmp_path):
    case = startup.Case("ours", sys.executable, "nano_lm")
    with pytest.raises(RuntimeError, match="none.npy"):
        startup.start_once(case, tmp_path / "none.npy", None, 1)
