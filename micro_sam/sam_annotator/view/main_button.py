"""One main button at a time: what most users do next."""

from __future__ import annotations

from typing import Any

from qtpy.QtWidgets import QWidget

from micro_sam.sam_annotator.state.window import WindowState
from micro_sam.sam_annotator.view.found_division import DivisionsState
from micro_sam.sam_annotator.view.panels.parts import PRIMARY, SECONDARY
from micro_sam.session.session import Session


class MainButton:
    """Marks the button that goes on from here: the whole object or track while it is in one slice only, then Commit.

    Parameters
    ----------
    state
        Of the window.
    commit, extend
        The buttons; without a second one Commit follows at once.
    divisions
        While one is offered, the main button is in its panel.
    """

    def __init__(
        self,
        state: WindowState,
        commit: QWidget,
        extend: QWidget | None = None,
        divisions: DivisionsState | None = None,
    ) -> None:
        self._state, self._commit, self._extend, self._divisions = state, commit, extend, divisions
        if divisions is not None:
            divisions.changed.connect(self._show)
        self._shown: QWidget | None = None
        for button in (commit, extend):
            if button is not None:
                button.setStyleSheet(SECONDARY)
        state.events.source.connect(self._show)
        state.events.session.connect(self._follow)

    def main(self) -> QWidget | None:
        """The main button; None when there is nothing to go on with yet."""
        session = self._state.session
        if session is None or (self._divisions is not None and self._divisions.offer is not None):
            return None
        if self._state.source == "auto":
            return self._commit
        if not session.has_current:
            return None
        return self._commit if self._extend is None or len(session.labels.current_slices) > 1 else self._extend

    def _follow(self, session: Session) -> None:
        session.events.labels_changed.connect(self._show)
        self._show()

    def _show(self, *_: Any) -> None:
        button = self.main()
        if self._state.closed or button is self._shown:
            return
        if self._shown is not None:
            self._shown.setStyleSheet(SECONDARY)
        if button is not None:
            button.setStyleSheet(PRIMARY)
        self._shown = button
