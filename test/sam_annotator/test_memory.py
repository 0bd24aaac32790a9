"""Memory for label arrays."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from micro_sam.sam_annotator.runtime import memory

SHAPE = (40, 1024, 1024)


def in_memory() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) * 1024


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="it is Linux that can do it")
def test_an_object_in_a_large_volume_takes_memory_only_where_it_is(monkeypatch):
    monkeypatch.setattr(memory, "MOST", 2**27)
    labels = np.zeros(SHAPE, np.uint32)
    assert memory.take_memory([labels]) is None
    before = in_memory()
    labels[:, 480:544, 480:544] = 1
    rows = SHAPE[0] * 64
    assert in_memory() - before < 4 * rows * memory._PAGE
    assert labels.sum() == rows * 64 and not labels[:, 0].any()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="it is Linux that can do it")
def test_small_arrays_get_their_memory_ahead():
    labels = np.zeros((4, 512, 512), np.uint32)
    labels[1, 2, 3] = 7
    before = in_memory()
    thread = memory.take_memory([labels])
    if thread is None:
        pytest.fail("nobody asked for the memory")
    thread.join()
    assert in_memory() - before <= labels.nbytes + 2**20 and labels.sum() == 7
