"""How a series of images starts, one after the other in one window."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import napari
import numpy as np

from micro_sam.io.images import find_images
from micro_sam.sam_annotator.controller.window import Window
from micro_sam.sam_annotator.launch import choose_session
from micro_sam.sam_annotator.state.series import plan_series, with_initial
from micro_sam.sam_annotator.state.settings import Settings
from micro_sam.sam_annotator.tools import IMAGE, VOLUME
from micro_sam.sam_annotator.view.frame import open_viewer


def image_series_annotator(
    images: Sequence[np.ndarray | str | Path],
    output_folder: str | Path,
    model_type: str | None = "vit_h",
    embedding_path: str | Path | None = None,
    tile_shape: tuple[int, int] | None = None,
    halo: tuple[int, int] | None = None,
    viewer: napari.Viewer | None = None,
    return_viewer: bool = False,
    precompute_amg_state: bool = False,
    checkpoint_path: str | Path | None = None,
    is_volumetric: bool = False,
    device: str | None = None,
    skip_segmented: bool = True,
    initial_segmentations: Sequence[np.ndarray | str | Path] | None = None,
    prefer_decoder: bool = True,
    key: str | None = None,
    resume: bool | str | None = None,
) -> napari.Viewer | None:
    """Annotate images one after the other; key ``n`` saves and goes on, ``Shift-N`` goes back.

    Parameters
    ----------
    images
        Arrays or paths.
    output_folder
        Gets one label image (tif) per image that has objects.
    model_type, checkpoint_path, device
        The model; see :func:`~micro_sam.sam_annotator.launch.annotate`.
    embedding_path
        Folder for one embedding cache per image; None: embeddings are kept in memory.
    tile_shape, halo
        (y, x) in pixels, for large images.
    viewer
        Dock the tool into this viewer instead of opening a window.
    return_viewer
        Return the viewer at once instead of starting the event loop.
    precompute_amg_state
        Whether the automatic segmentation of each image is prepared when it is shown.
    is_volumetric
        Whether the images are stacks of slices.
    skip_segmented
        Whether images that have a result are passed over; otherwise they are shown with it.
    initial_segmentations
        Labels to begin with, one (array or path) per image.
    prefer_decoder
        Whether the automatic segmentation begins with the model's decoder, where it has one.
    key
        Which image of each file: dataset of a container, or number or name of an image. None: the only one.
    resume
        True: each image goes on with its last session, which lies beside its result; ``"ask"``: that is offered in the
        window; None: each image begins a new session, and the old one is kept.

    Returns
    -------
    viewer
        With `return_viewer`, else None when the window is closed.

    Raises
    ------
    InputError, OutputError
        When the series cannot be started. No window is opened then.
    """
    entries = with_initial(plan_series(images, output_folder, embedding_path, key), initial_segmentations)
    settings = Settings.of(
        model_type,
        checkpoint_path,
        device,
        None,
        tile_shape,
        halo,
        precompute_amg_state,
        prefer_decoder=prefer_decoder,
    )
    settings.check()
    choice = choose_session(None, resume)
    tool = VOLUME if is_volumetric else IMAGE
    entries[0].open(tool.name)  # a series of the wrong kind is told before a window opens
    viewer = open_viewer(tool.title) if viewer is None else viewer
    window = Window(viewer, tool, settings)
    window.recording.choice = choice
    window.series_opening.begin(entries, skip_segmented)
    if return_viewer:
        return viewer
    window.run()
    return None


def image_folder_annotator(
    input_folder: str | Path,
    output_folder: str | Path,
    pattern: str | None = "*",
    initial_segmentation_folder: str | Path | None = None,
    initial_segmentation_pattern: str = "*",
    **kwargs: Any,
) -> napari.Viewer | None:
    """Annotate all images of a folder one after the other.

    Parameters
    ----------
    input_folder
        Holds the images.
    output_folder
        Gets one label image (tif) per image that has objects.
    pattern
        Glob inside the folder; ``"*"``: all images of a known kind.
    initial_segmentation_folder, initial_segmentation_pattern
        Labels to begin with, one for each image in the order of their names.
    **kwargs
        See :func:`image_series_annotator`.

    Raises
    ------
    InputError
        When nothing matches.
    """
    images = find_images(input_folder, None if pattern == "*" else pattern)
    if initial_segmentation_folder is not None:
        wanted = None if initial_segmentation_pattern == "*" else initial_segmentation_pattern
        kwargs["initial_segmentations"] = find_images(initial_segmentation_folder, wanted, as_labels=True)
    return image_series_annotator(images, output_folder, **kwargs)
