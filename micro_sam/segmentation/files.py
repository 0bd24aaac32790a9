"""From a path or an array to a label image, with the segmenter that suits the model."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from micro_sam.embeddings.compute import iter_embeddings, open_embeddings
from micro_sam.embeddings.embeddings import Embeddings
from micro_sam.errors import InputError
from micro_sam.io.checks import check_network_input
from micro_sam.io.inputs import source_and_path
from micro_sam.io.labels import check_labels_path, save_labels
from micro_sam.io.results import check_not_input
from micro_sam.io.source import is_movie
from micro_sam.models.build import get_sam_model
from micro_sam.segmentation.automatic.dense import get_segmenter
from micro_sam.segmentation.automatic.segmenter import Segmenter
from micro_sam.segmentation.region_of_interest import RegionOfInterest, RegionPart

if TYPE_CHECKING:
    from micro_sam.models.predictor import Predictor
    from micro_sam.segmentation.volume.automatic import Method

__all__ = ["automatic_instance_segmentation", "get_predictor_and_segmenter"]


def get_predictor_and_segmenter(
    model_type: str,
    checkpoint: str | os.PathLike[str] | None = None,
    device: str | None = None,
    amg: bool | None = None,
    is_tiled: bool = False,
    **kwargs: Any,
) -> tuple[Any, Segmenter]:
    """A model and the automatic segmenter that suits it.

    Parameters
    ----------
    model_type : str
        Name in the registry.
    checkpoint : path, optional
        Weights of one's own.
    device : str, optional
        None: the best there is.
    amg : bool, optional
        True: the automatic mask generator. False: the dense head. None: the dense head when the model has one.
    is_tiled : bool
        Whether images are cut into tiles.
    **kwargs
        Parameters of the automatic mask generator, such as ``points_per_side``.

    Returns
    -------
    predictor, segmenter

    Raises
    ------
    ModelError
        When the model cannot be had.
    InputError
        When the dense head is asked for and the model has none.
    """
    from micro_sam.segmentation.automatic.dense import DenseInstanceSegmenter
    from micro_sam.segmentation.automatic.masks import get_amg

    predictor = get_sam_model(model_type, device=device, checkpoint_path=checkpoint)
    if amg is None:
        return predictor, get_segmenter(predictor, is_tiled, **kwargs)
    return predictor, get_amg(predictor, is_tiled, **kwargs) if amg else DenseInstanceSegmenter(predictor)


def automatic_instance_segmentation(
    predictor: Predictor,
    segmenter: Segmenter,
    input_path: str | os.PathLike[str] | Any,
    output_path: str | os.PathLike[str] | None = None,
    embedding_path: str | os.PathLike[str] | None = None,
    key: str | None = None,
    ndim: int | None = None,
    tile_shape: tuple[int, int] | None = None,
    halo: tuple[int, int] | None = None,
    verbose: bool = True,
    mask: np.ndarray | None = None,
    return_embeddings: bool = False,
    batch_size: int | None = None,
    method: Method = "auto",
    scale: Sequence[float] | None = None,
    region: RegionOfInterest | Sequence[int] | None = None,
    **generate_kwargs: Any,
) -> np.ndarray | tuple[np.ndarray, Embeddings]:
    """Segment all objects of an image.

    Parameters
    ----------
    predictor, segmenter
        From :func:`get_predictor_and_segmenter`.
    input_path : path or array
        (H, W[, C]), or a stack (Z, H, W[, C]) with ``ndim=3``. Any array will do (numpy, zarr, hdf5, dask, ...); a
        lazy one is read in parts.
    output_path : path, optional
        Where the labels are written; the suffix chooses the format.
    embedding_path : path, optional
        Cache of the features.
    key : str, optional
        Dataset in a container.
    ndim : int, optional
        2 or 3; None: from the shape.
    tile_shape, halo : (y, x), optional
        None: tiles for large images.
    verbose : bool
        Show progress bars.
    mask : array, optional
        Of the shape of the image (or of a slice): tiles and slices without any non-zero pixel are left out.
    return_embeddings : bool
        Return the embeddings too.
    batch_size : int, optional
        Images per pass of the network.
    method : "auto" | "maps" | "slices"
        For stacks; see :func:`~micro_sam.segmentation.volume.automatic.segment_stack`.
    scale : (z, y, x), optional
        Size of a voxel of a stack, with which it is looked at along y and x too. None: that of the file.
    region : RegionOfInterest, or (y0, x0, y1, x1), or (z0, y0, x0, z1, y1, x1), optional
        Only the tiles (and slices) that see it are embedded and segmented; objects whose centre lies inside are kept.
    **generate_kwargs
        Thresholds for ``segmenter.generate``; with maps those of ``segment_volume``.

    Returns
    -------
    labels : (H, W) or (Z, H, W), uint32
        Objects of a stack have one number in all its slices.
    embeddings : Embeddings
        If asked for.
    """
    if output_path is not None:
        check_not_input(output_path, input_path, embedding_path)
        check_labels_path(Path(output_path))
    source, path = source_and_path(input_path, key)
    checked = check_network_input(source, ndim)
    image, ndim = checked.data, checked.ndim
    cache = None if embedding_path is None else Path(embedding_path)
    embeddings, store = open_embeddings(predictor, image, cache, ndim, tile_shape, halo, image_path=path)
    if region is not None and not isinstance(region, RegionOfInterest):
        region = RegionOfInterest.of_numbers(region)
    if region is not None and mask is not None:
        raise InputError("Give a region or a mask, not both.")
    items = None if region is None else region.items(store.grid, store.n_slices)
    missing = len(store.missing()) if items is None else sum(not store.is_complete(*item) for item in items)
    for _ in tqdm(
        iter_embeddings(predictor, image, store, batch_size=batch_size, mask=mask, items=items),
        total=missing,
        desc="Embed",
        disable=not (verbose and missing),
    ):
        pass
    part = RegionPart.of(region, embeddings)
    if embeddings.n_slices is None:
        seen = image if part.embeddings is embeddings else part.embeddings.image
        segmenter.initialize(seen, part.embeddings, verbose=verbose)
        labels = segmenter.generate(**generate_kwargs)
    else:
        from micro_sam.segmentation.volume.automatic import segment_stack

        if scale is None and not is_movie(getattr(source, "axes", None)):
            scale = checked.scale
        labels = segment_stack(segmenter, part.embeddings, method, scale, verbose=verbose, **generate_kwargs)
    if not isinstance(labels, np.ndarray):
        if output_path is not None or region is not None:
            what = "be written" if region is None else "be cut to a region"
            raise InputError(f'Only label images can {what}: use output_mode="instance_segmentation".')
    else:
        labels = part.place(labels)
        if output_path is not None:
            save_labels(Path(output_path), labels, checked.scale)
    return (labels, embeddings) if return_embeddings else labels
