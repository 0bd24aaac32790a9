"""A large automatic segmentation is committed in the background; the window goes on."""

from __future__ import annotations

import numpy as np
import pytest

from micro_sam.sam_annotator.runtime.jobs import WORK
from micro_sam.session import commands, label_edits, large_commits

from .driver import click, key, wait_idle, wait_until

COIN = (60, 100)


@pytest.fixture
def small_is_large(monkeypatch):
    """Everything above 20 rows of the coins takes the way of large images."""
    for module in (commands, label_edits, large_commits):
        monkeypatch.setattr(module, "BOX_PIXELS", 20 * 384)


def squares(shape):
    ids = np.arange(1, (shape[0] // 20) * (shape[1] // 20) + 1, dtype=np.uint32)
    found = np.zeros(shape, np.uint32)
    block = np.kron(ids.reshape(shape[0] // 20, -1), np.pad(np.ones((12, 12), np.uint32), 4))
    found[: block.shape[0], : block.shape[1]] = block
    return found


def settled(tool):
    return tool.jobs.running(WORK) is None and not tool.session.steps.is_writing


def test_objects_are_committed_in_the_background_undone_and_done_again(tool, small_is_large):
    found = squares(tool.session.shape)
    tool.session.automatic.show(found)
    tool.actions.set_source("auto")
    shown, drawn = tool.layers.labels["committed"].layer, []
    tool.session.events.labels_changed.connect(lambda name, _: drawn.append(name))
    tool.actions.commit()
    assert tool.jobs.running(WORK) is not None and not tool.session.objects, "it comes back at once"
    assert wait_until(lambda: settled(tool)), tool.status.text
    assert len(tool.session.objects) == found.max() and "committed" in tool.status.text
    assert drawn.count("committed") >= 10 and np.array_equal(np.asarray(shown.data) > 0, found > 0)
    assert tool.state.source == "current" and not tool.session.automatic.exists
    key(tool.viewer, "ctrl+z")
    assert wait_until(lambda: settled(tool))
    assert not tool.session.objects and not np.asarray(shown.data).any() and tool.session.automatic.exists
    key(tool.viewer, "ctrl+shift+z")
    assert wait_until(lambda: settled(tool))
    assert len(tool.session.objects) == found.max() and np.array_equal(np.asarray(shown.data) > 0, found > 0)


def test_objects_that_change_while_a_commit_is_found_are_respected(tool, small_is_large):
    found = squares(tool.session.shape)
    tool.session.automatic.show(found)
    tool.actions.set_source("auto")
    tool.actions.commit()
    tool.session.labels.paint("committed", (slice(0, 40), slice(0, 384)), np.full((40, 384), 9, np.uint32))
    assert wait_until(lambda: settled(tool) and len(tool.session.objects) > 1), tool.status.text
    assert (tool.session.committed[:40] == 9).all() and len(tool.session.objects) == 1 + len(np.unique(found[40:])) - 1


def test_a_click_during_a_large_commit_is_answered(tool, small_is_large):
    tool.session.automatic.show(squares(tool.session.shape))
    tool.actions.set_source("auto")
    tool.actions.commit()
    click(tool, COIN)
    assert wait_until(lambda: settled(tool))
    wait_idle(tool)
    assert tool.session.current[COIN] and len(tool.session.objects) > 100
