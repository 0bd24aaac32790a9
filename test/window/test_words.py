"""What a window says: short, whole and true sentences, with the numbers that the user sees, and nothing cut."""

from __future__ import annotations

import re

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QAbstractButton, QDockWidget, QLabel

from micro_sam.sam_annotator.view.panels.status_bar import LINES

from . import driver
from .driver import click, key, press, wait_idle
from .movies import OTHER, divide, go_to, place_of
from .volumes import small_volume

COIN, OTHER_COIN, BACKGROUND = (60, 100), (115, 160), (20, 20)
TOOLS = ["tool", "tool_3d", "tool_tracking"]


class Heard:
    """All that the status line of a tool shows, and how many lines that takes."""

    def __init__(self, tool) -> None:
        self.texts: dict[str, float] = {}
        self._label = tool.dock.status.text
        tool.status.changed.connect(self._hear)

    def _hear(self, text: str, _kind: str) -> None:
        metrics, label = self._label.fontMetrics(), self._label
        rect = metrics.boundingRect(0, 0, label.width() - 20, 10_000, Qt.TextFlag.TextWordWrap, text)
        self.texts[text] = rect.height() / metrics.lineSpacing()
        assert label.height() >= label.heightForWidth(label.width()), f"cut: {text}"


def work_2d(tool) -> None:
    viewer = tool.viewer
    for place in (COIN, OTHER_COIN):
        click(tool, place)
        wait_idle(tool)
    key(viewer, "t")
    click(tool, BACKGROUND)
    wait_idle(tool)
    for name in ("c", "c", "ctrl+z", "ctrl+shift+z"):
        key(viewer, name)
    for _ in range(2):
        press(tool.dock.panels.automatic.run.native)
        wait_idle(tool)
        key(viewer, "c")
        wait_idle(tool)
    click(tool, COIN)
    wait_idle(tool)
    for name in ("c", "shift+c", "s"):
        key(viewer, name)


def work_3d(tool) -> None:
    z, truth = tool.state.z, small_volume()[1]
    tool.state.batched = True
    for label in np.unique(truth[z])[1:4]:
        click(tool, (z, *(int(v) for v in np.median(np.argwhere(truth[z] == label), axis=0))))
        wait_idle(tool)
    key(tool.viewer, "v")
    wait_idle(tool)
    key(tool.viewer, "c")
    wait_idle(tool)
    tool.state.batched = False
    key(tool.viewer, "o")


def work_tracking(tool) -> None:
    for _ in range(2):
        divide(tool)
        key(tool.viewer, "v")
        wait_idle(tool)
        tool.state.preserve = "none"
        key(tool.viewer, "c")
        wait_idle(tool)
    go_to(tool, 0)
    click(tool, place_of(OTHER, 0))
    wait_idle(tool)
    key(tool.viewer, "v")
    wait_idle(tool)
    key(tool.viewer, "c")


WORK = {"tool": work_2d, "tool_3d": work_3d, "tool_tracking": work_tracking}


@pytest.mark.parametrize("name", TOOLS)
def test_what_is_said_while_one_works_is_short(request, name):
    tool = request.getfixturevalue(name)
    heard = Heard(tool)
    WORK[name](tool)
    assert len(heard.texts) > 5
    too_long = {text: lines for text, lines in heard.texts.items() if lines > LINES}
    assert not too_long
    for text in heard.texts:
        assert len(re.findall(r"[.!?](?= [A-Z]|$)", text)) <= 3, f"too much at once: {text}"
        assert text.rstrip()[-1] in ".!?", text


def test_the_status_box_grows_for_a_long_text(tool):
    label = tool.dock.status.text
    usual = label.height()
    tool.status.say("A sentence that is rather long, as those of errors sometimes are. " * 8, "error")
    driver.process(0.1)
    assert label.height() > usual and label.height() >= label.heightForWidth(label.width())
    assert label.toolTip() == label.text()


def test_the_status_box_follows_the_width_of_the_dock(tool):
    window, label = tool.viewer.window._qt_window, tool.dock.status.text
    (dock,) = (one for one in window.findChildren(QDockWidget) if one.isAncestorOf(label))
    tool.status.say("A sentence that takes more lines where the dock is narrow. " * 6)
    for width in (700, 350, 500):
        window.resizeDocks([dock], [width], Qt.Orientation.Horizontal)
        driver.process(0.2)
        usual = LINES * label.fontMetrics().lineSpacing() + 8
        assert label.height() == max(usual, label.heightForWidth(label.width()))


