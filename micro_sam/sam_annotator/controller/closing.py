"""Closing the window never loses work: it asks, or it keeps a copy."""

from __future__ import annotations

import logging
import re
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QEvent, QObject, QTimer
from qtpy.QtWidgets import QMessageBox

if TYPE_CHECKING:
    from micro_sam.sam_annotator.controller.annotator import Annotator
    from micro_sam.sam_annotator.controller.saving import Saving

log = logging.getLogger(__name__)


class CloseGuard(QObject):
    """Watches the window of one annotator.

    A person who closes the window (its cross, the menu, Ctrl-W, Ctrl-Q) is asked when there is unsaved work. A program
    that closes it (``viewer.close()``) is not, since nobody might be there to answer: the work then goes into a
    recovery file.
    """

    def __init__(self, annotator: Annotator) -> None:
        self._window = annotator.viewer.window._qt_window
        super().__init__(self._window)
        self._annotator = annotator
        self._decided = False
        self._window.installEventFilter(self)
        # The menu of napari closes through this method, and says so with `confirm_need`.
        self._close = self._window.close
        self._window.close = self._close_by_menu

    def forget(self) -> None:
        """Ask no more: the tool has ended, its window stays."""
        self._decided = True
        self._window.removeEventFilter(self)

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
        annotator = self._annotator
        annotator.saving.save_silently(may_ask=event.spontaneous())
        if annotator.saving.must_ask and not self._decided:
            if event.spontaneous():
                event.ignore()
                if may_leave(annotator):
                    self._decided = True
                    # napari asks as well when the person closes the window; one question is enough.
                    QTimer.singleShot(0, self._close)
                return True
            path = keep_copy(annotator)
            if path is not None:
                log.warning("The window was closed with unsaved objects: they are kept in %s", path)
        self._window.event(event)  # napari may ask its own question
        if event.isAccepted():
            annotator.close()
        return True

    def _close_by_menu(self, quit_app: bool = False, confirm_need: bool = False) -> Any:
        annotator = self._annotator
        if annotator.closed:
            return self._close(quit_app, confirm_need)
        try:
            annotator.saving.save_silently(may_ask=confirm_need)
            if confirm_need and annotator.saving.must_ask:
                if not may_leave(annotator):
                    return None
                self._decided, confirm_need = True, False
        except Exception as error:
            annotator.status.report(error)
            return None
        return self._close(quit_app, confirm_need)


def may_leave(annotator: Annotator, action: str = "Close") -> bool:
    """Whether the image may be left; with unsaved work the person is asked, and it is saved if they say so.

    Parameters
    ----------
    action
        What the person is about to do, for the button: ``"Close"``, ``"Open"``.
    """
    saving = annotator.saving
    if not saving.must_ask:
        return True
    answer = _ask(annotator, _question(saving), "Save", f"{action} without saving")
    if answer is not None:
        return answer
    return _commit_all(annotator) and saving.save() is not None


def may_leave_uncommitted(annotator: Annotator, action: str = "Go on") -> bool:
    """Whether an image may be left whose committed objects are saved without asking; what is open is asked about."""
    saving = annotator.saving
    if not saving.uncommitted and not saving.uncommitted_auto:
        return True
    answer = _ask(annotator, _question(saving, committed=False), "Commit", f"{action} without them")
    return _commit_all(annotator) if answer is None else answer


def _ask(annotator: Annotator, question: str, yes: str, no: str) -> bool | None:
    """Let the user choose: None for `yes`, True for `no`, False to go on working."""
    window = annotator.viewer.window._qt_window
    box = QMessageBox(window)
    box.setObjectName("micro_sam_unsaved")
    box.setStyleSheet(window.styleSheet())
    box.setWindowTitle("Unsaved work")
    box.setText(question)
    accept = box.addButton(yes, QMessageBox.ButtonRole.AcceptRole)
    discard = box.addButton(no, QMessageBox.ButtonRole.DestructiveRole)
    cancel = box.addButton("Go on working", QMessageBox.ButtonRole.RejectRole)
    box.setDefaultButton(accept)
    box.setEscapeButton(cancel)
    box.exec()
    return None if box.clickedButton() is accept else box.clickedButton() is discard


def _commit_all(annotator: Annotator) -> bool:
    """Commit what is open; False when something stays open, and the status line says why."""
    saving = annotator.saving
    for source, is_open in (("current", lambda: saving.uncommitted), ("auto", lambda: saving.uncommitted_auto)):
        if is_open():
            annotator.set_source(source)
            if annotator.commit(wait=True) is None or is_open():
                return False
    return True


def _question(saving: Saving, committed: bool = True) -> str:
    """What is not committed, and (with `committed`) not saved, and whether to do that."""
    open_ones = ["the current object is"] if saving.uncommitted else []
    open_ones += ["the automatic objects are"] if saving.uncommitted_auto else []
    if not open_ones:
        return "There are committed objects that are not saved. Save them?"
    text = " and ".join(open_ones).capitalize() + " not committed"
    if not committed:
        return f"{text}. Commit them?"
    if saving.unsaved:
        return f"{text}, and committed objects are not saved. Commit and save all?"
    return f"{text}. Commit and save {'them' if saving.uncommitted_auto else 'it'}?"


def keep_copy(annotator: Annotator) -> Path | None:
    """Write unsaved objects (with the current one) into the recovery folder; None when there is nothing to write."""
    from micro_sam.models.cache import get_cache_directory

    name = annotator.image.name if annotator.image is not None else "image"
    folder = Path(get_cache_directory()) / "recovered"
    folder.mkdir(parents=True, exist_ok=True)
    name = re.sub(r"[^\w-]+", "_", name)  # a dot would be read as the beginning of a suffix
    # To the microsecond: several windows may close in the same second.
    return annotator.saving.keep_copy(folder, f"{name}_{datetime.now():%Y%m%d-%H%M%S-%f}")
