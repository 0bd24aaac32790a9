"""The questions of a window: file dialogs, whether a file may be replaced, and unsaved work."""

from __future__ import annotations

import itertools
from pathlib import Path

from napari import Viewer
from qtpy.QtWidgets import QFileDialog, QMessageBox, QWidget

from micro_sam.io.atomic import backup_name


class Dialogs:
    """Asks the user; every dialog belongs to the window of the viewer.

    Parameters
    ----------
    viewer
        Whose window it is.
    """

    def __init__(self, viewer: Viewer) -> None:
        self._viewer = viewer

    @property
    def _window(self) -> QWidget:
        window: QWidget = self._viewer.window._qt_window
        return window

    def path_to_open(self, title: str) -> Path | None:
        """A file to read; None when the user cancels."""
        path, _ = QFileDialog.getOpenFileName(self._window, title)
        return Path(path) if path else None

    def folder_to_open(self, title: str) -> Path | None:
        """A folder to read; None when the user cancels."""
        path = QFileDialog.getExistingDirectory(self._window, title)
        return Path(path) if path else None

    def path_to_save(self, title: str, suggestion: Path, filters: str) -> tuple[Path | None, str]:
        """A file to write (None when the user cancels), and the filter that was selected. May name one that exists.

        In place of a folder that is there, another name is suggested: the dialog would open inside it.
        """
        places = (suggestion.with_name(f"{suggestion.name}{f'_{n}' if n > 1 else ''}") for n in itertools.count(1))
        suggestion = next(place for place in places if not place.is_dir())
        path, selected = QFileDialog.getSaveFileName(
            self._window,
            title,
            str(suggestion),
            filters,
            "",
            options=QFileDialog.Option.DontConfirmOverwrite,  # we ask ourselves, once
        )
        return (Path(path) if path else None), selected

    def may_replace(self, path: Path, is_ours: bool) -> bool:
        """Whether a file or folder that the user chose may be replaced.

        Parameters
        ----------
        is_ours
            It is an earlier result; otherwise the question names the backup that stays.
        """
        box = self._box("micro_sam_replace", "Replace?")
        if is_ours:
            box.setText(f"{path.name} holds an earlier result. Replace it?")
        else:
            box.setText(
                f"{path.name} was made by another program, or by an earlier version of this one. Replace it? What is "
                f"there now stays as {backup_name(path).name}."
            )
        replace = box.addButton("Replace", QMessageBox.ButtonRole.AcceptRole)
        keep = box.addButton("Keep it", QMessageBox.ButtonRole.RejectRole)
        box.setDefaultButton(keep)
        box.setEscapeButton(keep)
        box.exec()
        return box.clickedButton() is replace

    def unsaved(self, question: str, yes: str, no: str) -> bool | None:
        """What becomes of unsaved work: None for `yes`, True for `no`, False to go on working."""
        box = self._box("micro_sam_unsaved", "Unsaved work")
        box.setText(question)
        accept = box.addButton(yes, QMessageBox.ButtonRole.AcceptRole)
        discard = box.addButton(no, QMessageBox.ButtonRole.DestructiveRole)
        cancel = box.addButton("Go on working", QMessageBox.ButtonRole.RejectRole)
        box.setDefaultButton(accept)
        box.setEscapeButton(cancel)
        box.exec()
        return None if box.clickedButton() is accept else box.clickedButton() is discard

    def _box(self, name: str, title: str) -> QMessageBox:
        window = self._window
        box = QMessageBox(window)
        box.setObjectName(name)
        box.setStyleSheet(window.styleSheet())
        box.setWindowTitle(title)
        return box
