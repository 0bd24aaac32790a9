"""How the tests are started: in two processes, of which either can fail."""

import sys

import pytest

from micro_sam.cli import bootstrap

FAKE = """
import sys
windows = "test/window" in sys.argv
print("windows" if windows else "others", sys.argv[1:], flush=True)
sys.exit({windows} if windows else {others})
"""


@pytest.mark.parametrize(("windows", "others", "code"), [(0, 0, 0), (1, 0, 1), (0, 1, 1), (3, 1, 3)])
def test_one_failing_half_is_a_failure_and_both_are_reported(windows, others, code, capfd, monkeypatch):
    monkeypatch.setattr(bootstrap, "_virtual_screen", lambda: [])
    assert bootstrap.run_tests([sys.executable, "-c", FAKE.format(windows=windows, others=others)], []) == code
    shown = capfd.readouterr().out
    assert "windows ['test/window']" in shown and "others ['--ignore=test/window']" in shown


def test_with_arguments_there_is_one_process(capfd, monkeypatch):
    monkeypatch.setattr(bootstrap, "_virtual_screen", lambda: [])
    assert bootstrap.run_tests([sys.executable, "-c", FAKE.format(windows=0, others=4)], ["-k", "name"]) == 4
    assert capfd.readouterr().out.startswith("others ['-k', 'name']")
