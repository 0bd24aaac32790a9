"""How many clicks there are to the first mask."""

from __future__ import annotations

import time

import imageio.v3 as imageio
import napari
import pytest

from micro_sam.cli.annotator_2d import main
from micro_sam.sam_annotator import annotator_2d, annotator_3d, annotator_tracking, get_annotator, launch
from micro_sam.sam_annotator.controller.embedding import loading

from . import driver
from .driver import click, press, wait_until

COIN = (60, 100)


def test_from_a_command_with_an_image_it_is_one_click(coins, tmp_path, window_manager, monkeypatch):
    path, seen = tmp_path / "coins.png", []
    imageio.imwrite(path, coins)

    def use() -> None:
        viewer = napari.current_viewer()
        tool = get_annotator(viewer)
        try:
            driver.activate(viewer)
            click(tool, COIN)
            seen.append(wait_until(lambda: tool.session.has_current))
            seen.append(tool.session.current[COIN] > 0)
        finally:
            tool.saving.unsaved = False
            driver.close(viewer)

    monkeypatch.setattr(napari, "run", use)  # in place of the event loop, which ends with the window
    assert main(["-i", str(path)]) == 0 and seen == [True, True]


def test_a_command_without_a_model_opens_the_one_that_works_at_once_and_names_the_better_one(
    coins, tmp_path, window_manager, monkeypatch
):
    path, seen = tmp_path / "coins.png", []
    imageio.imwrite(path, coins)

    def use() -> None:
        tool = get_annotator(napari.current_viewer())
        wait_until(lambda: tool.engine.predictor is not None and not tool.engine.busy)
        seen.extend((tool.engine.predictor.model_name, tool.status.text, tool.dock.panels.offer.isVisible()))
        driver.close(tool.viewer)

    monkeypatch.setattr(napari, "run", use)
    assert main(["-i", str(path)]) == 0
    model, text, offers = seen
    assert model == "nano_lm" and not offers
    assert text.startswith("nano_lm is ready") and text.count("vit_h") == 1 and "\n" not in text


def test_from_an_empty_start_it_is_two_clicks_with_a_sample(opened):
    tool = opened(annotator_2d, model_type="nano_lm")
    panel = tool.dock.panels.image.panel
    assert panel.file.native.isVisible() and panel.use_sample.native.isVisible() and "sample" in tool.status.text
    press(panel.use_sample.native)
    assert wait_until(lambda: tool.session is not None)
    driver.process(0.3)
    click(tool, COIN)
    assert wait_until(lambda: tool.session.has_current), tool.status.text
    tool.saving.unsaved = False


# The first prompts are answered by a process of its own, as long as PyTorch is not imported. Here it is long since.


class Begun:
    """Windows that wait with the model until :meth:`go_on`, as where PyTorch is yet to be imported."""

    def __init__(self, monkeypatch, opened):
        self._monkeypatch, self._opened = monkeypatch, opened
        monkeypatch.setattr(loading, "can_begin", lambda pixels: True)
        monkeypatch.setattr(loading.Start, "now", lambda _start: None)
        monkeypatch.setattr(loading, "PATIENCE", 600.0)

    def open(self, function, image, **settings):
        tool = self._opened(function, image, model_type="nano_lm", **settings)
        first = tool.session.model.answering[0]
        assert tool.engine.predictor is None and first.is_open
        return tool, first

    def go_on(self, tool):
        """The model is loaded now."""
        self._monkeypatch.undo()
        tool._preparation._start.now()
        assert wait_until(lambda: tool.engine.predictor is not None and not tool.engine.busy), tool.status.text


@pytest.fixture
def begun(monkeypatch, opened):
    return Begun(monkeypatch, opened)


def test_the_first_prompts_are_answered_before_the_model_is_loaded(begun, coins):
    tool, first = begun.open(annotator_2d, coins)
    click(tool, COIN)
    assert wait_until(lambda: tool.session.has_current), tool.status.text
    said, mask = tool.status.text, tool.session.current.copy()
    assert mask[COIN] and tool.engine.predictor is None
    begun.go_on(tool)
    driver.process(0.5)
    assert not first.is_open and tool.status.text == said, "what was said of the object stays"
    click(tool, (COIN[0], COIN[1] + 12))  # the model goes on from what the process has answered
    assert wait_until(lambda: not tool.preview.busy) and tool.session.current[COIN]
    facts = [command.details["model"] for command in tool.session.history.done if command.kind == "prompts"]
    assert len(facts) == 2 and facts[0] == facts[1] == tool.session.model.facts
    tool.session.undo()
    assert (tool.session.current == mask).all()
    tool.saving.unsaved = False


