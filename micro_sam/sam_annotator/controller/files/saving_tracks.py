"""Saving committed tracks with their lineage, in the formats of the field."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

from micro_sam.errors import InputError
from micro_sam.io.results import check_not_input
from micro_sam.io.tracks import save_tracks
from micro_sam.sam_annotator.controller.files.large_saves import write_labels
from micro_sam.sam_annotator.controller.files.saving import Saving, all_labels
from micro_sam.session.lineage import Lineage
from micro_sam.session.session import Session
from micro_sam.session.values import count

FORMATS = {
    "": "Cell Tracking Challenge folder (*)",
    ".geff": "GEFF (*.geff)",
    ".xml": "TrackMate XML (*.xml)",
    ".csv": "napari tracks (*.csv)",
    ".tif": "TIFF labels, without the lineage (*.tif)",
}
"""Suffix -> filter of the file dialog."""
LABELS_ONLY = (".tif", ".tiff", ".zarr")


class TrackSaving(Saving):
    """Where tracks go, and whether the last ones are there. See `Saving`."""

    kind = "tracks"
    formats = "Cell Tracking Challenge, GEFF, TrackMate, napari"
    _saved_lineage = Lineage()

    def follow(self, session: Session) -> None:
        """Watch this session from now on."""
        if self._session is not None:
            self._session.events.lineage_changed.disconnect(self._lineage_changed)
        super().follow(session)
        self._saved_lineage = session.tracks.lineage
        session.events.lineage_changed.connect(self._lineage_changed)

    def save(self, path: str | Path | None = None) -> Path | None:
        """Write the committed tracks.

        Parameters
        ----------
        path
            A folder (Cell Tracking Challenge), ``.geff``, ``.xml`` (TrackMate), ``.csv`` (napari), or ``.tif`` and
            ``.zarr`` for the labels alone; None: where they were saved last, or ask.

        Returns
        -------
        path
            None when the user cancelled the dialog, or keeps the file that is there.

        Raises
        ------
        InputError
            When there is nothing to save.
        OutputError
            When it cannot be written, or is something that no result replaces, such as a folder with other files.
        """
        session = self._session
        if session is None or not session.objects:
            raise InputError("There are no committed tracks to save. Track an object and commit it with C first.")
        path = path or self.path or self.ask_for_path()
        if path is None:
            return None
        written = self._write(Path(path))
        if written is None:
            return None
        path = written
        self.written(path)
        text = f"{_summary(session.tracks.lineage)} saved in {path}."
        if path.suffix.lower() in LABELS_ONLY and session.tracks.lineage.divisions:
            text += " This format does not hold the lineage; save as a folder or GEFF to keep it."
        if session.has_current:
            text += " The current track is not committed and not in the file."
        text += self._class_files.note
        self._state.status.say(text, "good")
        return path

    def written(self, path: Path) -> None:
        """The tracks as they are now are in this file."""
        self._saved_lineage = self._session.tracks.lineage
        super().written(path)

    def plan_quiet(self) -> Callable[[], None] | None:
        """What writes the tracks as they are now, for any thread; see the core."""
        path, session = self.path, self._session
        if super().plan_quiet() is None or path is None:
            return None
        labels, rows, scale = session.committed.copy(), session.tracks.lineage.to_rows(), self._image.scale
        write_classes = self._class_files.plan(session, self._image)

        def write() -> None:
            if path.suffix.lower() in LABELS_ONLY:
                write_labels(path, labels, scale, "tracks")
            else:
                save_tracks(path, labels, rows, scale=scale)
            write_classes(path, labels)

        return write

    def ask_for_path(self) -> Path | None:
        """Let the user choose a file or folder; None when they cancel."""
        filters = ";;".join(FORMATS.values())
        path, selected = self._dialogs.path_to_save("Save committed tracks", self.suggested_path(), filters)
        if path is not None and path.suffix.lower() not in (".zarr", ".tiff", *list(FORMATS)[1:]):
            path = path.with_name(path.name + next((end for end, name in FORMATS.items() if name == selected), ""))
        return self._agreed(path)

    def suggested_path(self) -> Path:
        """Beside the movie, or in the home folder: a folder of the Cell Tracking Challenge."""
        image = self._state.image
        if image is not None and image.path is not None and Path(image.path).parent.is_dir():
            return Path(image.path).parent / f"{Path(image.path).stem}_RES"
        return Path.home() / f"{image.name if image is not None else 'movie'}_RES"

    def keep_copy(self, folder: Path, stem: str) -> Path | None:
        """Write what is unsaved, the current ones included, because the window closes; None when there is nothing."""
        session = self._session
        for source, is_there in (("current", session.has_current), ("auto", session.automatic.exists)):
            with contextlib.suppress(InputError):  # nothing of it is free
                if is_there:
                    session.objects.commit(source)
        if session.has_current:  # committed tracks cover most of it, but nothing may be lost
            session.objects.load(all_labels(session), session.tracks.lineage)
        return (
            save_tracks(folder / stem, session.committed, session.tracks.lineage.to_rows()) if session.objects else None
        )

    def _write(self, path: Path) -> Path | None:
        if path.suffix == "" and path.is_file():
            raise InputError(f"{path} is a file. Give the name of a folder, or one that ends in .geff, .xml or .csv.")
        check_not_input(path, self._image.path)
        self._class_files.begin()
        return path if self._asking(path, lambda agreed: self._write_file(path, agreed)) else None

    def _write_file(self, path: Path, replace_unmarked: bool) -> None:
        session = self._session
        if path.suffix.lower() in LABELS_ONLY:
            write_labels(path, session.committed, self._image.scale, "tracks", replace_unmarked)
        else:
            save_tracks(
                path,
                session.committed,
                session.tracks.lineage.to_rows(),
                scale=self._image.scale,
                replace_unmarked=replace_unmarked,
            )

    def _lineage_changed(self) -> None:
        if not self.unsaved and self._session.tracks.lineage != self._saved_lineage:
            self.unsaved = True
            self.changed.emit()


def _summary(lineage: Lineage) -> str:
    return f"{count(len(lineage), 'track')} with {count(len(lineage.divisions), 'division')}"
