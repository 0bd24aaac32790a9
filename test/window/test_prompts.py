"""Clicks, boxes, polygons and brushes reach the session; the layers show what the session knows."""

from __future__ import annotations

import numpy as np
import pytest
from napari.layers import Image, Labels, Points

from micro_sam.sam_annotator.view.camera import camera_of

from . import driver
from .driver import click, drag, key, wait_idle

COIN, OTHER_COIN = (60, 100), (115, 160)


def test_first_click_after_start_and_after_commit_gives_a_mask(tool):
    click(tool, COIN)
    wait_idle(tool)
    assert tool.session.current[COIN] == 1
    key(tool.viewer, "c")
    click(tool, OTHER_COIN)
    wait_idle(tool)
    assert tool.session.current[OTHER_COIN] == 1
    assert tool.session.committed[COIN] == 1


def test_t_switches_the_next_point_and_not_the_one_just_placed(tool):
    click(tool, COIN)
    key(tool.viewer, "t")
    assert [point.positive for point in tool.session.prompts.drawn.points] == [True]
    assert tool.dock.panels.prompts.polarity.value == "negative"
    click(tool, (COIN[0] + 30, COIN[1]))
    assert [point.positive for point in tool.session.prompts.drawn.points] == [True, False]
    layer = tool.layers.points.layer
    assert list(layer.features["label"]) == ["positive", "negative"]
    green, red = layer.face_color
    assert green[1] > green[0] and red[0] > red[1]


def test_t_switches_points_that_the_person_selected(tool):
    click(tool, COIN)
    click(tool, (COIN[0] + 8, COIN[1]))
    layer = tool.layers.points.layer
    tool.actions.use_tool("move")
    layer.selected_data = {1}
    key(tool.viewer, "t")
    assert [point.positive for point in tool.session.prompts.drawn.points] == [True, False]
    assert tool.session.prompts.next_positive
    key(tool.viewer, "t")
    assert [point.positive for point in tool.session.prompts.drawn.points] == [True, True]


def test_next_point_is_positive_again_after_commit_and_clear(tool):
    click(tool, COIN)
    wait_idle(tool)
    for finish in ("c", "shift+c"):
        key(tool.viewer, "t")
        assert not tool.session.prompts.next_positive
        if finish == "shift+c":
            click(tool, OTHER_COIN)
        key(tool.viewer, finish)
        assert tool.session.prompts.next_positive, finish
        assert tool.dock.panels.prompts.polarity.value == "positive"


def test_prompt_menu_and_key_show_the_same(tool):
    tool.dock.panels.prompts.polarity.value = "negative"
    assert not tool.session.prompts.next_positive
    key(tool.viewer, "t")
    assert tool.dock.panels.prompts.polarity.value == "positive"


def test_point_can_be_dragged_and_stays_the_same_prompt(tool):
    click(tool, COIN)
    wait_idle(tool)
    (before,) = tool.session.prompts.drawn.points
    tool.actions.use_tool("move")
    drag(tool, COIN, (OTHER_COIN[0], OTHER_COIN[1]))
    (after,) = tool.session.prompts.drawn.points
    assert after.id == before.id
    assert np.allclose(after.position, OTHER_COIN, atol=2)
    wait_idle(tool)
    assert tool.session.current[OTHER_COIN] == 1 and tool.session.current[COIN] == 0


def test_box_gives_an_object_and_points_inside_correct_it(tool):
    driver.press(tool.dock.panels.prompts.tools["box"])
    drag(tool, (35, 78), (82, 122))
    wait_idle(tool)
    assert tool.session.current[COIN] == 1
    assert tool.session.prompts.drawn.shapes[0].kind == "rectangle"
    tool.actions.use_tool("point")
    click(tool, COIN)
    wait_idle(tool)
    assert len(tool.session.prompts.drawn) == 2 and tool.session.current[COIN] == 1


@pytest.mark.parametrize("kind", ["ellipse", "polygon"])
def test_ellipse_and_polygon_are_prompts(tool, kind):
    driver.press(tool.dock.panels.prompts.tools[kind])
    if kind == "ellipse":
        drag(tool, (35, 78), (82, 122))
    else:
        for corner in ((36, 90), (50, 121), (80, 110), (76, 82)):
            click(tool, corner)
        driver.process(0.5)  # a quick second click would be a double click
        key(tool.viewer, "Return" if driver.REAL else "return")
    assert [shape.kind for shape in tool.session.prompts.drawn.shapes] == [kind]
    wait_idle(tool)
    assert tool.session.current[COIN] == 1


def test_line_is_refused_with_a_sentence(tool):
    layer = tool.layers.shapes.layer
    layer.add(np.array([[30.0, 30.0], [60.0, 60.0]]), shape_type="line")
    assert not tool.session.prompts.drawn.shapes and len(layer.data) == 0
    assert "box" in tool.status.text


