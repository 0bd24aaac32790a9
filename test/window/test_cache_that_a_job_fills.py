"""A window on a cache that another process is filling: what is there is used, what the user waits for is computed."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import tifffile

from micro_sam.embeddings.embeddings import as_embeddings
from micro_sam.sam_annotator import annotator_3d

from .driver import click, wait_idle, wait_until
from .volumes import FIRST, middle_of, small_volume


@pytest.mark.slow
def test_a_window_annotates_while_a_job_fills_its_cache(opened, tmp_path):
    volume = small_volume()[0]
    tall = np.concatenate([volume, *[volume[::-1], volume] * 2])  # long enough to be met in the middle
    tifffile.imwrite(tmp_path / "stack.tif", tall)
    cache = tmp_path / "stack.zarr"
    call = [sys.executable, "-m", "micro_sam.cli.precompute_embeddings", "-m", "nano_lm", "-d", "cpu", "-n", "3"]
    job = subprocess.Popen([*call, "-i", str(tmp_path / "stack.tif"), "-o", str(cache)], stderr=subprocess.DEVNULL)
    try:
        assert wait_until(lambda: (cache / "state" / "checksum" / "1.0").exists(), timeout=300)
        tool = opened(annotator_3d, tifffile.imread(tmp_path / "stack.tif"), embedding_path=cache, model_type="nano_lm")
        assert wait_until(lambda: tool.session.model.embeddings is not None, timeout=300), tool.status.text
        assert tool.session.model.embeddings.is_complete(0), "what the job stored is used at once"
        click(tool, middle_of(FIRST))
        assert wait_until(lambda: np.any(tool.viewer.layers["current_object"].data), timeout=300), tool.status.text
        assert job.wait(timeout=600) == 0
        wait_idle(tool, timeout=600)
    finally:
        job.kill()
    embeddings = as_embeddings(cache)
    assert embeddings.is_complete() and tool.session.model.embeddings.is_complete()
    for z in range(len(tall)):
        embeddings.load(z)  # compares each with its checksum
