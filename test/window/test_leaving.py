"""A window that is closed while threads compute: the program ends by itself, and with exit code 0."""

from __future__ import annotations

import subprocess
import sys

import pytest

# The active step is a long one: small ones would have ended before Python does.
PROGRAM = """
import sys, threading
import numpy as np
from qtpy.QtCore import QTimer
from micro_sam.sam_annotator import {tool}
from micro_sam.sam_annotator.runtime import threads
from micro_sam.models.predictor import Predictor

threads.PATIENCE = {patience}
encode = Predictor.encode_batch

def slow(self, tiles):
    import torch
    print("encoding", flush=True)
    block = torch.rand(400, 400)
    for _ in range({steps}):
        block = block @ block / block.norm()
    return encode(self, tiles)

Predictor.encode_batch = slow
image = np.random.default_rng(0).integers(0, 255, {shape}).astype("uint8")
viewer = {tool}(image, model_type="nano_lm", return_viewer=True)
window = viewer.window._qt_window

def look():
    if any(thread.name.startswith("micro_sam Preparing") for thread in threading.enumerate()):
        QTimer.singleShot({delay}, window.close)
    else:
        QTimer.singleShot(20, look)

look()
import napari
napari.run()
print("closed", flush=True)
"""


def run(**options):
    options = {"tool": "annotator_2d", "shape": (600, 700), "delay": 0, "steps": 3000, "patience": 60} | options
    program = PROGRAM.format(**options)
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=400)


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [{"delay": 1500}, {"tool": "annotator_3d", "shape": (5, 300, 300), "delay": 4000}],
)
def test_a_window_that_is_closed_while_it_encodes_ends_with_exit_code_0(options):
    result = run(**options)
    assert result.returncode == 0, (result.returncode, result.stderr[-2000:])
    assert result.stdout.endswith("closed\n") and "Traceback" not in result.stderr


@pytest.mark.slow
def test_a_step_that_takes_too_long_is_broken_off_with_a_word():
    result = run(delay=5000, steps=10**9, patience=3)
    assert result.returncode == 0, (result.returncode, result.stderr[-2000:])
    assert "encoding" in result.stdout and "waiting for the active step" in result.stderr
    assert "broken off" in result.stderr


SLOT = """
import numpy as np
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QApplication
from micro_sam.sam_annotator import annotator_2d

viewer = annotator_2d(np.zeros((40, 40), "uint8"), model_type="nano_lm", return_viewer=True)
QTimer.singleShot(0, lambda: 1 / 0)
QTimer.singleShot(200, viewer.close)
QTimer.singleShot(400, QApplication.instance().quit)
QApplication.instance().exec()
print("closed", flush=True)
"""


def test_an_exception_in_a_slot_does_not_end_a_script_that_runs_its_own_event_loop():
    result = subprocess.run([sys.executable, "-c", SLOT], capture_output=True, text=True, timeout=400)
    assert result.returncode == 0 and "closed" in result.stdout, result.stderr
    assert "ZeroDivisionError" in result.stderr
