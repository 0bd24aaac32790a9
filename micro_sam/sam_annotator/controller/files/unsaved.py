"""No work is lost: results save themselves; before an image or the window is left, it asks, or it keeps a copy."""

from __future__ import annotations

import contextlib
import logging
import re
import signal
import socket
import time
from collections.abc import Callable, Generator, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from napari import Viewer
from qtpy.QtCore import QEvent, QObject, QSocketNotifier, QTimer
from qtpy.QtWidgets import QApplication

from micro_sam.errors import MicroSamError
from micro_sam.sam_annotator.actions import Actions
from micro_sam.sam_annotator.controller.files.large_saves import LANE
from micro_sam.sam_annotator.controller.files.saving import Saving
from micro_sam.sam_annotator.runtime.jobs import Jobs, Progress
from micro_sam.sam_annotator.runtime.timers import once
from micro_sam.sam_annotator.state.window import WindowState
from micro_sam.sam_annotator.view.dialogs import Dialogs
from micro_sam.sam_annotator.view.frame import intercept, kept_with, leave
from micro_sam.session.session import Session

log = logging.getLogger(__name__)

SIGNALS = ("SIGTERM", "SIGHUP")
PAUSE = 20.0  # seconds that lie at least between two saves that begin by themselves
SOON = 1.0  # seconds that such a save waits for what follows at once


class Leaving:
    """What becomes of work that is not committed or not saved when an image is left.

    Parameters
    ----------
    state, actions
        Of the window; ``commit`` is used.
    saving, dialogs
        Save, and ask.
    """

    def __init__(self, state: WindowState, actions: Actions, saving: Saving, dialogs: Dialogs) -> None:
        self._state, self._actions, self._saving, self._dialogs = state, actions, saving, dialogs

    def may_leave(self, what: str = "Close", *, is_named: bool = False) -> bool:
        """Whether the image may be left; with unsaved work the user is asked, and it is saved if they say so.

        Parameters
        ----------
        what
            The user is about to do, for the button: ``"Close"``, ``"Open"``.
        is_named
            Whether the question says which tool and image it is about: there are several in the window.
        """
        if not self._saving.must_ask:
            return True
        image, title = self._state.image, self._state.tool.title
        about = f"{title}, {image.name}: " if is_named and image is not None else ""
        answer = self._dialogs.unsaved(about + self._question(), "Save", f"{what} without saving")
        if answer is not None:
            return answer
        return self._commit_all() and self._saving.save() is not None

    def may_leave_uncommitted(self) -> bool:
        """Whether an image may be left whose committed objects are saved without asking; the user is asked the rest."""
        if not self._saving.uncommitted and not self._saving.uncommitted_auto:
            return True
        answer = self._dialogs.unsaved(self._question(committed=False), "Commit", "Go on without them")
        return self._commit_all() if answer is None else answer

    def keep_copy(self) -> Path | None:
        """Write unsaved objects (with the current one) into the recovery folder; None when there are none."""
        from micro_sam.models.cache import get_cache_directory

        image = self._state.image
        folder = Path(get_cache_directory()) / "recovered"
        folder.mkdir(parents=True, exist_ok=True)
        # a dot would be read as the beginning of a suffix
        name = re.sub(r"[^\w-]+", "_", image.name if image is not None else "image")
        # To the microsecond: several windows may close in the same second.
        return self._saving.keep_copy(folder, f"{name}_{datetime.now():%Y%m%d-%H%M%S-%f}")

    def keep_all(self) -> None:
        """Bring everything to the disc that can be brought there without a question."""
        saving, session = self._saving, self._state.session
        if session is None:
            return
        if not session.keeper.flush(5):
            journal = session.keeper.journal
            log.warning("The session could not be written: %s", journal.trouble if journal else "")
        try:
            if saving.unsaved and saving.was_saved and (write := saving.plan_quiet()) is not None:
                write()
                if saving.path is not None:
                    saving.written(saving.path)
                session.keeper.flush(5)
        except Exception as error:  # the session has it all
            log.warning("%s was not written: %s", saving.path, error)

    def _commit_all(self) -> bool:
        """Commit what is open; False when something stays open, and the status line says why."""
        saving = self._saving
        for source, is_open in (("current", "uncommitted"), ("auto", "uncommitted_auto")):
            if getattr(saving, is_open):
                self._actions.set_source(source)
                if self._actions.commit(wait=True) is None or getattr(saving, is_open):
                    return False
        return True

    def _question(self, committed: bool = True) -> str:
        """What is not committed, and (with `committed`) not saved, and whether to do that."""
        saving = self._saving
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


