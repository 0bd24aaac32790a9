"""Reviews as they are used: reasons, buttons, keys; of images, volumes and tracks."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest

from . import driver, movies, volumes
from .driver import click, key, press, wait_idle, wait_until


@pytest.fixture
def ends():
    """The review of these tools is ended after the test."""
    with contextlib.ExitStack() as stack:

        def end(tool):
            stack.enter_context(driver.camera_kept(tool))
            stack.callback(tool.actions.select, ())
            stack.callback(tool.actions.review_stop)

        yield end


def begin(tool) -> None:
    """Press W and wait for the first object."""
    driver.canvas(tool.viewer).setFocus()
    key(tool.viewer, "w")
    assert wait_until(lambda: tool.review.doubt is not None), tool.status.text


def go_on(tool, button) -> None:
    """Press a button of the bar, and wait for the next object, or the end."""
    before = tool.review.doubt
    press(button.native)
    assert wait_until(lambda: tool.review.doubt is not before), tool.status.text


def many() -> np.ndarray:
    """Nine objects of about the size of a coin, a large one (10), one at the border (11)."""
    labels = np.zeros((303, 384), np.uint32)
    for k in range(9):
        y, x, size = 20 + 90 * (k // 3), 180 + 60 * (k % 3), 30 + 3 * k // 2
        labels[y : y + size, x : x + size] = k + 1
    labels[200:290, 60:150], labels[267:, 20:56] = 10, 11
    return labels


def test_low_certainty_size_and_border_are_reasons_and_each_button_does_what_it_says(tool, ends, monkeypatch):
    ends(tool)
    monkeypatch.setattr("micro_sam.measure.review.CERTAIN", 1.01)  # whatever the model says of a coin
    tool.session.objects.load(many())
    click(tool, (60, 100))
    wait_idle(tool)
    key(tool.viewer, "c")
    coin = max(tool.session.objects)
    assert coin == 12, tool.status.text
    bar = tool.dock.panels.review
    begin(tool)
    assert bar.isVisible() and "Review" in bar.text.text()
    seen, reasons = [], []
    for left in (11, 10, 9):
        doubt = tool.review.doubt
        assert tool.state.selected == (doubt.id,) and tool.review.left == left
        assert f"Object {doubt.id}:" in bar.text.text() and f"{left} left" in bar.text.text()
        seen.append(doubt.id)
        reasons.append(bar.text.text())
        go_on(tool, bar.next)
    assert set(seen) == {10, 11, coin}
    assert "times larger than most" in reasons[seen.index(10)] and "certainty 0." in reasons[seen.index(coin)]
    assert "cut by the border of the image" in reasons[seen.index(11)]
    assert tool.review.doubt.id == 1 and "nothing speaks against it" in bar.text.text()

    press(bar.stop.native)
    assert not bar.isVisible() and tool.review.doubt is None
    begin(tool)
    assert tool.review.doubt.id == seen[0] and tool.review.left == 11, "what was only passed comes again"
    go_on(tool, bar.fine)
    assert tool.review.doubt.id == seen[1] and tool.review.left == 10
    go_on(tool, bar.delete)
    assert seen[1] not in tool.session.objects and tool.review.doubt.id == seen[2] and tool.review.left == 9
    press(bar.correct.native)
    assert tool.session.objects.reopened == seen[2] and not bar.isVisible()
    key(tool.viewer, "c")
    assert seen[2] in tool.session.objects and tool.session.objects.reopened is None
    for _ in range(3):
        key(tool.viewer, "ctrl+z")
    assert seen[1] in tool.session.objects and tool.session.objects.reopened is None, "undo brings it back"
    tool.actions.review_stop()
    begin(tool)
    assert tool.review.doubt.id == seen[1], "what is fine does not come again"


def test_the_last_object_is_deleted_and_the_review_ends(tool, ends):
    ends(tool)
    labels = np.zeros((303, 384), np.uint32)
    labels[20:40, 20:40], labels[80:100, 20:40] = 1, 2
    tool.session.objects.load(labels)
    bar = tool.dock.panels.review
    begin(tool)
    assert tool.review.left == 1
    go_on(tool, bar.delete)
    assert tool.review.left == 0 and len(tool.session.objects) == 1
    press(bar.delete.native)
    assert wait_until(lambda: not bar.isVisible()) and not tool.session.objects and tool.review.doubt is None
    key(tool.viewer, "w")
    assert "no committed objects" in tool.status.text
    key(tool.viewer, "ctrl+z")
    begin(tool)
    assert len(tool.session.objects) == 1 and tool.review.left == 0 and bar.isVisible()


def test_what_a_border_between_tiles_cuts_is_said(tool, ends, monkeypatch):
    ends(tool)
    grid = type(tool.session.model.embeddings.grid)((303, 384), (128, 128))
    monkeypatch.setattr(type(tool.session.model.embeddings), "grid", property(lambda _: grid))
    labels = np.zeros((303, 384), np.uint32)
    y, x = np.mgrid[:303, :384]
    for i, (cy, cx) in enumerate(((60, 60), (200, 60), (60, 128)), start=1):
        labels[(y - cy) ** 2 + (x - cx) ** 2 <= 20**2] = i
    labels[:, :128][labels[:, :128] == 3] = 0
    tool.session.objects.load(labels)
    begin(tool)
    assert (
        tool.review.doubt.id == 3 and "cut by the border of a tile (41 pixels)" in tool.dock.panels.review.text.text()
    )


def test_in_a_volume_the_review_goes_to_the_slices_of_the_objects(tool_3d, ends):
    ends(tool_3d)
    tool, shape = tool_3d, volumes.small_volume()[1].shape
    labels = np.zeros(shape, np.uint32)
    labels[2:5, 40:60, 20:40], labels[6:9, 40:60, 90:110] = 1, 2
    labels[9:12, 100:120, 110:140], labels[9:12, 20:30, 20:30] = 3, 3
    tool.session.objects.load(labels)
    volumes.go_to(tool, 7)
    bar = tool.dock.panels.review
    begin(tool)
    assert tool.review.doubt.id == 3 and "in 2 pieces" in bar.text.text() and tool.state.z == 10
    assert tool.state.selected == (3,) and tool.review.left == 2
    go_on(tool, bar.fine)
    assert (tool.review.doubt.id, tool.state.z) == (1, 3)
    key(tool.viewer, "w")
    assert wait_until(lambda: tool.review.doubt.id == 2) and tool.state.z == 7 and tool.review.left == 0
    press(bar.correct.native)
    assert tool.session.objects.reopened == 2 and not bar.isVisible()
    key(tool.viewer, "w")  # of an open object W goes to a slice, here to none
    assert tool.review.doubt is None and "No slice" in tool.status.text
    key(tool.viewer, "c")
    key(tool.viewer, "w")
    assert wait_until(lambda: "All 3 objects were looked at" in tool.status.text), tool.status.text


def test_of_tracks_the_division_that_is_passed_comes_first(tool_tracking, ends):
    ends(tool_tracking)
    tool, truth = tool_tracking, movies.small_movie()[1]
    click(tool, movies.place_of(movies.MOTHER, 0))
    wait_idle(tool)
    key(tool.viewer, "v")
    wait_idle(tool)
    assert tool.dock.panels.division.isVisible(), tool.status.text
    key(tool.viewer, "shift+c")
    tool.session.objects.load(np.where(np.isin(truth, movies.DAUGHTERS), movies.MOTHER, truth))
    movies.go_to(tool, 0)
    bar = tool.dock.panels.review
    begin(tool)
    assert tool.review.doubt.id == movies.MOTHER, bar.text.text()
    assert f"passes a division in frame {movies.LAST + 1}" in bar.text.text() and "Track 1" in bar.text.text()
    left = tool.review.left
    assert left == len(tool.session.objects) - 1 > 0
    key(tool.viewer, "w")
    assert wait_until(lambda: tool.review.left == left - 1)
    assert "passes a division" not in bar.text.text()
    last = tool.review.doubt.id
    go_on(tool, bar.delete)
    assert last not in tool.session.tracks.lineage and tool.review.left == left - 2
    press(bar.stop.native)
    tool.session.tracks.split(movies.MOTHER, movies.LAST + 1)
    begin(tool)
    for _ in range(len(tool.session.objects)):
        # the later part still covers both daughters, and is told by its new id
        if "passes a division" in bar.text.text():
            break
        go_on(tool, bar.next)
    assert tool.review.doubt is not None and tool.review.doubt.id != movies.MOTHER
    assert f"in frame {movies.LAST + 1}" in bar.text.text()