def test_what_the_process_answers_can_be_committed_at_once(begun, coins):
    tool, _ = begun.open(annotator_2d, coins)
    click(tool, COIN)
    assert wait_until(lambda: tool.session.has_current)
    tool.actions.commit()
    assert wait_until(lambda: tool.session.committed[COIN] > 0)
    begun.go_on(tool)
    tool.saving.unsaved = False


def test_a_process_that_ends_leaves_its_questions_to_the_model(begun, coins):
    tool, first = begun.open(annotator_2d, coins)
    first._process.kill()
    first._process.wait()
    click(tool, COIN)
    driver.process(0.3)
    assert not tool.session.has_current and "kept" in tool.status.text
    begun.go_on(tool)
    assert wait_until(lambda: tool.session.has_current), tool.status.text
    tool.saving.unsaved = False


def test_a_model_that_comes_first_answers_what_the_process_was_asked(begun, coins):
    tool, first = begun.open(annotator_2d, coins)
    first._asking.acquire()  # it takes long
    click(tool, COIN)
    driver.process(0.2)
    assert tool.preview.busy
    tool._preparation._start.never()
    assert wait_until(lambda: tool.engine.embeddings is not None)
    first._asking.release()
    assert wait_until(lambda: tool.session.has_current), tool.status.text
    begun.go_on(tool)
    tool.saving.unsaved = False


def test_an_answer_that_comes_as_the_model_does_is_not_lost(begun, coins):
    from micro_sam.embeddings.compute import iter_embeddings

    tool, first = begun.open(annotator_2d, coins)
    first._begun.join()
    click(tool, COIN)
    time.sleep(2)  # the answer is there, and the window has not heard of it
    image, settings = tool.state.image, tool.state.settings
    predictor = loading.load_model(settings)
    embeddings, store = loading.open_image_embeddings(predictor, image, 2, settings)
    list(iter_embeddings(predictor, image.pixels, store))
    if not tool.session.has_current:
        tool.session.model.attach(predictor, embeddings)
    assert wait_until(lambda: tool.session.has_current), tool.status.text
    assert tool.session.current[COIN]
    begun.go_on(tool)
    tool.saving.unsaved = False


def test_the_process_ends_with_the_window_another_image_or_a_preparation_that_is_stopped(begun, coins):
    from micro_sam.sam_annotator.state.images import from_array

    tool, first = begun.open(annotator_2d, coins)
    driver.close(tool.viewer)
    assert not first.is_open
    tool, first = begun.open(annotator_2d, coins)
    tool.open(from_array(coins[::-1].copy(), "2d", "other"))
    assert not first.is_open and tool.session.model.answering is None
    tool, first = begun.open(annotator_2d, coins)
    tool.actions.cancel()
    tool._preparation._start.never()
    assert wait_until(lambda: not tool.engine.busy) and "Cancelled" in tool.status.text and not first.is_open


def test_the_process_ends_where_no_window_can_be_opened(monkeypatch, coins):
    begun = []

    def first_answers(*given):
        begun.append(loading.first_answers(*given))
        return begun[-1]

    monkeypatch.setattr(loading, "can_begin", lambda pixels: True)
    monkeypatch.setattr(launch, "first_answers", first_answers)
    monkeypatch.setattr(launch, "open_viewer", lambda title: 1 / 0)  # no screen
    with pytest.raises(ZeroDivisionError):
        annotator_2d(coins, model_type="nano_lm")
    assert not begun[0].is_open


def test_it_answers_in_volumes_and_movies_too(begun):
    from .movies import small_movie
    from .volumes import small_volume

    volume, labels = small_volume()[:2]
    tool, _ = begun.open(annotator_3d, volume)
    z = tool.state.z
    place = next(iter(zip(*labels[z].nonzero(), strict=True)))
    tool.session.prompts.add_point((z, *place))
    tool.actions.segment()
    assert wait_until(lambda: tool.session.has_current) and tool.engine.predictor is None, tool.status.text
    tool.saving.unsaved = False
    movie, labels = small_movie()[:2]
    tool, _ = begun.open(annotator_tracking, movie)
    place = next(iter(zip(*labels[0].nonzero(), strict=True)))
    tool.session.prompts.add_point((0, *place))
    tool.actions.segment()
    assert wait_until(lambda: tool.session.has_current) and tool.engine.predictor is None, tool.status.text
    tool.saving.unsaved = False
