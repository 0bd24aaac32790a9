"""Save the committed objects."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from psygnal import SignalInstance
from qtpy.QtWidgets import QLabel, QVBoxLayout, QWidget

from micro_sam.sam_annotator.actions import Actions
from micro_sam.sam_annotator.view.panels.parts import action_button, row


class SavingState(Protocol):
    """What the panel reads."""

    path: Path | None
    unsaved: bool

    @property
    def changed(self) -> SignalInstance:
        """Something was saved, or there is something new to save."""


class SavePanel(QWidget):
    """``Save`` and ``Save As``, and whether the last change is in the file."""

    def __init__(self, saving: SavingState, actions: Actions) -> None:
        super().__init__()
        self._saving = saving
        self.save = action_button(actions, "save")
        self.save_as = action_button(actions, "save_as")
        self.where = QLabel()
        self.where.setWordWrap(True)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        layout.addWidget(row(self.save, self.save_as).native)
        layout.addWidget(self.where)
        saving.changed.connect(self._show)
        self._show()

    def _show(self) -> None:
        path = self._saving.path
        name = path.name if path is not None else ""
        if self._saving.unsaved:
            self.where.setText(f"not saved since the last change{f' ({name})' if name else ''}")
        else:
            self.where.setText(f"saved in {name}" if name else "")
        self.where.setToolTip(str(path or ""))
