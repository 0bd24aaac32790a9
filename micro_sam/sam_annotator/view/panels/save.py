"""Save the committed objects."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QLabel, QVBoxLayout, QWidget

from micro_sam.sam_annotator.view.panels.parts import button, row

if TYPE_CHECKING:
    from micro_sam.sam_annotator.controller.annotator import Annotator


class SaveMenu(QWidget):
    """``Save`` and ``Save As``: tif or zarr."""

    def __init__(self, annotator: Annotator) -> None:
        super().__init__()
        self._annotator = annotator
        self.save = button("Save", f"Write what is committed ({annotator.saving.formats}).", annotator.save)
        what = f"what is committed ({annotator.saving.formats})"
        self.save_as = button("Save As...", f"Write {what} into another file.", annotator.save_as)
        self.where = QLabel()
        self.where.setWordWrap(True)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        layout.addWidget(row(self.save, self.save_as).native)
        layout.addWidget(self.where)
        annotator.saving.changed.connect(self._show)
        annotator.session_changed.connect(lambda _session: self._show())
        self._show()

    def _show(self) -> None:
        saving = self._annotator.saving
        name = saving.path.name if saving.path is not None else ""
        if saving.unsaved:
            self.where.setText(f"not saved since the last change{f' ({name})' if name else ''}")
        else:
            self.where.setText(f"saved in {name}" if name else "")
        self.where.setToolTip(str(saving.path or ""))
