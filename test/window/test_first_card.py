"""The card of the first start: it says how the loop works, holds nothing up, and goes away for good."""

from __future__ import annotations

import re

import napari
import pytest

from micro_sam.sam_annotator import annotator_2d, annotator_3d, annotator_tracking, get_annotator
from micro_sam.sam_annotator.view.frame import is_first_start

from . import driver
from .driver import canvas, click, key, wait_idle, wait_until
from .movies import small_movie
from .volumes import small_volume


@pytest.fixture
def first_start(monkeypatch, tmp_path):
    """Nobody has opened a window before."""
    monkeypatch.setenv("MICROSAM_CACHEDIR", str(tmp_path))
    assert is_first_start()


def words(card) -> str:
    return re.sub("<[^>]*>", "", card.text.text())


def test_it_is_read_once_and_does_not_come_again(opened, coins, first_start):
    tool = opened(annotator_2d, coins, model_type="nano_lm")
    assert tool.dock.card is None, "a script that goes on by itself has no card"
    tool.dock.welcome()
    card = tool.dock.card
    assert card.isVisible() and canvas(tool.viewer).rect().contains(card.geometry())
    for word in ("Click an object", "C commits the object", "Save", "F1 lists all keys", "Ctrl-Z"):
        assert word in words(card)
    assert card.text.height() >= card.text.heightForWidth(card.text.width()), "nothing is cut"
    assert wait_until(lambda: not tool.engine.busy), tool.status.text
    click(tool, (60, 100))  # it holds nothing up
    wait_idle(tool)
    assert tool.session.has_current and card.isVisible()
    driver.press(card.read)
    assert wait_until(lambda: card not in canvas(tool.viewer).children()) and not is_first_start()
    tool.saving.unsaved = False
    driver.close(tool.viewer)
    again = opened(annotator_2d, coins, model_type="nano_lm")
    again.dock.welcome()
    assert again.dock.card is None


def test_who_finds_the_keys_has_read_it(opened, coins, first_start):
    tool = opened(annotator_2d, coins, model_type="nano_lm")
    tool.dock.welcome()
    key(tool.viewer, "F1")
    assert wait_until(lambda: not is_first_start()) and tool.dock.card not in canvas(tool.viewer).children()


@pytest.mark.parametrize(
    ("function", "image", "wanted"),
    [
        (annotator_3d, lambda: small_volume()[0], ("V: the whole object", "C commits the object")),
        (annotator_tracking, lambda: small_movie()[0], ("V: follows the object", "C commits the track")),
    ],
)
def test_each_tool_has_its_own_words(opened, function, image, wanted, first_start):
    tool = opened(function, image(), model_type="nano_lm")
    tool.dock.welcome()
    assert all(text in words(tool.dock.card) for text in wanted)
    tool.dock.end()
    assert is_first_start(), "it was not read"


def test_a_window_with_somebody_in_front_of_it_shows_it(coins, first_start, monkeypatch, window_manager):
    """As the commands open it: with the event loop."""
    seen = []

    def look() -> None:
        viewer = napari.current_viewer()
        seen.append(get_annotator(viewer).dock.card.isVisible())
        driver.close(viewer)

    monkeypatch.setattr(napari, "run", look)  # in place of the event loop
    annotator_2d(coins, model_type="nano_lm")
    assert seen == [True] and is_first_start()
