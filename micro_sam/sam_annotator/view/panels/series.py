"""Which image of a series is shown; previous and next."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QLabel, QVBoxLayout, QWidget

from micro_sam.sam_annotator.view.panels.parts import button, row

if TYPE_CHECKING:
    from micro_sam.sam_annotator.controller.series import Series


class SeriesMenu(QWidget):
    """Counter, ``Previous`` and ``Next`` (key ``n``)."""

    def __init__(self, series: Series) -> None:
        super().__init__()
        self._series = series
        self.counter = QLabel()
        self.counter.setWordWrap(True)
        self.previous = button("Previous [Shift-N]", "Save, and go back to the image before.", series.previous)
        self.next = button("Next [N]", "Save, and go on to the next image.", series.next)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        layout.addWidget(self.counter)
        layout.addWidget(row(self.previous, self.next).native)
        series.changed.connect(self._show)

    def _show(self) -> None:
        series = self._series
        done = sum(entry.output.exists() for entry in series.entries)
        total = len(series.entries)
        self.counter.setText(f"Image {series.index + 1} of {total}: {series.entry.name} ({done} with a result)")
        self.previous.enabled = series.index > 0
