"""The coarse picture of a large image is made of means, and gives way to the user's prompts."""

from __future__ import annotations

import numpy as np
import pytest

from micro_sam.sam_annotator.controller.pictures import fill, means
from micro_sam.sam_annotator.runtime.jobs import Job


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
def test_each_pixel_is_the_mean_of_a_square(dtype):
    block = (np.random.default_rng(0).random((30, 21, 3)) * 200).astype(dtype)
    found = means(block)
    assert found.shape == (8, 6, 3) and found.dtype == block.dtype
    whole = block[:28, :20].astype("float64").reshape(7, 4, 5, 4, 3).mean(axis=(1, 3))
    assert np.abs(found[:7, :5] - whole).max() < 1


def test_nothing_is_read_while_a_prompt_waits(monkeypatch):
    slept, held = [], [True, True, False]
    monkeypatch.setattr("micro_sam.sam_annotator.controller.pictures.time.sleep", slept.append)
    image, first = np.full((8, 8), 7, "uint8"), np.zeros((2, 2), "uint8")

    def gives_way():
        assert not (held[0] and first.any())
        return held.pop(0)

    assert list(fill(Job("Reading", "overview", print), image, first, gives_way)) == [0]
    assert len(slept) == 2 and (first == 7).all()
