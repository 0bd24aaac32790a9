"""The plugin in a napari that is already open, with a layer that is already there."""

from __future__ import annotations

import sys

import napari
import numpy as np
import pytest
from qtpy.QtCore import QEvent, QObject

from micro_sam.models.cache import get_cache_directory
from micro_sam.sam_annotator import get_annotator

from . import driver, movies, volumes
from .driver import click, key, process, wait_idle, wait_until

COIN = (60, 100)
NUCLEUS, CELL = volumes.middle_of(volumes.FIRST), movies.place_of(movies.MOTHER, 0)
HEAVY = {"torchvision", "segment_anything", "triton"}


@pytest.fixture
def viewer(shared_window, coins):
    """A napari that the user has opened, with an image in it."""
    shared_window.close()
    viewer = napari.Viewer()
    driver.place(viewer)
    viewer.add_image(np.zeros((8, 8)), name="other")
    viewer.add_image(coins, name="mine")
    viewer.reset_view()
    yield viewer
    driver.close(viewer)


def choose(viewer, text: str) -> None:
    """Open a widget through the Plugins menu of the window."""
    menu = viewer.window.plugins_menu
    for name in ("micro_sam", text):
        menu.aboutToShow.emit()
        entry = next(action for action in menu.actions() if action.text().replace("&", "") == name)
        menu = entry.menu()
    entry.trigger()
    process(0.1)


def is_ready(tool) -> bool:
    return wait_until(lambda: tool.engine.predictor is not None and not tool.engine.busy)


def fit(viewer) -> None:
    """Show all of the image again, of which docks have hidden a part, as napari's house does."""
    viewer.reset_view()
    process(0.1)


class Paints(QObject):
    """What the user reads at each painting of the panel."""

    def __init__(self, tool) -> None:
        super().__init__()
        self.tool, self.seen = tool, []

    def eventFilter(self, panel: QObject | None, event: QEvent | None) -> bool:
        if event is not None and event.type() == QEvent.Type.Paint:
            self.seen.append(self.tool.status.text)
        return False


STACKS = {
    "2D annotator": (None, COIN, "committed_objects"),
    "3D annotator": (lambda: volumes.small_volume()[0], NUCLEUS, "committed_objects"),
    "Tracking annotator": (lambda: movies.small_movie()[0], CELL, "committed_tracks"),
}


@pytest.mark.parametrize("entry", STACKS)
def test_a_tool_of_the_plugins_menu_segments_a_click_and_commits_it_by_key(viewer, entry):
    stack, place, committed = STACKS[entry]
    layer = viewer.layers["mine"]
    if stack is not None:
        layer = viewer.add_image(stack(), name="stack")
        viewer.layers.remove("mine")
        viewer.reset_view()
    viewer.layers.selection.active = layer
    choose(viewer, entry)
    tool = get_annotator(viewer)
    assert wait_until(lambda: tool.session is not None), tool.status.text
    assert tool.state.image.layer is layer and is_ready(tool), tool.status.text
    if len(place) == 3:
        tool.actions.go_to_slice(place[0])
    fit(viewer)
    click(tool, place)
    wait_idle(tool)
    assert tool.session.current[place] == 1, tool.status.text
    key(viewer, "c")
    wait_idle(tool)
    assert tool.session.committed[place] == 1 and not tool.session.has_current, tool.status.text
    assert viewer.layers[committed].data[place] == 1
    if entry == "Tracking annotator":
        assert list(tool.session.tracks.lineage) == [1]
        assert wait_until(lambda: viewer.layers["tracks"].visible)


def test_a_tool_is_seen_before_its_image_is_opened(viewer):
    """napari takes half a second for the layers; the image is the one that was selected when the tool was asked for."""
    own = set(viewer.layers)
    viewer.layers.selection.active = viewer.layers["mine"]
    dock, widget = viewer.window.add_plugin_dock_widget("micro_sam", "2D annotator")
    tool = widget.annotator
    assert tool.session is None and set(viewer.layers) == own and tool.status.text == "mine is being opened."
    viewer.layers.selection.active = viewer.layers["other"]
    paints = Paints(tool)
    tool.dock.installEventFilter(paints)
    assert wait_until(lambda: tool.session is not None), tool.status.text
    assert paints.seen[0] == "mine is being opened."
    assert tool.state.image.layer is viewer.layers["mine"]


