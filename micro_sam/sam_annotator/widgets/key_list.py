"""The keys of the tool, always in sight."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QGridLayout, QLabel, QSizePolicy, QWidget

if TYPE_CHECKING:
    from micro_sam.sam_annotator.annotator import Annotator


class KeyList(QWidget):
    """Key and what it does, one line each."""

    def __init__(self, annotator: Annotator) -> None:
        super().__init__()
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setVerticalSpacing(1)
        grid.setColumnStretch(1, 1)
        for number, key in enumerate(annotator.keys.keys):
            shown = QLabel(f"<b>{key.shown.upper() if len(key.shown) == 1 else key.shown}</b>")
            grid.addWidget(shown, number, 0)
            text = QLabel(key.text)
            text.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
            grid.addWidget(text, number, 1)
