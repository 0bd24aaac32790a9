"""``micro_sam.automatic_segmentation`` with the arguments of micro-sam 1.8, over ``segmentation.files``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import nn

from micro_sam.compat.decoder_segmentation import get_instance_segmentation_generator
from micro_sam.compat.decoders import get_decoder
from micro_sam.errors import InputError
from micro_sam.io.images import load_image_data, open_image
from micro_sam.models.build import get_sam_model
from micro_sam.models.registry import MODELS
from micro_sam.segmentation import files, stacks
from micro_sam.segmentation.automatic.segmenter import Segmenter

if TYPE_CHECKING:
    from micro_sam.models.predictor import Predictor

__all__ = ["automatic_instance_segmentation", "automatic_tracking", "get_predictor_and_segmenter"]


def get_predictor_and_segmenter(
    model_type: str | None,
    checkpoint: str | os.PathLike[str] | None = None,
    device: str | None = None,
    segmentation_mode: str | bool | None = None,
    is_tiled: bool = False,
    predictor: Predictor | None = None,
    state: Mapping[str, Any] | None = None,
    *,
    amg: bool | None = None,
    **kwargs: Any,
) -> tuple[Any, Segmenter]:
    """A model and an automatic segmenter for it.

    Parameters
    ----------
    model_type, checkpoint, device
        See ``util.get_sam_model``.
    segmentation_mode : "amg", "ais" or "apg", optional
        A grid of clicks (automatic mask generator), the maps of the model's decoder, or clicks where these show
        objects. None: the decoder where the model has one. True and False mean ``amg``, as in earlier versions.
    is_tiled : bool
        Whether images are cut into tiles.
    predictor : Predictor, optional
        Used instead of a new one.
    state : mapping, optional
        As ``get_sam_model(..., return_state=True)`` returns it; its ``decoder_state`` is used with ``predictor``.
    amg : bool, optional
        True: mode "amg". False: mode "ais".
    **kwargs
        Parameters of the automatic mask generator, such as ``points_per_side``; of no use to the other modes.

    Returns
    -------
    predictor, segmenter

    Raises
    ------
    InputError, ModelError
        When the model cannot be had, or has no decoder though the mode needs one.
    """
    if isinstance(segmentation_mode, bool):
        amg, segmentation_mode = segmentation_mode, None
    if segmentation_mode is None and amg is not None:
        segmentation_mode = "amg" if amg else "ais"
    if predictor is None:
        predictor = get_sam_model(model_type, device=device, checkpoint_path=checkpoint)
    decoder: nn.Module | None = None
    if predictor.model.dense_head is None and state is not None and state.get("decoder_state"):
        decoder = get_decoder(predictor.model.image_encoder, state["decoder_state"], predictor.device)
    if segmentation_mode in ("ais", "apg"):
        kwargs = {}
    return predictor, get_instance_segmentation_generator(predictor, is_tiled, decoder, segmentation_mode, **kwargs)


def automatic_instance_segmentation(
    predictor: Predictor,
    segmenter: Segmenter,
    input_path: str | os.PathLike[str] | np.ndarray,
    output_path: str | os.PathLike[str] | None = None,
    embedding_path: str | os.PathLike[str] | None = None,
    key: str | None = None,
    ndim: int | None = None,
    tile_shape: tuple[int, int] | None = None,
    halo: tuple[int, int] | None = None,
    verbose: bool = True,
    mask_path: str | os.PathLike[str] | np.ndarray | None = None,
    mask_key: str | None = None,
    return_embeddings: bool = False,
    annotate: bool = False,
    batch_size: int | None = None,
    **generate_kwargs: Any,
) -> Any:
    """Segment all objects of an image; see ``segmentation.files.automatic_instance_segmentation``.

    Parameters
    ----------
    mask_path, mask_key : path or array, and the dataset of a container
        Tiles and slices without any non-zero pixel of this mask are left out.
    annotate : bool
        Open the annotator with the result. For models of the registry.

    Notes
    -----
    The others, the returned values and the errors are those of the function named above.
    """
    _check_annotate(annotate, predictor)
    mask = _read(mask_path, mask_key)
    result = files.automatic_instance_segmentation(
        predictor,
        segmenter,
        input_path,
        output_path,
        embedding_path,
        key,
        ndim,
        tile_shape,
        halo,
        verbose,
        mask=mask,
        return_embeddings=return_embeddings,
        batch_size=batch_size,
        **generate_kwargs,
    )
    if annotate:
        labels = result[0] if return_embeddings else result
        _annotate(predictor, input_path, key, np.asarray(labels), embedding_path, tile_shape, halo)
    return result


def automatic_tracking(
    predictor: Predictor,
    segmenter: Segmenter,
    input_path: str | os.PathLike[str] | np.ndarray,
    output_path: str | os.PathLike[str] | None = None,
    embedding_path: str | os.PathLike[str] | None = None,
    key: str | None = None,
    tile_shape: tuple[int, int] | None = None,
    halo: tuple[int, int] | None = None,
    verbose: bool = True,
    return_embeddings: bool = False,
    annotate: bool = False,
    batch_size: int | None = None,
    mode: str = "greedy",
    tracking_model: str = "general_2d",
    **generate_kwargs: Any,
) -> Any:
    """Segment every frame of a movie and link the objects.

    Parameters
    ----------
    predictor, segmenter
        From :func:`get_predictor_and_segmenter`.
    input_path : path or (T, H, W) array
    output_path : path, optional
        A folder: the tracks are written there in the format of the Cell Tracking Challenge.
    mode, tracking_model
        See ``multi_dimensional_segmentation.track_across_frames``.
    annotate : bool
        Open the tracking tool with the result, which ``output_path`` keeps. For models of the registry.

    Notes
    -----
    The others are those of :func:`automatic_instance_segmentation`.

    Returns
    -------
    tracks : (T, H, W) uint32
    lineages : list of dict
        Track id -> ids of its daughters.
    embeddings : Embeddings
        If asked for.
    """
    _check_annotate(annotate, predictor)
    if annotate and output_path is None:
        raise InputError("annotate=True goes on from saved tracks: give an output_path for them.")
    movie: Any = input_path
    if isinstance(input_path, (str, os.PathLike)):
        movie = open_image(os.fspath(input_path), key)  # with the axes that its file names
    result = stacks.automatic_tracking(
        movie,
        predictor,
        segmenter,
        embedding_path,
        mode=mode,
        tracking_model=tracking_model,
        tile_shape=tile_shape,
        halo=halo,
        verbose=verbose,
        return_embeddings=return_embeddings,
        batch_size=batch_size,
        output_folder=output_path,
        **generate_kwargs,
    )
    if annotate:
        from micro_sam.sam_annotator import annotator_tracking

        annotator_tracking(
            _read(input_path, key),
            _path(embedding_path),
            tracking_result=_path(output_path),
            model_type=predictor.model_name,
        )
    return result


def _read(image: str | os.PathLike[str] | np.ndarray | None, key: str | None) -> Any:
    return load_image_data(os.fspath(image), key) if isinstance(image, (str, os.PathLike)) else image


def _path(path: str | os.PathLike[str] | None) -> Path | None:
    return None if path is None else Path(path)


def _check_annotate(annotate: bool, predictor: Predictor) -> None:
    if annotate and predictor.model_name not in MODELS:
        raise InputError(
            f"annotate=True opens models of the registry only, and {predictor.model_name} is a checkpoint of your own. "
            "Write the labels (output_path=...), then call annotator_2d(..., segmentation_result=..., "
            "checkpoint_path=...)."
        )


def _annotate(
    predictor: Predictor,
    image: str | os.PathLike[str] | np.ndarray,
    key: str | None,
    labels: np.ndarray,
    embedding_path: str | os.PathLike[str] | None,
    tile_shape: tuple[int, int] | None,
    halo: tuple[int, int] | None,
) -> None:
    from micro_sam.sam_annotator import annotator_2d, annotator_3d

    tool = annotator_2d if labels.ndim == 2 else annotator_3d
    tool(
        _read(image, key),
        _path(embedding_path),
        segmentation_result=labels,
        model_type=predictor.model_name,
        tile_shape=tile_shape,
        halo=halo,
    )
