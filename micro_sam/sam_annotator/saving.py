"""Saving the committed objects, and knowing whether there is something to save."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from psygnal import Signal
from qtpy.QtWidgets import QFileDialog

from micro_sam.errors import InputError
from micro_sam.io.labels import save_labels
from micro_sam.session.session import Session

if TYPE_CHECKING:
    from micro_sam.sam_annotator.annotator import Annotator

FILTERS = "TIFF image (*.tif);;Zarr array (*.zarr)"


class Saving:
    """Where results go, and whether the last ones are there.

    Attributes
    ----------
    path
        The file of the last save; None before.
    automatic
        Whether the path is known beforehand and unsaved objects go there without asking (a series of images).

    Signals
    -------
    changed
        Something was saved, or there is something new to save.
    """

    formats = "tif or zarr"
    """What can be written, for the menu."""
    changed = Signal()

    def __init__(self, annotator: Annotator) -> None:
        self._annotator = annotator
        self._session: Session | None = None
        self.path: Path | None = None
        self.automatic = False
        self.unsaved = False

    def follow(self, session: Session) -> None:
        """Watch this session from now on."""
        if self._session is not None:
            self._session.events.labels_changed.disconnect(self._labels_changed)
        self._session = session
        if not self.automatic:
            self.path = None
        self.unsaved = False
        session.events.labels_changed.connect(self._labels_changed)
        self.changed.emit()

    @property
    def uncommitted(self) -> bool:
        """Whether there is a current object that nobody committed."""
        return self._session is not None and self._session.has_current

    @property
    def uncommitted_auto(self) -> bool:
        """Whether there is an automatic segmentation that nobody committed."""
        return self._session is not None and self._session.has_auto

    @property
    def must_ask(self) -> bool:
        """Whether work would be lost if the window closed now."""
        has_news = self.unsaved and (bool(self._session.objects) or self.path is not None)
        return has_news or self.uncommitted or self.uncommitted_auto

    def save(self, path: str | Path | None = None) -> Path | None:
        """Write the committed objects.

        Parameters
        ----------
        path
            ``.tif`` or ``.zarr``; None: the file of the last save, or ask.

        Returns
        -------
        path
            None when the person cancelled the dialog.

        Raises
        ------
        InputError
            When there is nothing to save.
        OutputError
            When the file cannot be written.
        """
        session = self._session
        if session is None or not session.objects:
            raise InputError("There are no committed objects to save. Segment an object and commit it with C first.")
        path = path or self.path or self.ask_for_path()
        if path is None:
            return None
        path = write_labels(Path(path), session.committed, self._annotator.image.scale)
        self.path, self.unsaved = path, False
        self.changed.emit()
        number = len(session.objects)
        text = f"{number} object{'s' if number != 1 else ''} saved in {path}."
        if session.has_current:
            text += " The current object is not committed and not in the file."
        self._annotator.status.say(text, "good")
        return path

    def save_silently(self) -> bool:
        """With an automatic path: write what is not written yet. False when there was nothing to write."""
        if not (self.automatic and self.unsaved and self.path is not None):
            return False
        if self._session.objects:
            self.save(self.path)
        else:
            # All objects were removed: a file of zeros would look like a finished image.
            remove_labels(self.path)
            self.unsaved = False
            self.changed.emit()
        return True

    def ask_for_path(self) -> Path | None:
        """Let the person choose a file; None when they cancel."""
        suggestion = self.suggested_path()
        path, chosen = QFileDialog.getSaveFileName(
            self._annotator.viewer.window._qt_window, "Save committed objects", str(suggestion), FILTERS
        )
        if not path:
            return None
        if Path(path).suffix == "":
            path += ".zarr" if "zarr" in chosen else ".tif"
        return Path(path)

    def suggested_path(self) -> Path:
        """Beside the image, or in the home folder."""
        image = self._annotator.image
        if image is not None and image.path is not None and Path(image.path).parent.is_dir():
            return Path(image.path).parent / f"{Path(image.path).stem}_objects.tif"
        name = image.name if image is not None else "image"
        return Path.home() / f"{name}_objects.tif"

    def keep_copy(self, folder: Path, stem: str) -> Path | None:
        """Write all there is, because the window closes: what is not committed, too. None when there is nothing."""
        labels = all_labels(self._session)
        return write_labels(folder / f"{stem}.tif", labels) if labels.any() else None

    def _labels_changed(self, name: str, _region: tuple) -> None:
        if name == "committed" and not self.unsaved:
            self.unsaved = True
            self.changed.emit()


def all_labels(session: Session) -> np.ndarray:
    """The committed objects, and beside them all others of a session: current ones, then automatic ones."""
    labels = session.committed
    for others in (session.current, session.auto):
        if others.any():
            labels = np.where((labels == 0) & (others > 0), others + labels.max(), labels)
    return labels


def remove_labels(path: Path) -> None:
    """Remove a result that no longer holds any object."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def write_labels(path: Path, labels: np.ndarray, scale: tuple[float, ...] | None = None) -> Path:
    """Write labels; the suffix chooses the format, none means tif."""
    return save_labels(path if path.suffix else path.with_suffix(".tif"), labels, scale)
