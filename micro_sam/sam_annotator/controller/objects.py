"""What the user can do with objects: commit, clear, undo; select, delete, merge, re-open; classes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from qtpy.QtCore import QTimer

from micro_sam.errors import InputError
from micro_sam.sam_annotator.controller.classes import ask_for_class_image, save_class_image
from micro_sam.sam_annotator.controller.engine import Engine
from micro_sam.sam_annotator.controller.large_steps import LargeSteps
from micro_sam.sam_annotator.controller.preview import Preview
from micro_sam.sam_annotator.controller.saving import Saving
from micro_sam.sam_annotator.runtime.jobs import WORK, Jobs
from micro_sam.sam_annotator.state.window import Preserve, Source, WindowState
from micro_sam.sam_annotator.view.dialogs import Dialogs
from micro_sam.sam_annotator.view.layers.mouse import Mouse
from micro_sam.sam_annotator.view.sight import Sight
from micro_sam.session.large_commits import is_large
from micro_sam.session.session import Session
from micro_sam.session.values import CommitReport


class CommitActions:
    """Moves objects into the committed ones, and takes steps back.

    Parameters
    ----------
    state, jobs
        Of the window.
    mouse
        Gets back to prompts afterwards.
    preview, engine
        May be about to answer, or to embed, what is committed.
    min_size
        Pixels that an object has at least.
    follows_up
        Does something when the whole object that is on its way has come, and returns True; returns False when none is.
    """

    def __init__(
        self,
        state: WindowState,
        jobs: Jobs,
        mouse: Mouse,
        preview: Preview,
        engine: Engine,
        min_size: Callable[[], int],
        follows_up: Callable[[Callable[[], object]], bool],
    ) -> None:
        self._state, self._jobs, self._mouse = state, jobs, mouse
        self._preview, self._engine = preview, engine
        self._min_size, self._follows_up = min_size, follows_up
        self._large = LargeSteps(state, jobs, self._committed)
        state.events.session.connect(self._follow)

    def commit(self, wait: bool = False) -> CommitReport | None:
        """Move the current object, or the automatic segmentation, into the committed objects.

        A large segmentation is committed in the background, unless `wait`.
        """
        session, source, preview = self._state.needed(), self._state.source, self._preview
        running = self._jobs.running(WORK)
        if source == "current" and running is None and self._follows_up(self._commit_later):
            return None
        if running is not None:
            raise InputError(f"'{running.name}' is still running. Commit when it is done.")
        if source == "current" and preview.busy:
            preview.then(self._commit_later)  # somebody was quicker than the network
            return None
        if source == "current" and preview.waits and not session.has_current:
            raise InputError("Your prompt is kept, but the embedding is not ready yet. Commit when its mask is there.")
        if source == "current" and preview.completes and self._engine.busy:
            raise InputError("A part of the object is not embedded yet. Commit it when the rest has appeared.")
        if not wait and is_large(session, source):
            self._large.commit(self._min_size())
            return None
        report = session.objects.commit(source, self._state.preserve, min_size=self._min_size())
        self._committed()
        return report

    def clear(self) -> None:
        """Remove the prompts and the current object."""
        self._state.needed().prompts.clear()
        self._mouse.use_prompts()

    def undo(self) -> None:
        """Take the last step back."""
        self._state.needed().undo()

    def redo(self) -> None:
        """Do the step again that was undone last."""
        self._state.needed().redo()

    def set_source(self, source: Source) -> None:
        """Say what the next commit takes."""
        self._state.source = source

    def set_preserve(self, preserve: Preserve) -> None:
        """Say what becomes of committed objects that the next commit meets."""
        self._state.preserve = preserve

    def close(self) -> None:
        """Write no more; the window is closing."""
        self._large.close()

    def _commit_later(self) -> None:
        try:
            self.commit()
        except Exception as error:
            self._state.status.report(error)

    def _committed(self) -> None:
        self._state.source = "current"
        self._mouse.use_prompts()

    def _follow(self, session: Session) -> None:
        session.events.labels_changed.connect(self._labels_changed)

    def _labels_changed(self, name: str, _region: tuple[slice, ...]) -> None:
        session = self._state.session
        if name == "current" and session is not None and session.has_current:
            self._state.source = "current"


class ObjectActions:
    """Selects committed objects, and changes them.

    Parameters
    ----------
    state
        Of the window.
    mouse, sight
        Get back to prompts; go to an object.
    saving, dialogs
        Where the class image goes.
    """

    def __init__(self, state: WindowState, mouse: Mouse, sight: Sight, saving: Saving, dialogs: Dialogs) -> None:
        self._state, self._mouse, self._sight = state, mouse, sight
        self._saving, self._dialogs = saving, dialogs
        state.events.session.connect(self._follow)

    def select_one(self, object_id: int) -> None:
        """Select a committed object beside others (or let it go), for delete, merge and re-open; 0 lets all go."""
        state = self._state
        if object_id == 0:
            state.selected = ()
        elif object_id in state.selected:
            state.selected = tuple(i for i in state.selected if i != object_id)
        else:
            state.selected = (*state.selected, object_id)
        if state.selected:
            ids = ", ".join(str(i) for i in state.selected)
            state.status.say(f"Chosen: {ids}. Re-open one to correct it, merge several, or delete them.")
        else:
            state.status.say("Click committed objects to choose them.")

    def select(self, ids: Sequence[int]) -> None:
        """Select these committed objects and no others."""
        self._state.selected = tuple(ids)

    def select_typed(self, text: str) -> None:
        """Select the committed objects whose ids were typed: ``"3, 7"``."""
        session, noun = self._state.session, self._state.tool.noun
        try:
            ids = tuple(int(word) for word in text.replace(",", " ").split())
        except ValueError as error:
            raise InputError("Ids are whole numbers, for example: 3, 7") from error
        unknown = [i for i in ids if session is None or i not in session.objects]
        if unknown:
            raise InputError(f"There is no committed {noun} {unknown[0]}.")
        self._state.selected = ids

    def selected(self) -> tuple[int, ...]:
        """Ids of the selected objects; InputError when there are none."""
        if not self._state.selected:
            raise InputError("No object is chosen. Press 'Choose objects', then click the objects in the image.")
        return self._state.selected

    def delete(self) -> None:
        """Remove the selected objects."""
        self._state.needed().objects.delete(self.selected())
        self._state.selected = ()

    def merge(self) -> None:
        """Make one object of the selected ones."""
        self._state.needed().objects.merge(self.selected())
        self._state.selected = ()  # the next Delete must not take it

    def reopen(self) -> None:
        """Make the selected object the current one again."""
        selected = self.selected()
        if len(selected) > 1:
            raise InputError("Only one object can be re-opened at a time. Choose one.")
        self._state.needed().objects.reopen(selected[0])
        self._state.selected = ()
        self._mouse.use_prompts()

    def go_to(self, object_id: int) -> None:
        """Bring a committed object into sight: its slice, its place, and large enough."""
        record = self._state.needed().objects.get(object_id)
        if record is not None:
            self._sight.go_to(record)

    def set_class(self, number: int) -> None:
        """Give the selected committed objects, else the current object, a class; 0 takes it away."""
        self._state.needed().classes.set(number, self._state.selected)

    def define_class(self, number: int, name: str | None = None, colour: str | None = None) -> None:
        """Make a class, or change its name or colour."""
        self._state.needed().classes.define(number, name, colour)

    def save_class_image(self, path: str | Path | None = None) -> None:
        """Write labels that hold the number of the class of each object; without a path, ask."""
        self._state.needed()
        result = self._saving.path or self._saving.suggested_path()
        place = ask_for_class_image(self._dialogs, result) if path is None else Path(path)
        if place is not None:
            save_class_image(self._state, self._dialogs, place)

    def _follow(self, session: Session) -> None:
        session.events.labels_changed.connect(self._labels_changed)

    def _labels_changed(self, name: str, _region: tuple[slice, ...]) -> None:
        session = self._state.session
        if name == "committed" and session is not None and any(i not in session.objects for i in self._state.selected):
            QTimer.singleShot(0, self._forget_gone)

    def _forget_gone(self) -> None:
        """Let selected objects go that are there no more."""
        session = self._state.session
        self._state.selected = tuple(i for i in self._state.selected if session is not None and i in session.objects)
