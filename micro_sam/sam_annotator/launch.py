"""How every tool starts: check all that can be checked, show the window, then do the work."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import napari
import numpy as np

from micro_sam.errors import CacheError, InputError
from micro_sam.io.classes import load_classes
from micro_sam.io.inputs import is_path
from micro_sam.io.labels import load_labels
from micro_sam.io.results import check_not_input
from micro_sam.sam_annotator.controller.annotator import Annotator
from micro_sam.sam_annotator.controller.ending import ends_in_order
from micro_sam.sam_annotator.controller.recording import SessionChoice
from micro_sam.sam_annotator.state.images import OpenImage
from micro_sam.sam_annotator.state.settings import Settings
from micro_sam.session.journal import store
from micro_sam.session.journal.continuing import go_on


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
        return SessionChoice(None, resume)
    folder = Path(session).expanduser().absolute()
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file, but a session is a folder. Choose another name.")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / store.FILE).exists():
        raise InputError(f"{folder} is a folder with other files and no session. Choose another name.")
    return SessionChoice(folder, resume)


def start_tool(
    kind: type[Annotator],
    settings: Settings,
    image: OpenImage | None,
    committed: Any = None,
    choice: SessionChoice = SessionChoice(),  # noqa: B008
    *,
    earlier: Any = None,
    viewer: napari.Viewer | None = None,
    return_viewer: bool = False,
) -> napari.Viewer | None:
    """Open a tool in a new window, or dock it into a viewer.

    Parameters
    ----------
    kind
        The tool.
    image, committed
        Checked; the image may be None. The result is labels, or what :meth:`Annotator.load_result` of the tool takes.
    choice
        Which session it begins with.
    earlier
        What the result was read from: beside a file lie its classes.
    viewer
        None: a new one.
    return_viewer
        Return the viewer instead of running the event loop.

    Raises
    ------
    OutputError
        When the embeddings would be kept in the image itself.
    """
    if image is not None:
        check_not_input(settings.embedding_path, image.path)
        if is_path(earlier):
            load_classes(earlier)  # whether they can be read
            image = replace(image, earlier=Path(earlier))
    own_window = viewer is None
    if own_window:
        viewer = napari.Viewer(title=kind.title if image is None else f"{image.name} - {kind.title}")
    annotator = kind(viewer, settings)
    annotator.takes_dropped_images = own_window
    annotator.recording.choice = choice
    if image is not None:
        _open(annotator, image, committed)
    else:
        annotator.welcome()
    if return_viewer:
        return viewer
    with ends_in_order(annotator):
        napari.run()
    return None


def _open(annotator: Annotator, image: OpenImage, committed: Any) -> None:
    """Open an image with the session that was asked for; with a new one where that cannot go on."""
    if committed is None:
        try:
            folder = annotator.recording.earlier(image)
            if folder is not None:
                annotator.recording.show(image, go_on(folder, annotator.make_session))
                return
        except CacheError as error:
            annotator.recording.choice = SessionChoice()  # what is there stays as it is
            annotator.open(image)
            annotator.status.report(error)
            return
    annotator.open(image, committed)


def get_annotator(viewer: napari.Viewer) -> Annotator:
    """The tool that is docked into a viewer, for scripts and tests.

    Raises
    ------
    InputError
        When there is none.
    """
    for dock in viewer.window.dock_widgets.values():
        annotator: Any = getattr(dock, "annotator", None)
        if isinstance(annotator, Annotator):
            return annotator
    raise InputError("There is no micro_sam tool in this viewer.")
