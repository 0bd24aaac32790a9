"""Whole objects by the maps of a volume, in a real window: click, V, corrections, undo, and maps that are not ready."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from micro_sam.sam_annotator import annotator_3d
from micro_sam.sam_annotator.runtime.jobs import MAPS, WORK
from micro_sam.segmentation.propagation import volume as propagation
from micro_sam.segmentation.volume import compute

from . import driver
from .driver import click, drag, key, wait_idle, wait_until
from .volumes import FIRST, OTHER, box_in, go_to, menu, middle_of, overlap, place_in, point_at, slices_of, small_volume


@pytest.fixture
def no_propagation(monkeypatch):
    """Whoever goes from slice to slice fails the test."""

    def refuse(*args, **kwargs):
        raise AssertionError("an object was handed from slice to slice")

    monkeypatch.setattr(propagation, "project_mask", refuse)


@pytest.fixture
def slow_maps(monkeypatch):
    """Every block of the maps waits until the test lets it go."""
    gate, step = threading.Semaphore(0), compute._slice_maps

    def slow(*args, **kwargs):
        gate.acquire(timeout=30)
        return step(*args, **kwargs)

    monkeypatch.setattr(compute, "_slice_maps", slow)
    yield gate
    for _ in range(200):
        gate.release()


def click_at(tool, position, positive=True):
    go_to(tool, position[0])
    if not positive:
        key(tool.viewer, "t")
    click(tool, position)
    wait_idle(tool)
    if not positive:
        key(tool.viewer, "t")


def test_v_gives_the_whole_object_and_is_one_step_of_undo(tool_3d, no_propagation):
    tool = tool_3d
    assert tool.session.model.maps.is_complete
    tool.state.live = False
    place = middle_of(FIRST)
    click_at(tool, place)
    key(tool.viewer, "s")
    wait_idle(tool)
    before = tool.session.current.copy()
    key(tool.viewer, "v")
    wait_idle(tool)
    whole = tool.session.current.copy()
    assert overlap(whole > 0, FIRST) > 0.6, tool.status.text
    assert wait_until(lambda: set(menu(tool).strip.state.confidence) == set(slices_of(tool)))
    z = next(z for z in slices_of(tool) if z != place[0])
    assert "maps" in menu(tool).strip.describe(z)
    key(tool.viewer, "ctrl+z")
    assert np.array_equal(tool.session.current, before)
    key(tool.viewer, "ctrl+shift+z")
    assert np.array_equal(tool.session.current, whole)
    key(tool.viewer, "w")
    assert tool.state.z in slices_of(tool)
    key(tool.viewer, "c")
    assert np.array_equal(tool.session.committed > 0, whole > 0)


def test_a_click_gives_the_whole_object_live_and_is_one_step_of_undo(tool_3d, no_propagation):
    tool = tool_3d
    place = middle_of(FIRST)
    click_at(tool, place)
    assert overlap(tool.session.current > 0, FIRST) > 0.6, tool.status.text
    whole = tool.session.current.copy()
    z, y, x = place
    click_at(tool, (z + 2, y, x), positive=False)
    assert max(slices_of(tool)) == z + 1, tool.status.text
    key(tool.viewer, "ctrl+z")
    assert np.array_equal(tool.session.current, whole)
    key(tool.viewer, "ctrl+z")
    assert not tool.session.has_current and not len(tool.session.prompts.drawn)
    key(tool.viewer, "ctrl+shift+z")
    wait_idle(tool)
    assert np.array_equal(tool.session.current, whole)
    click_at(tool, (z + 2, y, x), positive=False)
    key(tool.viewer, "c")
    wait_idle(tool)
    assert not tool.session.committed[z + 2 :].any() and tool.session.committed[z].any(), tool.status.text


def test_a_stroke_in_a_slice_is_exact_and_changes_the_others_live(tool_3d, no_propagation):
    tool = tool_3d
    z, y, x = middle_of(FIRST)
    click_at(tool, (z, y, x))
    before = tool.session.current.copy()
    go_to(tool, z + 1)
    tool.actions.use_tool("paint")
    drag(tool, (z + 1, y, x), (z + 1, y, x + 16))
    painted = tool.session.current[z + 1].copy()
    wait_idle(tool)
    assert painted[y, x + 16] == 1 and np.array_equal(tool.session.current[z + 1], painted)
    assert not np.array_equal(tool.session.current[z + 2], before[z + 2]), tool.status.text
    key(tool.viewer, "ctrl+z")
    wait_idle(tool)
    assert np.array_equal(tool.session.current, before)


def test_a_commit_right_after_a_click_takes_the_whole_object(tool_3d, no_propagation):
    tool = tool_3d
    place = middle_of(FIRST)
    go_to(tool, place[0])
    click(tool, place)
    key(tool.viewer, "c")
    wait_idle(tool)
    assert wait_until(lambda: len(tool.session.objects) == 1), tool.status.text
    assert overlap(tool.session.committed > 0, FIRST) > 0.6


def test_a_negative_click_in_a_slice_of_its_own_ends_the_object(tool_3d, no_propagation):
    tool = tool_3d
    z, y, x = middle_of(FIRST)
    click_at(tool, (z, y, x))
    click_at(tool, (z + 2, y, x), positive=False)
    key(tool.viewer, "v")
    wait_idle(tool)
    assert max(slices_of(tool)) == z + 1 and min(slices_of(tool)) < z, tool.status.text
    assert wait_until(lambda: menu(tool).strip.state.stops == {z + 2})


def test_a_painted_slice_stays_as_it_is_painted(tool_3d, no_propagation):
    tool = tool_3d
    z, y, x = middle_of(FIRST)
    click_at(tool, (z, y, x))
    key(tool.viewer, "v")
    wait_idle(tool)
    go_to(tool, z + 1)
    tool.actions.use_tool("paint")
    drag(tool, (z + 1, y, x), (z + 1, y, x + 14))
    painted = tool.session.current[z + 1].copy()
    assert painted[y, x + 14] == 1
    key(tool.viewer, "v")
    wait_idle(tool)
    assert np.array_equal(tool.session.current[z + 1], painted), tool.status.text
    assert overlap(tool.session.current > 0, FIRST) > 0.5


def test_an_object_that_is_opened_again_is_corrected(tool_3d, no_propagation):
    tool = tool_3d
    place = middle_of(FIRST)
    click_at(tool, place)
    key(tool.viewer, "v")
    wait_idle(tool)
    key(tool.viewer, "c")
    (first,) = tool.session.objects
    go_to(tool, place[0])
    point_at(tool, place)
    key(tool.viewer, "o")
    click_at(tool, place_in(FIRST, place[0] + 1))
    key(tool.viewer, "v")
    wait_idle(tool)
    assert overlap(tool.session.current > 0, FIRST) > 0.6, tool.status.text
    key(tool.viewer, "c")
    assert set(tool.session.objects) == {first} and len(tool.session.objects[first].prompts) == 2


def test_several_boxes_are_several_objects(tool_3d, no_propagation):
    tool = tool_3d
    z = middle_of(FIRST)[0] - 1
    go_to(tool, z)
    driver.press(tool.dock.panels.prompts.tools["box"])
    drag(tool, *box_in(FIRST, z))
    drag(tool, *box_in(OTHER, z))
    wait_idle(tool)
    key(tool.viewer, "v")
    wait_idle(tool)
    assert overlap(tool.session.current == 1, FIRST) > 0.5 and overlap(tool.session.current == 2, OTHER) > 0.5
    key(tool.viewer, "c")
    assert len(tool.session.objects) == 2


def test_maps_grow_in_the_background_and_cancel_keeps_what_is_there(opened, slow_maps):
    tool = opened(annotator_3d, small_volume()[0], model_type="nano_lm")
    assert wait_until(lambda: tool.jobs.running(MAPS) is not None), tool.status.text
    assert wait_until(lambda: tool.session.model.maps is not None)
    place = middle_of(FIRST)
    go_to(tool, place[0])
    click(tool, place)
    assert wait_until(lambda: tool.session.has_current), tool.status.text

    # Not known around the click yet: from slice to slice, and the maps make room for it.
    menu(tool).iou_threshold.value = 0.5
    key(tool.viewer, "v")
    assert wait_until(lambda: tool.jobs.running(WORK) is None), tool.status.text
    assert len(slices_of(tool)) > 2 and {c.source for c in tool.session.propagation.confidence.values()} == {
        "prompt",
        "propagated",
    }
    key(tool.viewer, "ctrl+z")

    slow_maps.release()
    assert wait_until(lambda: tool.session.model.maps.progress[0] >= 1)
    assert wait_until(lambda: "Preparing whole objects" in tool.dock.status.progress.format())
    driver.press(tool.dock.status.cancel)
    slow_maps.release()
    wait_idle(tool)
    done = tool.session.model.maps.progress[0]
    assert 0 < done < tool.session.shape[0] and "Cancelled" in tool.status.text

    # Whoever wants whole objects nevertheless gets them: the rest is computed where the object is.
    for _ in range(100):
        slow_maps.release()
    menu(tool).method.value = "maps"
    wait_idle(tool)
    assert tool.session.model.maps.is_complete and "Whole objects are ready" in tool.status.text
    key(tool.viewer, "v")
    wait_idle(tool)
    assert overlap(tool.session.current > 0, FIRST) > 0.6, tool.status.text


def test_a_restart_with_a_cache_finds_the_maps(opened, tmp_path, monkeypatch):
    path = tmp_path / "embeddings.zarr"
    tool = opened(annotator_3d, small_volume()[0], embedding_path=path, model_type="nano_lm")
    assert wait_until(lambda: tool.session.model.maps is not None and tool.session.model.maps.is_complete), (
        tool.status.text
    )
    wait_idle(tool)
    driver.close(tool.viewer)

    def refuse(*args, **kwargs):
        raise AssertionError("a block was computed twice")

    monkeypatch.setattr(compute, "_slice_maps", refuse)
    tool = opened(annotator_3d, small_volume()[0], embedding_path=path, model_type="nano_lm")
    assert wait_until(lambda: tool.session.model.maps is not None and tool.session.model.maps.is_complete), (
        tool.status.text
    )
    wait_idle(tool)
    assert "Whole objects are ready" in tool.status.text
