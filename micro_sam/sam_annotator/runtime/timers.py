"""Timers of the window's thread."""

from __future__ import annotations

from collections.abc import Callable

from qtpy.QtCore import QObject, QTimer


def once(do: Callable[[], object], interval_ms: int = 0, parent: QObject | None = None) -> QTimer:
    """A timer that calls a function once, some time after each start; 0: when the events that wait are done."""
    timer = QTimer(parent)
    timer.setSingleShot(True)
    timer.setInterval(interval_ms)
    timer.timeout.connect(do)
    return timer
