"""What the user can do with objects: select, delete, merge, re-open; classes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from qtpy.QtCore import QTimer

from micro_sam.errors import InputError, NotOurs
from micro_sam.io.classes import class_image
from micro_sam.io.labels import save_labels
from micro_sam.io.results import check_not_input, read_kind
from micro_sam.sam_annotator.controller.files.saving import Saving
from micro_sam.sam_annotator.controller.files.saving_classes import KIND_OF_IMAGE
from micro_sam.sam_annotator.state.window import WindowState, image_of
from micro_sam.sam_annotator.view.dialogs import Dialogs
from micro_sam.sam_annotator.view.layers.mouse import Mouse
from micro_sam.sam_annotator.view.sight import Sight
from micro_sam.session.session import Session


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
            raise InputError(
                "No object is selected. Press 'Select objects by clicking', then click the objects in the image."
            )
        return self._state.selected

    def delete(self) -> None:
        """Remove the selected objects."""
        self._state.needed().objects.delete(self.selected())
        self._state.selected = ()

    def merge(self) -> None:
        """Make one object of the selected ones."""
        self._state.needed().objects.merge(self.selected())
        self._state.selected = ()  # the next Delete must not take it

    def split(self) -> None:
        """Make an object of each piece of the selected ones."""
        self._state.needed().objects.split(self.selected())
        self._state.selected = ()

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

    def set_by_class(self, on: bool) -> None:
        """Show committed objects in the colours of their classes, or each in its own."""
        self._state.by_class = on

    def save_class_image(self, path: str | Path | None = None) -> None:
        """Write labels that hold the number of the class of each committed object; without a path, ask.

        Raises
        ------
        InputError
            When there are no classes.
        OutputError
            When it cannot be written.
        """
        session, image = self._state.needed(), image_of(self._state)
        place = self._ask_for_class_image() if path is None else Path(path)
        if place is None:
            return
        numbers = {i: record.object_class for i, record in session.objects.items() if record.object_class}
        if not numbers:
            raise InputError("No committed object has a class. Select objects and press Shift-1 to Shift-9.")
        check_not_input(place, image.path)
        labels, kind = class_image(session.committed, numbers), KIND_OF_IMAGE[self._saving.kind]
        try:
            save_labels(place, labels, image.scale, kind=kind)
        except NotOurs:
            if not self._dialogs.may_replace(place, False):
                return
            save_labels(place, labels, image.scale, kind=kind, replace_unmarked=True)
        self._state.status.say(f"Classes of {len(numbers)} objects saved in {place}.", "good")

    def _ask_for_class_image(self) -> Path | None:
        """A file beside the result; None when the user cancels, or keeps what is there."""
        result = self._saving.path or self._saving.suggested_path()
        suggestion = result.with_name(f"{result.name.split('.')[0]}_classes.tif")
        filters = "TIFF image (*.tif);;Zarr array (*.zarr)"
        path, _ = self._dialogs.path_to_save("Save class image", suggestion, filters)
        if path is None:
            return None
        path = path if path.suffix else path.with_name(path.name + ".tif")
        is_ours = read_kind(path) == KIND_OF_IMAGE[self._saving.kind]
        return None if is_ours and not self._dialogs.may_replace(path, True) else path

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