def test_click_outside_the_image_is_refused_with_a_sentence(tool):
    layer = tool.layers.points.layer
    layer.add([-20.0, -20.0])
    assert not len(tool.session.prompts.drawn) and len(layer.data) == 0
    assert "outside" in tool.status.text


def test_several_points_can_be_several_objects(tool):
    tool.dock.panels.segment.batched.value = True
    click(tool, COIN)
    click(tool, OTHER_COIN)
    wait_idle(tool)
    tool.dock.panels.segment.batched.value = False
    assert tool.session.current[COIN] != tool.session.current[OTHER_COIN]
    assert tool.session.current[COIN] > 0 and tool.session.current[OTHER_COIN] > 0


def test_without_live_preview_the_key_segments(tool):
    tool.dock.panels.segment.live.value = False
    click(tool, COIN)
    wait_idle(tool)
    assert not tool.session.has_current
    key(tool.viewer, "s")
    wait_idle(tool)
    assert tool.session.current[COIN] == 1
    tool.dock.panels.segment.live.value = True


def test_nothing_to_segment_or_commit_is_a_sentence(tool):
    key(tool.viewer, "s")
    assert "no prompts" in tool.status.text and tool.status.kind == "error"
    key(tool.viewer, "c")
    assert tool.status.kind == "error" and not tool.session.objects


def test_only_negative_points_are_no_error_while_clicking(tool):
    key(tool.viewer, "t")
    click(tool, COIN)
    wait_idle(tool)
    assert not tool.session.has_current and tool.status.kind != "error"


def test_keys_work_whichever_layer_is_selected(tool, coins):
    viewer = tool.viewer
    extra = [Image(coins, name="mine"), Labels(np.zeros_like(coins), name="notes"), Points(ndim=2, name="marks")]
    for layer in extra:
        viewer.layers.append(layer)
    try:
        for layer in list(viewer.layers):
            tool.session.prompts.add_point(COIN)
            viewer.layers.selection.active = layer
            key(viewer, "s")
            wait_idle(tool)
            assert tool.session.current[COIN] == 1, layer.name
            viewer.layers.selection.active = layer
            key(viewer, "t")
            assert not tool.session.prompts.next_positive, layer.name
            viewer.layers.selection.active = layer
            key(viewer, "shift+c")
            assert not tool.session.has_current and tool.session.prompts.next_positive, layer.name
            viewer.layers.selection.active = layer
            key(viewer, "ctrl+z")
            assert tool.session.has_current, layer.name
            viewer.layers.selection.active = layer
            key(viewer, "c")
            assert tool.session.committed[COIN] > 0 and not tool.session.has_current, layer.name
            key(viewer, "ctrl+z")
            tool.actions.clear()
    finally:
        for layer in extra:
            viewer.layers.remove(layer)


def test_keys_work_after_a_menu_was_used(tool):
    driver.press(tool.dock.panels.segment.live.native)
    driver.press(tool.dock.panels.segment.live.native)
    tool.dock.panels.commit_options.panel.preserve.native.setFocus()
    click(tool, COIN)
    wait_idle(tool)
    driver.press(tool.dock.panels.segment.run.native)
    wait_idle(tool)
    key(tool.viewer, "c")
    assert tool.session.committed[COIN] == 1


@pytest.mark.parametrize("name", ["prompts", "box_prompts", "current_object", "committed_objects", "raw"])
def test_deleted_layer_is_made_again_and_nothing_is_lost(tool, name):
    click(tool, OTHER_COIN)
    wait_idle(tool)
    key(tool.viewer, "c")
    click(tool, COIN)
    driver.press(tool.dock.panels.prompts.tools["box"])
    drag(tool, (35, 78), (82, 122))
    wait_idle(tool)
    tool.viewer.layers.remove(tool.viewer.layers[name])
    driver.process(0.3)
    order = [layer.name for layer in tool.viewer.layers]
    assert order == ["raw", "auto_segmentation", "committed_objects", "current_object", "box_prompts", "prompts"]
    assert name in tool.status.text
    assert len(tool.layers.points.layer.data) == 1 and len(tool.layers.shapes.layer.data) == 1
    assert tool.session.current[COIN] == 1 and tool.session.committed[OTHER_COIN] == 1
    assert np.array_equal(tool.viewer.layers["current_object"].data, tool.session.current)
    tool.actions.use_tool("point")
    click(tool, (COIN[0] + 5, COIN[1]))
    assert len(tool.session.prompts.drawn.points) == 2
    wait_idle(tool)
    key(tool.viewer, "c")
    assert tool.session.committed[COIN] > 0


def test_all_layers_deleted_at_once_come_back(tool):
    click(tool, COIN)
    wait_idle(tool)
    tool.viewer.layers.selection = set(tool.viewer.layers)
    tool.viewer.layers.remove_selected()
    driver.process(0.5)
    assert len(tool.viewer.layers) == 6
    assert len(tool.layers.points.layer.data) == 1 and tool.session.current[COIN] == 1


