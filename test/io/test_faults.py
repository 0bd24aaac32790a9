"""Every writer of results, killed and on a full disc (``benchmarks/faults.py`` does it more often)."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "faults.py"

pytest.importorskip("resource", reason="limits of file sizes and fork are Unix's")


@pytest.mark.parametrize("group", ["labels", "tracks", "others"])
def test_old_or_new_result_is_whole_wherever_its_writer_is_killed_or_the_disc_is_full(group):
    names = {
        "labels": ["labels.tif", "labels.zarr", "labels.h5", "labels.npy", "labels.png"],
        "tracks": ["tracks", "tracks.geff", "tracks.xml", "tracks.csv"],
        "others": ["table.csv", "model.safetensors", "model.state.pt", "run.json"],
    }[group]
    # in a process of its own: copies of this one would inherit its threads
    call = [sys.executable, str(SCRIPT), "--kills", "5", "--formats", *names]
    done = subprocess.run(call, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [line for line in done.stdout.splitlines() if line.startswith("| ")][1:]
    assert len(rows) == len(names) and not any("lost" in row or "leftovers" in row for row in rows)
