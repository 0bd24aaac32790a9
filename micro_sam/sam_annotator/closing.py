"""Closing the window never loses work: it asks, or it keeps a copy."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QEvent, QObject, QTimer
from qtpy.QtWidgets import QMessageBox

if TYPE_CHECKING:
    from micro_sam.sam_annotator.annotator import Annotator

log = logging.getLogger(__name__)


class CloseGuard(QObject):
    """Watches the window of one annotator.

    A person who closes the window is asked when there is unsaved work. A program that closes it
    (``viewer.close()``) is not, since nobody might be there to answer: the work then goes into a recovery file.
    """

    def __init__(self, annotator: Annotator) -> None:
        self._window = annotator.viewer.window._qt_window
        super().__init__(self._window)
        self._annotator = annotator
        self._decided = False
        self._window.installEventFilter(self)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """See Qt."""
        if watched is not self._window or event.type() != QEvent.Type.Close:
            return False
        try:
            return self._closing(event)
        except Exception as error:
            self._annotator.status.report(error)
            event.ignore()
            return True

    def _closing(self, event: QEvent) -> bool:
        saving = self._annotator.saving
        saving.save_silently()
        if not self._decided and saving.must_ask:
            if event.spontaneous():
                event.ignore()
                if self._ask():
                    self._decided = True
                    # napari asks as well when the person closes the window; one question is enough.
                    QTimer.singleShot(0, self._window.close)
                return True
            path = keep_copy(self._annotator)
            if path is not None:
                log.warning("The window was closed with unsaved objects: they are kept in %s", path)
        if not event.isAccepted() and not event.spontaneous():
            return False
        self._annotator.close()
        return False

    def _ask(self) -> bool:
        """Whether the window may close."""
        annotator, saving = self._annotator, self._annotator.saving
        box = QMessageBox(self._window)
        box.setObjectName("micro_sam_unsaved")
        box.setStyleSheet(self._window.styleSheet())
        box.setWindowTitle("Unsaved work")
        box.setText(self._question())
        save = box.addButton("Save", QMessageBox.ButtonRole.AcceptRole)
        discard = box.addButton("Close without saving", QMessageBox.ButtonRole.DestructiveRole)
        cancel = box.addButton("Go on working", QMessageBox.ButtonRole.RejectRole)
        box.setDefaultButton(save)
        box.setEscapeButton(cancel)
        box.exec()
        if box.clickedButton() is save:
            if saving.uncommitted:
                annotator.set_source("current")
                if annotator.commit() is None:
                    return False
            return saving.save() is not None
        return box.clickedButton() is discard

    def _question(self) -> str:
        saving = self._annotator.saving
        if saving.uncommitted and saving.unsaved:
            return "The current object is not committed, and committed objects are not saved. Commit and save all?"
        if saving.uncommitted:
            return "The current object is not committed. Commit and save it?"
        return "There are committed objects that are not saved. Save them?"


def keep_copy(annotator: Annotator) -> Path | None:
    """Write unsaved objects (with the current one) into the recovery folder; None when there is nothing to write."""
    from micro_sam.models.cache import get_cache_directory

    name = annotator.image.name if annotator.image is not None else "image"
    folder = Path(get_cache_directory()) / "recovered"
    folder.mkdir(parents=True, exist_ok=True)
    return annotator.saving.keep_copy(folder, f"{name}_{time.strftime('%Y%m%d-%H%M%S')}")
