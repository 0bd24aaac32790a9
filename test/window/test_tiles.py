"""Images of many tiles: a click is answered with its own tiles, wherever it is and whatever is being computed."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from micro_sam.models.predictor import Predictor
from micro_sam.sam_annotator import annotator_2d, annotator_3d, image_series_annotator

from .driver import click, drag, key, process, wait_idle, wait_until

SIDE = 5000
CORNER = (4950, 4950)


def discs(*centres, shape, radius=30) -> np.ndarray:
    """Bright discs on a dark ground, uint8."""
    image = np.random.default_rng(0).normal(40, 4, shape).clip(0, 255).astype("uint8")
    for cy, cx in centres:
        rows, columns = (slice(max(c - radius, 0), c + radius + 1) for c in (cy, cx))
        y, x = np.ogrid[rows, columns][0], np.ogrid[rows, columns][1]
        part = image[rows, columns]
        part[((y - cy) ** 2 + (x - cx) ** 2 <= radius**2)[: part.shape[0], : part.shape[1]]] += 140
    return image


class Gate:
    """Lets the encoder work on one tile after the other, and counts them."""

    def __init__(self) -> None:
        self.passes = 0
        self.is_open = threading.Event()
        self._tickets = threading.Semaphore(0)

    def release(self, number: int = 1) -> None:
        """Let it encode so many tiles."""
        for _ in range(number):
            self._tickets.release()

    def pass_through(self) -> None:
        while not self.is_open.is_set() and not self._tickets.acquire(timeout=0.02):
            pass
        self.passes += 1


@pytest.fixture
def gate(monkeypatch):
    """The encoder of tiles waits for the test; close-ups do not."""
    gate, encode = Gate(), Predictor.encode_batch

    def encode_batch(self, images):
        for _ in images:
            gate.pass_through()
        return encode(self, images)

    monkeypatch.setattr(Predictor, "encode_batch", encode_batch)
    yield gate
    gate.is_open.set()


def attached(tool) -> None:
    assert wait_until(lambda: tool.session.model.embeddings is not None), tool.status.text


def look_at(tool, position, zoom=2.0) -> None:
    """Move the camera, as the mouse and its wheel do."""
    tool.viewer.camera.center = position
    tool.viewer.camera.zoom = zoom
    process(0.3)


def test_a_click_in_the_far_corner_of_a_large_image_is_answered_after_four_tiles_at_most(opened, gate):
    gate.is_open.set()
    tool = opened(annotator_2d, discs(CORNER, shape=(SIDE, SIDE)), model_type="nano_lm")
    look_at(tool, CORNER)
    before = gate.passes
    click(tool, CORNER)
    assert wait_until(lambda: tool.session.has_current), tool.status.text
    assert gate.passes - before <= 4
    assert tool.session.current[CORNER] and len(tool.session.model.embeddings.store.missing()) > 100


def test_a_click_while_another_tile_is_in_progress_is_next(opened, gate):
    tool = opened(annotator_2d, discs((700, 900), (60, 60), shape=(800, 1000)), model_type="nano_lm")
    attached(tool)
    click(tool, (700, 900))
    assert "not embedded yet" in tool.status.text and "by itself" in tool.status.text
    assert not tool.session.has_current
    gate.release(2)  # one that was begun, and the one that is needed
    assert wait_until(lambda: tool.session.has_current), tool.status.text
    assert tool.session.current[700, 900] and gate.passes <= 3


def test_a_key_that_waits_is_answered_as_a_click_is(opened, gate):
    tool = opened(annotator_2d, discs((700, 900), shape=(800, 1000)), model_type="nano_lm")
    tool.state.live = False
    attached(tool)
    click(tool, (700, 900))
    key(tool.viewer, "s")
    assert "not embedded yet" in tool.status.text
    gate.release(2)
    assert wait_until(lambda: tool.session.has_current), tool.status.text


def test_a_prompt_that_waits_can_be_taken_back_and_brought_again(opened, gate):
    tool = opened(annotator_2d, discs((700, 900), shape=(800, 1000)), model_type="nano_lm")
    attached(tool)
    click(tool, (700, 900))
    assert tool.preview.waits
    key(tool.viewer, "ctrl+z")
    assert not len(tool.session.prompts.drawn) and not tool.preview.waits
    gate.release(2)
    assert wait_until(lambda: tool.engine.computed == 2)
    process(0.2)
    assert not tool.session.has_current and tool.status.kind != "error" and tool.session.history.can_redo
    key(tool.viewer, "ctrl+shift+z")
    gate.release(2)
    assert wait_until(lambda: tool.session.has_current), tool.status.text
    key(tool.viewer, "ctrl+z")
    assert not tool.session.has_current and not len(tool.session.prompts.drawn), "click and mask are one step"


def test_the_last_of_several_prompts_comes_first_and_all_are_answered(opened, gate):
    places = [(60, 60), (60, 900), (700, 60)]
    tool = opened(annotator_2d, discs(*places, shape=(800, 1000)), model_type="nano_lm")
    tool.state.batched = True
    attached(tool)
    grid = tool.session.model.embeddings.grid
    for place in places:
        click(tool, place)
    newest_first = [grid.tile_at(*place).index for place in reversed(places)]
    assert [tile for _, tile in tool.engine.focus.wanted] == newest_first
    gate.release(4)
    assert wait_until(lambda: tool.session.has_current), tool.status.text
    assert all(tool.session.current[place] for place in places)


def test_tiles_on_the_screen_come_before_the_others(opened, gate):
    tool = opened(annotator_2d, discs(shape=(1600, 1600)), model_type="nano_lm")
    attached(tool)
    place = (1400, 1400)
    look_at(tool, place, zoom=4.0)
    store, grid = tool.session.model.embeddings.store, tool.session.model.embeddings.grid
    gate.release(2)  # one that was begun before
    assert wait_until(lambda: tool.engine.computed == 2)
    assert store.is_complete(None, grid.tile_at(*place).index)
    place = (1400, 100)
    look_at(tool, place, zoom=4.0)
    gate.release(2)
    assert wait_until(lambda: tool.engine.computed == 4)
    assert store.is_complete(None, grid.tile_at(*place).index)


def test_a_box_over_four_tiles_is_answered_with_them_and_no_others(opened, gate):
    image = discs((400, 400), shape=(1600, 1600), radius=110)
    tool = opened(annotator_2d, image, model_type="nano_lm", tile_shape=(400, 400), halo=(64, 64))
    attached(tool)
    look_at(tool, (400, 400), zoom=0.8)
    tool.actions.use_tool("box")
    drag(tool, (280, 280), (520, 520))
    assert tool.preview.waits
    gate.release(5)  # one that was begun before
    assert wait_until(lambda: tool.engine.computed == 5 and not tool.preview.busy)
    assert tool.session.has_current
    assert all(tool.session.model.embeddings.is_complete(None, tile) for tile in (0, 1, 4, 5))


def test_after_a_cancel_a_click_is_answered_where_the_tiles_are_there(opened, gate):
    places = [(60, 60), (700, 900)]
    tool = opened(annotator_2d, discs(*places, shape=(800, 1000)), model_type="nano_lm")
    attached(tool)
    click(tool, places[0])
    gate.release(2)
    assert wait_until(lambda: tool.session.has_current), tool.status.text
    tool.actions.cancel()
    gate.release(1)
    wait_idle(tool)
    tool.actions.commit()
    before = gate.passes
    click(tool, places[0])  # on the committed object: answered, whatever comes of it
    wait_idle(tool)
    assert tool.session.prompts.drawn and gate.passes == before and not tool.preview.waits
    tool.actions.prepare()
    tool.actions.clear()
    click(tool, places[1])
    gate.release(2)
    assert wait_until(lambda: tool.session.current[places[1]]), tool.status.text


def test_a_click_in_each_image_of_a_series_waits_for_its_own_tile(opened, gate, tmp_path):
    images = [discs((700, 900), shape=(800, 1000)), discs((60, 60), shape=(800, 1000))]
    tool = opened(image_series_annotator, images, output_folder=tmp_path, model_type="nano_lm")
    attached(tool)
    click(tool, (700, 900))
    gate.release(2)
    assert wait_until(lambda: tool.session.has_current), tool.status.text
    tool.actions.commit()
    tool.series.next()
    gate.release(1)  # the tile of the first image that was begun
    assert wait_until(lambda: not tool.session.objects)
    attached(tool)
    click(tool, (60, 60))
    gate.release(3)
    assert wait_until(lambda: tool.session.has_current), tool.status.text
    assert tool.session.current[60, 60]


def test_prompts_in_several_slices_of_a_tiled_stack_are_answered_one_after_the_other(opened, gate):
    plane = discs((60, 60), (200, 300), shape=(300, 400))
    stack = np.stack([plane] * 4)
    tool = opened(annotator_3d, stack, model_type="nano_lm", tile_shape=(150, 200), halo=(32, 32))
    attached(tool)
    for z, place in ((0, (60, 60)), (3, (200, 300))):
        tool.viewer.dims.set_current_step(0, z)
        process(0.1)
        click(tool, (z, *place))
    assert len(tool.engine.focus.wanted) == 2 and tool.engine.focus.wanted[0][0] == 3
    gate.release(3)
    assert wait_until(lambda: len(tool.session.labels.current_slices) == 2), tool.status.text
    assert tool.session.current[3, 200, 300] and tool.session.current[0, 60, 60]
