"""Objects like the selected ones are proposed, and accepted one by one or all."""

from __future__ import annotations

import os

import numpy as np

from micro_sam.sam_annotator import annotator_2d

from . import driver
from .driver import canvas, canvas_point, key, press, process, wait_idle, wait_until
from .test_region import picture
from .volumes import go_to, small_volume, start_again
from .volumes import point_at as point_at_voxel

BRIGHT, DARK = ((40, 50), (40, 150), (120, 250)), ((120, 60), (40, 250), (120, 150))


def two_kinds() -> np.ndarray:
    """Bright and faint discs."""
    image = np.random.default_rng(0).normal(40, 4, (160, 300))
    y, x = np.mgrid[:160, :300]
    for places, value in ((BRIGHT, 190), (DARK, 60)):
        for cy, cx in places:
            image[(y - cy) ** 2 + (x - cx) ** 2 <= 18**2] += value
    return np.clip(image, 0, 255).astype("uint8")


def proposed(tool, places) -> list[bool]:
    return [bool(tool.session.auto[place]) for place in places]


def point_at(tool, place) -> None:
    """Move the mouse there."""
    driver._move_to(canvas(tool.viewer), canvas_point(tool.viewer, tool.layers.points.layer, place))
    process(0.2)


def test_objects_like_the_chosen_one_are_proposed_and_accepted_by_key_or_all_at_once(opened):
    tool = opened(annotator_2d, two_kinds(), model_type="nano_lm")
    assert wait_until(lambda: tool.engine.predictor is not None and not tool.engine.busy), tool.status.text
    wait_idle(tool)
    panel = tool.dock.panels.objects.panel
    driver.click(tool, BRIGHT[0])
    wait_idle(tool)
    key(tool.viewer, "c")
    (first,) = tool.session.objects
    assert not panel.similar.enabled
    tool.actions.select([first])
    for section in tool.dock.findChildren(type(tool.dock.panels.keys)):
        if section.isAncestorOf(panel):
            section.expand(animate=False)
    process(0.3)
    press(panel.similar.native)
    assert wait_until(lambda: "like 1" in tool.status.text), tool.status.text
    wait_idle(tool)
    assert proposed(tool, BRIGHT) == [False, True, True] and proposed(tool, DARK) == [False] * 3
    assert panel.similarity.visible or os.environ.get("QT_QPA_PLATFORM")
    picture("similar")

    panel.similarity.value = 0.0
    assert wait_until(lambda: any(proposed(tool, DARK))), tool.status.text
    panel.similarity.value = 0.5
    assert wait_until(lambda: not any(proposed(tool, DARK))), tool.status.text

    point_at(tool, BRIGHT[1])
    key(tool.viewer, "a")
    assert len(tool.session.objects) == 2 and tool.session.committed[BRIGHT[1]] == 2, tool.status.text
    assert proposed(tool, BRIGHT) == [False, False, True]
    tool.actions.undo()
    assert proposed(tool, BRIGHT) == [False, True, True] and len(tool.session.objects) == 1
    tool.actions.redo()
    point_at(tool, (5, 5))
    key(tool.viewer, "a")
    assert "no proposed object" in tool.status.text
    panel.similarity.value = 0.45
    process(0.5)
    wait_idle(tool)
    assert proposed(tool, BRIGHT) == [False, False, True], "what is committed is not proposed again"
    key(tool.viewer, "c")
    assert len(tool.session.objects) == 3 and not tool.session.auto.any()
    tool.saving.unsaved = False


def test_without_a_chosen_object_a_sentence_says_so(tool):
    tool.actions.find_similar()
    assert "Select one or more committed objects" in tool.status.text


def load_largest(tool) -> np.ndarray:
    """Load the largest nucleus of the small volume, find all others of its slices; where it is, bool."""
    truth = small_volume()[1]
    largest = truth == np.bincount(truth.ravel())[1:].argmax() + 1
    tool.session.objects.load(largest.astype(int))
    press(tool.dock.panels.extra[0].all_slices.native)
    wait_idle(tool)
    return largest


def test_nuclei_of_a_volume_are_proposed(tool_3d):
    tool = tool_3d
    largest = load_largest(tool)
    assert tool.session.auto.any()
    tool.actions.select([1])
    tool.actions.find_similar()
    assert wait_until(lambda: "like 1" in tool.status.text), tool.status.text
    wait_idle(tool)
    assert 0 < len(np.unique(tool.session.auto)) - 1
    covered = tool.session.auto[largest] > 0
    assert covered.mean() < 0.5
    start_again(tool)


def test_what_is_proposed_in_a_volume_is_accepted_one_by_one_and_all_at_once(tool_3d):
    tool = tool_3d
    largest = load_largest(tool)
    tool.actions.select([1])
    tool.actions.set_similarity(0.0)
    sections = tool.dock.findChildren(type(tool.dock.panels.keys))
    folded = [one for one in sections if one.isAncestorOf(tool.dock.panels.objects.panel) and not one.isExpanded()]
    for section in folded:
        section.expand(animate=False)
    process(0.3)
    try:
        press(tool.dock.panels.objects.panel.similar.native)
        assert wait_until(lambda: "like 1" in tool.status.text), tool.status.text
        wait_idle(tool)
        numbers = np.unique(tool.session.auto)[1:]
        assert len(numbers) > 2
        one = int(np.bincount(tool.session.auto.ravel())[1:].argmax()) + 1
        inside = np.argwhere(tool.session.auto == one)
        z = int(np.median(inside[:, 0]))
        plane = inside[inside[:, 0] == z]
        place = tuple(int(v) for v in plane[np.abs(plane - plane.mean(axis=0)).sum(axis=1).argmin()])
        go_to(tool, z)
        voxels = tool.session.auto == one
        point_at_voxel(tool, place)
        key(tool.viewer, "a")
        (new,) = set(tool.session.objects) - {1}  # ids go on from those of earlier tests in this window
        assert tool.session.committed[place] == new, tool.status.text
        assert np.array_equal(tool.session.committed == new, voxels & ~largest)
        assert len(np.unique(tool.session.auto)) - 1 == len(numbers) - 1
        key(tool.viewer, "ctrl+z")
        assert set(tool.session.objects) == {1} and (tool.session.auto == one).any()
        key(tool.viewer, "ctrl+shift+z")
        key(tool.viewer, "c")
        assert len(tool.session.objects) == len(numbers) + 1 and not tool.session.auto.any(), tool.status.text
    finally:
        for section in folded:
            section.collapse(animate=False)
        tool.actions.set_similarity(0.5)
        tool.actions.select(())
        start_again(tool)
