"""How every tool starts, in a window of its own or as a widget: check what can be checked, show it, do the work."""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import napari
import numpy as np
from napari import Viewer
from napari.layers import Image
from qtpy.QtGui import QShowEvent
from qtpy.QtWidgets import QVBoxLayout, QWidget

from micro_sam.errors import CacheError, InputError
from micro_sam.io.classes import load_classes
from micro_sam.io.inputs import is_path
from micro_sam.io.labels import load_labels
from micro_sam.io.results import check_not_input
from micro_sam.io.tracks import Tracks, load_tracks
from micro_sam.sam_annotator.controller.embedding.loading import first_answers
from micro_sam.sam_annotator.controller.files.recording import SessionChoice
from micro_sam.sam_annotator.controller.window import TOOLS, Window
from micro_sam.sam_annotator.state.images import OpenImage, from_layer, open_any
from micro_sam.sam_annotator.state.settings import Settings
from micro_sam.sam_annotator.state.tool import Tool
from micro_sam.sam_annotator.tools import IMAGE, TRACKING, VOLUME
from micro_sam.sam_annotator.view.frame import EmptyHint, kept_with, open_viewer
from micro_sam.session.journal.moving import FILE

Launcher = Callable[..., "napari.Viewer | None"]


def annotate(
    tool: Tool,
    raw: np.ndarray | str | Path | napari.layers.Image | None = None,
    embedding_path: str | Path | None = None,
    show_embeddings: bool = False,
    segmentation_result: np.ndarray | str | Path | None = None,
    model_type: str | None = "vit_h",
    tile_shape: tuple[int, int] | None = None,
    halo: tuple[int, int] | None = None,
    return_viewer: bool = False,
    viewer: napari.Viewer | None = None,
    precompute_amg_state: bool = False,
    checkpoint_path: str | Path | None = None,
    device: str | None = None,
    *,
    key: str | None = None,
    segmentation_key: str | None = None,
    axes: str | None = None,
    image: np.ndarray | str | Path | napari.layers.Image | None = None,
    decoder_path: str | Path | None = None,
    prefer_decoder: bool = True,
    session: str | Path | None = None,
    resume: bool | str | None = None,
) -> napari.Viewer | None:
    """Segment the objects of an image or a volume, or track those of a movie, interactively.

    Parameters
    ----------
    raw
        The image (H, W), volume (Z, H, W) or movie (T, H, W), or the same with colours (..., 3): an array, a path,
        ``"sample:NAME"``, or an image layer of `viewer`. None: the window opens empty and takes a dropped file, a
        layer, or a sample.
    embedding_path
        Zarr folder that keeps the embeddings for the next start; None: they are kept in memory.
    show_embeddings
        Whether the embeddings are shown as an image layer (their first principal components).
    segmentation_result
        What to go on with: labels, any integer array of the shape of the image, or their path. Of the tracking tool: a
        folder of the Cell Tracking Challenge, a GEFF, a TrackMate or napari file that was saved here, or a label series
        (array or path) in which each track keeps its label.
    model_type
        Name of the model in the registry; None: found in `checkpoint_path`, without one the model that works at once.
    tile_shape, halo
        (y, x) in pixels, for large images; None: chosen by itself.
    return_viewer
        Return the viewer at once instead of starting the event loop.
    viewer
        Dock the tool into this viewer instead of opening a window.
    precompute_amg_state
        Whether the automatic segmentation (of the slice in view) is prepared at the start.
    checkpoint_path
        Weights of one's own.
    device
        ``"cpu"``, ``"cuda:1"``, ``"mps"``, ...; None: the best there is.
    key, segmentation_key
        Datasets inside container files.
    axes
        What the axes of `raw` are, where the file does not say or is wrong: one letter each, T time, Z slices, C
        channels, Y, X, for instance ``"CZYX"``.
    image
        Another name of `raw`.
    decoder_path
        A decoder for automatic segmentation in a file of its own.
    prefer_decoder
        Whether the automatic segmentation begins with the model's decoder, where it has one.
    session
        Folder of a session: where all that is done is kept, and what to go on with if it is there. None: beside the
        result once that is saved, before that in the program's own folder.
    resume
        True: go on with the last session on this image; ``"ask"``: offer that in the window; None: begin a new one and
        keep the old one. Results that are given count more.

    Returns
    -------
    viewer
        With `return_viewer`, else None when the window is closed.

    Raises
    ------
    InputError
        When the image or the result cannot be used. No window is opened then.
    OutputError
        When the embeddings would be kept in the image itself.
    """
    settings = Settings.of(
        *(model_type, checkpoint_path, device, embedding_path, tile_shape, halo),
        *(precompute_amg_state, show_embeddings, decoder_path, prefer_decoder),
    )
    choice = choose_session(session, resume)
    settings.check()
    raw = one_image(raw, image)
    opened = None if raw is None else open_any(raw, tool.name, key, axes)
    if opened is not None:
        tool.check(opened.shape)
    check = check_tracks if tool.work == "tracks" else check_result
    committed = check(segmentation_result, segmentation_key, opened)
    if opened is not None:
        check_not_input(settings.embedding_path, opened.path)
        if is_path(segmentation_result):
            earlier = Path(cast(Any, segmentation_result))
            load_classes(earlier)  # whether they can be read
            opened = replace(opened, earlier=earlier)
    own_window = viewer is None
    with contextlib.ExitStack() as undo:
        first = None if opened is None or not own_window else first_answers(opened, tool.ndim, settings)
        if first is not None:
            undo.callback(first.close)
        if viewer is None:
            viewer = open_viewer(tool.title if opened is None else f"{opened.name} - {tool.title}")
            if opened is None:
                EmptyHint(viewer)
        window = Window(viewer, tool, settings, is_alone=own_window, first=first)
        window.recording.choice = choice
        try:
            window.open(opened, committed, may_continue=True)
        except CacheError as error:
            window.recording.choice = SessionChoice()  # what is there stays as it is
            window.open(opened)
            window.status.report(error)
        undo.pop_all()
    if return_viewer:
        return viewer
    window.run()
    return None


