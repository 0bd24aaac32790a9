"""The one question before a file that exists is replaced by a result."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtWidgets import QMessageBox

from micro_sam.io.atomic import backup_name

if TYPE_CHECKING:
    from micro_sam.sam_annotator.controller.annotator import Annotator


def may_replace(annotator: Annotator, path: Path, is_ours: bool) -> bool:
    """Ask the user whether a file or folder that they chose may be replaced.

    Parameters
    ----------
    is_ours
        It is an earlier result; otherwise the answer names the backup that stays.
    """
    window = annotator.viewer.window._qt_window
    box = QMessageBox(window)
    box.setObjectName("micro_sam_replace")
    box.setStyleSheet(window.styleSheet())
    box.setWindowTitle("Replace?")
    if is_ours:
        box.setText(f"{path.name} holds an earlier result. Replace it?")
    else:
        box.setText(
            f"{path.name} was made by another program, or by an earlier version of this one. Replace it? What is there "
            f"now stays as {backup_name(path).name}."
        )
    replace = box.addButton("Replace", QMessageBox.ButtonRole.AcceptRole)
    keep = box.addButton("Keep it", QMessageBox.ButtonRole.RejectRole)
    box.setDefaultButton(keep)
    box.setEscapeButton(keep)
    box.exec()
    return box.clickedButton() is replace
