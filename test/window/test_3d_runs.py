"""Runs through a volume in a real window: what a person may do while they grow, and what comes of it."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from micro_sam.sam_annotator import annotator_3d
from micro_sam.sam_annotator.runtime.jobs import WORK
from micro_sam.segmentation.propagation import volume as propagation

from . import driver
from .driver import Heartbeat, click, drag, key, wait_idle, wait_until
from .volumes import FIRST, OTHER, box_in, go_to, menu, middle_of, overlap, place_in, slices_of, small_volume


@pytest.fixture
def propagates(tool_3d):
    """V goes from slice to slice, though maps are there."""
    menu(tool_3d).method.value = "propagation"


@pytest.fixture
def slow_steps(monkeypatch, propagates):
    """Every step of a run waits until the test lets it go."""
    gate = threading.Semaphore(0)
    step = propagation.project_mask

    def slow(*args, **kwargs):
        gate.acquire(timeout=20)
        return step(*args, **kwargs)

    monkeypatch.setattr(propagation, "project_mask", slow)
    yield gate
    for _ in range(100):
        gate.release()


def test_v_extends_the_object_whichever_layer_is_selected(tool_3d):
    tool, started = tool_3d, []
    click(tool, middle_of(FIRST))
    wait_idle(tool)
    tool.propagation.start = lambda **options: started.append(options)
    try:
        for number, layer in enumerate(list(tool.viewer.layers), start=1):
            tool.viewer.layers.selection.active = layer
            key(tool.viewer, "v")
            assert len(started) == number, f"v does not work while {layer.name} is selected"
        driver.press(tool.viewer.window._qt_viewer.layers.viewport())
        key(tool.viewer, "v")
        assert all(layer.visible for layer in tool.viewer.layers)
    finally:
        del tool.propagation.start
    assert started[0]["iou_threshold"] == 0.5


def test_s_segments_the_slice_in_view_only(tool_3d):
    tool = tool_3d
    tool.state.live = False
    z, y, x = middle_of(FIRST)
    for other in (z, z + 1):
        go_to(tool, other)
        click(tool, (other, y, x))
    assert tool.session.prompts.drawn.slices == (z, z + 1)
    assert not tool.session.has_current
    key(tool.viewer, "s")
    wait_idle(tool)
    assert slices_of(tool) == [z + 1]


def test_an_object_is_shown_while_it_grows_and_cancel_keeps_it(tool_3d, slow_steps):
    tool = tool_3d
    place = middle_of(FIRST)
    go_to(tool, place[0])
    click(tool, place)
    wait_idle(tool)
    driver.press(menu(tool).run.native)
    assert tool.jobs.running(WORK) is not None
    for grown in (2, 3):
        slow_steps.release()
        assert wait_until(lambda grown=grown: len(slices_of(tool)) == grown), tool.status.text
        assert wait_until(lambda: set(menu(tool).strip.state.confidence) == set(slices_of(tool)))
    driver.press(tool.dock.status.cancel)
    slow_steps.release()
    wait_idle(tool)
    assert len(slices_of(tool)) == 3
    assert "Cancelled; 3 slices" in tool.status.text
    key(tool.viewer, "ctrl+z")
    assert slices_of(tool) == [place[0]], "the run is one step of undo, also when it was cancelled"
    assert len(tool.session.prompts.drawn.points) == 1


def test_a_click_while_the_object_grows_ends_the_run_and_v_starts_it_again(tool_3d, slow_steps):
    tool = tool_3d
    z, y, x = middle_of(FIRST)
    go_to(tool, z)
    click(tool, (z, y, x))
    wait_idle(tool)
    key(tool.viewer, "v")
    slow_steps.release()
    assert wait_until(lambda: len(slices_of(tool)) == 2)
    click(tool, (z, y + 4, x))
    key(tool.viewer, "v")
    for _ in range(60):
        slow_steps.release()
    wait_idle(tool)
    assert len(tool.session.prompts.drawn.points) == 2
    assert overlap(tool.session.current > 0, FIRST) > 0.5, tool.status.text


def test_keys_during_a_run_do_not_harm_it(tool_3d, slow_steps):
    tool = tool_3d
    place = middle_of(FIRST)
    go_to(tool, place[0])
    click(tool, place)
    wait_idle(tool)
    key(tool.viewer, "v")
    key(tool.viewer, "v")
    assert "still running" in tool.status.text
    key(tool.viewer, "c")
    assert "still running" in tool.status.text and not tool.session.objects
    for _ in range(60):
        slow_steps.release()
    wait_idle(tool)
    assert overlap(tool.session.current > 0, FIRST) > 0.5, tool.status.text


def test_several_objects_at_once(tool_3d, propagates):
    tool = tool_3d
    menu(tool).iou_threshold.value = 0.3
    z = middle_of(FIRST)[0] - 1
    go_to(tool, z)
    driver.press(tool.dock.panels.prompts.tools["box"])
    drag(tool, *box_in(FIRST, z))
    drag(tool, *box_in(OTHER, z))
    wait_idle(tool)
    key(tool.viewer, "v")
    wait_idle(tool)
    assert_two_objects(tool)
    key(tool.viewer, "c")
    assert len(tool.session.objects) == 2


def assert_two_objects(tool) -> None:
    """Each label goes through several slices and stays on its own nucleus."""
    for label, nucleus in ((1, FIRST), (2, OTHER)):
        found = tool.session.current == label
        assert len(slices_of(tool, label)) > 2, tool.status.text
        pixels = np.bincount(small_volume()[1][found])
        assert pixels[1:].argmax() + 1 == nucleus


def test_one_object_per_point(tool_3d, propagates):
    tool = tool_3d
    menu(tool).iou_threshold.value = 0.3
    z = middle_of(FIRST)[0] - 1
    go_to(tool, z)
    tool.dock.panels.segment.batched.value = True
    click(tool, place_in(FIRST, z))
    click(tool, place_in(OTHER, z))
    wait_idle(tool)
    key(tool.viewer, "v")
    wait_idle(tool)
    tool.dock.panels.segment.batched.value = False
    assert_two_objects(tool)


def test_a_negative_point_stops_the_object_and_one_in_the_middle_is_explained(tool_3d, propagates):
    tool = tool_3d
    z, y, x = middle_of(FIRST)
    go_to(tool, z)
    click(tool, (z, y, x))
    go_to(tool, z + 2)
    key(tool.viewer, "t")
    click(tool, (z + 2, y, x))
    wait_idle(tool)
    key(tool.viewer, "v")
    wait_idle(tool)
    assert max(slices_of(tool)) == z + 1, tool.status.text
    assert wait_until(lambda: menu(tool).strip.state.stops == {z + 2})
    assert "not here" in menu(tool).strip.describe(z + 2)

    key(tool.viewer, "t")
    go_to(tool, z + 3)
    click(tool, (z + 3, y, x))
    wait_idle(tool)
    before = tool.session.current.copy()
    key(tool.viewer, "v")
    wait_idle(tool)
    assert f"Slice {z + 2}" in tool.status.text and "both sides" in tool.status.text
    assert np.array_equal(tool.session.current, before)


def test_a_stop_after_the_object_has_grown_is_committed_so_at_once(tool_3d, propagates):
    tool = tool_3d
    menu(tool).iou_threshold.value = 0.3
    z, y, x = middle_of(FIRST)
    go_to(tool, z)
    click(tool, (z, y, x))
    wait_idle(tool)
    key(tool.viewer, "v")
    wait_idle(tool)
    grown = slices_of(tool)
    assert grown[-1] >= z + 2, tool.status.text
    whole = tool.session.current.copy()
    go_to(tool, z + 2)
    key(tool.viewer, "t")
    click(tool, (z + 2, y, x))
    wait_idle(tool)
    assert slices_of(tool) == [k for k in grown if k < z + 2]
    assert tool.status.text == f"Slice {z + 2} is a stop: the object ends before it."
    key(tool.viewer, "ctrl+z")
    assert np.array_equal(tool.session.current, whole)
    key(tool.viewer, "ctrl+shift+z")
    key(tool.viewer, "c")
    wait_idle(tool)
    assert not tool.session.committed[z + 2 :].any() and tool.session.committed[z + 1].any()


def test_all_objects_of_the_volume(tool_3d):
    tool = tool_3d
    menu(tool).all_slices.native.click()
    wait_idle(tool)
    assert "in the volume" in tool.status.text and tool.state.source == "auto"
    key(tool.viewer, "c")
    labels, truth = tool.session.committed, small_volume()[1]
    inside = np.bincount(labels[truth == FIRST])
    inside[0] = 0
    best = int(inside.argmax())
    assert len(np.flatnonzero((labels == best).any(axis=(1, 2)))) > 3, "slices of one nucleus are one object"
    assert overlap(labels == best, FIRST) > 0.4
    key(tool.viewer, "ctrl+z")
    key(tool.viewer, "ctrl+z")
    assert not tool.session.auto.any(), "all slices are one step of undo"


def test_v_without_prompts_says_what_to_do(tool_3d):
    key(tool_3d.viewer, "v")
    assert "Click" in tool_3d.status.text and tool_3d.status.kind == "error"
    assert tool_3d.jobs.running(WORK) is None


def test_the_slice_in_view_is_embedded_first_and_can_be_segmented_while_others_are_computed(opened, monkeypatch):
    from micro_sam.models.predictor import Predictor

    gate, encode = threading.Semaphore(0), Predictor.encode_batch

    def encode_batch(self, images):
        gate.acquire(timeout=60)
        return encode(self, images)

    monkeypatch.setattr(Predictor, "encode_batch", encode_batch)
    volume = small_volume()[0][4:10]
    tool = opened(annotator_3d, volume, model_type="nano_lm")
    session = tool.session
    assert wait_until(lambda: session.model.embeddings is not None), tool.status.text
    z, y, x = middle_of(FIRST)
    z -= 4
    go_to(tool, z)
    menu(tool).iou_threshold.value = 0.3

    # The prompt and the wish to extend it are kept until the first slice is there.
    click(tool, (z, y, x))
    key(tool.viewer, "v")
    assert "as soon as" in tool.status.text
    # One slice may have been begun before the person came here.
    for _ in range(2):
        gate.release()
    assert wait_until(lambda: session.model.embeddings.is_complete(z)), tool.status.text
    assert not session.model.embeddings.is_complete()
    assert wait_until(lambda: session.has_current), tool.status.text

    # The run waits for its slices, and the window lives meanwhile.
    with Heartbeat() as heart:
        for _ in range(20):
            gate.release()
        wait_idle(tool)
    assert session.model.embeddings.is_complete()
    assert len(slices_of(tool)) > 2, tool.status.text
    assert heart.longest < 0.5, f"the window stood still for {heart.longest:.2f} s"


def test_the_window_lives_while_an_object_grows(tool_3d, propagates):
    tool = tool_3d
    place = middle_of(FIRST)
    go_to(tool, place[0])
    click(tool, place)
    wait_idle(tool)
    time.sleep(0.1)
    driver.process(0.2)
    with Heartbeat() as heart:
        tool.actions.segment_volume()
        wait_idle(tool)
    assert len(slices_of(tool)) > 3
    assert heart.longest < 0.4, f"the window stood still for {heart.longest:.2f} s"