def _launcher(name: str, tool: Tool, result: str = "segmentation") -> Launcher:
    """The function that opens a tool: :func:`annotate` without its first argument."""
    renamed = {f"{result}_result": "segmentation_result", f"{result}_key": "segmentation_key"}

    @functools.wraps(annotate)
    def launch(*args: Any, **options: Any) -> napari.Viewer | None:
        signature.bind(*args, **options)
        return annotate(tool, *args, **{renamed.get(key, key): value for key, value in options.items()})

    names = {theirs: own for own, theirs in renamed.items()}
    _, *parameters = inspect.signature(annotate).parameters.values()
    signature = inspect.signature(annotate).replace(
        parameters=[one.replace(name=names.get(one.name, one.name)) for one in parameters]
    )
    launch.__name__ = launch.__qualname__ = name
    launch.__signature__ = signature  # type: ignore[attr-defined]
    return launch


annotator_2d = _launcher("annotator_2d", IMAGE)
annotator_3d = _launcher("annotator_3d", VOLUME)
annotator_tracking = _launcher("annotator_tracking", TRACKING, "tracking")


def check_result(result: np.ndarray | str | Path | None, key: str | None, image: OpenImage | None) -> np.ndarray | None:
    """Labels to go on with, checked against the image.

    Raises
    ------
    InputError
        When they cannot be read or do not fit, or there is no image.
    """
    if result is None:
        return None
    if image is None:
        raise InputError("An earlier result needs the image it belongs to. Give the image as well.")
    return load_labels(result, key, image.shape)


def one_image(raw: Any, image: Any) -> Any:
    """`image` is the name of `raw` in micro-sam 1.x; one of them is given, or none."""
    if raw is not None and image is not None:
        raise InputError("raw and image are two names of the same argument: give one of them.")
    return image if raw is None else raw


