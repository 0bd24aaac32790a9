"""What the window tells the user: one sentence on what happened, one on what to do next."""

from __future__ import annotations

import logging
from typing import Literal

from napari.utils.notifications import Notification, notification_manager
from psygnal import Signal

from micro_sam.errors import MicroSamError

log = logging.getLogger(__name__)

Kind = Literal["info", "good", "warning", "error"]


class Status:
    """The status line of one window.

    Signals
    -------
    changed
        (text, kind)
    """

    changed = Signal(str, str)

    def __init__(self) -> None:
        self.text = ""
        self.kind: Kind = "info"

    def say(self, text: str, kind: Kind = "info") -> None:
        """Show a sentence."""
        self.text, self.kind = text, kind
        log.info(text)
        self.changed.emit(text, kind)

    def report(self, error: Exception) -> None:
        """Show what went wrong. Foreseen problems explain themselves; the rest also gives its traceback to napari."""
        if isinstance(error, MicroSamError):
            self.say(str(error), "error")
            return
        log.error("Unforeseen error", exc_info=error)
        self.say(
            f"Something went wrong that this program did not foresee ({type(error).__name__}: {error}). "
            "Your prompts and objects are still here: save them, then try again.",
            "error",
        )
        notification_manager.dispatch(Notification.from_exception(error))


def duration(seconds: float) -> str:
    """A time as people say it: ``"about 2 s"``, ``"about 3 min"``."""
    if seconds < 0.95:
        return "less than 1 s"
    if seconds < 90:
        return f"about {seconds:.0f} s"
    if seconds < 5400:
        return f"about {seconds / 60:.0f} min"
    return f"about {seconds / 3600:.1f} h"
