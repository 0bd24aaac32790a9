"""Which image of a series is shown; previous and next."""

from __future__ import annotations

from qtpy.QtWidgets import QLabel, QVBoxLayout, QWidget

from micro_sam.sam_annotator.actions import Actions
from micro_sam.sam_annotator.state.series import SeriesState
from micro_sam.sam_annotator.state.window import WindowState
from micro_sam.sam_annotator.view.panels.parts import action_button, row


class SeriesPanel(QWidget):
    """Counter, ``Previous`` and ``Next``."""

    def __init__(self, state: WindowState, actions: Actions) -> None:
        super().__init__()
        self.counter = QLabel()
        self.counter.setWordWrap(True)
        self.previous = action_button(actions, "previous_image")
        self.next = action_button(actions, "next_image")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        layout.addWidget(self.counter)
        layout.addWidget(row(self.previous, self.next).native)
        state.events.series.connect(self._show)

    def _show(self, series: SeriesState) -> None:
        total = len(series.entries)
        self.counter.setText(
            f"Image {series.index + 1} of {total}: {series.entry.name} ({series.n_done} with a result)"
        )
        self.previous.enabled = series.index > 0
