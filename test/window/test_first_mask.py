"""How many clicks there are to the first mask."""

from __future__ import annotations

import imageio.v3 as imageio
import napari

from micro_sam.cli.annotator_2d import main
from micro_sam.sam_annotator import annotator_2d, get_annotator

from . import driver
from .driver import click, press, wait_until

COIN = (60, 100)


def test_from_a_command_with_an_image_it_is_one_click(coins, tmp_path, window_manager, monkeypatch):
    path, seen = tmp_path / "coins.png", []
    imageio.imwrite(path, coins)

    def use() -> None:
        viewer = napari.current_viewer()
        tool = get_annotator(viewer)
        try:
            driver.activate(viewer)
            click(tool, COIN)
            seen.append(wait_until(lambda: tool.session.has_current))
            seen.append(tool.session.current[COIN] > 0)
        finally:
            tool.saving.unsaved = False
            driver.close(viewer)

    monkeypatch.setattr(napari, "run", use)  # in place of the event loop, which ends with the window
    assert main(["-i", str(path)]) == 0 and seen == [True, True]


def test_from_an_empty_start_it_is_two_clicks_with_a_sample(opened):
    tool = opened(annotator_2d, model_type="nano_lm")
    panel = tool.dock.panels.image
    assert panel.file.native.isVisible() and panel.use_sample.native.isVisible() and "sample" in tool.status.text
    press(panel.use_sample.native)
    assert wait_until(lambda: tool.session is not None)
    driver.process(0.3)
    click(tool, COIN)
    assert wait_until(lambda: tool.session.has_current), tool.status.text
    tool.saving.unsaved = False
