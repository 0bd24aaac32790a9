"""The plugin's other widgets in a napari that is open: a series, training, a table of any label layer."""

from __future__ import annotations

import sys

import imageio.v3 as imageio
import napari
import numpy as np
import pandas as pd
import pytest
from qtpy.QtWidgets import QFileDialog, QLabel

from micro_sam.sam_annotator import get_annotator

from . import driver
from .driver import process, wait_until


@pytest.fixture
def viewer(shared_window):
    """A napari that the user has opened."""
    shared_window.close()
    viewer = napari.Viewer()
    driver.place(viewer)
    yield viewer
    driver.close(viewer)


def test_a_series_says_which_folder_is_missing_and_opens_its_first_image(viewer, coins, tmp_path):
    images, results = tmp_path / "images", tmp_path / "results"
    for folder in (images, results):
        folder.mkdir()
    for name in "ab":
        imageio.imwrite(images / f"{name}.png", coins)
    _, start = viewer.window.add_plugin_dock_widget("micro_sam", "Series of images")
    start.start.native.click()
    assert start.said.text() == "Choose the folder of the images first."
    start.images.value = images
    start.start.native.click()
    assert start.said.text() == "Choose the folder of the results first."
    start.results.value = results
    start.start.native.click()
    assert "N saves and goes on" in start.said.text() and not start.start.enabled
    tool = get_annotator(viewer)
    assert wait_until(lambda: tool.engine.predictor is not None and not tool.engine.busy), tool.status.text
    assert tool.state.image.name == "a"
    assert [tool.dock.panels.series.list.item(k).text() for k in range(2)] == ["● a: open", "○ b: to do"]


def test_a_series_without_images_is_refused_in_a_sentence(viewer, tmp_path):
    _, start = viewer.window.add_plugin_dock_widget("micro_sam", "Series of images")
    start.images.value = start.results.value = tmp_path
    start.start.native.click()
    assert "There are no images" in start.said.text() and start.start.enabled


def test_training_asks_for_a_tool_first_and_shows_its_menu_then(viewer, coins):
    dock, widget = viewer.window.add_plugin_dock_widget("micro_sam", "Train a model")
    assert widget.menu is None and "open a tool of micro_sam first" in widget.findChild(QLabel).text()
    viewer.window.remove_dock_widget(dock)
    viewer.add_image(coins, name="mine")
    driver.dock_tool(viewer)
    tool = get_annotator(viewer)
    _, widget = viewer.window.add_plugin_dock_widget("micro_sam", "Train a model")
    assert widget.menu is not None and not tool.state.closed


def test_model_settings_are_those_of_the_next_tool_and_then_of_the_open_one(viewer, coins, tmp_path):
    before = set(sys.modules)
    _, settings = viewer.window.add_plugin_dock_widget("micro_sam", "Model settings")
    first = settings.menu
    assert "No tool of micro_sam is open" in settings.said.text() and first.model.value == "nano_lm"
    first.tiles.value = "many"
    first.apply.native.click()
    assert settings.said.text() == "The tile shape is two whole numbers, for example: 512 512"
    first.tiles.value, first.halo.value, first.device.value = "160 200", "16 16", "cpu"
    first.embeddings.value = tmp_path / "coins.zarr"
    first.apply.native.click()
    assert "next tool" in settings.said.text()
    assert not {name.split(".")[0] for name in set(sys.modules) - before} & {"torchvision", "segment_anything"}

    viewer.add_image(coins, name="mine")
    _, widget = driver.dock_tool(viewer)
    tool = widget.annotator
    begun = tool.state.settings
    assert (begun.model_type, begun.device, begun.tile_shape, begun.halo) == ("nano_lm", "cpu", (160, 200), (16, 16))
    assert begun.embedding_path == str(tmp_path / "coins.zarr")
    assert wait_until(lambda: tool.engine.predictor is not None and not tool.engine.busy), tool.status.text
    assert (tmp_path / "coins.zarr").is_dir()

    assert settings.menu is not first and "micro_sam 2D" in settings.said.text() and first.isHidden()
    assert "nano_lm on cpu" in settings.menu.in_use.text() and settings.menu.tiles.value == "160 200"
    settings.menu.tiles.value = settings.menu.halo.value = ""
    settings.menu.embeddings.value = None
    settings.menu.apply.native.click()
    assert tool.state.settings.tile_shape is None
    assert wait_until(lambda: tool.session.model.embeddings is not None and not tool.engine.busy), tool.status.text

    widget.end()
    process(0.2)
    assert settings.menu is first and "No tool of micro_sam is open" in settings.said.text()
    assert first.tiles.value == "160 200" and first.embeddings.value is None  # a cache is for one image


def test_any_label_layer_is_measured_shown_and_saved(viewer, tmp_path, monkeypatch):
    labels = np.zeros((6, 40, 50), "uint16")
    labels[1:3, 5:15, 5:25] = 4
    labels[4, 20:30, 30:40] = 9
    _, table = viewer.window.add_plugin_dock_widget("micro_sam", "Table of objects")
    table.measure.native.click()
    assert table.said.text() == "There is no label layer in this viewer."
    layer = viewer.add_labels(labels, name="theirs", scale=(2, 1, 1))
    table.panel.save.click()
    assert table.said.text() == "There is nothing to save. Press Measure first."
    table.measure.native.click()
    assert wait_until(lambda: table.panel.model.ids == [4, 9]), table.said.text()
    table.panel.rows.selectRow(0)
    process(0.1)
    assert layer.selected_label == 4
    table.panel.rows.selectRow(1)
    process(0.1)
    assert layer.selected_label == 9 and viewer.dims.current_step[0] == 4
    path = tmp_path / "table.csv"
    monkeypatch.setattr(QFileDialog, "getSaveFileName", staticmethod(lambda *_a, **_k: (str(path), "")))
    table.panel.save.click()
    assert pd.read_csv(path)["id"].tolist() == [4, 9]
    monkeypatch.setattr(QFileDialog, "getSaveFileName", staticmethod(lambda *_a, **_k: (str(tmp_path / "a.doc"), "")))
    table.panel.save.click()
    assert ".csv" in table.said.text() and not (tmp_path / "a.doc").exists()
