"""The keys of the tool."""

from __future__ import annotations

from qtpy.QtWidgets import QGridLayout, QLabel, QSizePolicy, QWidget

from micro_sam.sam_annotator.actions import Actions


class KeyList(QWidget):
    """Key and what it does, one line each."""

    def __init__(self, actions: Actions) -> None:
        super().__init__()
        self._actions = actions
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setVerticalSpacing(1)
        self._grid.setColumnStretch(1, 1)
        self._shown: set[str] = set()
        actions.added.connect(self._show)
        self._show()

    def _show(self) -> None:
        """Add the keys that are not in the list yet."""
        for action in self._actions:
            if not action.keys or action.name in self._shown:
                continue
            text = QLabel(action.text)
            text.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
            self._grid.addWidget(QLabel(f"<b>{action.key}</b>"), len(self._shown), 0)
            self._grid.addWidget(text, len(self._shown), 1)
            self._shown.add(action.name)
