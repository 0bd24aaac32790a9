"""The whole story of a first hour with the 2D annotator, with real mouse and key events on a real image."""

from __future__ import annotations

import numpy as np
import pytest

from micro_sam.models.predictor import Predictor
from micro_sam.sam_annotator import annotator_2d

from . import driver
from .driver import click, drag, key, wait_idle, wait_until

COIN, OTHER_COIN, THIRD_COIN = (60, 100), (115, 160), (48, 155)
"""Positions (y, x) inside three coins."""


@pytest.fixture
def encoder_calls(monkeypatch) -> list[int]:
    """Grows by one with every image that is embedded."""
    calls: list[int] = []
    one, many = Predictor.encode, Predictor.encode_batch

    def encode(self, image):
        calls.append(1)
        return one(self, image)

    def encode_batch(self, images):
        calls.extend([1] * len(images))
        return many(self, images)

    monkeypatch.setattr(Predictor, "encode", encode)
    monkeypatch.setattr(Predictor, "encode_batch", encode_batch)
    return calls


def test_from_the_first_click_to_the_saved_result_and_back(opened, coins, tmp_path, encoder_calls):
    cache, result = tmp_path / "coins.zarr", tmp_path / "coins.tif"
    tool = opened(annotator_2d, coins, model_type="nano_lm", embedding_path=cache)
    viewer, session = tool.viewer, tool.session
    names = {layer.name for layer in viewer.layers}
    assert names == {"raw", "prompts", "box_prompts", "current_object", "committed_objects", "auto_segmentation"}

    # A click before the model is there is kept, and segmented when it is.
    click(tool, COIN)
    assert len(session.prompts.drawn.points) == 1
    assert wait_until(lambda: session.has_current), tool.status.text
    wait_idle(tool)
    assert session.current[COIN] == 1
    assert 500 < session.current.sum() < 3000
    assert len(encoder_calls) == 1

    # A second positive and a negative click correct it.
    click(tool, (COIN[0] + 8, COIN[1] - 6))
    key(viewer, "t")
    click(tool, (COIN[0] + 30, COIN[1]))
    wait_idle(tool)
    assert [point.positive for point in session.prompts.drawn.points] == [True, True, False]
    assert session.current[COIN] == 1 and session.current[COIN[0] + 30, COIN[1]] == 0

    # Commit: the object moves, the next click is positive again and needs no other click before.
    key(viewer, "c")
    assert session.committed[COIN] == 1 and not session.has_current and not len(session.prompts.drawn)
    assert session.prompts.next_positive
    click(tool, OTHER_COIN)
    wait_idle(tool)
    assert session.current[OTHER_COIN] == 1

    # Undo takes the click and its mask, redo brings both back.
    key(viewer, "ctrl+z")
    assert not session.has_current and not len(session.prompts.drawn)
    assert len(tool.layers.points.layer.data) == 0
    key(viewer, "ctrl+shift+z")
    assert session.current[OTHER_COIN] == 1 and len(tool.layers.points.layer.data) == 1
    key(viewer, "shift+c")
    assert not session.has_current and not len(session.prompts.drawn)

    # Boxes: two boxes, two objects.
    driver.press(tool.dock.panels.prompts.tools["box"])
    drag(tool, (28, 132), (70, 178))
    drag(tool, (92, 140), (138, 185))
    wait_idle(tool)
    assert len(session.prompts.drawn.shapes) == 2
    assert {session.current[THIRD_COIN], session.current[OTHER_COIN]} == {1, 2}
    key(viewer, "c")
    assert len(session.objects) == 3

    # Undo and redo of a commit.
    key(viewer, "ctrl+z")
    assert len(session.objects) == 1 and session.has_current
    key(viewer, "ctrl+shift+z")
    assert not any("Control-Y" in one.keys for one in tool.keys.keys), "which is napari's: volumes in 3D"
    assert len(session.objects) == 3 and not session.has_current

    # Segment all, commit: what was committed before keeps its pixels and its id.
    before = session.committed.copy()
    driver.press(tool.dock.panels.automatic.run.native)
    assert wait_until(lambda: session.auto.any()), tool.status.text
    wait_idle(tool)
    key(viewer, "c")
    assert len(session.objects) > 15
    assert np.array_equal(session.committed[before > 0], before[before > 0])

    # Save, close, open again with cache and result: nothing is embedded a second time.
    tool.actions.save(result)
    assert str(result) in tool.status.text and not tool.saving.must_ask
    saved = session.committed.copy()
    driver.close(viewer)
    again = opened(annotator_2d, coins, embedding_path=cache, segmentation_result=result, model_type="nano_lm")
    assert wait_until(lambda: again.session.model.embeddings is not None and not again.engine.busy), again.status.text
    assert np.array_equal(again.session.committed, saved)
    click(again, (270, 60))
    wait_idle(again)
    assert len(encoder_calls) == 1
    assert "cache" in again.status.text or again.session.has_current
