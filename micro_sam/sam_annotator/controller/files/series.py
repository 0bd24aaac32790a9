"""A series of images, one after the other, in any of the tools.

It begins with images that were planned, or with all images of a folder that the user selects. Results are saved when
the user goes on, goes back or closes the window. An image without objects is not written, and so comes again at the
next start. While one image is annotated, the next one is loaded and embedded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from napari import Viewer

from micro_sam.errors import InputError, MicroSamError
from micro_sam.io.addresses import path_of
from micro_sam.io.images import find_images
from micro_sam.io.inputs import is_path
from micro_sam.io.labels import load_labels
from micro_sam.io.results import recover
from micro_sam.sam_annotator.actions import Actions, bind
from micro_sam.sam_annotator.controller.action_table import ROWS_OF_SERIES
from micro_sam.sam_annotator.controller.embedding.engine import Engine
from micro_sam.sam_annotator.controller.files.opening import Continuing, Opening
from micro_sam.sam_annotator.controller.files.recording import Recording, SessionChoice
from micro_sam.sam_annotator.controller.files.saving import Saving
from micro_sam.sam_annotator.controller.files.unsaved import Leaving
from micro_sam.sam_annotator.state.images import OpenImage
from micro_sam.sam_annotator.state.series import SeriesEntry, SeriesState, plan_series
from micro_sam.sam_annotator.state.window import WindowState
from micro_sam.sam_annotator.view.dialogs import Dialogs
from micro_sam.session.journal import series
from micro_sam.session.journal.continuing import Continued
from micro_sam.session.journal.places import summarise

RESULTS = "_objects"  # after the name of a folder of images: the folder beside it that gets their results
CLOCKS = 2.0  # seconds by which the clocks of two discs may differ


class SeriesOpening:
    """Begins the series of one window, which goes through one at most.

    Parameters
    ----------
    state, actions
        Of the window.
    make
        Makes a :class:`.Series` of images and ``skip_segmented``.
    show
        Puts the list of images into the window.
    recording, leaving, dialogs
        Say which sessions go on, and ask.

    Attributes
    ----------
    series
        None before one has begun.
    """

    def __init__(
        self,
        state: WindowState,
        actions: Actions,
        make: Callable[..., Series],
        show: Callable[[], None],
        *,
        recording: Recording,
        leaving: Leaving,
        dialogs: Dialogs,
    ) -> None:
        self._state, self._actions, self._make, self._show = state, actions, make, show
        self._recording, self._leaving, self._dialogs = recording, leaving, dialogs
        self.series: Series | None = None

    def begin(self, entries: Sequence[SeriesEntry], skip_segmented: bool = True) -> None:
        """Go through images that were planned; with `skip_segmented` those that have a result are passed over."""
        self.series = self._make(SeriesState(tuple(entries)), skip_segmented=skip_segmented)
        self._actions.add(bind(ROWS_OF_SERIES, self.series, self._state.tool))
        self._show()
        self.series.start()

    def open_folder(self) -> None:
        """Go through all images of a folder that the user selects. What was begun there goes on.

        Raises
        ------
        InputError
            When the folder holds no images, or the window goes through a series already.
        """
        if self.series is not None:
            raise InputError("This window goes through a folder already. Open another window for another folder.")
        folder = self._dialogs.folder_to_open("Open folder of images")
        if folder is None:
            return
        entries = plan_series(find_images(folder), folder.with_name(f"{folder.name}{RESULTS}"))
        if self._leaving.may_leave("Open"):
            self._recording.choice = SessionChoice(None, True)
            self.begin(entries)


class Series:
    """Goes through the series of a window, ``state.series``.

    Parameters
    ----------
    state, viewer
        Of the window.
    series
        The images.
    engine, recording, saving, opening, continuing, leaving
        Embed the next image, know of earlier sessions, save, open, go on, and ask.
    skip_segmented
        Whether images that have a result are passed over.
    """

    def __init__(
        self,
        state: WindowState,
        viewer: Viewer,
        series: SeriesState,
        *,
        engine: Engine,
        recording: Recording,
        saving: Saving,
        opening: Opening,
        continuing: Continuing,
        leaving: Leaving,
        skip_segmented: bool = True,
    ) -> None:
        self._state, self._viewer = state, viewer
        self._engine, self._recording, self._saving = engine, recording, saving
        self._opening, self._continuing, self._leaving = opening, continuing, leaving
        self.skip_segmented = skip_segmented
        self._series = series
        saving.automatic = True
        engine.ready.connect(self._prepare_next)

    @property
    def series(self) -> SeriesState:
        """The images, and which of them is open."""
        return self._state.series or self._series

    @property
    def index(self) -> int:
        """Position of the image that is open; -1 before the first."""
        return self.series.index

    @property
    def entries(self) -> tuple[SeriesEntry, ...]:
        """The images."""
        return self.series.entries

    @property
    def entry(self) -> SeriesEntry:
        """The image that is open."""
        return self.series.entry

    def start(self) -> None:
        """Show the first image that has no result yet (without `skip_segmented` the first)."""
        first = self._last_open()
        if first is None:
            first = self._find(range(len(self.entries)))
        if first is None:
            self.skip_segmented = False
            self._go(range(len(self.entries)))
            self._state.status.say(
                f"All {len(self.entries)} images have a result. You can correct them: N goes on, Shift-N back.", "good"
            )
            return
        self._go(range(first, len(self.entries)))

    def next(self) -> None:
        """Save, and show the next image."""
        ahead = range(self.index + 1, len(self.entries))
        following = self._find(ahead)
        if following is None:
            self._leave(None)
            return
        self._leave(range(following, len(self.entries)))

    def previous(self) -> None:
        """Save, and show the image before, with its result."""
        if self.index <= 0:
            self._state.status.say("This is the first image.", "warning")
            return
        self._leave(range(self.index - 1, -1, -1))

    def go_to(self, index: int) -> None:
        """Save, and show an image of the list."""
        if index != self.index:
            self._leave(range(index, index + 1))

    def _last_open(self) -> int | None:
        """Where a series that goes on was left, also with a result: that may be half of it. None when all is done."""
        if self._recording.choice.resume is not True or self._find(range(len(self.entries))) is None:
            return None
        index = series.read(self.entries[0].output.parent)
        names = [entry.name for entry in self.entries]
        return names.index(index.last) if index is not None and index.last in names else None

    def _find(self, candidates: range) -> int | None:
        """The first of the candidates that is still to do."""
        return next((k for k in candidates if not (self.skip_segmented and self.entries[k].output.exists())), None)

    def _leave(self, candidates: range | None) -> None:
        saving, status = self._saving, self._state.status
        try:
            if saving.uncommitted:
                raise InputError(
                    "The current object is not committed. Commit it with C or clear it with Shift-C first."
                )
            if not self._leaving.may_leave_uncommitted():
                return
            saved = saving.save_silently()
            if not saved and saving.has_news:
                raise InputError(
                    f"The objects of this image are not saved, because {saving.path} stays as it is. Press N "
                    "again to replace it, or save them in another file with Save As."
                )
        except Exception as error:
            status.report(error)
            return
        if candidates is None:
            text = f"This was the last image; results are in {self.entry.output.parent}."
            status.say(text + (" You can close the window." if saved or not saving.unsaved else ""))
            return
        self._go(candidates)

    def _go(self, candidates: range) -> None:
        """Show the first of the candidates that can be opened; the list keeps why the others could not be."""
        problems: dict[int, str] = {}
        for index in candidates:
            try:
                self._open(index)
            except MicroSamError as error:
                problems[index] = str(error)
                continue
            self._state.series = self.series.at(index, problems)
            break
        else:
            self._state.series = self.series.at(self.index, problems)
        if problems:
            texts = [f"{self.entries[index].name} is left out: {why}" for index, why in problems.items()]
            self._state.status.say(" ".join(texts), "error")

    def _open(self, index: int) -> None:
        state, entry = self._state, self.entries[index]
        image = self._engine.take_ahead(entry.name, _path_of(entry.raw)) or entry.open(state.tool.name)
        recover(entry.output)
        earlier = entry.output if entry.output.exists() else entry.initial
        committed = None if earlier is None else load_labels(earlier, shape=image.shape)
        if is_path(earlier):
            image = replace(image, earlier=Path(earlier))
        before = state.settings
        state.settings = before.changed(embedding_path=entry.embedding_path)
        try:
            continued = self._earlier_session(image, entry)
            if continued is not None:
                self._continuing.show(image, continued)
            else:
                self._opening.open(image, committed)
        except Exception:  # the image before stays, with its own result and cache
            state.settings = before
            raise
        images = [series.SeriesImage(one.name, _path_of(one.raw), one.output) for one in self.entries]
        series.write(entry.output.parent, state.tool.name, images, entry.name)
        self._viewer.title = f"{entry.name} ({index + 1} of {len(self.entries)}) - {state.tool.title}"

    def _earlier_session(self, image: OpenImage, entry: SeriesEntry) -> Continued | None:
        """The session of an image that goes on, unless somebody has changed the result since, or it cannot be read."""
        try:
            folder = self._recording.earlier(image)
            if folder is None:
                return None
            last = summarise(folder).time
            if entry.output.exists() and entry.output.stat().st_mtime > last + CLOCKS:
                return None
            return self._continuing.read(folder)
        except MicroSamError as error:
            self._state.status.report(error)
            return None

    def _prepare_next(self) -> None:
        following = self._find(range(self.index + 1, len(self.entries)))
        if following is None:
            return
        tool, entry = self._state.tool, self.entries[following]
        if tool.ndim == 3 and entry.embedding_path is None:
            return  # two stacks of features in memory at once may be too much
        settings = self._state.settings.changed(embedding_path=entry.embedding_path)
        self._engine.prepare_ahead(lambda: entry.open(tool.name), tool.ndim, settings)


def _path_of(raw: Any) -> Path | None:
    return path_of(raw) if isinstance(raw, (str, Path)) and not str(raw).startswith("sample:") else None
