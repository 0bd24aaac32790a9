"""Segment All looks closer at small objects: in images of any size, when the user says so."""

from __future__ import annotations

import time

import pytest

from micro_sam.sam_annotator import annotator_2d
from micro_sam.segmentation.automatic import dense_blocks

from . import driver
from .driver import Heartbeat, click, key, press, wait_idle, wait_until

COIN = (60, 100)
LONGEST_FREEZE = 2.5  # seconds; on a machine of its own it is a tenth of that


@pytest.fixture
def asked(monkeypatch):
    """Whether each block was to be looked at closer; that it is done is the matter of other tests."""
    asked = []

    def best_scale(predictor, embeddings, i, maps, objects, part, look_closer):
        asked.append(look_closer)
        yield 1, 1, None

    monkeypatch.setattr(dense_blocks, "iter_best_scale", best_scale)
    return asked


@pytest.fixture
def tiled(opened, coins):
    """Opens the coins in so many tiles that they are segmented in blocks."""

    def start(size):
        tool = opened(annotator_2d, coins, model_type="nano_lm", tile_shape=(size, size), halo=(16, 16))
        assert wait_until(lambda: tool.session.model.embeddings is not None and not tool.engine.busy), tool.status.text
        tool.dock.panels.automatic.parameters.expand(animate=False)
        driver.process(0.2)
        return tool

    return start


def segment_all(tool):
    press(tool.dock.panels.automatic.run.native)
    wait_idle(tool)
    assert tool.session.automatic.exists, tool.status.text


def test_the_menu_decides_how_closely_a_tiled_image_is_looked_at(tiled, asked):
    tool = tiled(56)  # 42 tiles
    menu = tool.dock.panels.automatic.parameters.panel.look
    assert menu.native.isVisible() and menu.value == "auto"
    segment_all(tool)
    assert asked and all(asked), "of up to 64 tiles by itself"
    asked.clear()
    segment_all(tool)
    assert not asked, "it is known"
    menu.value = "never"
    segment_all(tool)
    assert asked and not any(asked)
    menu.value = "auto"
    asked.clear()
    segment_all(tool)
    assert not asked, "what was seen before is still known"
    assert tool.session.history.last.details["look_closer"] == "auto"
    tool.saving.unsaved = False


def test_a_closer_look_is_cancelled_and_the_window_lives(tiled, monkeypatch):
    tool = tiled(56)
    begun = []

    def endless(*_):
        while True:
            begun.append(time.sleep(0.05))
            yield 1, 2, None

    monkeypatch.setattr(dense_blocks, "iter_best_scale", endless)
    tool.dock.panels.automatic.parameters.panel.look.value = "always"
    with Heartbeat() as heart:
        press(tool.dock.panels.automatic.run.native)
        assert wait_until(lambda: len(begun) > 2)
        click(tool, COIN)  # the work goes on meanwhile
        assert wait_until(lambda: tool.session.has_current), tool.status.text
        press(tool.dock.status.cancel)
        wait_idle(tool, 30)
    assert heart.longest < LONGEST_FREEZE
    assert not tool.session.automatic.exists and "Cancelled" in tool.status.text
    assert tool.session.current[COIN] == 1
    key(tool.viewer, "shift+c")


def test_the_menu_is_there_only_where_it_changes_something(request):
    assert request.getfixturevalue("tool").automatic.can_look_closer
    tool = request.getfixturevalue("tool")
    tool.dock.panels.automatic.parameters.expand(animate=False)
    tool.dock.panels.automatic.parameters.panel.method.value = "grid"
    driver.process(0.1)
    assert not tool.dock.panels.automatic.parameters.panel.look.visible
    tool.dock.panels.automatic.parameters.panel.method.value = "dense"
    driver.process(0.1)
    assert tool.dock.panels.automatic.parameters.panel.look.visible
    assert tool.dock.width() <= 400
    tool.dock.panels.automatic.parameters.collapse(animate=False)


def test_slices_are_not_looked_at_closer(tool_3d):
    assert not tool_3d.automatic.can_look_closer and not tool_3d.dock.panels.automatic.parameters.panel.look.visible
