"""Committed objects in the colours of their classes, as the user sees them."""

from __future__ import annotations

import imageio.v3 as imageio
import numpy as np
import pytest
from qtpy.QtCore import QPoint
from qtpy.QtWidgets import QFileDialog

from micro_sam.io.labels import load_labels
from micro_sam.sam_annotator.view.layers.colours import NO_CLASS

from . import driver, volumes
from .driver import click, key, wait_idle, wait_until
from .test_3d_sections import sections_of

COINS = ((60, 100), (115, 160), (205, 140))


@pytest.fixture
def by_class():
    """The switch is off again after the test."""
    tools = []
    yield tools.append
    for tool in tools:
        tool.state.by_class = False
        tool.actions.select(())


def rgb(colour: str) -> np.ndarray:
    return np.array([int(colour[k : k + 2], 16) for k in (1, 3, 5)]) / 255


def shown(tool, object_id: int) -> np.ndarray:
    """The colour in which an object is drawn on the canvas: what is sent to the screen, and what that means there."""
    layer = tool.layers.labels["committed"].layer
    y, x = np.argwhere(np.asarray(tool.session.committed) == object_id)[0][-2:]
    visual = tool.viewer.window._qt_viewer.canvas.layer_to_visual[layer]
    return visual.texture_data.reshape(-1, 4)[int(layer._slice.image.view[y, x])][:3]


def colour_of(tool, number: int) -> np.ndarray:
    return rgb(tool.session.classes.numbered(number).colour)


def commit_three(tool) -> None:
    for place in COINS:
        click(tool, place)
        wait_idle(tool)
        key(tool.viewer, "c")
        wait_idle(tool)
    assert len(tool.session.objects) == 3


