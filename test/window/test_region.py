"""A region of interest, drawn in the window: Segment All looks and proposes objects only there."""

from __future__ import annotations

import os

import numpy as np
import pytest
from qtpy.QtTest import QTest
from scipy import ndimage

from micro_sam.models.predictor import Predictor
from micro_sam.sam_annotator import annotator_2d
from micro_sam.sam_annotator.controller.files.recording import SessionChoice
from micro_sam.sam_annotator.state.images import from_array
from micro_sam.session.journal import places

from . import driver, movies
from .driver import canvas, canvas_point, click, drag, key, press, process, wait_idle, wait_until
from .test_tiles import discs
from .volumes import go_to

NAME = "region_of_interest"
COIN = (60, 100)


def picture(name: str) -> None:
    """For people: set MICRO_SAM_PICTURES to a folder."""
    if folder := os.environ.get("MICRO_SAM_PICTURES"):
        process(0.5)
        driver.screenshot(f"{folder}/{name}.png")


def draw_box(tool, start, stop) -> None:
    """Press Box beside Region, and drag."""
    press(tool.dock.panels.automatic.region_box.native)
    drag(tool, start, stop)
    process(0.2)


def segment_all(tool, button=None) -> np.ndarray:
    press((button or tool.dock.panels.automatic.run).native)
    wait_idle(tool)
    return tool.session.auto


def centres(labels) -> np.ndarray:
    ids = np.unique(labels[labels > 0])
    return np.array(ndimage.center_of_mass(labels > 0, labels, ids)).reshape(-1, labels.ndim)[:, -2:]


def test_segment_all_finds_only_objects_whose_centre_lies_in_a_drawn_box(tool):
    click(tool, (210, 300))
    wait_idle(tool)
    key(tool.viewer, "c")
    committed = tool.session.committed.copy()
    assert committed.any() and NAME not in tool.viewer.layers
    everything = segment_all(tool).copy()
    draw_box(tool, (30, 60), (150, 190))
    region = tool.session.automatic.region
    assert region is not None and np.allclose(np.sort(region.box((303, 384))), [30, 60, 150, 190], atol=3)
    assert NAME in tool.viewer.layers and tool.state.mouse == "point", "the next click is a prompt"
    assert "region" in tool.dock.panels.automatic.region_text.text()
    found = segment_all(tool).copy()
    assert "in the region" in tool.status.text and tool.status.kind != "error"
    assert 2 < len(centres(found)) < len(centres(everything))
    inside = region.holds(centres(everything))
    assert len(centres(found)) == inside.sum() and region.holds(centres(found)).all()
    assert np.array_equal(tool.session.committed, committed)
    picture("region_2d")

    before = len(np.unique(found))
    tool.dock.panels.automatic.parameters.panel.values["min_size"].value = 1500
    wait_idle(tool)
    assert len(np.unique(tool.session.auto)) <= before and region.holds(centres(tool.session.auto)).all()
    tool.dock.panels.automatic.parameters.panel.values["min_size"].value = 25
    wait_idle(tool)
    key(tool.viewer, "c")
    assert len(tool.session.objects) == before and not tool.session.auto.any()
    assert np.array_equal(tool.session.committed[committed > 0], committed[committed > 0])

    press(tool.dock.panels.automatic.region_clear.native)
    assert tool.session.automatic.region is None and NAME not in tool.viewer.layers
    assert not tool.dock.panels.automatic.region_clear.enabled and "whole image" in tool.status.text
    tool.actions.undo()
    assert tool.session.automatic.region == region and NAME in tool.viewer.layers
    tool.actions.redo()
    assert NAME not in tool.viewer.layers
    assert len(centres(segment_all(tool))) == len(centres(everything))


def test_a_polygon_is_closed_by_a_double_click_and_clicks_go_on_as_before(tool):
    press(tool.dock.panels.automatic.region_polygon.native)
    layer = tool.layers.points.layer
    for place in ((20, 20), (20, 200), (150, 110)):
        press(canvas(tool.viewer), canvas_point(tool.viewer, layer, place))
    QTest.mouseDClick(
        canvas(tool.viewer), driver.Qt.MouseButton.LeftButton, pos=canvas_point(tool.viewer, layer, (150, 110))
    )
    process(0.3)
    region = tool.session.automatic.region
    assert region is not None and len(region.corners) == 3, tool.status.text
    assert tool.state.mouse == "point"
    found = segment_all(tool)
    assert len(centres(found)) and region.holds(centres(found)).all()
    click(tool, COIN)
    wait_idle(tool)
    assert tool.session.current[COIN] == 1
    draw_box(tool, (150, 200), (290, 370))
    assert len(tool.viewer.layers[NAME].data) == 1 and tool.session.automatic.region != region
    tool.viewer.layers.remove(NAME)
    process(0.2)
    assert tool.session.automatic.region is None, "who deletes the layer clears the region"
    tool.actions.undo()
    assert tool.session.automatic.region is not None and NAME in tool.viewer.layers