def test_brush_strokes_are_undone_with_everything_else(tool):
    click(tool, COIN)
    wait_idle(tool)
    before = tool.session.current.copy()
    driver.press(tool.dock.panels.prompts.tools["paint"])
    layer = tool.layers.labels["current"].layer
    assert layer.selected_label == 1
    drag(tool, (20, 20), (20, 50))
    assert tool.session.current[20, 30] == 1
    key(tool.viewer, "ctrl+z")
    assert np.array_equal(tool.session.current, before)
    key(tool.viewer, "ctrl+shift+z")
    assert tool.session.current[20, 30] == 1
    driver.press(tool.dock.panels.prompts.tools["erase"])
    drag(tool, (20, 20), (20, 50))
    assert tool.session.current[20, 30] == 0
    key(tool.viewer, "c")
    assert tool.session.committed[COIN] == 1


def test_points_have_the_same_size_on_the_screen_at_every_zoom(tool):
    layer = tool.layers.points.layer
    click(tool, COIN)
    zoom = camera_of(tool.viewer).zoom
    for factor in (1, 4, 0.5):
        camera_of(tool.viewer).zoom = zoom * factor
        assert float(layer.size[0]) * camera_of(tool.viewer).zoom == pytest.approx(11, rel=0.05)
    camera_of(tool.viewer).zoom = zoom


def test_undo_and_redo_of_clicks_moves_and_boxes_restore_masks_exactly(tool):
    states = []

    def remember():
        wait_idle(tool)
        states.append((tool.session.prompts.drawn, tool.session.current.copy()))

    remember()
    click(tool, COIN)
    remember()
    click(tool, (COIN[0] + 8, COIN[1] - 6))
    remember()
    driver.press(tool.dock.panels.prompts.tools["box"])
    drag(tool, (92, 140), (138, 185))
    remember()
    for prompts, mask in reversed(states[:-1]):
        key(tool.viewer, "ctrl+z")
        driver.process(0.1)
        assert tool.session.prompts.drawn == prompts and np.array_equal(tool.session.current, mask)
    for prompts, mask in states[1:]:
        key(tool.viewer, "ctrl+shift+z")
        driver.process(0.1)
        assert tool.session.prompts.drawn == prompts and np.array_equal(tool.session.current, mask)
    assert len(tool.layers.points.layer.data) == 2 and len(tool.layers.shapes.layer.data) == 1


def test_commit_right_after_a_click_waits_for_its_mask(tool, monkeypatch):
    import threading

    compute, go_on = type(tool.session.segment).compute, threading.Event()

    def slow(request):
        go_on.wait(60)
        return compute(request)

    monkeypatch.setattr(type(tool.session.segment), "compute", staticmethod(slow))
    click(tool, COIN)
    key(tool.viewer, "c")
    assert not tool.session.objects and tool.status.kind != "error"
    go_on.set()
    wait_idle(tool)
    driver.process(0.1)
    assert tool.session.committed[COIN] == 1 and not len(tool.session.prompts.drawn)


def test_channels_can_be_chosen_and_prompts_stay(tool, coins):
    from micro_sam.sam_annotator.state.images import from_array

    tool.open(from_array(np.stack([coins, 255 - coins]), "2d", "two channels"))
    assert driver.wait_until(lambda: tool.session.model.embeddings is not None and not tool.engine.busy)
    assert tool.state.image.n_channels == 2
    tool.session.prompts.add_point(COIN)
    tool.dock.panels.image.panel.channel.value = 1
    assert np.array_equal(tool.layers.raw.data, 255 - coins)
    assert driver.wait_until(lambda: not tool.engine.busy)
    wait_idle(tool)
    assert len(tool.layers.points.layer.data) == 1
    tool.actions.segment()
    wait_idle(tool)
    assert tool.session.has_current
    tool.dock.panels.image.panel.channel.value = "mix"
    assert driver.wait_until(lambda: not tool.engine.busy)
    assert tool.layers.raw.data.shape == coins.shape


def test_large_image_is_drawn_only_where_it_changed(tool, monkeypatch):
    from micro_sam.sam_annotator.state.images import from_array

    tool.open(from_array(np.zeros((1500, 2000), "uint8"), "2d", "large"))
    driver.process(0.5)
    sent = []
    layer = tool.layers.labels["current"].layer
    layer.events.labels_update.connect(lambda event: sent.append(event.data.shape))
    monkeypatch.setattr(type(layer), "refresh", lambda *a, **k: sent.append("all"))
    tool.session.labels.paint("current", (slice(700, 740), slice(900, 950)), np.ones((40, 50), "uint32"))
    assert sent == [(40, 50)]