def choose_session(session: str | Path | None, resume: bool | str | None) -> SessionChoice:
    """Which session a tool begins with.

    Raises
    ------
    InputError
        For another value of `resume`, or a file in place of the session's folder.
    """
    if resume not in (None, True, False, "ask"):
        raise InputError(f"resume is True, False, None or 'ask', not {resume!r}.")
    if session is None:
        return SessionChoice(None, cast(Any, resume))
    folder = Path(session).expanduser().absolute()
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file, but a session is a folder. Choose another name.")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / FILE).exists():
        raise InputError(f"{folder} is a folder with other files and no session. Choose another name.")
    return SessionChoice(folder, cast(Any, resume))


def check_tracks(result: Any, key: str | None, image: OpenImage | None) -> Tracks | None:
    """Tracks to go on with, checked against the movie.

    Raises
    ------
    InputError
        When they cannot be read, have no masks or do not fit, or there is no movie.
    """
    if result is None:
        return None
    if image is None:
        raise InputError("An earlier result needs the movie it belongs to. Give the movie as well.")
    tracks = load_tracks(result, key, cast(Any, image.shape))
    if tracks.labels is None:
        raise InputError(
            f"{result} holds positions only, and the masks that belong to them are not beside it. Give the folder or "
            "file that this program saved, with its masks, or a label series."
        )
    return tracks


def get_annotator(viewer: Viewer) -> Window:
    """The tool that is open in a viewer, for scripts and tests.

    Raises
    ------
    InputError
        When there is none.
    """
    windows: list[Window] = kept_with(viewer, TOOLS)
    if not windows:
        raise InputError("There is no micro_sam tool in this viewer.")
    return windows[0]


class ToolWidget(QWidget):
    """A tool in a viewer, not docked yet and without its image: see :meth:`open_image`.

    Parameters
    ----------
    viewer : napari.Viewer
        The viewer that the tool works in.
    **settings
        Fields of ``Settings``: ``model_type``, ``checkpoint_path``, ``device``, ``embedding_path``, ...

    Attributes
    ----------
    annotator : Window
        The tool itself.
    image : napari.layers.Image or None
        What it will open: the layer that is selected, or the first one; None when that is done.
    """

    kind: Tool

    def __init__(self, viewer: Viewer, **settings: Any) -> None:
        super().__init__()
        checked = Settings(**settings)
        checked.check()
        images = [layer for layer in viewer.layers if isinstance(layer, Image)]
        active = viewer.layers.selection.active
        self.image = active if active in images else next(iter(images), None)
        self.annotator = Window(viewer, self.kind, checked, is_docked=False, is_alone=not images)
        if self.image is None:
            self.annotator.dock.ask_for_image()  # now: it is seen first
        self._end: Any = None
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.annotator.dock)

    def open_image(self) -> None:
        """Open the image, unless another one was opened meanwhile; without one, say how to get it."""
        annotator = self.annotator
        if annotator.state.closed or annotator.session is not None:
            return
        image, self.image = self.image, None  # a layer that is removed later is not kept
        is_there = image is not None and image in annotator.viewer.layers
        try:
            annotator.open(from_layer(cast(Image, image), self.kind.name) if is_there else None)
        except InputError as error:
            annotator.open(None)
            annotator.status.report(error)

    def showEvent(self, event: QShowEvent | None) -> None:
        """See Qt. Once it is docked, the cross of the dock ends the tool, which asks for unsaved work first."""
        super().showEvent(event)
        dock: Any = self.parent()
        while dock is not None and not hasattr(dock, "destroyOnClose"):
            dock = dock.parent()
        if dock is not None and self._end is None:
            self._end, dock.destroyOnClose = dock.destroyOnClose, self.end
            self.annotator.dock.welcome()

    def end(self) -> None:
        """End the tool: its layers stay, its keys are napari's again."""
        if self.annotator.end() and self._end is not None:
            end, self._end = self._end, None
            end()
            self.deleteLater()  # napari keeps what was docked