class CloseGuard(QObject):
    """Watches the window of one tool; where several tools share a window, the first that hears of it asks for all.

    A user who closes the window (its cross, the menu, Ctrl-W, Ctrl-Q) is asked when there is unsaved work. A program
    that closes it (``viewer.close()``) is not, since nobody might be there to answer: the work then goes into a
    recovery file.

    Parameters
    ----------
    viewer
        Whose window it is.
    state, saving, leaving
        Of the tool.
    end
        Called when the window really closes.
    """

    def __init__(
        self, viewer: Viewer, state: WindowState, saving: Saving, leaving: Leaving, end: Callable[[], object]
    ) -> None:
        self._window = viewer.window._qt_window
        super().__init__(self._window)
        self._state, self._saving, self._leaving, self._end = state, saving, leaving, end
        self._decided = False
        self._together: list[CloseGuard] = kept_with(viewer, "guards")
        self._together.append(self)
        self._window.installEventFilter(self)
        # The menu of napari closes through this method, and says so with `confirm_need`.
        self._give_back = intercept(viewer, self._window, "close", self._close_by_menu)

    def forget(self) -> None:
        """Ask no more: the tool has ended, its window stays."""
        self._decided = True
        self._together.remove(self)
        self._give_back()
        leave(self._window, self)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """See Qt."""
        if watched is not self._window or event.type() != QEvent.Type.Close:
            return False
        try:
            return self._closing(event)
        except Exception as error:
            self._state.status.report(error)
            event.ignore()
            return True

    def _closing(self, event: QEvent) -> bool:
        guards = list(self._together)
        asking = self._unsaved(event.spontaneous())
        if asking and event.spontaneous():
            event.ignore()
            if self._may_leave(asking):
                # napari asks as well when the user closes the window; one question is enough.
                QTimer.singleShot(0, self._window.close)
            return True
        for guard in asking:
            path = guard._leaving.keep_copy()
            if path is not None:
                log.warning("The window was closed with unsaved objects: they are kept in %s", path)
        self._window.event(event)  # napari may ask its own question
        if event.isAccepted():
            for guard in guards:
                guard._end()
            self._together.clear()
        return True

    def _close_by_menu(self, close: Callable[..., Any], quit_app: bool = False, confirm_need: bool = False) -> Any:
        if self._state.closed:
            return close(quit_app, confirm_need)
        try:
            asking = self._unsaved(confirm_need)
            if confirm_need and asking:
                if not self._may_leave(asking):
                    return None
                confirm_need = False
        except Exception as error:
            self._state.status.report(error)
            return None
        return close(quit_app, confirm_need)

    def _unsaved(self, may_ask: bool) -> list[CloseGuard]:
        """Save what can be saved without a question; the tools of which there is more, and nobody has decided yet."""
        for guard in self._together:
            guard._saving.save_silently(may_ask=may_ask)
        return [guard for guard in self._together if guard._saving.must_ask and not guard._decided]

    def _may_leave(self, guards: list[CloseGuard]) -> bool:
        """Ask for one tool after the other; after one refusal, all are asked again the next time."""
        for guard in guards:
            guard._decided = guard._leaving.may_leave(is_named=len(self._together) > 1)
            if not guard._decided:
                for one in guards:
                    one._decided = False
                return False
        return True


@contextlib.contextmanager
def ends_in_order(viewer: Viewer, state: WindowState, leaving: Leaving) -> Iterator[None]:
    """While the event loop runs: SIGTERM, SIGHUP and log-out keep everything and close the window. Nothing is asked."""
    numbers = [getattr(signal, name) for name in SIGNALS if hasattr(signal, name)]
    app: Any = QApplication.instance()

    def keep(*_: object) -> None:
        leaving.keep_all()

    def end() -> None:
        if state.closed:
            return
        leaving.keep_all()
        viewer.close()
        app.quit()

    app.commitDataRequest.connect(keep)
    try:
        # Python runs its handlers between two steps of its own, of which an idle event loop has none: Qt must wake it.
        # napari's event loop does the same for Ctrl-C, with a wakeup of its own in place of this one.
        here, there = socket.socketpair()
        for end_of_pair in (here, there):
            end_of_pair.setblocking(False)
        before = {number: signal.signal(number, lambda *_: QTimer.singleShot(0, end)) for number in numbers}
        wakeup = signal.set_wakeup_fd(there.fileno(), warn_on_full_buffer=False)
    except (ValueError, OSError) as error:  # not in the main thread
        log.debug("signals are not heard: %s", error)
        yield
        return
    notifier = QSocketNotifier(here.fileno(), QSocketNotifier.Type.Read)

    notifier.activated.connect(lambda *_: here.recv(64))
    try:
        yield
    finally:
        notifier.setEnabled(False)
        signal.set_wakeup_fd(wakeup)
        for number, handler in before.items():
            signal.signal(number, handler)
        here.close()
        there.close()
        app.commitDataRequest.disconnect(keep)


class Autosave:
    """Saves the results of a window by itself, in a thread, where they were saved before."""

    def __init__(self, state: WindowState, jobs: Jobs, saving: Saving) -> None:
        self._state, self._jobs, self._saving = state, jobs, saving
        self._last = -PAUSE
        self._timer = once(self._save)
        saving.changed.connect(self._changed)

    def close(self) -> None:
        """Save no more; the window is closing."""
        self._timer.stop()

    def _changed(self) -> None:
        saving = self._saving
        if saving.unsaved and saving.was_saved and not self._timer.isActive():
            wait = max(SOON, self._last + PAUSE - time.monotonic())
            self._timer.start(int(1000 * wait))

    def _save(self) -> None:
        saving, session = self._saving, self._state.session
        if self._state.closed or session is None or not (saving.unsaved and saving.was_saved):
            return
        if session.steps.is_writing or self._jobs.running(LANE) is not None:
            self._timer.start(int(1000 * SOON))
            return
        self._last = time.monotonic()
        try:
            write = saving.plan_quiet()
        except MicroSamError as error:  # what lies there may not be replaced, or not be read
            self._state.status.report(error)
            return
        if write is None:
            return
        entry, path = session.history.last, saving.path

        def steps(_job: Any) -> Generator[Any, None, None]:
            yield Progress("Saving")
            write()

        self._jobs.start("Saving", steps, lane=LANE, on_done=lambda _: self._done(session, entry, path))

    def _done(self, session: Session, entry: object, path: Any) -> None:
        if not self._state.shows(session) or path != self._saving.path:
            return
        if session.history.last is entry:
            self._saving.written(path)
        else:
            self._changed()  # more was done while it was written
