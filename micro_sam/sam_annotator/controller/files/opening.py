"""Opening images, labels and earlier sessions: from a file, a layer, a sample, or dropped onto the window."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

from napari import Viewer
from napari.layers import Image
from qtpy.QtCore import QTimer

from micro_sam.errors import AxesError, CacheError, ChoiceError, InputError
from micro_sam.io.classes import load_classes
from micro_sam.io.label_arrays import any_label
from micro_sam.io.label_reading import is_labels_only, read_labels
from micro_sam.io.tracks import Tracks, daughters
from micro_sam.sam_annotator.actions import Actions
from micro_sam.sam_annotator.controller.embedding.preparation import Preparation
from micro_sam.sam_annotator.controller.files.recording import JOURNAL, Recording, channel_of
from micro_sam.sam_annotator.controller.files.saving import Saving
from micro_sam.sam_annotator.controller.files.unsaved import Leaving
from micro_sam.sam_annotator.controller.pictures import Overview
from micro_sam.sam_annotator.runtime.garbage import GarbageTimer
from micro_sam.sam_annotator.runtime.jobs import WORK, Jobs, Progress
from micro_sam.sam_annotator.state.images import OpenImage, from_layer, from_path, with_channel
from micro_sam.sam_annotator.state.window import WindowState, image_of
from micro_sam.sam_annotator.view.dialogs import Dialogs
from micro_sam.sam_annotator.view.frame import intercept
from micro_sam.sam_annotator.view.layers.mouse import Mouse
from micro_sam.sam_annotator.view.layers.session_layers import SessionLayers
from micro_sam.sam_annotator.view.sight import Sight
from micro_sam.session.journal.continuing import Continued, go_on
from micro_sam.session.session import Session
from micro_sam.session.values import ObjectClass, count

log = logging.getLogger(__name__)


class Opening:
    """Shows images in one window.

    Parameters
    ----------
    state, jobs
        Of the window.
    viewer, layers, mouse, sight
        Show the image, ready for clicks.
    overview, recording, preparation, garbage
        What begins with an image.
    leaving, dialogs
        Ask before an image is left, and for a file.
    is_alone
        Whether the viewer shows nothing else, so that its title names the image.
    """

    def __init__(
        self,
        state: WindowState,
        jobs: Jobs,
        *,
        viewer: Viewer,
        layers: SessionLayers,
        mouse: Mouse,
        sight: Sight,
        overview: Overview,
        recording: Recording,
        preparation: Preparation,
        garbage: GarbageTimer,
        leaving: Leaving,
        dialogs: Dialogs,
        is_alone: bool,
    ) -> None:
        self._state, self._jobs = state, jobs
        self._viewer, self._layers, self._mouse, self._sight = viewer, layers, mouse, sight
        self._overview, self._recording, self._preparation = overview, recording, preparation
        self._garbage, self._leaving, self._dialogs = garbage, leaving, dialogs
        self._is_alone = is_alone

    def open(self, image: OpenImage, committed: Any = None, *, session: Session | None = None) -> None:
        """Show an image, ready for clicks, and start to prepare it.

        Parameters
        ----------
        image
            Checked already.
        committed
            Result to go on with: labels, or tracks in the tracking tool.
        session
            A session on this image that goes on; None: a new one.

        Raises
        ------
        InputError
            When `committed` does not fit.
        """
        state, tool = self._state, self._state.tool
        continued = session is not None
        if session is None:
            session = tool.make_session(image.shape)
            self._recording.begin(image, session)
            if committed is not None:
                load_result(session, committed)
                load_classes_into(session, image.earlier)
                session.begin_here()
        self._jobs.cancel(WORK)
        image = self._overview.of(image)
        self._layers.show(image, session)
        session.events.message.connect(state.status.say)
        state.corrects, state.question = False, None
        state.image = image
        state.session = session
        self._recording.follow(image, session, committed is not None, continued)
        state.source, state.selected = "current", ()
        if self._is_alone:
            self._viewer.title = f"{image.name} - {tool.title}"
        self._mouse.use("point")
        self._garbage.settle()
        self._overview.begin()
        self._preparation.prepare()
        if tool.axis_labels and self._viewer.dims.ndim == len(tool.axis_labels):
            self._viewer.dims.axis_labels = tool.axis_labels
        if tool.work == "tracks":
            self._sight.go_to_slice(0)

    # ------------------------------------------------------------------ actions

    def open_file(self) -> None:
        """Open an image file that the user chooses."""
        path = self._dialogs.path_to_open("Open image")
        if path is not None:
            self.open_path(path)

    def open_path(self, path: str | Path, axes: str | None = None, key: str | None = None) -> None:
        """Open an image file, or a sample (``sample:NAME``).

        `axes` says what its axes are where it does not, `key` which of its images it is.
        """
        if self._state.session is not None and is_labels_only(path):
            self.load_labels(path)
            return
        image = from_path(path, self._state.tool.name, key, axes=axes)
        if self._leaving.may_leave("Open"):
            self.open(image)

    def open_layer(self, layer: Image) -> None:
        """Annotate an image that is in the viewer."""
        image = from_layer(layer, self._state.tool.name)
        if self._leaving.may_leave("Open"):
            self.open(image)

    def load_labels(self, path: str | Path) -> None:
        """Go on with the labels in a file (ROIs, GeoJSON, Cellpose, any label image).

        They are committed; where there are committed objects already, they wait as automatic segmentation.
        """
        session, status = self._state.needed(), self._state.status
        labels, note = read_labels(path, shape=session.shape)
        if not any_label(labels):
            raise InputError(f"{path} holds no objects.")
        if not any_label(session.committed):
            session.objects.load(labels)
            load_classes_into(session, Path(path))
            status.say(f"The objects of {Path(path).name} were loaded. {note}".strip(), "good")
            return
        session.automatic.show(labels)
        self._state.source = "auto"
        what = f"The objects of {Path(path).name} are shown; commit them to add them to those that are there."
        status.say(f"{what} {note}".strip(), "good")

    def choose_channel(self, channel: int | str) -> None:
        """Show and segment another channel of the image, or the ``"mix"`` of all. Prompts and objects stay."""
        session, image = self._state.needed(), image_of(self._state)
        if image.source is None or channel == image.channel:
            return
        self._preparation.check_free()
        image = self._overview.of(with_channel(image, self._state.tool.name, channel))
        self._layers.show(image, session)
        self._state.image = image
        self._recording.channel_changed(image)
        self._overview.begin()
        self._preparation.prepare()


class Drops:
    """The first image of an empty window, and files that are dropped onto a window.

    An image that is dropped onto an empty window is read by the program's own reader, which knows more formats than
    napari's. Outlines and other files that can only be labels are added to the image that is open. Everything else goes
    the way of napari.

    Parameters
    ----------
    viewer, state, actions
        Of the window; ``open_path``, ``load_labels`` and ``take_dropped`` are used.
    is_alone
        Whether the viewer shows nothing else: the first image that comes is the one to annotate.
    """

    def __init__(self, viewer: Viewer, state: WindowState, actions: Actions, is_alone: bool) -> None:
        self._viewer, self._state, self._actions, self._is_alone = viewer, state, actions, is_alone
        self._give_back = intercept(viewer, viewer.window._qt_viewer, "_qt_open", self._open)

    def close(self) -> None:
        """Let napari open files by itself again."""
        self._give_back()

    def welcome(self, ask_for_image: Callable[[], object]) -> None:
        """There is no image yet: ask for one, and say how to get it."""
        ask_for_image()
        text = "Drop an image onto the window, or select one below: a file, a folder of images, or a sample to try."
        self._state.status.say(text)
        self._viewer.layers.events.inserted.connect(self._inserted)

    def _inserted(self, event: Any) -> None:
        """In an empty window the first image that comes is the one to annotate."""
        layer = event.value
        if self._state.session is None and self._is_alone and isinstance(layer, Image):
            QTimer.singleShot(0, lambda: self._actions.take_dropped(layer))

    def _open(self, napari: Callable[..., Any], filenames: list[str], *args: Any, **kwargs: Any) -> Any:
        state = self._state
        is_plain = not any(kwargs.get(name) for name in ("stack", "choose_plugin", "plugin"))
        if len(filenames) == 1 and is_plain and not state.closed:
            path = filenames[0]
            if state.session is not None and is_labels_only(path):
                return self._actions.load_labels(path)
            if state.session is None and self._is_alone:
                return self._actions.open_path(path)
        return napari(filenames, *args, **kwargs)


def take_dropped(viewer: Viewer, state: WindowState, opening: Opening, layer: Image) -> None:
    """Annotate the image that napari has read from a file that was dropped onto an empty window."""
    if state.session is not None or layer not in viewer.layers:
        return
    path, tool = layer.source.path, state.tool.name
    try:
        image = from_layer(layer, tool) if path is None else from_path(path, tool)
    except (AxesError, ChoiceError):
        viewer.layers.remove(layer)  # it comes back when the user has said what its axes are, or which image
        raise
    if image.layer is None:
        viewer.layers.remove(layer)
    opening.open(image)


def load_result(session: Session, result: Any) -> None:
    """Put an earlier result into a new session: labels, or tracks with their lineage."""
    if isinstance(result, Tracks) and result.labels is not None:
        session.objects.load(result.labels, daughters(result.rows))
    else:
        session.objects.load(result)


def load_classes_into(session: Session, result: Path | None) -> None:
    """Take over the classes that lie beside a result, if there are any.

    Raises
    ------
    InputError
        When the table beside it is none of classes.
    """
    classes = load_classes(result) if result is not None else None
    if classes is not None and classes.known:
        session.classes.load((ObjectClass(*one) for one in classes.known), dict(classes.numbers))


class Continuing:
    """Opens sessions that go on.

    Parameters
    ----------
    state, jobs
        Of the window.
    opening, overview
        Show the image.
    recording, saving
        Know of earlier sessions, and where their objects were saved.
    """

    def __init__(
        self,
        state: WindowState,
        jobs: Jobs,
        opening: Opening,
        overview: Overview,
        recording: Recording,
        saving: Saving,
    ) -> None:
        self._state, self._jobs, self._opening, self._overview = state, jobs, opening, overview
        self._recording, self._saving = recording, saving

    def go_on_with_offer(self) -> None:
        """Go on with the session that is offered."""
        offer, state = self._recording.take_offer(), self._state
        if offer is None:
            return
        image, session = image_of(state), state.needed()

        def steps(_job: Any) -> Generator[Any, None, Continued]:
            yield Progress("Reading the session")
            return self.read(offer.folder)

        def done(continued: Continued) -> None:
            if not state.shows(session):
                _close(continued)
                return
            journal = session.keeper.journal
            self.show(image, continued)
            if journal is not None and journal.is_on_disc:
                text = f"What you did before in this window is kept in the session {journal.folder}."
                state.status.add(text)

        self._jobs.start("Reading the session", steps, lane=JOURNAL, on_done=done)

    def earlier(self, image: OpenImage) -> Continued | None:
        """The session that an image goes on with before its window opens, read; None: there is none.

        Raises
        ------
        CacheError
            When it cannot be read, or is of another image or tool.
        """
        folder = self._recording.earlier(image)
        return None if folder is None else self.read(folder)

    def read(self, folder: Path) -> Continued:
        """Do again what is in a session; CacheError when it cannot be read."""
        return go_on(folder, self._state.tool.make_session)

    def show(self, image: OpenImage, continued: Continued) -> None:
        """Show a session that goes on.

        Raises
        ------
        CacheError
            When it was made for an image of another shape.
        """
        session, state = continued.session, self._state
        if tuple(session.shape) != tuple(image.shape):
            _close(continued)
            raise CacheError("This session was made for an image of another shape. It stays as it is.")
        journal = session.keeper.journal
        channel = journal.header.get("image", {}).get("channel") if journal is not None else None
        if channel is not None and image.source is not None and channel != channel_of(image):
            image = self._overview.of(with_channel(image, state.tool.name, channel))
        self._opening.open(image, session=session)
        self._saving.take_up(continued.saved, continued.unsaved)
        numbers = f"{len(session.objects)} committed, {count(len(session.prompts.drawn), 'prompt')}"
        text = f"The session goes on ({numbers}). {continued.note}".strip()
        state.status.say(text, "warning" if continued.note else "good")
        log.info("%s", text)


def _close(continued: Continued) -> None:
    journal = continued.session.keeper.journal
    if journal is not None:
        journal.close()
