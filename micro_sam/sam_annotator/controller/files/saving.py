"""Saving the committed objects, and knowing whether there is something to save."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from psygnal import Signal

from micro_sam.errors import InputError, NotOurs
from micro_sam.io.classes import Classes
from micro_sam.io.label_arrays import any_label, is_on_disc, new_labels, written_pieces
from micro_sam.io.labels import check_labels_path
from micro_sam.io.results import check_not_input, check_result, read_kind, remove_result
from micro_sam.sam_annotator.controller.files.large_saves import LargeSave, with_suffix, write_labels
from micro_sam.sam_annotator.controller.files.recording import Recording
from micro_sam.sam_annotator.controller.files.saving_classes import ClassFiles, classes_of
from micro_sam.sam_annotator.runtime.jobs import Jobs
from micro_sam.sam_annotator.state.window import WindowState, image_of
from micro_sam.sam_annotator.view.dialogs import Dialogs
from micro_sam.session.session import Session

LARGEST_COPY = 2**30  # bytes of labels that are copied, so that they can be written while they change
FILTERS = "TIFF image (*.tif);;Zarr array (*.zarr)"


class Saving:
    """Where results go, and whether the last ones are there.

    Attributes
    ----------
    path
        The file of the last save; None before.
    automatic
        Whether the path is known beforehand and unsaved objects go there without asking (a series of images).
    was_saved
        Whether the objects of this image were saved before, so that later ones follow by themselves.

    Signals
    -------
    changed
        Something was saved, or there is something new to save.
    """

    kind = "labels"
    """Kind of the results, see ``micro_sam.io.marks``."""
    formats = "tif or zarr"
    """What can be written, for the menu."""
    changed = Signal()

    def __init__(self, state: WindowState, jobs: Jobs, dialogs: Dialogs, recording: Recording) -> None:
        self._state, self._dialogs, self._recording = state, dialogs, recording
        self._session: Any = None
        self._image: Any = None
        self._saved_classes = Classes()
        self._class_files = ClassFiles(self.kind)
        self._may_replace = False  # a series asks once for all its results of earlier versions
        self.path: Path | None = None
        self.automatic = False
        self.unsaved = False
        self.was_saved = False
        self._large = LargeSave(
            state, jobs, self._say_written, lambda: self._class_files.plan(self._session, self._image)
        )
        state.events.session.connect(self.follow)

    def follow(self, session: Session) -> None:
        """Watch this session from now on. Its image says where its objects go, so that they never go elsewhere."""
        if self._session is not None:
            self._session.events.labels_changed.disconnect(self._labels_changed)
            self._session.events.objects_changed.disconnect(self._classes_changed)
        self._session, self._image = session, image_of(self._state)
        self.path = self._image.result or self._result_to_go_on_with()
        self.unsaved = self.was_saved = False
        session.events.labels_changed.connect(self._labels_changed)
        session.events.objects_changed.connect(self._classes_changed)
        self._saved_classes = classes_of(session)
        self.changed.emit()

    def _result_to_go_on_with(self) -> Path | None:
        """The result that the session begins with, if this program has written it: Save asks for no file."""
        earlier = self._image.earlier
        return earlier if earlier is not None and read_kind(earlier) == self.kind else None

    def take_up(self, path: Path | None, unsaved: bool) -> None:
        """Go on with a session whose objects were saved in `path`, if they were, and changed since or not."""
        if path is not None:
            self.path, self.was_saved = path, True
        self.unsaved = unsaved
        self.changed.emit()

    def written(self, path: Path) -> None:
        """The objects as they are now are in this file."""
        self._saved_classes = self._class_files.finish(path, self._session, self._image)
        self.path, self.unsaved, self.was_saved = path, False, True
        self._recording.saved(path)
        self.changed.emit()

    def plan_quiet(self) -> Callable[[], None] | None:
        """What writes the objects as they are now over the last result, for any thread; None: not without asking.

        What is there now is replaced only if it is the result that was written last.
        """
        path, session = self.path, self._session
        if (
            path is None
            or not session.objects
            or session.committed.nbytes > LARGEST_COPY
            or self._must_ask_to_replace()
        ):
            return None
        labels, image = session.committed.copy(), self._image
        write_classes = self._class_files.plan(session, image)

        def write() -> None:
            write_labels(path, labels, image.scale)
            write_classes(path, labels)

        return write

    @property
    def uncommitted(self) -> bool:
        """Whether there is a current object that nobody committed."""
        return self._session is not None and self._session.has_current

    @property
    def uncommitted_auto(self) -> bool:
        """Whether there is an automatic segmentation that nobody committed."""
        return self._session is not None and self._session.automatic.exists

    @property
    def must_ask(self) -> bool:
        """Whether work would be lost if the window closed now."""
        return self.has_news or self.uncommitted or self.uncommitted_auto

    @property
    def has_news(self) -> bool:
        """Whether the committed objects are others than those in the file."""
        return self.unsaved and (bool(self._session.objects) or self.path is not None)

    def save(self, path: str | Path | None = None) -> Path | None:
        """Write the committed objects.

        Parameters
        ----------
        path
            ``.tif`` or ``.zarr``; None: the file of the last save, or ask.

        Returns
        -------
        path
            None when the user cancelled the dialog, or keeps the file that is there.

        Raises
        ------
        InputError
            When there is nothing to save.
        OutputError
            When the file cannot be written, or is something that no result replaces.
        """
        path = self._place(path)
        if path is None:
            return None
        written = self._write(path)
        if written is None:
            return None
        self._say_written(written)
        return written

    def start(self, path: str | Path | None = None) -> None:
        """As `save`; labels that lie in a file are written in a job, as they are now, and the window goes on.

        Raises
        ------
        InputError, OutputError
            As `save`; also when they are being saved already.
        """
        if self.kind != "labels" or self._session is None or not is_on_disc(self._session.committed):
            self.save(path)
            return
        path = self._place(path)
        if path is None:
            return
        check_not_input(path, self._image.path)
        replace: list[bool] = []

        def check(agreed: bool) -> None:
            check_labels_path(with_suffix(path), self.kind, replace_unmarked=agreed)
            replace.append(agreed)

        if self._asking(path, check):
            self._large.start(path, replace[-1])

    def save_as(self) -> None:
        """Write the committed objects into a file that the user chooses."""
        path = self.ask_for_path()
        if path is not None:
            self.start(path)

    def _place(self, path: str | Path | None) -> Path | None:
        """Where to save, once there is something to save; None when the user cancelled the dialog."""
        if self._session is None or not self._session.objects:
            raise InputError("There are no committed objects to save. Segment an object and commit it with C first.")
        path = path or self.path or self.ask_for_path()
        return None if path is None else Path(path)

    def _say_written(self, path: Path) -> None:
        self.written(path)
        number = len(self._session.objects)
        text = f"{number} object{'s' if number != 1 else ''} saved in {path}."
        if self._session.has_current:
            text += " The current object is not committed and not in the file."
        text += self._class_files.note
        self._state.status.say(text, "good")

    def save_silently(self, may_ask: bool = True) -> bool:
        """With an automatic path: write what is not written yet.

        Parameters
        ----------
        may_ask
            Whether the user is there to say if a file that is not known to be a result may be replaced.

        Returns
        -------
        bool
            False when there was nothing to write, or what is there may not be replaced; the objects are still unsaved.
        """
        if not (self.automatic and self.unsaved and self.path is not None):
            return False
        if self._session.objects:
            return (may_ask or not self._must_ask_to_replace()) and self.save(self.path) is not None
        # All objects were removed: a file of zeros would look like a finished image.
        path = self.path
        removed = self._asking(path, lambda agreed: remove_result(path, self.kind, replace_unmarked=agreed), may_ask)
        if removed:
            self._class_files.begin()
            self._saved_classes = self._class_files.finish(path, self._session, self._image)
            self.unsaved = False
            self.changed.emit()
        return removed

    def ask_for_path(self) -> Path | None:
        """Let the user choose a file; None when they cancel."""
        path, selected = self._dialogs.path_to_save("Save committed objects", self.suggested_path(), FILTERS)
        if path is not None and path.suffix == "":
            path = path.with_name(path.name + (".zarr" if "zarr" in selected else ".tif"))
        return self._agreed(path)

    def suggested_path(self) -> Path:
        """Beside the image, or in the home folder."""
        image = self._state.image
        if image is not None and image.path is not None and Path(image.path).parent.is_dir():
            return Path(image.path).parent / f"{Path(image.path).stem}_objects.tif"
        name = image.name if image is not None else "image"
        return Path.home() / f"{name}_objects.tif"

    def keep_copy(self, folder: Path, stem: str) -> Path | None:
        """Write all there is, because the window closes: what is not committed, too. None when there is nothing."""
        labels = all_labels(self._session)
        return write_labels(folder / f"{stem}.tif", labels) if any_label(labels) else None

    def _write(self, path: Path) -> Path | None:
        """Write the result; None when the user keeps the file that is there."""
        check_not_input(path, self._image.path)
        self._class_files.begin()
        with self._large.given_up():
            done = self._asking(path, lambda agreed: self._write_file(path, agreed))
        return with_suffix(path) if done else None

    def _write_file(self, path: Path, replace_unmarked: bool) -> None:
        write_labels(path, self._session.committed, self._image.scale, replace_unmarked=replace_unmarked)

    def _asking(self, path: Path, write: Callable[[bool], object], may_ask: bool = True) -> bool:
        """Call `write`; where something is not known to be an earlier result, only if the user wants it replaced."""
        try:
            write(False)
        except NotOurs:
            if not self._may_replace and not (may_ask and self._dialogs.may_replace(with_suffix(path), False)):
                return False
            self._may_replace = self.automatic
            write(True)
        return True

    def _must_ask_to_replace(self) -> bool:
        if self.path is None:
            return False
        try:
            check_result(self.path, self.kind, replace_unmarked=self._may_replace)
        except NotOurs:
            return True
        return False

    def _agreed(self, path: Path | None) -> Path | None:
        """A path from the file dialog, unless it is an earlier result that the user wants to keep."""
        if path is not None and read_kind(path) == self.kind and not self._dialogs.may_replace(path, True):
            return None
        return path

    def _classes_changed(self) -> None:
        if self.unsaved or not (self._session.classes.known or self._saved_classes.known):
            return  # many objects, mostly without classes: not to be looked through at every step
        if classes_of(self._session) != self._saved_classes:
            self.unsaved = True
            self.changed.emit()

    def _labels_changed(self, name: str, _region: tuple[slice, ...]) -> None:
        if name != "committed":
            return
        self._large.labels_changed()
        if not self.unsaved:
            self.unsaved = True
            self.changed.emit()


def all_labels(session: Session) -> np.ndarray:
    """The committed objects, and beside them all others of a session: current ones, then automatic ones."""
    labels = session.committed
    for others in (session.current, session.auto):
        if not any_label(others):
            continue
        largest, both = (
            max((int(part.max()) for _, part in written_pieces(labels)), default=0),
            new_labels(labels.shape),
        )
        for where, part in written_pieces(labels):
            both[where] = part
        for where, part in written_pieces(others):
            below = both[where]
            both[where] = np.where((below == 0) & (part > 0), part + np.uint32(largest), below)
        labels = both
    return labels
