"""What was shown goes from memory: with the window, and with the next image."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path

import napari
import numpy as np
import pytest
import tifffile
from qtpy.QtCore import QEvent
from qtpy.QtWidgets import QApplication

from micro_sam.sam_annotator import (
    annotator_2d,
    annotator_3d,
    annotator_tracking,
    get_annotator,
    image_series_annotator,
)
from micro_sam.segmentation.region_of_interest import RegionOfInterest

from . import driver
from .driver import click, wait_idle, wait_until
from .movies import small_movie
from .volumes import small_volume

OPENERS = {
    "2d": lambda coins: annotator_2d(coins, model_type="nano_lm", return_viewer=True),
    "3d": lambda _: annotator_3d(small_volume()[0], model_type="nano_lm", return_viewer=True),
    "tracking": lambda _: annotator_tracking(small_movie()[0], model_type="nano_lm", return_viewer=True),
}


@pytest.fixture(autouse=True)
def garbage():
    """Garbage is collected as in the program, not as in the other tests."""


def parts_of(tool) -> dict[str, weakref.ref]:
    """What takes memory, and a window that is kept."""
    parts = {"session": tool.session, "model": tool.engine.predictor, "layers": tool.layers, "dock": tool.dock}
    return {name: weakref.ref(part) for name, part in parts.items()}


def kept(parts: dict[str, weakref.ref]) -> list[str]:
    for _ in range(3):  # what Qt deletes has connections that it deletes afterwards
        driver.process(0.1)
        QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)  # as an event loop does
    gc.collect()
    return [name for name, part in parts.items() if part() is not None]


def use(kind: str, coins: np.ndarray):
    """A window in which something was clicked, and its parts."""
    viewer = OPENERS[kind](coins)
    tool = get_annotator(viewer)
    driver.place(viewer)
    assert wait_until(lambda: tool.engine.predictor is not None and not tool.engine.busy), tool.status.text
    wait_idle(tool)
    click(tool, (*(0,) * (tool.session.committed.ndim - 2), 60, 100))
    wait_idle(tool)
    return viewer, parts_of(tool)


@pytest.mark.parametrize("kind", OPENERS)
def test_a_closed_window_leaves_nothing_in_memory(shared_window, coins, kind):
    shared_window.close()
    viewer, parts = use(kind, coins)
    driver.close(viewer)
    del viewer
    assert not kept(parts)


def use_plugin(viewer):
    """The dock of a tool in which something was done, and its parts."""
    dock, widget = driver.dock_tool(viewer)
    tool = widget.annotator
    assert wait_until(lambda: tool.engine.predictor is not None and not tool.engine.busy), tool.status.text
    tool.actions.toggle_hover()
    click(tool, (60, 100))
    wait_idle(tool)
    tool.actions.commit()
    tool.actions.toggle_table()
    tool.session.automatic.set_region(RegionOfInterest.of_numbers((20, 20, 90, 120)))
    return dock, parts_of(tool) | {"table": weakref.ref(tool.table)}


def test_a_tool_that_ended_in_a_napari_that_stays_leaves_nothing_in_memory(shared_window, coins):
    shared_window.close()
    viewer = napari.Viewer()
    driver.place(viewer)
    viewer.add_image(coins, name="mine")
    dock, parts = use_plugin(viewer)
    driver.answer("Close without saving")
    dock.destroyOnClose()
    del dock
    assert not kept(parts)
    assert viewer.layers["committed_objects"].data[60, 100] == 1
    for name in ("committed_objects", "prompts"):  # what stays is napari's, and asks nobody who is gone
        viewer.layers.selection.active = viewer.layers[name]
        driver.press(driver.canvas(viewer))
        driver.key(viewer, "s")
    viewer.layers["committed_objects"].fill((60, 100), 5)
    assert viewer.layers["committed_objects"].data[60, 100] == 5

    viewer.layers.selection.active = viewer.layers["mine"]
    dock, parts = use_plugin(viewer)  # another one works as the first did
    assert viewer.layers["committed_objects (2)"].data[60, 100] == 1
    driver.close(viewer)
    del dock, viewer
    assert not kept(parts)


def test_the_labels_of_an_image_go_when_the_next_one_of_a_series_comes(shared_window, coins, tmp_path):
    shared_window.close()
    images = []
    for name in "ab":
        images.append(tmp_path / f"{name}.tif")
        tifffile.imwrite(images[-1], coins)
    viewer = image_series_annotator(images, tmp_path / "out", model_type="nano_lm", return_viewer=True)
    tool = get_annotator(viewer)
    driver.place(viewer)
    wait_idle(tool)
    labels = np.zeros(coins.shape, np.uint32)
    labels[20:40, 20:40] = 1
    tool.session.objects.load(labels)
    first = {"session": weakref.ref(tool.session), "labels": weakref.ref(tool.session.committed)}
    driver.key(viewer, "n")
    assert wait_until(lambda: tool.series.index == 1), tool.status.text
    wait_idle(tool)
    assert Path(tmp_path / "out" / "a.tif").exists() and not kept(first)
    driver.close(viewer)
