"""The keys of the tool, always in sight."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QGridLayout, QLabel, QSizePolicy, QWidget

if TYPE_CHECKING:
    from micro_sam.sam_annotator.controller.annotator import Annotator


class KeyList(QWidget):
    """Key and what it does, one line each."""

    def __init__(self, annotator: Annotator) -> None:
        super().__init__()
        self._annotator = annotator
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setVerticalSpacing(1)
        self._grid.setColumnStretch(1, 1)
        self._shown = 0
        self.show_keys()

    def show_keys(self) -> None:
        """Add the keys that are not in the list yet."""
        for key in self._annotator.keys.keys[self._shown :]:
            name = key.shown.upper() if len(key.shown) == 1 else key.shown
            text = QLabel(key.text)
            text.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
            self._grid.addWidget(QLabel(f"<b>{name}</b>"), self._shown, 0)
            self._grid.addWidget(text, self._shown, 1)
            self._shown += 1
