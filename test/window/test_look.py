"""What a window looks like: its size, the image in it, what is in sight, and how objects are shown."""

from __future__ import annotations

import re
from contextlib import contextmanager

import numpy as np
import pytest
import tifffile
from qtpy.QtCore import QPoint, QRect
from qtpy.QtWidgets import QPushButton
from superqt import QCollapsible

from micro_sam.sam_annotator import annotator_2d, annotator_3d, annotator_tracking, image_folder_annotator
from micro_sam.sam_annotator.actions import key_shown
from micro_sam.sam_annotator.controller.action_table import ROWS_OF_SERIES, rows_of
from micro_sam.sam_annotator.view import canvas_overlays
from micro_sam.sam_annotator.view.camera import camera_of
from micro_sam.sam_annotator.view.canvas_overlays import outline, outlines
from micro_sam.sam_annotator.view.frame import EmptyHint
from micro_sam.sam_annotator.view.layers.colours import track_colours
from micro_sam.sam_annotator.view.panels.parts import PRIMARY
from micro_sam.segmentation.values import ObjectMask

from . import driver, movies
from .driver import canvas, click, key, press, process, wait_idle, wait_until
from .movies import small_movie
from .volumes import small_volume


def test_a_window_opens_maximised_and_remembers_its_size_and_the_image_fills_it(opened, coins, tmp_path, monkeypatch):
    monkeypatch.setenv("MICROSAM_CACHEDIR", str(tmp_path))
    tool = opened(annotator_2d, coins, place=False, model_type="nano_lm")
    window = tool.viewer.window._qt_window
    assert wait_until(window.isMaximized)
    assert wait_until(lambda: fills(tool))
    window.showNormal()
    window.resize(1000, 700)
    assert wait_until(lambda: fills(tool) and canvas(tool.viewer).width() < 800), "the image follows the canvas"
    fitted = camera_of(tool.viewer).zoom
    driver.wheel(canvas(tool.viewer), 3)
    zoom = camera_of(tool.viewer).zoom
    assert zoom > fitted
    window.resize(1100, 760)
    driver.process(0.5)
    assert camera_of(tool.viewer).zoom == pytest.approx(zoom), "the user has zoomed: the view stays"
    press(tool.dock.view.fit)
    assert fills(tool)
    tool.saving.unsaved = False
    driver.close(tool.viewer)
    again = opened(annotator_2d, coins, place=False, model_type="nano_lm")
    other = again.viewer.window._qt_window
    assert not other.isMaximized() and abs(other.width() - 1100) < 20
    other.showMaximized()
    assert wait_until(other.isMaximized)
    driver.close(again.viewer)
    third = opened(annotator_2d, place=False, model_type="nano_lm")
    assert wait_until(third.viewer.window._qt_window.isMaximized), "it was closed maximised"


SELDOM = {
    "Image",
    "Parameters of Segment All",
    "Committed objects",
    "Classes",
    "Options of Commit",
    "Model and embeddings",
    "Train a model",
    "Keys",
}
SELDOM_IN_VOLUMES = SELDOM | {"Parameters of the whole object", "Parameters of Segment All in Volume"}
SELDOM_IN_MOVIES = (SELDOM - {"Committed objects"}) | {
    "Committed tracks and lineage",
    "Parameters of Track Object",
    "Track a segmentation",
}


@pytest.mark.parametrize(
    ("function", "image", "seldom"),
    [
        (annotator_2d, lambda: np.zeros((60, 80), np.uint8), SELDOM),
        (annotator_3d, lambda: small_volume()[0], SELDOM_IN_VOLUMES),
        (annotator_tracking, lambda: small_movie()[0], SELDOM_IN_MOVIES),
    ],
    ids=["2d", "3d", "tracking"],
)
def test_a_window_opens_with_seldom_used_sections_folded_and_naparis_panels_hidden(opened, function, image, seldom):
    tool = opened(function, image(), model_type="nano_lm")
    sections = {section.text(): section for section in tool.dock.panels.findChildren(QCollapsible)}
    assert seldom <= sections.keys()
    assert [name for name, section in sections.items() if section.isExpanded()] == []
    qt_viewer = tool.viewer.window._qt_viewer
    for hidden in (True, False, True):
        assert [qt_viewer.dockLayerControls.isHidden(), qt_viewer.dockLayerList.isHidden()] == [hidden, hidden]
        press(tool.dock.view.layers)


