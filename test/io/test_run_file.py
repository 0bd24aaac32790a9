"""What a run in another process tells, and how it is asked to stop."""

import os
import time

from micro_sam.io import run_file
from micro_sam.io.run_file import RunFile, ask_to_stop, is_alive, read_run


def test_a_run_tells_how_far_it_is_and_shows_that_it_lives(tmp_path, monkeypatch):
    monkeypatch.setattr(run_file, "HEARTBEAT", 0.02)
    path = tmp_path / "new" / "run.json"
    assert read_run(path) == {} and not is_alive(path)
    with RunFile(path) as file:
        assert read_run(path) == {"state": "starting"}
        file.write(state="running", step=3)
        os.utime(path, (0, 0))
        assert not is_alive(path)
        deadline = time.monotonic() + 20
        while not is_alive(path) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert is_alive(path) and read_run(path) == {"state": "running", "step": 3}
    os.utime(path, (0, 0))
    time.sleep(0.1)
    assert not is_alive(path)


def test_a_run_is_asked_to_stop(tmp_path):
    path = tmp_path / "run.json"
    with RunFile(path) as file:
        assert not file.must_stop
        ask_to_stop(path)
        assert file.must_stop
    assert [p.name for p in tmp_path.iterdir()] == ["run.json"]


def test_damaged_files_tell_nothing(tmp_path):
    (tmp_path / "run.json").write_text("{half")
    assert read_run(tmp_path / "run.json") == {}
