"""The examples open their tools; their other functions are checked in ``test/test_docs.py``."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import napari

from micro_sam.sam_annotator import get_annotator

from . import driver

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_the_2d_example_opens_its_window_and_keeps_its_embeddings_beside_itself(window_manager, monkeypatch, tmp_path):
    opened = []
    monkeypatch.setattr(napari, "run", lambda: opened.append(napari.current_viewer()))
    spec = importlib.util.spec_from_file_location("sam_annotator_2d", EXAMPLES / "sam_annotator_2d.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "HERE", tmp_path)
    module.coins()
    (viewer,) = opened
    tool = get_annotator(viewer)
    assert driver.wait_until(lambda: tool.session.model.embeddings is not None and not tool.engine.busy), (
        tool.status.text
    )
    assert (tmp_path / "embeddings" / "coins.zarr").is_dir()
    driver.close(viewer)