def test_what_a_menu_holds_is_made_when_it_opens_and_knows_what_was_before(opened, coins):
    tool = opened(annotator_2d, coins, model_type="nano_lm")
    wait_idle(tool)
    for position in ((60, 100), (115, 160)):
        click(tool, position)
        wait_idle(tool)
        key(tool.viewer, "c")
    tool.actions.set_preserve("none")
    tool.actions.set_threshold("min_size", 77)
    key(tool.viewer, "shift+2")
    tool.actions.use_tool("pick")
    tool.actions.select((1, 2))
    panels = tool.dock.panels
    menus = (panels.objects, panels.classes, panels.commit_options, panels.model, panels.training, panels.keys)
    menus += (panels.automatic.parameters, panels.image)
    assert [menu.text() for menu in menus if menu.content().layout().count()] == [], "nobody has opened them"
    width = tool.dock.width()
    for menu in menus:
        menu.expand(animate=False)
    process(0.3)
    for menu in menus:
        assert menu.panel.isVisible() and menu.panel.height() >= menu.panel.minimumSizeHint().height(), menu.text()
    assert tool.dock.width() == width
    objects = panels.objects.panel
    assert objects.count.text() == "2 committed objects" and objects.ids.value == "1, 2"
    assert objects.choose.isChecked() and objects.merge.enabled and not objects.reopen.enabled
    assert panels.commit_options.panel.preserve.value == "none"
    assert panels.automatic.parameters.panel.values["min_size"].value == 77
    assert list(panels.classes.panel.names) == [2]
    assert "nano_lm" in panels.model.panel.in_use.text()
    assert panels.training.panel.output.value.suffix == ".safetensors"
    tool.actions.select((2,))
    assert objects.ids.value == "2" and objects.reopen.enabled
    tool.actions.delete_selected()
    assert objects.count.text() == "1 committed object"


def fills(tool) -> bool:
    """Whether the image is as large as the canvas and lies within it."""
    camera, widget = camera_of(tool.viewer), canvas(tool.viewer)
    height, width = np.array(tool.session.shape[-2:]) * camera.zoom
    share = max(height / widget.height(), width / widget.width())
    return 0.8 < share <= 1


def test_naparis_panels_are_hidden_and_one_click_brings_them(tool):
    qt_viewer = tool.viewer.window._qt_viewer
    assert qt_viewer.dockLayerControls.isHidden() and qt_viewer.dockLayerList.isHidden()
    press(tool.dock.view.layers)
    assert qt_viewer.dockLayerControls.isVisible() and qt_viewer.dockLayerList.isVisible()
    press(tool.dock.view.layers)
    assert qt_viewer.dockLayerControls.isHidden() and qt_viewer.dockLayerList.isHidden()


@pytest.mark.parametrize("name", ["tool", "tool_3d", "tool_tracking"])
def test_the_whole_loop_is_in_sight_on_a_small_screen(request, name):
    tool = request.getfixturevalue(name)
    with small_screen(tool):
        assert_in_sight(tool)


@pytest.mark.parametrize("name", ["tool", "tool_3d", "tool_tracking"])
def test_the_loop_stays_in_sight_with_a_review_a_table_and_an_object_that_is_open(request, name):
    tool = request.getfixturevalue(name)
    labels = np.zeros(tool.session.shape, np.uint32)
    labels[..., 10:30, 10:30], labels[..., 60:80, 70:110] = 1, 2
    tool.session.objects.load(labels)
    with small_screen(tool):
        review_with_a_table(tool)
    key(tool.viewer, "shift+t")
    tool.actions.clear()


def review_with_a_table(tool, *more) -> None:
    """The loop is in sight with a table below, with the bar of a review, and with an object that is open."""
    key(tool.viewer, "shift+t")
    assert wait_until(lambda: tool.table.is_open)
    assert_in_sight(tool, *more, why="the table leaves the dock its height")
    key(tool.viewer, "w")
    bar = tool.dock.panels.review
    assert wait_until(bar.isVisible), tool.status.text
    buttons = [each.native for each in (bar.fine, bar.correct, bar.delete, bar.next, bar.stop)]
    assert_in_sight(tool, *more, *buttons, why="with the bar of a review")
    press(bar.correct.native)
    assert tool.session.objects.reopened is not None
    assert_in_sight(tool, *more, why="with an object open")


