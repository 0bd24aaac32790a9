"""Whole objects that follow every action, in a real window: brush, prompts that go, several at once, sliders."""

from __future__ import annotations

import numpy as np
import pytest

from micro_sam.sam_annotator import annotator_3d
from micro_sam.sam_annotator.runtime.jobs import MAPS
from micro_sam.sam_annotator.state.options import VolumeThresholds
from micro_sam.segmentation.volume import compute
from micro_sam.segmentation.volume.automatic import THRESHOLDS

from . import driver
from .driver import Heartbeat, click, drag, key, wait_idle, wait_until
from .test_3d_whole_objects import click_at, no_propagation, slow_maps  # noqa: F401
from .volumes import FIRST, OTHER, box_in, go_to, menu, middle_of, overlap, place_in, point_at, slices_of, small_volume

TOUCHING = (1, 11)
"""Two nuclei that share a border."""

pytestmark = pytest.mark.usefixtures("no_propagation")


def test_an_object_without_its_last_prompt_leaves_nothing(tool_3d):
    tool = tool_3d
    click_at(tool, middle_of(FIRST))
    whole = tool.session.current.copy()
    assert len(slices_of(tool)) > 3
    points = tool.layers.points.layer
    points.selected_data = {0}
    points.remove_selected()
    wait_idle(tool)
    assert not len(tool.session.prompts.drawn) and not tool.session.current.any(), tool.status.text
    key(tool.viewer, "ctrl+z")
    wait_idle(tool)
    assert np.array_equal(tool.session.current, whole) and len(tool.session.prompts.drawn) == 1


def test_a_brush_without_any_prompt_gives_the_whole_object(tool_3d):
    tool = tool_3d
    z, y, x = middle_of(FIRST)
    go_to(tool, z)
    tool.actions.use_tool("paint")
    tool.viewer.layers["current_object"].brush_size = 12
    drag(tool, (z, y, x - 4), (z, y, x + 4))
    painted = tool.session.current[z].copy()
    wait_idle(tool)
    assert painted.any() and np.array_equal(tool.session.current[z], painted)
    assert len(slices_of(tool)) > 3, tool.status.text
    whole = tool.session.current.copy()

    go_to(tool, z + 1)
    tool.actions.use_tool("erase")
    drag(tool, (z + 1, y - 8, x - 4), (z + 1, y - 8, x + 4))
    erased = tool.session.current[z + 1].copy()
    wait_idle(tool)
    assert erased.sum() < whole[z + 1].sum() and np.array_equal(tool.session.current[z + 1], erased)
    key(tool.viewer, "ctrl+z")
    wait_idle(tool)
    assert np.array_equal(tool.session.current, whole)
    key(tool.viewer, "ctrl+z")
    wait_idle(tool)
    assert not tool.session.current.any()


def test_a_negative_click_splits_two_touching_nuclei(tool_3d):
    tool = tool_3d
    truth = small_volume()[1]
    both = np.isin(truth, TOUCHING)
    z = int(np.argmax([min((truth[z] == i).sum() for i in TOUCHING) for z in range(len(truth))]))
    where = np.argwhere(both[z])
    (y0, x0), (y1, x1) = where.min(axis=0) - 2, where.max(axis=0) + 2
    go_to(tool, z)
    driver.press(tool.dock.panels.prompts.tools["box"])
    drag(tool, (z, int(y0), int(x0)), (z, int(y1), int(x1)))
    wait_idle(tool)
    keep, other = TOUCHING

    def share(label):
        return float((tool.session.current > 0)[truth == label].mean())

    assert share(keep) > 0.5 and share(other) > 0.5, tool.status.text
    tool.actions.use_tool("point")
    click_at(tool, place_in(other, z), positive=False)
    assert share(keep) > 0.5 and share(other) < 0.2, tool.status.text
    assert {c.source for c in tool.session.propagation.confidence.values()} <= {"prompt", "maps"}
    key(tool.viewer, "ctrl+z")
    wait_idle(tool)
    assert share(other) > 0.5


def test_exact_slices_are_kept_by_an_object_that_is_opened_again(tool_3d):
    tool = tool_3d
    z, y, x = middle_of(FIRST)
    click_at(tool, (z, y, x))
    go_to(tool, z + 1)
    tool.actions.use_tool("paint")
    drag(tool, (z + 1, y, x), (z + 1, y, x + 14))
    wait_idle(tool)
    tool.actions.use_tool("point")
    click_at(tool, place_in(FIRST, z - 1))
    key(tool.viewer, "s")
    wait_idle(tool)
    exact = tool.session.current[[z - 1, z + 1]].copy()
    key(tool.viewer, "c")
    (first,) = tool.session.objects
    assert tool.session.objects[first].imposed == (z - 1,) and tool.session.objects[first].painted == (z + 1,)
    go_to(tool, z)
    point_at(tool, (z, y, x))
    key(tool.viewer, "o")
    click_at(tool, place_in(FIRST, z - 2))
    assert np.array_equal(tool.session.current[[z - 1, z + 1]], exact), tool.status.text
    assert overlap(tool.session.current > 0, FIRST) > 0.5
    key(tool.viewer, "c")
    assert set(tool.session.objects) == {first}


