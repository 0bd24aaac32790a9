"""The driver itself: what it would miss, no window test would show."""

from __future__ import annotations

import time

import pytest
from qtpy.QtWidgets import QMessageBox

from . import driver
from .driver import Heartbeat


def busy(seconds: float) -> None:
    """Compute for a while."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


@pytest.mark.parametrize("hold_up", [time.sleep, busy])
def test_heartbeat_sees_that_the_window_stands_still(application, hold_up):
    with Heartbeat() as heart:
        driver.process(0.1)
        hold_up(0.4)
        driver.process(0.1)
    assert heart.longest > 0.35


def test_dialogs_are_answered_in_order_and_forgotten_ones_are_reported(application):
    texts: list[str] = []
    buttons = QMessageBox.StandardButton.Yes | QMessageBox.StandardButton.No
    with pytest.raises(AssertionError, match="forgotten"), driver.dialogs_answered():
        driver.answer("Yes", texts)
        driver.answer("No", texts)
        assert QMessageBox.question(None, "", "first", buttons) == QMessageBox.StandardButton.Yes
        assert QMessageBox.question(None, "", "second", buttons) == QMessageBox.StandardButton.No
        assert texts == ["first", "second"]
        QMessageBox.information(None, "", "forgotten")
