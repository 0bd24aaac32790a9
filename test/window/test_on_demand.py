"""Images so large that only what is wanted is embedded: a click, the view, Segment All, or all by the switch."""

from __future__ import annotations

import time

import numpy as np
import pytest

from micro_sam.models.predictor import Predictor
from micro_sam.sam_annotator import annotator_2d, annotator_3d
from micro_sam.sam_annotator.runtime.jobs import WORK
from micro_sam.sam_annotator.view.camera import camera_of

from .driver import click, drag, wait_idle, wait_until
from .test_tiles import discs, look_at

TILES = 12 * 12


@pytest.fixture
def cheap(monkeypatch):
    """Tiles in which nothing is are encoded once for each size."""
    known, encode = {}, Predictor.encode_batch

    def encode_batch(self, images):
        found = []
        for image in images:
            if (image == 255).mean() > 0.05:
                found += encode(self, [image])
                continue
            if image.shape not in known:
                known[image.shape] = encode(self, [image])[0]
            found.append(known[image.shape])
            time.sleep(0.03)
        return found

    monkeypatch.setattr(Predictor, "encode_batch", encode_batch)


PLACE, OTHER = (700, 520), (100, 110)


@pytest.fixture
def few(monkeypatch):
    """Images of more than 20 tiles, and of stacks all, count as large."""
    monkeypatch.setattr("micro_sam.embeddings.order.MOST_TILES", 20)
    monkeypatch.setattr("micro_sam.embeddings.order.MOST_BYTES", 0)
    monkeypatch.setattr("micro_sam.embeddings.order.SLICES_AROUND", 1)


def test_a_large_image_is_embedded_where_the_user_clicks_and_looks_and_wholly_on_request(opened, few, cheap):
    image = discs(PLACE, OTHER, shape=(12 * 64, 12 * 64), radius=14)
    tool = opened(annotator_2d, image, model_type="nano_lm", tile_shape=(64, 64), halo=(16, 16))
    engine, menu = tool.engine, tool.dock.panels.embed_all
    assert wait_until(lambda: "ready" in tool.status.text), tool.status.text
    assert engine.on_demand and not engine.busy and engine.computed == 0, "the whole image is in view, nothing is meant"
    assert f"0 of {TILES} tiles" in tool.status.text and f"0 of {TILES} tiles" in menu.switch.text
    assert not menu.isHidden() and not menu.switch.value

    click(tool, PLACE)
    assert wait_until(lambda: tool.session.has_current), tool.status.text
    assert tool.session.current[PLACE]
    wait_idle(tool)
    assert 4 <= engine.computed <= 16, "the tiles of the object and their neighbours"
    clicked = engine.computed
    tool.actions.clear()

    tool.actions.use_tool("move")
    look_at(tool, (250, 250), zoom=10.0)  # the wheel; then the mouse drags the image along
    store, grid = tool.session.model.embeddings.store, tool.session.model.embeddings.grid
    assert wait_until(lambda: store.is_complete(None, grid.tile_at(250, 250).index))
    wait_idle(tool)
    assert clicked < engine.computed <= clicked + 30, "the view and its neighbours"
    looked, start = engine.computed, camera_of(tool.viewer).center
    tool.viewer.layers.selection.active = tool.layers.raw
    drag(tool, (270, 270), (240, 230))
    assert camera_of(tool.viewer).center != start, "the image was dragged along"
    look_at(tool, (620, 110), zoom=10.0)
    assert wait_until(lambda: store.is_complete(None, grid.tile_at(620, 110).index))
    wait_idle(tool)
    assert looked < engine.computed < 90 and f"{engine.there} of {TILES}" in menu.switch.text

    menu.switch.value = True
    assert wait_until(lambda: engine.computed > 100)
    tool.actions.cancel()
    assert wait_until(lambda: not engine.busy) and not menu.switch.value and engine.there < TILES
    tool.actions.start_again()
    assert wait_until(lambda: tool.engine.embeddings is not None and not engine.busy), "what is there stays"
    tool.actions.segment_all()
    assert wait_until(lambda: tool.jobs.running(WORK) is not None), tool.status.text
    assert engine.there == TILES and menu.isHidden(), "Segment All needs all tiles"
    tool.actions.cancel()
    wait_idle(tool)


def test_a_large_stack_is_embedded_around_the_slice_in_view_and_where_a_run_goes(opened, few):
    stack = np.repeat(discs((60, 60), shape=(120, 130), radius=25)[None], 9, axis=0)
    tool = opened(annotator_3d, stack, model_type="nano_lm")
    tool.actions.go_to_slice(6)
    engine = tool.engine
    assert wait_until(lambda: tool.session.model.embeddings is not None and not engine.busy), tool.status.text
    store = tool.session.model.embeddings.store
    there = {i for i, _ in store.items() if store.is_complete(i, 0)}
    assert {5, 6, 7} <= there < set(range(9)), "9 slices are too many"
    click(tool, (6, 60, 60))
    assert wait_until(lambda: tool.session.has_current), tool.status.text
    tool.dock.panels.extra[0].method.value = "propagation"
    tool.actions.segment_volume()
    wait_idle(tool, 120)
    assert len(tool.session.labels.current_slices) == 9, tool.status.text
