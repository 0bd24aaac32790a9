"""How the program is tried, with and without a screen, and how the tests are started: in three processes."""

import http.server
import signal
import sys
import threading

import pytest

from micro_sam.cli import bootstrap

FAKE = """
import sys
import threading
windows = "test/window" in sys.argv
print("windows" if windows else "others", sys.argv[1:], flush=True)
sys.exit({windows} if windows else {others})
"""


@pytest.mark.parametrize(("windows", "others", "code"), [(0, 0, 0), (1, 0, 1), (0, 1, 1), (3, 1, 3)])
def test_one_failing_half_is_a_failure_and_both_are_reported(windows, others, code, capfd, monkeypatch):
    monkeypatch.setattr(bootstrap, "_virtual_screen", lambda: [])
    assert bootstrap.run_tests([sys.executable, "-c", FAKE.format(windows=windows, others=others)], []) == code
    shown = capfd.readouterr().out
    assert shown.count("windows ['test/window', '--ignore-glob=") == 2 and "others ['--ignore=test/window']" in shown
    assert shown.index("[!o-z]") > shown.index("others") > shown.index("[o-z]")  # reports are not mixed


def test_every_test_with_a_window_is_in_one_part():
    files = {path for path in (bootstrap.ROOT / "test" / "window").glob("test_*.py")}
    parts = [
        {path for path in files if not path.match(option.removeprefix("--ignore-glob="))}
        for _, option in bootstrap.WINDOWS
    ]
    assert parts[0] | parts[1] == files and not parts[0] & parts[1] and all(parts)


def test_with_arguments_there_is_one_process(capfd, monkeypatch):
    monkeypatch.setattr(bootstrap, "_virtual_screen", lambda: [])
    assert bootstrap.run_tests([sys.executable, "-c", FAKE.format(windows=0, others=4)], ["-k", "name"]) == 4
    assert capfd.readouterr().out.startswith("others ['-k', 'name']")


RECORD = """
import os, signal, sys
print("started", sys.argv[2], flush=True)
if sys.argv[2].endswith("annotator_2d"):
    {annotator}
"""


@pytest.mark.parametrize(
    ("has_window", "annotator", "code", "demo"),
    [
        (True, "sys.exit(0)", 0, False),
        (True, "sys.exit(2)", 2, False),
        (True, f"os.kill(os.getpid(), {signal.SIGABRT.value})", 0, True),
        (False, "sys.exit(9)", 0, True),
    ],
)
def test_try_does_the_job_without_a_window_where_none_can_be_opened(capfd, has_window, annotator, code, demo):
    python = [sys.executable, "-c", RECORD.format(annotator=annotator)]
    assert bootstrap.try_it(python, has_window) == code
    shown = capfd.readouterr().out
    assert ("micro_sam.cli.demo" in shown) == demo and ("annotator_2d" in shown) == has_window


def test_try_without_a_screen_installs_nothing_for_windows(monkeypatch):
    asked = []
    monkeypatch.setattr(bootstrap, "_install_system_packages", asked.extend)
    monkeypatch.setattr(bootstrap, "_install_package", lambda *_: None)
    monkeypatch.setattr(bootstrap, "VENV", bootstrap.Path(sys.prefix))
    bootstrap.prepare(with_tests=False, with_window=False)
    assert not set(asked) & set(bootstrap.WINDOW_LIBRARIES)
    bootstrap.prepare(with_tests=False)
    assert set(bootstrap.WINDOW_LIBRARIES) <= set(asked)


@pytest.fixture
def index(monkeypatch):
    """A local web server in the place of PyTorch's index of builds without CUDA."""
    handler = type("Index", (http.server.SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
    handler.do_GET = lambda self: (self.send_response(200), self.end_headers())
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(bootstrap, "CPU_INDEX", f"http://127.0.0.1:{server.server_port}/whl/cpu")
        monkeypatch.setattr(sys, "platform", "linux")
        yield server
        server.shutdown()


def test_pytorch_comes_without_cuda_where_no_gpu_is_found_and_its_index_can_be_reached(index, monkeypatch, capsys):
    monkeypatch.setattr(bootstrap, "_has_nvidia_gpu", lambda: False)
    assert bootstrap._torch_index() == ["--extra-index-url", bootstrap.CPU_INDEX]
    assert capsys.readouterr().out.count("\n") == 1


def test_pytorch_comes_as_usual_for_a_gpu_and_without_the_index(index, monkeypatch, capsys):
    monkeypatch.setattr(bootstrap, "_has_nvidia_gpu", lambda: True)
    assert bootstrap._torch_index() == [] and capsys.readouterr().out == ""
    monkeypatch.setattr(bootstrap, "_has_nvidia_gpu", lambda: False)
    monkeypatch.setattr(bootstrap, "CPU_INDEX", bootstrap.CPU_INDEX.replace("127.0.0.1", "127.0.0.1.invalid"))
    assert bootstrap._torch_index() == []
    assert bootstrap.CPU_INDEX in capsys.readouterr().out