def test_committed_objects_are_shown_by_class_and_follow_changes(tool, by_class):
    by_class(tool)
    commit_three(tool)
    own = shown(tool, 1)
    tool.actions.select((1,))
    key(tool.viewer, "shift+2")
    assert np.allclose(shown(tool, 1), own), "only when the user wants it"
    panel = tool.dock.panels.classes
    section = panel.parentWidget()
    while not hasattr(section, "expand"):
        section = section.parentWidget()
    section.expand(animate=False)
    for number in (2, 5, 6, 7):
        tool.actions.define_class(number)
    assert wait_until(lambda: panel.height() >= panel.sizeHint().height(), 5), "rows that come later are in sight"
    driver.press(panel.by_class, QPoint(10, panel.by_class.height() // 2))
    assert tool.state.by_class
    assert np.allclose(shown(tool, 1), colour_of(tool, 2)) and np.allclose(shown(tool, 2), rgb(NO_CLASS))
    tool.actions.select((2, 3))
    key(tool.viewer, "shift+5")
    assert np.allclose(shown(tool, 2), colour_of(tool, 5)) and np.allclose(shown(tool, 3), colour_of(tool, 5))
    key(tool.viewer, "ctrl+z")
    assert np.allclose(shown(tool, 2), rgb(NO_CLASS)) and np.allclose(shown(tool, 1), colour_of(tool, 2))
    key(tool.viewer, "ctrl+shift+z")
    assert np.allclose(shown(tool, 3), colour_of(tool, 5))
    tool.actions.define_class(5, None, "#102030")
    assert np.allclose(shown(tool, 3), rgb("#102030")) and np.allclose(shown(tool, 1), colour_of(tool, 2))
    driver.press(tool.dock.view.outlines)
    assert tool.layers.labels["committed"].layer.contour > 0
    driver.press(tool.dock.view.outlines)
    driver.press(panel.by_class, QPoint(10, panel.by_class.height() // 2))
    assert not tool.state.by_class and np.allclose(shown(tool, 1), own)
    section.collapse(animate=False)


def test_an_object_is_committed_in_the_colour_of_the_class_that_it_gets(tool, by_class):
    by_class(tool)
    tool.actions.set_by_class(True)
    click(tool, COINS[0])
    wait_idle(tool)
    key(tool.viewer, "shift+3")
    current = tool.layers.labels["current"].layer
    assert wait_until(lambda: np.allclose(current.get_color(1)[:3], colour_of(tool, 3)))
    key(tool.viewer, "c")
    wait_idle(tool)
    assert np.allclose(shown(tool, 1), colour_of(tool, 3))
    tool.actions.set_by_class(False)
    assert wait_until(lambda: not np.allclose(current.get_color(1)[:3], colour_of(tool, 3)))


def test_a_layer_that_was_deleted_comes_again_in_the_colours_of_classes(tool, by_class):
    by_class(tool)
    commit_three(tool)
    tool.actions.select((1,))
    key(tool.viewer, "shift+2")
    tool.actions.set_by_class(True)
    tool.viewer.layers.remove("committed_objects")
    assert wait_until(lambda: "committed_objects" in tool.viewer.layers)
    assert wait_until(lambda: np.allclose(shown(tool, 1), colour_of(tool, 2)))


def test_sections_show_classes_too(tool_3d, by_class):
    by_class(tool_3d)
    tool, (z, y, x) = tool_3d, volumes.middle_of(volumes.FIRST)
    truth = volumes.small_volume()[1]
    tool.session.objects.load((truth == volumes.FIRST).astype(tool.session.committed.dtype))
    xz, _ = sections_of(tool)
    tool.volume.sections.go_to((z, y, x))
    assert wait_until(lambda: xz.plane.committed[z - xz.plane.first, x] == 1)
    before = xz._picture.pixelColor(x, z - xz.plane.first).getRgb()
    tool.actions.set_by_class(True)
    grey = xz._picture.pixelColor(x, z - xz.plane.first).getRgb()
    tool.actions.select((1,))
    key(tool.viewer, "shift+4")
    classed = xz._picture.pixelColor(x, z - xz.plane.first).getRgb()
    assert len({before, grey, classed}) == 3 and max(grey[:3]) - min(grey[:3]) <= 1
    driver.press(tool.dock.view.sections)


def test_the_image_of_classes_is_saved_where_the_user_says(tool, tmp_path, monkeypatch):
    asked, answers = [], iter(["", str(tmp_path / "mine"), str(tmp_path / "mine.tif"), str(tmp_path / "other.tif")])
    monkeypatch.setattr(
        QFileDialog, "getSaveFileName", staticmethod(lambda *args, **_: asked.append(args[2]) or (next(answers), ""))
    )
    commit_three(tool)
    tool.actions.save_class_image(tmp_path / "none.tif")
    assert "No committed object has a class" in tool.status.text
    tool.actions.select((1, 3))
    tool.actions.set_class(4)
    tool.actions.save_class_image()  # the user cancels
    assert asked[0].endswith("_classes.tif") and not list(tmp_path.iterdir())
    tool.actions.save_class_image()
    saved = load_labels(tmp_path / "mine.tif")
    assert [int(saved[place]) for place in COINS] == [4, 0, 4] and "Classes of 2 objects" in tool.status.text
    tool.actions.set_class(5)
    driver.answer("Replace")
    tool.actions.save_class_image()
    assert load_labels(tmp_path / "mine.tif")[COINS[0]] == 5
    imageio.imwrite(tmp_path / "other.tif", np.zeros((4, 4), "uint8"))
    seen = []
    driver.answer("Cancel", seen)
    tool.actions.save_class_image()
    assert "another program" in seen[0] and load_labels(tmp_path / "other.tif").shape == (4, 4)
    driver.answer("Replace")
    tool.actions.save_class_image(tmp_path / "other.tif")
    assert load_labels(tmp_path / "other.tif")[COINS[2]] == 5


def test_what_is_selected_by_its_number_exists(tool):
    commit_three(tool)
    tool.actions.select_typed("1, 3")
    assert tool.state.selected == (1, 3)
    for typed, said in (("1, x", "whole numbers"), ("7", "no committed object 7")):
        tool.actions.select_typed(typed)
        assert said in tool.status.text and tool.state.selected == (1, 3)
    tool.actions.reopen_selected()
    assert "Only one object" in tool.status.text
    tool.actions.select(())
    tool.actions.delete_selected()
    assert "No object is selected" in tool.status.text and len(tool.session.objects) == 3
