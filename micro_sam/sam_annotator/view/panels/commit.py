"""Commit, clear, undo, redo."""

from __future__ import annotations

from typing import TYPE_CHECKING

from magicgui.widgets import ComboBox
from qtpy.QtWidgets import QVBoxLayout, QWidget

from micro_sam.sam_annotator.view.panels.parts import button, column, row

if TYPE_CHECKING:
    from micro_sam.sam_annotator.controller.annotator import Annotator

PRESERVE = [
    ("keep their pixels", "pixels"),
    ("keep whole objects", "objects"),
    ("are overwritten", "none"),
]
PRESERVE_TIP = (
    "Where a new object meets a committed one. Keep their pixels: the new one gets the free pixels. "
    "Keep whole objects: a new object that overlaps is left out. Are overwritten: the new one wins."
)


class CommitMenu(QWidget):
    """``Commit`` (key ``c``), ``Clear`` (``Shift-C``), undo and redo."""

    def __init__(self, annotator: Annotator) -> None:
        super().__init__()
        self._annotator = annotator
        names = annotator.names
        choices = [(names.current, "current")] + ([(names.auto, "auto")] if names.auto else [])
        self.source = ComboBox(choices=choices, value="current", label="layer", tooltip="Which layer is committed.")
        self.source.changed.connect(annotator.set_source)
        self.preserve = ComboBox(choices=PRESERVE, value="pixels", label="committed objects", tooltip=PRESERVE_TIP)
        self.preserve.changed.connect(self._set_preserve)
        self.run = button("Commit [C]", "Move the object(s) into committed_objects.", annotator.commit, primary=True)
        self.clear = button("Clear [Shift-C]", "Remove the prompts and the current object.", annotator.clear)
        self.undo = button("Undo", "Take the last step back [Ctrl-Z].", annotator.undo)
        self.redo = button("Redo", "Do it again [Ctrl-Shift-Z].", annotator.redo)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        layout.addWidget(self.run.native)
        layout.addWidget(column(self.source, self.preserve, labels=True).native)
        layout.addWidget(row(self.clear, self.undo, self.redo).native)
        annotator.source_changed.connect(self._show_source)
        annotator.session_changed.connect(self._follow)
        self._show_history()

    def _set_preserve(self, preserve: str) -> None:
        self._annotator.preserve = preserve

    def _show_source(self, source: str) -> None:
        with self.source.changed.blocked():
            self.source.value = source

    def _follow(self, session) -> None:
        session.events.history_changed.connect(self._show_history)
        self._show_history()

    def _show_history(self) -> None:
        session = self._annotator.session
        undo, redo = (session.history.last, session.history.next) if session is not None else (None, None)
        self.undo.enabled, self.redo.enabled = undo is not None, redo is not None
        self.undo.tooltip = f"Undo: {undo.name} [Ctrl-Z]" if undo is not None else "Nothing to undo"
        self.redo.tooltip = f"Redo: {redo.name} [Ctrl-Shift-Z]" if redo is not None else "Nothing to redo"