@pytest.mark.parametrize("name", TOOLS)
def test_no_caption_is_cut(request, name):
    tool = request.getfixturevalue(name)
    dock = tool.dock
    key(tool.viewer, "F1")
    driver.process(0.6)
    try:
        rows = dock.panels.keys.panel.findChildren(QLabel)
        assert len(rows) > 10 and all(row.isVisible() for row in rows)
        for row in rows:
            text = re.sub("<[^>]*>", "", row.text())
            assert row.width() >= row.fontMetrics().horizontalAdvance(text), f"cut: {text}"
        buttons = [one for one in dock.findChildren(QAbstractButton) if one.isVisible() and one.text()]
        for one in buttons:
            assert one.width() >= one.fontMetrics().horizontalAdvance(one.text().replace("&", "")), f"cut: {one.text()}"
    finally:
        key(tool.viewer, "F1")


def test_a_negative_point_that_comes_first_is_answered_and_undo_makes_the_next_one_positive(tool):
    key(tool.viewer, "t")
    click(tool, COIN)
    assert "negative point alone" in tool.status.text and tool.status.kind == "info"
    wait_idle(tool)
    assert not tool.session.has_current and tool.dock.panels.prompts.polarity.value == "negative"
    key(tool.viewer, "ctrl+z")
    assert tool.session.prompts.next_positive and tool.dock.panels.prompts.polarity.value == "positive"
    click(tool, COIN)
    wait_idle(tool)
    assert tool.session.current[COIN] == 1
    assert list(tool.layers.points.layer.features["label"]) == ["positive"]


def test_where_there_is_an_object_undo_leaves_the_next_point_negative(tool):
    click(tool, COIN)
    wait_idle(tool)
    key(tool.viewer, "t")
    click(tool, BACKGROUND)
    wait_idle(tool)
    key(tool.viewer, "ctrl+z")
    assert not tool.session.prompts.next_positive and tool.session.has_current


def test_a_negative_point_before_the_embedding_is_answered_too(tool, monkeypatch):
    monkeypatch.setattr(type(tool.session.model), "embeddings", None)
    key(tool.viewer, "t")
    click(tool, COIN)
    assert "negative point alone" in tool.status.text


def test_a_negative_point_that_ends_a_track_says_so(tool_tracking):
    tool = tool_tracking
    click(tool, place_of(OTHER, 0))
    wait_idle(tool)
    go_to(tool, 4)
    key(tool.viewer, "t")
    click(tool, place_of(OTHER, 4))
    assert "track 1 ends before it" in tool.status.text and "negative point alone" not in tool.status.text


def test_objects_that_are_found_beside_a_current_one_say_which_are_committed(tool):
    click(tool, COIN)
    wait_idle(tool)
    press(tool.dock.panels.automatic.run.native)
    wait_idle(tool)
    assert "C commits the current object first; for these, choose auto_segmentation" in tool.status.text
    key(tool.viewer, "c")
    wait_idle(tool)
    assert list(tool.session.objects) == [1] and tool.session.automatic.exists
    tool.dock.panels.commit_options.panel.source.value = "auto"  # as the sentence says
    key(tool.viewer, "c")
    wait_idle(tool)
    assert len(tool.session.objects) > 5


def test_several_objects_span_slices_together(tool_3d):
    tool = tool_3d
    z, truth = tool.state.z, small_volume()[1]
    tool.state.live, tool.state.batched = False, True
    for label in np.unique(truth[z])[1:4]:
        click(tool, (z, *(int(v) for v in np.median(np.argwhere(truth[z] == label), axis=0))))
    key(tool.viewer, "v")
    wait_idle(tool)
    tool.state.live, tool.state.batched = True, False
    assert tool.status.text.startswith("3 objects span slices")


def test_a_commit_of_tracks_names_their_numbers_before_and_after(tool_tracking):
    tool = tool_tracking
    click(tool, place_of(OTHER, 0))
    wait_idle(tool)
    key(tool.viewer, "c")
    divide(tool)
    key(tool.viewer, "v")
    wait_idle(tool)
    key(tool.viewer, "c")
    wait_idle(tool)
    (mother,) = tool.session.tracks.lineage.divisions  # numbers go on from those of earlier tests in this window
    daughters = mother + 1, mother + 2
    assert tool.session.tracks.lineage.daughters(mother) == daughters
    numbers = f"{mother}, {daughters[0]} and {daughters[1]}"
    assert tool.status.text.startswith(f"Tracks 1, 2 and 3 committed as tracks {numbers}.")
    assert tool.status.text.endswith("Click the next object.")
    tool.actions.select(daughters)
    tool.actions.delete_selected()
    assert tool.status.text == f"Tracks {daughters[0]} and {daughters[1]} deleted. Undo brings them back."
