"""The 2D annotator."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import napari
import numpy as np

from micro_sam.sam_annotator.controller.annotator import Annotator
from micro_sam.sam_annotator.launch import check_result, choose_session, one_image, start_tool
from micro_sam.sam_annotator.state.images import open_any
from micro_sam.sam_annotator.state.settings import Settings


class Annotator2D(Annotator):
    """Segments the objects of one image."""

    title = "micro_sam 2D"
    tool = "2d"
    ndim = 2


def annotator_2d(
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
    """Segment objects of a 2D image interactively.

    Parameters
    ----------
    raw
        The image: an array (H, W) or (H, W, 3), a path, ``"sample:NAME"``, or an image layer of `viewer`.
        None: the window opens empty and takes a dropped file, a layer, or a sample.
    embedding_path
        Zarr folder that keeps the embeddings for the next start; None: they are kept in memory.
    show_embeddings
        Whether the embeddings are shown as an image layer (their first principal components).
    segmentation_result
        Labels to go on with: any integer array of the shape of the image, or its path.
    model_type
        Name of the model in the registry; None: found in `checkpoint_path`.
    tile_shape, halo
        (y, x) in pixels, for large images; None: chosen by itself.
    return_viewer
        Return the viewer at once instead of starting the event loop.
    viewer
        Dock the tool into this viewer instead of opening a window.
    precompute_amg_state
        Whether the automatic segmentation is prepared at the start.
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
        When the image or the labels cannot be used. No window is opened then.
    """
    settings = Settings(
        *(model_type, checkpoint_path, device, embedding_path, tile_shape, halo),
        *(precompute_amg_state, show_embeddings, decoder_path, prefer_decoder),
    )
    choice = choose_session(session, resume)
    settings.check()
    raw = one_image(raw, image)
    opened = None if raw is None else open_any(raw, "2d", key, axes)
    committed = check_result(segmentation_result, segmentation_key, opened)
    return start_tool(
        Annotator2D,
        settings,
        opened,
        committed,
        choice,
        earlier=segmentation_result,
        viewer=viewer,
        return_viewer=return_viewer,
    )


def __getattr__(name: str) -> Any:
    """The widget, which lay here in micro-sam 1.x; imported on first use, because it is made of what is here."""
    if name == "Annotator2d":
        return getattr(import_module("micro_sam.compat.widgets"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
