"""Which image of a series is shown, how far the others are; previous and next."""

from __future__ import annotations

from qtpy.QtGui import QColor
from qtpy.QtWidgets import QLabel, QListWidget, QListWidgetItem, QVBoxLayout, QWidget

from micro_sam.sam_annotator.actions import Actions
from micro_sam.sam_annotator.state.series import Progress, SeriesState
from micro_sam.sam_annotator.state.window import WindowState
from micro_sam.sam_annotator.view.panels.parts import action_button, folded, row

MARKS: dict[Progress, str] = {"open": "●", "done": "✓", "empty": "–", "left out": "✗", "to do": "○"}
COLOURS: dict[Progress, str] = {"left out": "#ff5b52", "done": "#3ecf6b"}
HEIGHT = 150


class SeriesPanel(QWidget):
    """Counter, ``Previous`` and ``Next``, and the list of all images; a click on one goes there."""

    def __init__(self, state: WindowState, actions: Actions) -> None:
        super().__init__()
        self._shown: SeriesState | None = None
        self.counter = QLabel()
        self.counter.setWordWrap(True)
        self.previous = action_button(actions, "previous_image")
        self.next = action_button(actions, "next_image")
        self.list = QListWidget()
        self.list.setToolTip(actions["go_to_image"].tip)
        self.list.setMaximumHeight(HEIGHT)
        self.list.setUniformItemSizes(True)
        self.list.itemClicked.connect(lambda item: actions.go_to_image(self.list.row(item)))
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        layout.addWidget(self.counter)
        layout.addWidget(row(self.previous, self.next).native)
        layout.addWidget(folded("All images", self.list))
        state.events.series.connect(self._show)

    def _show(self, series: SeriesState) -> None:
        total = len(series.entries)
        left_out = f", {len(series.left_out)} left out" if series.left_out else ""
        self.counter.setText(
            f"Image {series.index + 1} of {total}: {series.entry.name} ({series.n_done} with a result{left_out})"
        )
        self.previous.enabled = series.index > 0
        self._show_list(series)

    def _show_list(self, series: SeriesState) -> None:
        before, self._shown = self._shown, series
        changed = set(range(len(series.entries)))
        if before is not None and len(before.entries) == len(series.entries):
            changed = {before.index, series.index, *before.left_out, *series.left_out}
        else:
            self.list.clear()
            self.list.addItems([entry.name for entry in series.entries])
        for index in changed:
            item = self.list.item(index) if index >= 0 else None
            if item is not None:
                self._show_row(item, series, index)
        self.list.setCurrentRow(series.index)

    def _show_row(self, item: QListWidgetItem, series: SeriesState, index: int) -> None:
        progress = series.progress(index)
        why = series.left_out.get(index, "")
        item.setText(f"{MARKS[progress]} {series.entries[index].name}: {progress}")
        item.setToolTip(why)
        item.setForeground(QColor(COLOURS.get(progress, "#d0d4dc")))
