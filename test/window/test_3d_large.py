"""A volume of 60 x 1024 x 1024: memory and how long acts hold up the window."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import psutil
import pytest

from micro_sam.models.predictor import Predictor
from micro_sam.sam_annotator import annotator_3d

from . import driver
from .driver import wait_idle, wait_until
from .volumes import menu, slices_of

SHAPE = (60, 1024, 1024)
RADIUS, CENTRE = 60, (500, 400)


@pytest.fixture
def one_encoder_pass(monkeypatch):
    """All slices get the features of the first: what is measured here is the window, not the network."""
    encode, known = Predictor.encode_batch, []

    def encode_batch(self, images):
        if not known:
            known.extend(encode(self, list(images)[:1]))
        first = known[0]
        return [replace(first, features=first.features.clone(), dense=first.dense.clone()) for _ in images]

    monkeypatch.setattr(Predictor, "encode_batch", encode_batch)


def large_volume() -> np.ndarray:
    """A bright rod through all slices, uint8."""
    plane = np.random.default_rng(0).normal(40, 8, SHAPE[1:]).clip(0, 255).astype(np.uint8)
    y, x = np.ogrid[: SHAPE[1], : SHAPE[2]]
    plane[(y - CENTRE[0]) ** 2 + (x - CENTRE[1]) ** 2 < RADIUS**2] += 120
    return np.repeat(plane[None], SHAPE[0], axis=0)


@pytest.mark.slow
def test_a_large_volume_needs_little_memory_and_no_act_holds_up_the_window(opened, one_encoder_pass):
    tool = opened(annotator_3d, large_volume(), model_type="nano_lm")
    assert wait_until(lambda: tool.engine.predictor is not None and not tool.engine.busy, 300), tool.status.text
    menu(tool).iou_threshold.value = 0.2
    session, z = tool.session, SHAPE[0] // 2
    held: dict[str, float] = {}

    def measure(name: str, act) -> None:
        """Processor time of the window's thread, so that other work on the machine does not count."""
        start = time.thread_time()
        act()
        held[name] = time.thread_time() - start
        wait_idle(tool, 120)
        driver.process(0.3)

    measure("go to a slice", lambda: tool.go_to_slice(z))
    measure("click", lambda: session.add_point((z, *CENTRE)))
    measure("segment the slice", tool.segment)
    measure("begin the run", tool.segment_volume)
    assert len(slices_of(tool)) == SHAPE[0], tool.status.text
    measure("undo a run", tool.undo)
    measure("redo a run", tool.redo)
    measure("commit", tool.commit)
    measure("undo a commit", tool.undo)
    measure("redo a commit", tool.redo)
    measure("open it again", lambda: tool.reopen(1))
    measure("commit again", tool.commit)
    measure("delete", lambda: (tool.choose((1,)), tool.delete_picked()))
    # At most 0.17 s (commit) on a 2.5 GHz core, where the aim is 0.2 s; slower machines are allowed twice the aim.
    slow = {name: round(seconds, 3) for name, seconds in held.items() if seconds > 0.4}
    assert not slow, slow
    memory = psutil.Process().memory_info().rss / 2**30
    assert memory < 4, f"{memory:.1f} GB"
