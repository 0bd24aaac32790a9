"""Commit, clear, undo, redo, and save."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from magicgui.widgets import ComboBox
from psygnal import SignalInstance
from qtpy.QtWidgets import QLabel, QVBoxLayout, QWidget

from micro_sam.sam_annotator.actions import Actions
from micro_sam.sam_annotator.state.window import WindowState
from micro_sam.sam_annotator.view.panels.parts import action_button, column, menu_layout, row
from micro_sam.session.session import Session

PRESERVE = [
    ("keep their pixels", "pixels"),
    ("keep whole objects", "objects"),
    ("are overwritten", "none"),
]
PRESERVE_TIP = (
    "Where a new object meets a committed one. Keep their pixels: the new one gets the free pixels. "
    "Keep whole objects: a new object that overlaps is left out. Are overwritten: the new one wins."
)


class CommitPanel(QWidget):
    """Commit and Clear, undo and redo."""

    def __init__(self, state: WindowState, actions: Actions) -> None:
        super().__init__()
        self._state, self._actions = state, actions
        self.run = action_button(actions, "commit")
        self.clear = action_button(actions, "clear")
        self.undo = action_button(actions, "undo")
        self.redo = action_button(actions, "redo")
        layout = menu_layout(self)
        layout.addWidget(self.run.native)
        layout.addWidget(row(self.clear, self.undo, self.redo).native)
        state.events.source.connect(self._show_source)
        state.events.session.connect(self._follow)
        self._show_source(state.source)
        self._show_history()

    def _show_source(self, source: str) -> None:
        self.run.text = self._actions["commit" if source == "current" else "commit_automatic"].caption

    def _follow(self, session: Session) -> None:
        session.events.history_changed.connect(self._show_history)
        self._show_history()

    def _show_history(self) -> None:
        session = self._state.session
        undo, redo = (session.history.last, session.history.next) if session is not None else (None, None)
        for name, widget, step in (("undo", self.undo, undo), ("redo", self.redo, redo)):
            widget.enabled = step is not None
            key = self._actions[name].key
            widget.tooltip = f"{name.capitalize()}: {step.name} [{key}]" if step is not None else f"Nothing to {name}"


class CommitOptions(QWidget):
    """Which layer is committed, and what happens where a new object meets a committed one."""

    def __init__(self, state: WindowState, actions: Actions) -> None:
        super().__init__()
        names = state.tool.names
        choices = [(names.current, "current")] + ([(names.auto, "auto")] if names.auto else [])
        self.source = ComboBox(choices=choices, value=state.source, label="layer", tooltip="Which layer is committed.")
        self.source.changed.connect(actions.set_source)
        self.preserve = ComboBox(
            choices=PRESERVE, value=state.preserve, label="committed objects", tooltip=PRESERVE_TIP
        )
        self.preserve.changed.connect(actions.set_preserve)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(column(self.source, self.preserve, labels=True).native)
        state.events.source.connect(self._show_source)

    def _show_source(self, source: str) -> None:
        with self.source.changed.blocked():
            self.source.value = source


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
        layout = menu_layout(self)
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
            is_there = path is not None and path.exists()  # in a series the name is known before there is a result
            self.where.setText(f"saved in {name}" if is_there else f"not saved yet ({name})" if name else "")
        self.where.setToolTip(str(path or ""))