def assert_two_objects(tool):
    for nucleus in (FIRST, OTHER):
        best = max(overlap(tool.session.current == label, nucleus) for label in (1, 2))
        assert best > 0.5, tool.status.text


def test_one_object_per_point_is_several_whole_objects_live(tool_3d):
    tool = tool_3d
    z = middle_of(FIRST)[0] - 1
    go_to(tool, z)
    tool.dock.panels.segment.batched.value = True
    try:
        click(tool, place_in(FIRST, z))
        click(tool, place_in(OTHER, z))
        wait_idle(tool)
        assert_two_objects(tool)
        points = tool.layers.points.layer
        points.selected_data = {1}
        points.remove_selected()
        wait_idle(tool)
        assert set(np.unique(tool.session.current)) == {0, 1} and overlap(tool.session.current == 1, FIRST) > 0.5
        key(tool.viewer, "ctrl+z")
        wait_idle(tool)
        assert_two_objects(tool)
        key(tool.viewer, "c")
        assert len(tool.session.objects) == 2, tool.status.text
    finally:
        tool.dock.panels.segment.batched.value = False


def test_several_boxes_are_several_whole_objects_live(tool_3d):
    tool = tool_3d
    z = middle_of(FIRST)[0] - 1
    go_to(tool, z)
    driver.press(tool.dock.panels.prompts.tools["box"])
    drag(tool, *box_in(FIRST, z))
    drag(tool, *box_in(OTHER, z))
    wait_idle(tool)
    assert_two_objects(tool)


def test_all_objects_come_from_the_maps_and_the_sliders_ask_no_network(tool_3d, monkeypatch):
    tool = tool_3d
    assert dict(VolumeThresholds()) == THRESHOLDS

    def refuse(*args, **kwargs):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(compute, "_slice_maps", refuse)
    monkeypatch.setattr(compute, "_plane_maps", refuse)
    monkeypatch.setattr("micro_sam.sam_annotator.controller.automatic.make_segmenter", refuse)
    driver.press(menu(tool).all_slices.native)
    wait_idle(tool)
    assert "in the volume" in tool.status.text and tool.state.source == "auto"
    first = tool.session.auto.copy()
    labels = np.bincount(first[small_volume()[1] == FIRST])
    labels[0] = 0
    assert overlap(first == labels.argmax(), FIRST) > 0.6
    menu(tool).all_parameters.expand(animate=False)
    menu(tool).thresholds["foreground_threshold"].value = 0.8
    assert wait_until(lambda: not np.array_equal(tool.session.auto, first))
    wait_idle(tool)
    assert 0 < (tool.session.auto > 0).sum() < (first > 0).sum()
    menu(tool).thresholds["foreground_threshold"].value = THRESHOLDS["foreground_threshold"]
    assert wait_until(lambda: np.array_equal(tool.session.auto, first))
    wait_idle(tool)
    key(tool.viewer, "ctrl+z")
    assert not tool.session.auto.any(), "all thresholds are one step of undo"
    menu(tool).all_parameters.collapse(animate=False)


def test_the_menu_of_thresholds_is_there_only_where_the_maps_are_used(tool_3d):
    tool = tool_3d
    assert not menu(tool).all_parameters.isHidden()
    menu(tool).method.value = "propagation"
    assert menu(tool).all_parameters.isHidden() and not tool.volume.automatic.by_maps
    menu(tool).method.value = "auto"
    tool.dock.panels.automatic.parameters.panel.method.value = "grid"
    assert menu(tool).all_parameters.isHidden()
    tool.dock.panels.automatic.parameters.panel.method.value = "dense"
    assert not menu(tool).all_parameters.isHidden()


def test_clicking_never_stops_the_window(tool_3d):
    tool = tool_3d
    place = middle_of(FIRST)
    click_at(tool, place)
    z, y, x = place
    with Heartbeat() as heart:
        for dz in (0, 1, 2, -1):
            click_at(tool, (z + dz, y + 3, x))
        click_at(tool, (z + 3, y, x), positive=False)
        key(tool.viewer, "c")
        click_at(tool, middle_of(OTHER))
        driver.process(0.3)
    with Heartbeat() as looking:  # how long this machine takes to draw another slice
        for dz in (0, 1, 2, 1, 0):
            go_to(tool, z + dz)
    assert heart.busiest < max(0.15, 2 * looking.busiest), (heart.busiest, heart.longest, looking.busiest)


def test_a_click_before_the_maps_is_answered_says_when_the_whole_comes_and_then_it_comes(opened, slow_maps):  # noqa: F811
    tool = opened(annotator_3d, small_volume()[0], model_type="nano_lm")
    assert wait_until(lambda: tool.jobs.running(MAPS) is not None), tool.status.text
    place = middle_of(FIRST)
    go_to(tool, place[0])
    click(tool, place)
    assert wait_until(lambda: tool.session.has_current), tool.status.text
    assert slices_of(tool) == [place[0]]
    assert wait_until(lambda: "whole object comes by itself" in tool.status.text), tool.status.text
    for _ in range(100):
        slow_maps.release()
    wait_idle(tool)
    assert overlap(tool.session.current > 0, FIRST) > 0.6, tool.status.text
    assert "comes by itself" not in tool.status.text
    key(tool.viewer, "ctrl+z")
    assert not tool.session.current.any() and not len(tool.session.prompts.drawn), (
        "the click and its object are one step"
    )
