"""Committed objects in the colours of their classes, as the user sees them."""

from __future__ import annotations

from dataclasses import replace

import imageio.v3 as imageio
import numpy as np
import pytest
from qtpy.QtCore import QPoint
from qtpy.QtGui import QColor
from qtpy.QtWidgets import QColorDialog, QFileDialog

from micro_sam.io.classes import load_classes
from micro_sam.io.images import open_image
from micro_sam.io.labels import load_labels
from micro_sam.io.marks import read_kind
from micro_sam.io.tracks import load_tracks
from micro_sam.sam_annotator.state.images import from_array
from micro_sam.sam_annotator.view.layers.colours import NO_CLASS

from . import driver, movies, volumes
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
    panel = tool.dock.panels.classes.panel
    section = panel.parentWidget()
    while not hasattr(section, "expand"):
        section = section.parentWidget()
    section.expand(animate=False)
    for number in (2, 5, 6, 7):
        tool.actions.define_class(number)
    assert wait_until(lambda: panel.height() >= panel.sizeHint().height()), "rows that come later are in sight"
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


def unfolded(tool, panel=None):
    """A menu (that of classes), in sight, and what folds it."""
    panel = panel or tool.dock.panels.classes.panel
    section = panel.parentWidget()
    while not hasattr(section, "expand"):
        section = section.parentWidget()
    section.expand(animate=False)
    driver.process(0.3)
    return panel, section


def test_colours_are_asked_for_and_all_nine_keys_give_a_class(tool, monkeypatch):
    asked, answers = [], iter([QColor(), QColor("#123456")])
    monkeypatch.setattr(QColorDialog, "getColor", staticmethod(lambda *args: asked.append(args) or next(answers)))
    commit_three(tool)
    for number in range(1, 10):
        tool.actions.select((1 + number % 3,))
        key(tool.viewer, f"shift+{number}")
    assert [one.number for one in tool.session.classes.known] == list(range(1, 10))
    assert tool.session.classes.names() == {1: "class 9", 2: "class 7", 3: "class 8"}
    panel, section = unfolded(tool)
    try:
        before = tool.session.classes.numbered(8)
        swatch = panel._swatches[8]
        driver.press(swatch)  # the user cancels
        assert tool.session.classes.numbered(8) == before and asked[0][0].name() == before.colour
        driver.press(swatch)
        assert tool.session.classes.numbered(8).colour == "#123456" and "class 8" in asked[1][2]
        assert "#123456" in panel._swatches[8].styleSheet()
        key(tool.viewer, "ctrl+z")
        assert tool.session.classes.numbered(8) == before and before.colour in panel._swatches[8].styleSheet()
        tool.actions.select((1,))
        driver.press(panel.counts[6])
        assert tool.session.classes.names()[1] == "class 6"
        driver.press(panel.none.native)
        assert 1 not in tool.session.classes.names()
        objects, objects_section = unfolded(tool, tool.dock.panels.objects.panel)
        driver.write(objects.ids.native, "2, 3")
        objects_section.collapse(animate=False)
        assert tool.state.selected == (2, 3)
        key(tool.viewer, "shift+6")  # no sign in the field any more
        assert tool.session.classes.names() == {2: "class 6", 3: "class 6"}
        driver.write(panel.names[6], "bright")
        key(tool.viewer, "t")
        assert tool.session.classes.names() == {2: "bright", 3: "bright"} and not tool.session.prompts.next_positive
        key(tool.viewer, "t")
    finally:
        section.collapse(animate=False)
        tool.actions.select(())


def test_save_writes_an_image_of_classes_as_long_as_there_are_any(tool, tmp_path):
    commit_three(tool)
    result, image = tmp_path / "coins.tif", tmp_path / "coins_classes.tif"
    tool.actions.save(result)
    assert result.exists() and not list(tmp_path.glob("*_classes*"))
    tool.actions.select((1, 3))
    key(tool.viewer, "shift+6")
    assert tool.saving.unsaved
    tool.actions.save()
    assert "Their classes are in coins_classes.csv and coins_classes.tif." in tool.status.text
    labels = load_labels(image)
    assert [int(labels[place]) for place in COINS] == [6, 0, 6] and read_kind(image) == "classes"
    key(tool.viewer, "ctrl+z")
    tool.actions.save()
    assert not list(tmp_path.glob("*_classes*")), tool.status.text
    key(tool.viewer, "ctrl+shift+z")
    image.write_bytes(b"mine")
    tool.actions.save()
    assert image.read_bytes() == b"mine" and "coins_classes.tif: it is of another program" in tool.status.text
    assert load_classes(result).numbers == {1: 6, 3: 6} and not tool.saving.unsaved
    tool.actions.select(())


