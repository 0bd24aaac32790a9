"""How every tool starts: check all that can be checked, show the window, then do the work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import napari
import numpy as np

from micro_sam.errors import InputError
from micro_sam.io.labels import load_labels
from micro_sam.io.results import check_not_input
from micro_sam.sam_annotator.annotator import Annotator
from micro_sam.sam_annotator.images import OpenImage
from micro_sam.sam_annotator.settings import Settings


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


def start_tool(
    kind: type[Annotator],
    settings: Settings,
    image: OpenImage | None,
    committed: Any = None,
    *,
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
    own_window = viewer is None
    if own_window:
        viewer = napari.Viewer(title=kind.title if image is None else f"{image.name} - {kind.title}")
    annotator = kind(viewer, settings)
    annotator.takes_dropped_images = own_window
    if image is not None:
        annotator.open(image, committed)
    else:
        annotator.welcome()
    if return_viewer:
        return viewer
    napari.run()
    return None


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