def test_the_whole_loop_of_a_series_is_in_sight_on_a_small_screen(opened, coins, tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    for name in "ab":
        tifffile.imwrite(images / f"a rather long name of an image, {name}.tif", coins)
    tool = opened(image_folder_annotator, images, tmp_path / "results", model_type="nano_lm")
    assert wait_until(lambda: tool.engine.predictor is not None and not tool.engine.busy), tool.status.text
    series = [tool.dock.panels.series.previous.native, tool.dock.panels.series.next.native]
    with small_screen(tool):
        assert_in_sight(tool, *series)
        for position in ((60, 100), (115, 160)):
            click(tool, position)
            wait_idle(tool)
            key(tool.viewer, "c")
            wait_idle(tool)
        review_with_a_table(tool, *series)
    key(tool.viewer, "F1")
    process(0.3)
    assert listed_keys(tool) == keys_of((*rows_of(tool.state.tool), *ROWS_OF_SERIES))


@contextmanager
def small_screen(tool):
    """A screen of 1280 x 720, less the title and a bar."""
    tool.viewer.window._qt_window.setGeometry(0, 24, 1280, 680)
    driver.process(0.3)
    try:
        yield
    finally:
        driver.place(tool.viewer)


def assert_in_sight(tool, *more, why: str = "") -> None:
    """The loop and more is in sight, as soon as everything has its place."""
    process(0.3)
    assert wait_until(lambda: not out_of_sight(tool, *more)), (why, out_of_sight(tool, *more))


def out_of_sight(tool, *more) -> list[str]:
    """What is used in the loop click, segment, commit, save and cannot be seen without scrolling."""
    window, dock = tool.viewer.window._qt_window, tool.dock
    dock.scroll.verticalScrollBar().setValue(0)
    fixed = [
        *dock.panels.prompts.tools.values(),
        dock.panels.segment.run.native,
        *(panel.run.native for panel in dock.panels.extra),
    ]
    bottom = [dock.commit.run, dock.commit.clear, dock.commit.undo, dock.commit.redo, dock.save.save]
    widgets = [*more, *fixed, *(button.native for button in bottom), dock.status.text]
    assert dock.width() <= 400
    return [f"{widget.text()!r}" for widget in widgets if not is_in_sight(widget, window)]


def is_in_sight(widget, window) -> bool:
    """Whether all of a widget is within the window and within what scrolls around it."""
    parent = widget.parentWidget()
    while parent is not None:
        place = QRect(widget.mapTo(parent, QPoint(0, 0)), widget.size())
        if not parent.rect().contains(place):
            return False
        if parent is window:
            return widget.isVisible()
        parent = parent.parentWidget()
    return False


def test_the_current_object_has_an_outline_and_the_colour_that_it_keeps_when_it_is_committed(tool):
    centre = (88, 120)
    for number in (1, 2):
        click(tool, centre)
        wait_idle(tool)
        assert tool.session.has_current
        edges = tool.dock.outline.edges
        inside = tool.session.current > 0
        assert len(edges) and tool.dock.outline.isVisible()
        assert set(map(tuple, edges)) == set(map(tuple, outline(inside) - 0.5))
        before = tool.layers.labels["current"].layer.get_color(1)
        key(tool.viewer, "c")
        wait_idle(tool)
        assert np.allclose(before, tool.layers.labels["committed"].layer.get_color(number))
        assert not tool.dock.outline.isVisible()
        centre = (205, 140)


def test_an_outline_runs_along_the_borders_of_pixels():
    mask = np.zeros((4, 5), bool)
    mask[1:3, 1:4] = True
    assert {tuple(edge) for edge in outline(mask).tolist()} == {(1, 1, 1, 4), (3, 1, 3, 4), (1, 1, 3, 1), (1, 4, 3, 4)}
    mask[1, 2] = False
    length = sum(abs(y1 - y0) + abs(x1 - x0) for y0, x0, y1, x1 in outline(mask).tolist())
    assert length == 12
    assert outline(np.zeros((3, 3), bool)).shape == (0, 4)


@pytest.mark.parametrize("name", ["tool_3d", "tool_tracking"])
def test_in_stacks_the_outline_follows_the_slice_in_view(request, name):
    tool = request.getfixturevalue(name)
    tool.state.live = False
    paint(tool, 3)
    tool.actions.go_to_slice(3)
    process(0.1)
    inside = np.zeros((12, 12), bool)
    inside[5:9, 5:9] = True
    assert tool.dock.outline.isVisible()
    assert set(map(tuple, tool.dock.outline.edges)) == set(map(tuple, outline(inside) - 0.5))
    tool.actions.go_to_slice(4)
    process(0.1)
    assert len(tool.dock.outline.edges) == 0


def test_an_object_that_is_open_again_is_found_among_many(tool):
    labels = np.zeros(tool.session.shape, "uint32")
    for number in range(100):
        y, x = 10 + 28 * (number // 10), 10 + 37 * (number % 10)
        labels[y : y + 9, x : x + 9] = number + 1
    tool.session.objects.load(labels)
    process(0.3)
    colour = tool.layers.labels["committed"].layer.get_color(57)
    tool.session.objects.reopen(57)
    process(0.3)
    edges = tool.dock.outline.edges
    assert tool.dock.outline.isVisible() and set(map(tuple, edges)) == set(map(tuple, outline(labels == 57) - 0.5))
    assert np.allclose(colour, tool.layers.labels["current"].layer.get_color(1))


def unit_edges(edges, box):
    """Edges of single pixels whose middle lies in a box."""
    found = set()
    for y0, x0, y1, x1 in edges.tolist():
        n = int(max(abs(y1 - y0), abs(x1 - x0)))
        for k in range(n):
            middle = (y0 + (k + 0.5) * (y1 - y0) / n, x0 + (k + 0.5) * (x1 - x0) / n)
            if box[0] < middle[0] < box[2] and box[1] < middle[1] < box[3]:
                found.add(middle)
    return found


def test_the_outline_of_a_large_object_is_found_where_it_is_seen_as_finely_as_it_is_seen():
    y, x = np.mgrid[:900, :1300]
    area = np.hypot(y - 450, x - 650) < 400 + 20 * np.sin(8 * np.arctan2(y - 450, x - 650))
    mask = ObjectMask.from_array(area, offset=(37, 1003))
    whole = outlines([mask], None)
    view = (100, 1300, 400, 1700)
    part = outlines([mask], (view, 1))
    inner = (view[0] + 2, view[1] + 2, view[2] - 2, view[3] - 2)  # it ends at the border of what is looked at
    assert unit_edges(part, inner) == unit_edges(whole, inner) and 0 < len(part) < len(whole)
    coarse = outlines([mask], ((0, 1000, 1000, 2400), 10))
    assert 0 < len(coarse) < len(whole) / 5
    near = np.hypot(coarse[:, 0] - 487, coarse[:, 1] - 1653)
    assert near.min() > 365 and near.max() < 435
    assert len(outlines([mask], ((5000, 5000, 6000, 6000), 10))) == 0


def test_a_large_object_looks_the_same_when_the_user_comes_closer(tool, monkeypatch):
    click(tool, (88, 120))
    wait_idle(tool)
    shown = tool.dock.outline
    whole = shown.edges
    monkeypatch.setattr(canvas_overlays, "LARGE", 0)
    shown._changed()
    assert camera_of(tool.viewer).zoom > 1 and set(map(tuple, shown.edges)) == set(map(tuple, whole))
    camera_of(tool.viewer).zoom = 0.25
    process(0.1)
    assert 0 < len(shown.edges) < len(whole) / 2
    camera_of(tool.viewer).center = (5000, 5000)
    process(0.1)
    assert len(shown.edges) == 0
    press(tool.dock.view.fit)


def test_committed_objects_are_shown_as_outlines_by_a_switch(tool):
    press(tool.dock.view.outlines)
    assert tool.layers.labels["committed"].layer.contour > 0
    press(tool.dock.view.outlines)
    assert tool.layers.labels["committed"].layer.contour == 0


def test_neighbouring_ids_differ_for_colour_blind_users():
    """Simulated after Machado et al. (2009), full deuteranomaly and protanomaly."""
    colours = track_colours(np.arange(1, 15))[:, :3]
    seen = [np.eye(3)]
    seen.append(np.array([[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]]))
    seen.append(np.array([[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]]))
    for matrix in seen:
        shown = colours @ matrix.T
        for step in (1, 2, 3):
            distance = np.linalg.norm(shown - np.roll(shown, step, axis=0), axis=1)
            assert distance.min() > 0.2


def marked(tool) -> list[str]:
    """The buttons in sight that look like the main one."""
    buttons = tool.dock.findChildren(QPushButton)
    return [one.text() for one in buttons if one.isVisible() and one.styleSheet() == PRIMARY]


def paint(tool, z: int) -> None:
    where = (slice(z, z + 1), slice(5, 9), slice(5, 9))
    tool.session.labels.paint("current", where, np.ones((1, 4, 4), "uint32"))


@pytest.mark.parametrize("name", ["tool_3d", "tool_tracking"])
def test_one_main_button_at_a_time(request, name):
    tool = request.getfixturevalue(name)
    assert marked(tool) == []
    tool.state.live = False
    paint(tool, 3)
    (first,) = marked(tool)
    assert first == tool.dock.panels.extra[0].run.text
    paint(tool, 4)
    assert marked(tool) == [tool.dock.commit.run.text]
    tool.actions.clear()
    wait_idle(tool)
    assert marked(tool) == []


def test_what_the_window_offers_is_the_main_button_until_there_is_an_object(tool):
    press_c = tool.dock.commit.run.text
    for centre in ((88, 120), (205, 140)):
        click(tool, centre)
        wait_idle(tool)
        assert marked(tool) == [press_c]
        key(tool.viewer, "c")
        wait_idle(tool)
    key(tool.viewer, "w")
    assert wait_until(lambda: marked(tool) == ["Fine"]), marked(tool)
    click(tool, (60, 100))
    wait_idle(tool)
    assert marked(tool) == [press_c], "one at a time"
    key(tool.viewer, "shift+c")
    wait_idle(tool)
    assert marked(tool) == ["Fine"]
    press(tool.dock.panels.review.stop.native)
    assert marked(tool) == []
    tool.engine.cancel()
    tool.dock.panels.start_again.setVisible(True)
    assert marked(tool) == ["Start again"]
    tool.dock.panels.start_again.setVisible(False)
    assert marked(tool) == []


def test_an_empty_window_says_in_the_canvas_how_to_get_an_image(opened, coins, tmp_path):
    path = tmp_path / "coins.tif"
    tifffile.imwrite(path, coins)
    tool = opened(annotator_2d, model_type="nano_lm")
    drawn = canvas(tool.viewer)
    (hint,) = drawn.findChildren(EmptyHint)
    assert hint.isVisible() and "Drop an image" in hint.text() and hint.size() == drawn.size()
    assert drawn.isVisible(), "napari's welcome takes the place of the canvas"
    tool.actions.open_path(path)
    assert wait_until(lambda: not drawn.findChildren(EmptyHint))
    tool.viewer.layers.clear()  # the tool makes its own again
    driver.process(0.3)
    assert not drawn.findChildren(EmptyHint)


def test_a_track_keeps_its_colours_when_it_is_committed(tool_tracking):
    tool = tool_tracking
    for _ in range(2):
        movies.divide(tool)
        key(tool.viewer, "v")
        wait_idle(tool)
        first = tool.session.objects.next_id
        labels = tool.layers.labels
        before = [labels["current"].layer.get_color(label) for label in (1, 2, 3)]
        points = [tool.layers.points.layer.border_color[k] for k in (0, 2, 3)]
        assert np.allclose(before, points)
        key(tool.viewer, "c")
        wait_idle(tool)
        after = [labels["committed"].layer.get_color(first + k) for k in range(3)]
        assert np.allclose(before, after)
        tool.session.objects.delete([first + k for k in range(3)])  # the numbers go on


@pytest.mark.parametrize("name", ["tool", "tool_3d", "tool_tracking"])
def test_f1_shows_the_keys(request, name):
    tool = request.getfixturevalue(name)
    key(tool.viewer, "F1")
    assert wait_until(lambda: tool.dock.panels.keys.isExpanded())
    process(0.2)
    assert listed_keys(tool) == keys_of(rows_of(tool.state.tool))
    key(tool.viewer, "F1")
    assert wait_until(lambda: not tool.dock.panels.keys.isExpanded())


def keys_of(rows) -> list[tuple[str, str]]:
    return [(key_shown(row.keys), row.text) for row in rows if row.keys]


def listed_keys(tool) -> list[tuple[str, str]]:
    """The rows of the list of keys; all of them are seen."""
    grid, window = tool.dock.panels.keys.panel.layout(), tool.viewer.window._qt_window
    labels = [[grid.itemAtPosition(row, column).widget() for column in (0, 1)] for row in range(grid.count() // 2)]
    assert wait_until(lambda: all(is_in_sight(label, window) for pair in labels for label in pair))
    return [(re.sub("<[^>]*>", "", shown.text()), text.text()) for shown, text in labels]