def test_a_tool_whose_image_goes_or_that_ends_before_it_was_seen_opens_nothing(viewer):
    viewer.layers.selection.active = viewer.layers["mine"]
    _, widget = viewer.window.add_plugin_dock_widget("micro_sam", "2D annotator")
    viewer.layers.remove("mine")
    assert wait_until(lambda: "Drop an image" in widget.annotator.status.text), widget.annotator.status.text
    assert widget.annotator.session is None and len(viewer.layers) == 1
    _, widget = viewer.window.add_plugin_dock_widget("micro_sam", "3D annotator")
    widget.end()
    process(0.5)
    assert widget.annotator.state.closed and widget.annotator.session is None and len(viewer.layers) == 1


def test_an_image_and_a_volume_have_tools_in_one_viewer(viewer):
    """The second one's layers end in (2); prompts, answers and keys are those of the tool whose layer is selected."""
    stack = viewer.add_image(volumes.small_volume()[0], name="stack", translate=(0, 0, 400))
    viewer.reset_view()
    viewer.layers.selection.active = viewer.layers["mine"]
    flat = driver.dock_tool(viewer)[1].annotator
    assert is_ready(flat), flat.status.text
    viewer.layers.selection.active = stack
    deep = driver.dock_tool(viewer, "3D annotator")[1].annotator
    assert deep.state.image.layer is stack and is_ready(deep), deep.status.text
    names = {"prompts", "box_prompts", "current_object", "committed_objects", "auto_segmentation"}
    own = {layer.name for layer in viewer.layers} - {"other", "mine", "stack"}
    assert own == names | {f"{name} (2)" for name in names}

    deep.actions.go_to_slice(NUCLEUS[0])
    fit(viewer)
    for tool, theirs, suffix, place in ((deep, flat, " (2)", NUCLEUS), (flat, deep, "", COIN)):
        viewer.layers.selection.active = viewer.layers[f"prompts{suffix}"]
        before = theirs.session.committed.copy()
        process(0.1)
        click(tool, (0, *place)[-3:], viewer=viewer)
        wait_idle(tool)
        assert tool.session.current[place] == 1 and not theirs.session.has_current, tool.status.text
        key(viewer, "c")
        wait_idle(tool)
        assert tool.session.committed[place] == 1, tool.status.text
        assert viewer.layers[f"committed_objects{suffix}"].data[place] == 1
        assert np.array_equal(theirs.session.committed, before)
    viewer.layers.selection.active = viewer.layers["committed_objects (2)"]
    key(viewer, "ctrl+z")
    assert not deep.session.committed.any() and flat.session.committed[COIN] == 1

    # Whoever closes the window is asked for each of them, and a program that does it loses nothing of either.
    seen: list[str] = []
    for answer in ("Close without saving", "Go on working"):
        driver.answer(answer, seen)
    driver.close_by_hand(viewer)
    assert wait_until(lambda: len(seen) == 2) and sum("not committed" in text for text in seen) == 1
    assert "micro_sam 2D, mine: " in seen[0] and "micro_sam 3D, stack: " in seen[1], "each says whose work it is about"
    assert not flat.state.closed and not deep.state.closed
    recovered = get_cache_directory() / "recovered"
    before = set(recovered.glob("*.tif"))
    viewer.close()
    process(0.2)
    assert flat.state.closed and deep.state.closed
    assert sorted(path.name.split("_")[0] for path in set(recovered.glob("*.tif")) - before) == ["mine", "stack"]


