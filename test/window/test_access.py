"""Without a mouse, and on screens with small pixels."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QPushButton

from micro_sam.io.labels import load_labels
from micro_sam.sam_annotator import annotator_2d

from . import driver
from .driver import click, key, wait_idle

COIN = (60, 100)


def tab_to(button: QPushButton) -> None:
    """Press Tab until a button has the keyboard."""
    seen = []
    for _ in range(200):
        widget = QApplication.focusWidget()
        if widget is button:
            return
        seen.append(f"{type(widget).__name__} {getattr(widget, 'text', str)()}")
        QTest.keyClick(widget, Qt.Key.Key_Tab)
        driver.process(0.02)
    raise AssertionError(f"{button.text()} is not reached: {seen}")


def press_by_key() -> None:
    QTest.keyClick(QApplication.focusWidget(), Qt.Key.Key_Space)
    driver.process(0.2)


def test_the_loop_goes_on_without_a_mouse_once_there_is_a_prompt(tool, tmp_path, monkeypatch):
    driver.activate(tool.viewer)
    click(tool, COIN)
    wait_idle(tool)
    mask = tool.session.current > 0
    tab_to(tool.dock.commit.run.native)
    press_by_key()
    wait_idle(tool)
    assert (tool.session.committed > 0).sum() == mask.sum()
    key(tool.viewer, "ctrl+z")  # the keys of the tool work wherever the keyboard is
    assert not tool.session.committed.any() and tool.session.has_current
    key(tool.viewer, "c")
    wait_idle(tool)
    path = tmp_path / "objects.tif"
    monkeypatch.setattr(tool.saving._dialogs, "path_to_save", lambda *_: (path, ""))
    tab_to(tool.dock.save.save.native)
    press_by_key()
    wait_idle(tool)
    assert load_labels(path).max() == tool.session.committed.max()
    QTest.keyClick(QApplication.focusWidget(), Qt.Key.Key_Escape)
    driver.process(0.1)
    assert QApplication.focusWidget() is driver.canvas(tool.viewer)


def test_a_button_that_is_clicked_does_not_take_the_keyboard(tool):
    click(tool, COIN)
    wait_idle(tool)
    driver.press(tool.dock.view.fit)
    assert QApplication.focusWidget() is not tool.dock.view.fit
    key(tool.viewer, "c")
    wait_idle(tool)
    assert tool.session.committed[COIN]


def test_a_menu_is_opened_by_key_and_tab_goes_on_in_it(opened, coins):
    tool = opened(annotator_2d, coins, model_type="nano_lm")
    wait_idle(tool)
    driver.activate(tool.viewer)
    menu = tool.dock.panels.classes
    menu.toggleButton().setFocus()
    press_by_key()
    assert menu.isExpanded()
    QTest.keyClick(QApplication.focusWidget(), Qt.Key.Key_Tab)
    driver.process(0.1)
    assert QApplication.focusWidget() is menu.panel.add.native
    press_by_key()
    assert tool.session.classes.names() == {} and [one.number for one in tool.session.classes.known] == [1]


SCRIPT = """
    import sys

    sys.path.insert(0, {folder!r})
    import numpy as np
    from micro_sam.sam_annotator import annotator_2d, get_annotator
    from micro_sam.sample_data import open_sample
    from window import driver
    from window.test_look import is_in_sight

    with driver.window_manager():
        viewer = annotator_2d(open_sample("coins").image, model_type="nano_lm", return_viewer=True)
        tool = get_annotator(viewer)
        driver.place(viewer)
        canvas = driver.canvas(viewer)
        assert canvas.devicePixelRatioF() == 2, canvas.devicePixelRatioF()
        driver.click(tool, {coin})
        assert driver.wait_until(lambda: tool.session.has_current), tool.status.text
        driver.process(0.5)
        assert tool.session.current[{coin}]
        y, x = {coin}  # the outline over the canvas lies where the mouse has clicked
        place = tool.dock.outline._to_canvas().map(float(x), float(y))
        meant = driver.canvas_point(viewer, tool.layers.raw, {coin})
        assert abs(place[0] - meant.x()) < 2 and abs(place[1] - meant.y()) < 2, (place, meant)
        window = viewer.window._qt_window
        for button in (tool.dock.commit.run, tool.dock.commit.undo, tool.dock.save.save, tool.dock.panels.segment.run):
            assert is_in_sight(button.native, window), button.text
        tool.saving.unsaved = False
        driver.close(viewer)
    print("ALL RIGHT")
"""


def test_a_screen_with_two_pixels_for_each():
    folder = str(Path(driver.__file__).parents[1])
    script = textwrap.dedent(SCRIPT.format(folder=folder, coin=COIN))
    environment = {**os.environ, "QT_SCALE_FACTOR": "2"}
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=400, env=environment)
    assert "ALL RIGHT" in run.stdout, run.stderr[-3000:]
