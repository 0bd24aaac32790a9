"""A preparation that is cancelled or fails says so, and goes on with one press or click; prompts are kept."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

from micro_sam.errors import ModelError
from micro_sam.models import build
from micro_sam.models.predictor import Predictor
from micro_sam.sam_annotator import annotator_2d
from micro_sam.sam_annotator.controller.embedding import engine
from micro_sam.sam_annotator.runtime.jobs import AHEAD, PREPARE
from micro_sam.sam_annotator.state.images import from_array

from . import driver, volumes
from .driver import click, key, wait_idle, wait_until

COIN, OTHER_COIN = (60, 100), (115, 160)


@pytest.fixture
def held_encoder(monkeypatch):
    """The encoder waits until the test sets this event."""
    encode, go_on = Predictor.encode_batch, threading.Event()

    def slow(self, images):
        go_on.wait(120)
        return encode(self, images)

    monkeypatch.setattr(Predictor, "encode_batch", slow)
    yield go_on
    go_on.set()


@pytest.fixture
def held_model(monkeypatch):
    """The model waits until the test sets this event."""
    load, go_on = build.get_sam_model, threading.Event()

    def slow(*args, **kwargs):
        go_on.wait(120)
        return load(*args, **kwargs)

    monkeypatch.setattr(build, "get_sam_model", slow)
    yield go_on
    go_on.set()


@pytest.fixture
def held_image(monkeypatch):
    """Between the model and the first tile, preparations wait until the test sets this event."""
    prepare, go_on = engine.open_image_embeddings, threading.Event()

    def slow(*args, **kwargs):
        go_on.wait(120)
        return prepare(*args, **kwargs)

    monkeypatch.setattr(engine, "open_image_embeddings", slow)
    yield go_on
    go_on.set()


def open_slowly(tool, coins):
    tool.open(from_array(coins.copy(), "2d", "slow"))
    assert wait_until(lambda: tool.jobs.running(PREPARE) is not None)
    driver.process(0.3)


def cancel(tool, go_on):
    """Press Cancel and let the step end."""
    driver.press(tool.dock.status.cancel)
    go_on.set()
    assert wait_until(lambda: not tool.engine.busy)
    driver.process(0.1)


def says_that_it_stopped(tool) -> bool:
    menu = tool.dock.panels.start_again
    return menu.isVisible() and "Cancelled" in menu.text.text() and "Start again" in tool.status.text


def is_segmented(tool) -> bool:
    return tool.session.current[COIN] == 1


def test_cancelled_embedding_says_so_and_start_again_answers_the_prompt_from_before(tool, coins, held_image):
    open_slowly(tool, coins)
    click(tool, COIN)
    assert "kept" in tool.status.text
    cancel(tool, held_image)
    assert says_that_it_stopped(tool) and not tool.session.has_current
    driver.press(tool.dock.panels.start_again.run.native)
    assert not tool.dock.panels.start_again.isVisible()
    assert wait_until(lambda: is_segmented(tool)), tool.status.text
    wait_idle(tool)
    assert len(tool.session.prompts.drawn) == 1


def test_tiles_that_were_ready_at_the_cancel_are_used_and_a_click_elsewhere_starts_again(tool, coins, held_encoder):
    tool.state.settings = tool.state.settings.changed(tile_shape=(160, 200), halo=(16, 16))
    open_slowly(tool, coins)
    assert wait_until(lambda: tool.session.model.embeddings is not None)
    driver.process(0.2)
    cancel(tool, held_encoder)
    store = tool.session.model.embeddings.store
    assert 0 < len(store.missing()) and says_that_it_stopped(tool)
    assert "what is embedded already" in tool.status.text
    click(tool, COIN)
    click(tool, (250, 320))
    assert wait_until(lambda: not store.missing() and tool.session.has_current), tool.status.text
    wait_idle(tool)
    assert not tool.dock.panels.start_again.isVisible()
    tool.state.settings = tool.state.settings.changed(tile_shape=None, halo=None)


def test_cancel_in_the_last_step_is_a_preparation_that_is_complete(tool, coins, held_encoder):
    open_slowly(tool, coins)
    assert wait_until(lambda: tool.session.model.embeddings is not None)
    click(tool, COIN)
    cancel(tool, held_encoder)
    assert wait_until(lambda: is_segmented(tool)), tool.status.text
    assert not tool.dock.panels.start_again.isVisible() and "Cancelled" not in tool.status.text


@pytest.mark.parametrize("live", [True, False])
def test_prompt_starts_a_cancelled_embedding_again(tool, coins, held_image, live):
    open_slowly(tool, coins)
    cancel(tool, held_image)
    assert says_that_it_stopped(tool)
    tool.state.live = live
    click(tool, COIN)
    if not live:
        driver.process(0.2)
        assert not tool.engine.busy
        key(tool.viewer, "s")
    assert wait_until(lambda: is_segmented(tool)), tool.status.text
    wait_idle(tool)
    assert not tool.dock.panels.start_again.isVisible()


def test_cancel_while_the_model_loads_leaves_a_window_that_a_click_wakes(opened, coins, held_model):
    tool = opened(annotator_2d, coins, model_type="nano_lm")
    driver.process(0.3)
    driver.press(tool.dock.status.cancel)
    assert "Stopping" in tool.status.text and not tool.dock.status.cancel.isEnabled()
    tool.actions.cancel()  # twice
    held_model.set()
    assert wait_until(lambda: not tool.engine.busy)
    driver.process(0.1)
    assert says_that_it_stopped(tool) and "nothing can be segmented" in tool.status.text
    click(tool, COIN)
    assert wait_until(lambda: is_segmented(tool)), tool.status.text
    wait_idle(tool)
    assert not tool.dock.panels.start_again.isVisible()


def test_click_while_the_cancelled_step_still_runs_is_answered(opened, coins, held_model):
    tool = opened(annotator_2d, coins, model_type="nano_lm")
    driver.process(0.3)
    driver.press(tool.dock.status.cancel)
    click(tool, COIN)
    held_model.set()
    assert wait_until(lambda: is_segmented(tool)), tool.status.text


@pytest.mark.parametrize("error", [MemoryError(), ModelError("The file is broken."), RuntimeError("a bug")])
def test_failed_preparation_offers_to_start_again_and_a_click_does(opened, coins, monkeypatch, error):
    load, calls = build.get_sam_model, []

    def broken_once(*args, **kwargs):
        calls.append(args)
        if len(calls) == 1:
            raise error
        return load(*args, **kwargs)

    monkeypatch.setattr(build, "get_sam_model", broken_once)
    tool = opened(annotator_2d, coins, model_type="nano_lm")
    assert wait_until(lambda: calls and not tool.engine.busy)
    driver.process(0.2)
    assert tool.status.kind == "error" and tool.dock.panels.start_again.isVisible()
    assert "failed" in tool.dock.panels.start_again.text.text()
    if isinstance(error, MemoryError):
        assert "memory" in tool.status.text and "smaller model" in tool.status.text
    click(tool, COIN)
    assert wait_until(lambda: is_segmented(tool)), tool.status.text
    assert len(calls) == 2 and not tool.dock.panels.start_again.isVisible()


def test_click_while_a_model_is_to_be_chosen_says_so(opened, coins):
    tool = opened(annotator_2d, coins)  # vit_h, which is not here
    assert wait_until(lambda: tool.dock.panels.offer.isVisible()), tool.status.text
    click(tool, COIN)
    assert "Choose below" in tool.status.text and not tool.dock.panels.start_again.isVisible()


def test_other_image_in_the_middle_is_prepared_without_a_question(tool, coins, held_image):
    open_slowly(tool, coins)
    tool.open(from_array(coins[::-1].copy(), "2d", "other"))
    held_image.set()
    assert wait_until(lambda: not tool.engine.busy and tool.session.model.embeddings is not None), tool.status.text
    assert not tool.dock.panels.start_again.isVisible() and "Cancelled" not in tool.status.text


def test_other_settings_in_the_middle_are_prepared_and_a_second_cancel_stops_them_too(
    tool, coins, held_image, tmp_path
):
    open_slowly(tool, coins)
    tool.actions.change_settings(tool.state.settings.changed(embedding_path=tmp_path / "a.zarr"))
    driver.process(0.2)
    assert tool.dock.status.cancel.isEnabled(), "what comes next can be cancelled"
    cancel(tool, held_image)
    assert says_that_it_stopped(tool) and not (tmp_path / "a.zarr").exists()
    driver.press(tool.dock.panels.start_again.run.native)
    assert wait_until(lambda: not tool.engine.busy and tool.session.model.embeddings is not None)
    assert (tmp_path / "a.zarr").is_dir()
    tool.state.settings = tool.state.settings.changed(embedding_path=None)


def test_cancelled_other_model_leaves_the_one_in_use(tool, held_model):
    old = tool.session.model.predictor
    tool.actions.change_settings(tool.state.settings.changed(device="cpu"))
    if not tool.engine.busy:
        pytest.fail("the device is part of what a model is")
    driver.process(0.3)
    cancel(tool, held_model)
    assert says_that_it_stopped(tool) and "stays in use" in tool.status.text
    click(tool, COIN)
    assert wait_until(lambda: is_segmented(tool)), tool.status.text
    assert tool.session.model.predictor is old
    tool.state.settings = tool.state.settings.changed(device=None)


def test_segment_all_waits_for_the_embedding_and_begins_after_a_new_start(tool, coins, held_image):
    open_slowly(tool, coins)
    driver.press(tool.dock.panels.automatic.run.native)
    assert "begins as soon as" in tool.status.text
    cancel(tool, held_image)
    assert says_that_it_stopped(tool)
    driver.press(tool.dock.panels.start_again.run.native)
    assert wait_until(lambda: tool.session.auto.any()), tool.status.text
    wait_idle(tool)


def test_segment_all_starts_a_cancelled_embedding_again(tool, coins, held_image):
    open_slowly(tool, coins)
    cancel(tool, held_image)
    driver.press(tool.dock.panels.automatic.run.native)
    assert wait_until(lambda: tool.session.auto.any()), tool.status.text
    wait_idle(tool)


def test_cancel_takes_back_a_volume_that_waits_for_its_slices_but_not_its_prompts(tool_3d, held_image):
    from .volumes import FIRST, middle_of, small_volume

    tool = tool_3d
    tool.open(from_array(small_volume()[0].copy(), "3d", "slow"))
    driver.process(0.3)
    place = middle_of(FIRST)
    tool.actions.go_to_slice(place[0])
    click(tool, place)
    key(tool.viewer, "v")
    assert "begins as soon as" in tool.status.text
    cancel(tool, held_image)
    assert says_that_it_stopped(tool)
    key(tool.viewer, "v")
    assert not tool.dock.panels.start_again.isVisible()
    assert wait_until(lambda: len(tool.session.labels.current_slices) > 2), tool.status.text
    wait_idle(tool)


def test_wait_for_the_image_that_is_embedded_ahead_can_be_cancelled(tool, coins, held_image):
    other = from_array(coins[::-1].copy(), "2d", "next")
    tool.engine.prepare_ahead(lambda: other, 2, tool.state.settings)
    assert wait_until(lambda: tool.jobs.running(AHEAD) is not None)
    assert tool.jobs.running() is None, "nobody waits for it yet"
    tool.open(other)
    driver.process(0.2)
    assert tool.jobs.running() is tool.jobs.running(AHEAD) and tool.dock.status.cancel.isVisible()
    driver.press(tool.dock.status.cancel)
    assert says_that_it_stopped(tool)
    held_image.set()
    click(tool, COIN)
    assert wait_until(lambda: tool.session.model.embeddings is not None and not tool.engine.busy), tool.status.text
    wait_idle(tool)
    assert not tool.dock.panels.start_again.isVisible()


@pytest.fixture
def on_disc(tmp_path):
    """Embeds the image of a tool into a cache, ``on_disc(tool)`` -> its folder; afterwards the tool is as before."""
    tools = []

    def prepare(tool):
        tools.append(tool)
        tool.state.settings = tool.state.settings.changed(embedding_path=str(tmp_path / "e"))
        tool.actions.prepare()
        wait_idle(tool)
        assert tool.session.model.embeddings.is_complete(), tool.status.text
        tool.session.model.embeddings.forget()
        return tmp_path / "e"

    yield prepare
    for tool in tools:
        wait_idle(tool)
        tool.state.settings = tool.state.settings.changed(embedding_path=None)
        tool.actions.prepare()
        wait_idle(tool)


def damage(path):
    with open(path, "r+b") as file:
        file.write(b"\xff\x00\xff\x00")


def test_a_warning_stays_when_the_preparation_ends_and_goes_with_the_next_click(tool, coins, held_encoder):
    open_slowly(tool, coins)
    tool.actions.open_path("missing.tif")
    assert tool.status.kind == "error" and "missing.tif" in tool.status.text
    held_encoder.set()
    assert wait_until(lambda: "is ready" in tool.status.text), tool.status.text
    assert tool.status.kind == "error" and "missing.tif" in tool.status.text.splitlines()[0]
    assert "missing.tif" in tool.dock.status.text.text()
    click(tool, COIN)
    wait_idle(tool)
    assert tool.status.kind != "error" and "missing.tif" not in tool.status.text


def test_a_click_on_embeddings_that_turn_out_damaged_has_them_computed_again(tool, on_disc):
    damage(on_disc(tool) / "features" / "0.0.0.0")
    click(tool, COIN)
    assert wait_until(lambda: is_segmented(tool)), tool.status.text
    assert not tool.dock.panels.start_again.isVisible()


def test_a_run_through_a_volume_has_what_is_damaged_computed_again(tool_3d, on_disc):
    tool, position = tool_3d, volumes.middle_of(volumes.FIRST)
    volumes.menu(tool).method.value = "propagation"
    cache = on_disc(tool)
    click(tool, position)
    assert wait_until(lambda: tool.session.has_current), tool.status.text
    wait_idle(tool)
    tool.session.model.embeddings.forget()
    damage(cache / "features" / f"{position[0] + 1}.0.0.0.0")
    key(tool.viewer, "v")
    wait_idle(tool)
    assert not tool.session.model.embeddings.store.missing(), tool.status.text
    key(tool.viewer, "v")
    wait_idle(tool)
    assert position[0] + 1 in volumes.slices_of(tool), tool.status.text


SLEEPER = """
    import sys, threading
    sys.path.insert(0, {folder!r})
    import driver
    from micro_sam.models import build
    from micro_sam.sam_annotator import annotator_2d
    from micro_sam.sam_annotator.controller.embedding import engine

    begun = threading.Event()
    def forever(*args, **kwargs):
        begun.set()
        threading.Event().wait()
    build.get_sam_model = forever
    viewer = annotator_2d("sample:coins", model_type="nano_lm", return_viewer=True)
    assert driver.wait_until(begun.is_set)
    viewer.close()
    print("CLOSED")
"""


def test_program_ends_although_a_model_is_still_being_loaded():
    script = textwrap.dedent(SLEEPER.format(folder=str(Path(driver.__file__).parent)))
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300)
    assert result.returncode == 0 and "CLOSED" in result.stdout, result.stderr[-3000:]