def name(panel, number: int, text: str) -> None:
    """Type the name of a class."""
    driver.write(panel.names[number], text)


def test_classes_of_a_volume_are_saved_with_an_image_and_come_back_in_a_new_session(tool_3d, tmp_path):
    tool, (volume, truth) = tool_3d, volumes.small_volume()
    labels = np.where(truth == volumes.FIRST, 1, np.where(truth == volumes.OTHER, 2, 0)).astype(np.uint32)
    tool.session.objects.load(labels)
    panel, section = unfolded(tool)
    try:
        for object_id, number, text in ((1, 7, "metaphase"), (2, 9, "two words")):
            tool.actions.select((object_id,))
            key(tool.viewer, f"shift+{number}")
            name(panel, number, text)
        assert tool.session.classes.names() == {1: "metaphase", 2: "two words"}
    finally:
        section.collapse(animate=False)
    tool.actions.select(())
    result = tmp_path / "volume.tif"
    tool.actions.save(result)
    assert "volume_classes.csv and volume_classes.tif" in tool.status.text
    image = open_image(tmp_path / "volume_classes.tif")
    assert image.axes == "ZYX"
    assert np.array_equal(load_labels(tmp_path / "volume_classes.tif"), np.where(labels == 1, 7, 9 * (labels == 2)))
    tool.open(replace(from_array(volume, "3d", "volume"), earlier=result), load_labels(result))
    try:
        assert tool.session.classes.names() == {1: "metaphase", 2: "two words"}
        assert not tool.session.history.can_undo and not tool.saving.unsaved
        assert tool.dock.panels.classes.panel.names[7].text() == "metaphase"
        tool.actions.select((2,))
        key(tool.viewer, "shift+7")
        tool.actions.save()
        assert sorted(np.unique(load_labels(tmp_path / "volume_classes.tif"))) == [0, 7], tool.status.text
    finally:
        tool.actions.select(())
        tool.saving.unsaved = False
        assert wait_until(lambda: tool.session.model.maps is not None and tool.session.model.maps.is_complete)
        wait_idle(tool)


def test_classes_of_tracks_are_saved_with_a_movie_and_come_back_in_a_new_session(tool_tracking, tmp_path):
    tool, (movie, truth) = tool_tracking, movies.small_movie()
    tool.session.objects.load(truth, {movies.MOTHER: list(movies.DAUGHTERS)})
    panel, section = unfolded(tool)
    try:
        tool.actions.select(movies.DAUGHTERS)
        key(tool.viewer, "shift+8")
        tool.actions.select((movies.OTHER,))
        key(tool.viewer, "shift+6")
        name(panel, 8, "daughter")
    finally:
        section.collapse(animate=False)
    tool.actions.select(())
    names = {**dict.fromkeys(movies.DAUGHTERS, "daughter"), movies.OTHER: "class 6"}
    assert tool.session.classes.names() == names
    result = tmp_path / "movie_RES"
    tool.actions.save(result)
    assert "movie_RES_classes.csv and movie_RES_classes.tif" in tool.status.text
    expected = np.where(np.isin(truth, movies.DAUGHTERS), 8, 6 * (truth == movies.OTHER))
    assert open_image(tmp_path / "movie_RES_classes.tif").axes == "TYX"
    assert np.array_equal(load_labels(tmp_path / "movie_RES_classes.tif"), expected)
    tracks = load_tracks(result)
    tool.open(replace(from_array(movie, "tracking", "movie"), earlier=result), tracks)
    try:
        assert tool.session.classes.names() == names and not tool.saving.unsaved
        assert tool.session.tracks.lineage.daughters(movies.MOTHER) == movies.DAUGHTERS
    finally:
        tool.saving.unsaved = False
        assert wait_until(lambda: tool.session.model.embeddings is not None and not tool.engine.busy)
        wait_idle(tool)
