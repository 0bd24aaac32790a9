"""Begins a series of images in a window: one that was planned, or all images of a folder that the user selects."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from micro_sam.errors import InputError
from micro_sam.io.images import find_images
from micro_sam.sam_annotator.actions import Actions
from micro_sam.sam_annotator.controller.action_rows import bind
from micro_sam.sam_annotator.controller.action_table import ROWS_OF_SERIES
from micro_sam.sam_annotator.controller.closing import Leaving
from micro_sam.sam_annotator.controller.recording import Recording, SessionChoice
from micro_sam.sam_annotator.controller.series import Series
from micro_sam.sam_annotator.state.series import SeriesEntry, SeriesState, plan_series
from micro_sam.sam_annotator.state.window import WindowState
from micro_sam.sam_annotator.view.dialogs import Dialogs

RESULTS = "_objects"  # after the name of a folder of images: the folder beside it that gets their results


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
