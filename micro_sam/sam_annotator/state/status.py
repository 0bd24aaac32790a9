"""What the window tells the user: one sentence on what happened, one on what to do next."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Literal

from napari.utils.notifications import Notification, notification_manager
from psygnal import Signal

from micro_sam.errors import MicroSamError

log = logging.getLogger(__name__)

Kind = Literal["info", "good", "warning", "error"]


MOST = 3
"""Warnings that are shown at once; of more, the newest."""


@dataclass(frozen=True)
class _Said:
    """A sentence; `about` names the matter, so that news of it take its place."""

    text: str
    kind: Kind = "info"
    about: str = ""

    @property
    def warns(self) -> bool:
        return self.kind in ("warning", "error")


class Status:
    """The status line of one window.

    A warning or an error stays until the user acts, or until there is news of the same matter. What else is said
    meanwhile, by work in the background for instance, stands below it.

    Attributes
    ----------
    text
        All that is shown.
    kind
        The most serious kind of what is shown.

    Signals
    -------
    changed
        (text, kind)
    """

    changed = Signal(str, str)

    def __init__(self) -> None:
        self.text = ""
        self.kind: Kind = "info"
        self._warnings: list[_Said] = []
        self._notice = _Said("")

    def say(self, text: str, kind: Kind = "info", about: str = "") -> None:
        """Show a sentence.

        Parameters
        ----------
        text, kind
            What to show, and as what.
        about
            A matter, by any name: a warning about it is not true any more, and gives way.
        """
        log.info(text)
        said = _Said(text, kind, about)
        self._warnings = [one for one in self._warnings if one.text != text and not (about and one.about == about)]
        if said.warns:
            self._warnings = [*self._warnings, said][-MOST:]
        self._notice = _Said("") if said.warns else said
        self._show()

    def add(self, text: str) -> None:
        """Show another sentence behind what is shown, which is still to be read."""
        log.info(text)
        self._notice = _Said(f"{self._notice.text} {text}".strip(), self._notice.kind, self._notice.about)
        self._show()

    def acted(self) -> None:
        """The user has done something, and so has seen what is shown: the next sentence takes its place."""
        self._warnings, self._notice = [], _Said(self.text, self.kind)

    def report(self, error: Exception, about: str = "") -> None:
        """Show what went wrong. Foreseen problems explain themselves; the rest also gives its traceback to napari."""
        if isinstance(error, MicroSamError):
            self.say(str(error), "error", about)
            return
        log.error("Unforeseen error", exc_info=error)
        self.say(
            f"Something went wrong that this program did not foresee ({type(error).__name__}: {error}). "
            "Your prompts and objects are still here: save them, then try again.",
            "error",
            about,
        )
        notification_manager.dispatch(Notification.from_exception(error))

    def _show(self) -> None:
        shown = [one for one in (*self._warnings, self._notice) if one.text]
        kinds = {one.kind for one in shown}
        self.text = "\n".join(one.text for one in shown)
        self.kind = next((kind for kind in ("error", "warning") if kind in kinds), self._notice.kind)
        self.changed.emit(self.text, self.kind)


def duration(seconds: float) -> str:
    """A time as people say it: ``"about 2 s"``, ``"about 3 min"``."""
    if seconds < 0.95:
        return "less than 1 s"
    if seconds < 90:
        return f"about {seconds:.0f} s"
    if seconds < 5400:
        return f"about {seconds / 60:.0f} min"
    return f"about {seconds / 3600:.1f} h"