def test_a_region_without_area_is_refused_with_a_sentence(tool):
    draw_box(tool, (-9, -9), (-3, -3))
    assert tool.session.automatic.region is None and "outside" in tool.status.text
    assert NAME not in tool.viewer.layers and tool.state.mouse == "point"
    press(tool.dock.panels.automatic.region_polygon.native)
    assert NAME in tool.viewer.layers
    press(tool.dock.panels.prompts.tools["point"])
    click(tool, COIN)
    wait_idle(tool)
    assert tool.session.has_current and tool.session.automatic.region is None


def test_a_region_comes_back_with_the_session(tool, coins, tmp_path, monkeypatch):
    monkeypatch.setattr(places, "sessions_folder", lambda: tmp_path / "sessions")
    try:
        tool.recording.choice = SessionChoice()
        tool.open(from_array(coins, "2d", "coins"))
        wait_idle(tool)
        assert wait_until(lambda: tool.session.model.embeddings is not None and not tool.engine.busy)
        draw_box(tool, (30, 60), (150, 190))
        region = tool.session.automatic.region
        assert region is not None and tool.session.keeper.flush(10)
        tool.recording.choice = SessionChoice(resume="ask")
        tool.open(from_array(coins, "2d", "coins"))
        assert wait_until(lambda: tool.recording.offer is not None)
        assert tool.session.automatic.region is None and NAME not in tool.viewer.layers
        assert "a region" in tool.dock.panels.session_offer.text.text(), "nothing else is in it"
        press(tool.dock.panels.session_offer.go_on.native)
        assert wait_until(lambda: tool.session.automatic.region == region), tool.status.text
        assert np.allclose(tool.viewer.layers[NAME].data[0], region.corners)
        wait_idle(tool)
        assert region.holds(centres(segment_all(tool))).all() and tool.session.auto.any()
    finally:
        tool.recording.choice = SessionChoice()


@pytest.mark.parametrize("by_maps", [True, False])
def test_volumes_are_segmented_inside_the_region(tool_3d, by_maps):
    tool = tool_3d
    tool.actions.clear_region()
    panel = tool.dock.panels.extra[0]
    go_to(tool, 7)
    draw_box(tool, (7, 5, 5), (7, 155, 80))
    region = tool.session.automatic.region
    assert region is not None, tool.status.text
    slice_in_view = segment_all(tool)
    assert slice_in_view[7].any() and region.holds(centres(slice_in_view[7])).all()
    tool.actions.set_option("method", "auto" if by_maps else "propagation")
    found = segment_all(tool, panel.all_slices)
    assert found.any() and "in the region" in tool.status.text, tool.status.text
    assert region.holds(centres(found)).all()
    picture(f"region_3d_{by_maps}")
    tool.actions.set_option("method", "auto")
    tool.actions.clear_region()


def test_frames_are_segmented_and_linked_inside_the_region(tool_tracking):
    tool = tool_tracking
    draw_box(tool, (0, 0, 0), (0, 100, 60))
    region = tool.session.automatic.region
    assert region is not None, tool.status.text
    press(movies.menu(tool).all_frames.native)
    wait_idle(tool)
    for frame in tool.session.auto:
        assert region.holds(centres(frame)).all()
    assert tool.session.auto.any(), tool.status.text
    inside = len(np.unique(tool.session.auto))
    key(tool.viewer, "c")
    assert len(tool.session.objects) == inside - 1 and region.holds(centres(tool.session.committed[0])).all()
    press(tool.dock.panels.automatic.region_clear.native)
    assert tool.session.automatic.region is None and NAME not in tool.viewer.layers
    press(movies.menu(tool).all_frames.native)
    wait_idle(tool)
    assert not region.holds(centres(tool.session.auto[0])).all(), "the whole movie again"


def test_of_a_large_image_only_the_tiles_around_the_region_are_embedded(opened, monkeypatch):
    monkeypatch.setattr("micro_sam.embeddings.order.MOST_TILES", 20)
    passes, encode = [], Predictor.encode_batch

    def encode_batch(self, images):
        passes.append(len(images))
        return encode(self, images)

    monkeypatch.setattr(Predictor, "encode_batch", encode_batch)
    inside, outside = (400, 300), (100, 110)
    image = discs(inside, outside, shape=(12 * 64, 12 * 64), radius=14)
    tool = opened(annotator_2d, image, model_type="nano_lm", tile_shape=(64, 64), halo=(16, 16))
    assert wait_until(lambda: "ready" in tool.status.text), tool.status.text
    assert tool.engine.on_demand and not passes
    draw_box(tool, (370, 270), (430, 330))
    found = segment_all(tool)
    assert wait_until(lambda: tool.session.auto.any()), tool.status.text
    wait_idle(tool)
    assert found[inside] > 0 and found[outside] == 0
    assert 0 < sum(passes) <= 9, "three times three tiles see the region"
    picture("region_tiles")
    tool.saving.unsaved = False