def test_tools_of_the_plugins_menu_share_a_viewer_and_leave_it(viewer):
    before = set(sys.modules)
    dock, widget = driver.dock_tool(viewer)
    tool = widget.annotator
    assert tool.state.image.layer is viewer.layers["mine"] and get_annotator(viewer) is tool
    assert wait_until(lambda: tool.engine.predictor is not None and not tool.engine.busy), tool.status.text
    click(tool, COIN)
    wait_idle(tool)
    key(viewer, "c")
    assert tool.session.committed[COIN] == 1 and viewer.layers["committed_objects"].data[COIN] == 1
    assert not {name.split(".")[0] for name in set(sys.modules) - before} & HEAVY

    viewer.layers.selection.active = viewer.layers["mine"]
    _, table = viewer.window.add_plugin_dock_widget("micro_sam", "Table of objects")
    assert [layer.name for _, layer in table._layers(type(viewer.layers["committed_objects"]))] == [
        layer.name for layer in viewer.layers if layer.name.endswith(("objects", "object", "segmentation"))
    ]
    table.labels.value, table.image.value = viewer.layers["committed_objects"], viewer.layers["mine"]
    table.measure.native.click()
    assert wait_until(lambda: table.panel.model.ids == [1]), table.said.text()

    from micro_sam.plugin.widgets import Tool2D

    viewer.layers.selection.active = viewer.layers["mine"]
    second = Tool2D(viewer)
    viewer.window.add_dock_widget(second, name="second")
    other = second.annotator
    assert wait_until(lambda: other.session is not None), other.status.text
    assert {"prompts", "prompts (2)", "committed_objects (2)"} <= {layer.name for layer in viewer.layers}
    wait_until(lambda: other.engine.predictor is not None and not other.engine.busy)
    for active, mine, theirs in (("prompts", tool, other), ("prompts (2)", other, tool)):
        viewer.layers.selection.active = viewer.layers[active]
        states = mine.session.prompts.next_positive, theirs.session.prompts.next_positive
        key(viewer, "t")
        assert (mine.session.prompts.next_positive, theirs.session.prompts.next_positive) == (not states[0], states[1])
    viewer.layers.selection.active = viewer.layers["prompts"]
    key(viewer, "shift+1")
    assert (tool.session.classes.current, other.session.classes.current) == (1, 0)

    driver.answer("Close without saving")
    dock.destroyOnClose()
    process(0.3)
    assert tool.state.closed and not other.state.closed and "committed_objects" in viewer.layers
    viewer.layers.selection.active = viewer.layers["prompts"]
    positive = other.session.prompts.next_positive
    key(viewer, "t")  # the only tool that is left
    assert other.session.prompts.next_positive != positive
    points, shapes = viewer.layers["prompts (2)"], viewer.layers["box_prompts (2)"]
    viewer.layers.selection.active = points
    key(viewer, "s")
    assert points.mode != "select", "it segments, as long as the tool is there"
    other.end()
    key(viewer, "t")
    assert other.session.prompts.next_positive != positive
    for layer, name, mode in ((points, "s", "select"), (shapes, "t", "add_path")):
        viewer.layers.selection.active = layer
        key(viewer, name)
        assert layer.mode == mode, "napari's key again"
    classes = other.session.classes.current
    for name in ("c", "shift+1", "ctrl+z"):
        key(viewer, name)
    assert not other.session.objects and other.session.classes.current == classes
    key(viewer, "v")
    assert not shapes.visible


def test_two_viewers_have_tools_of_their_own(viewer, coins):
    """Prompts, keys, undo go to the tool of the viewer that has the keyboard; one viewer closes, the other works on."""
    other_viewer = napari.Viewer()
    try:
        driver.place(other_viewer)
        other_viewer.add_image(coins[::-1].copy(), name="theirs")
        other_viewer.reset_view()
        tools = []
        for each, layer in ((viewer, "mine"), (other_viewer, "theirs")):
            each.layers.selection.active = each.layers[layer]
            tools.append(driver.dock_tool(each)[1].annotator)
        mine, theirs = tools
        assert mine.viewer is viewer and theirs.viewer is other_viewer
        assert get_annotator(viewer) is mine and get_annotator(other_viewer) is theirs
        for tool in tools:
            assert wait_until(lambda t=tool: t.engine.predictor is not None and not t.engine.busy), tool.status.text
        for tool, place in ((theirs, (coins.shape[0] - 1 - COIN[0], COIN[1])), (mine, COIN)):
            driver.activate(tool.viewer)
            click(tool, place)
            wait_idle(tool)
            key(tool.viewer, "c")
            wait_idle(tool)
            assert tool.session.committed[place] == 1, tool.status.text
        assert [len(tool.session.objects) for tool in tools] == [1, 1]
        driver.activate(viewer)
        key(viewer, "ctrl+z")
        assert not mine.session.committed.any() and theirs.session.committed.any()
    finally:
        driver.close(other_viewer)
    assert theirs.state.closed and not mine.state.closed
    driver.activate(viewer)
    key(viewer, "ctrl+shift+z")
    assert mine.session.committed[COIN] == 1
