"""Begins a series of images in a window: one that was planned, or all images of a folder that the user selects."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from napari import Viewer

from micro_sam.errors import InputError
from micro_sam.io.images import find_images
from micro_sam.sam_annotator.actions import Actions
from micro_sam.sam_annotator.controller.action_rows import bind
from micro_sam.sam_annotator.controller.action_table import ROWS_OF_SERIES
from micro_sam.sam_annotator.controller.closing import Leaving
from micro_sam.sam_annotator.controller.continuing import Continuing
from micro_sam.sam_annotator.controller.engine import Engine
from micro_sam.sam_annotator.controller.opening import Opening
from micro_sam.sam_annotator.controller.recording import Recording, SessionChoice
from micro_sam.sam_annotator.controller.saving import Saving
from micro_sam.sam_annotator.controller.series import Series
from micro_sam.sam_annotator.state.series import SeriesEntry, SeriesState, plan_series
from micro_sam.sam_annotator.state.window import WindowState
from micro_sam.sam_annotator.view.dialogs import Dialogs

RESULTS = "_objects"  # after the name of a folder of images: the folder beside it that gets their results


class SeriesOpening:
    """Begins the series of one window, which goes through one at most.

    Parameters
    ----------
    state, actions, viewer
        Of the window.
    dialogs
        Asks for a folder.
    show
        Puts the list of images into the window.
    engine, recording, saving, opening, continuing, leaving
        What a :class:`.Series` works with.

    Attributes
    ----------
    series
        None before one has begun.
    """

    def __init__(
        self,
        state: WindowState,
        actions: Actions,
        viewer: Viewer,
        dialogs: Dialogs,
        show: Callable[[], None],
        *,
        engine: Engine,
        recording: Recording,
        saving: Saving,
        opening: Opening,
        continuing: Continuing,
        leaving: Leaving,
    ) -> None:
        self._state, self._actions, self._viewer, self._dialogs, self._show = state, actions, viewer, dialogs, show
        self._engine, self._recording, self._saving = engine, recording, saving
        self._opening, self._continuing, self._leaving = opening, continuing, leaving
        self.series: Series | None = None

    def begin(self, entries: Sequence[SeriesEntry], skip_segmented: bool = True) -> None:
        """Go through images that were planned; with `skip_segmented` those that have a result are passed over."""
        self.series = Series(
            self._state,
            self._viewer,
            SeriesState(tuple(entries)),
            engine=self._engine,
            recording=self._recording,
            saving=self._saving,
            opening=self._opening,
            continuing=self._continuing,
            leaving=self._leaving,
            skip_segmented=skip_segmented,
        )
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
