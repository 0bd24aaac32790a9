"""All objects of a volume at once, by the regions of its maps; thresholds act without the network.

A window or a command calls :func:`iter_segment_volume`: it computes what is missing of the maps, which stay with the
embeddings, and labels the volume. Called again with other thresholds, it asks no network.
"""

from __future__ import annotations

import logging
from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from tqdm import tqdm

from micro_sam.embeddings.embeddings import Embeddings
from micro_sam.errors import InputError
from micro_sam.io.label_arrays import release
from micro_sam.segmentation.automatic.segmenter import Segmenter
from micro_sam.segmentation.automatic.slices import segment_slices
from micro_sam.segmentation.volume.compute import Focus, iter_volume_maps
from micro_sam.segmentation.volume.labelling import THRESHOLDS, iter_labels, keep_large, segment_volume
from micro_sam.segmentation.volume.merging import fill_gaps, merge_instance_segmentation_3d
from micro_sam.segmentation.volume.scripts import maps_of

if TYPE_CHECKING:
    from micro_sam.models.predictor import Predictor

__all__ = ["METHODS", "THRESHOLDS", "Method", "iter_segment_volume", "segment_stack", "segment_volume"]

logger = logging.getLogger(__name__)

Method = Literal["auto", "maps", "slices"]
METHODS = ("auto", "maps", "slices")
SEGMENTERS = ("dense", "decoder")  # methods of the segmenters that look at a dense head


def segment_stack(
    segmenter: Segmenter,
    embeddings: Embeddings,
    method: Method = "auto",
    scale: Sequence[float] | None = None,
    *,
    with_background: bool = True,
    gap_closing: int | None = None,
    min_z_extent: int | None = None,
    verbose: bool = False,
    **thresholds: Any,
) -> np.ndarray:
    """Segment all objects of a volume.

    Parameters
    ----------
    segmenter : Segmenter
        An automatic segmenter of 2D images.
    embeddings : Embeddings
        Of the whole volume, complete.
    method : "auto" | "maps" | "slices"
        By the maps of the volume; or slice by slice, then :func:`merge_instance_segmentation_3d`. "auto": maps where
        the segmenter looks at a dense head, unless something is asked for that only slices can do: ``with_background``
        False, or thresholds that are not in ``THRESHOLDS``.
    scale : (z, y, x), optional
        Size of a voxel, for maps; see :func:`open_volume_maps`.
    with_background, gap_closing, min_z_extent
        See :func:`merge_instance_segmentation_3d`.
    verbose : bool
        Show progress bars.
    **thresholds
        Of :func:`segment_volume`, or of the segmenter's ``generate``.

    Returns
    -------
    (Z, H, W) uint32

    Raises
    ------
    InputError
        For another method, or maps that the model does not have, or with thresholds that they do not have.
    """
    if method not in METHODS:
        raise InputError(f'The method is "auto", "maps" or "slices", not {method!r}.')
    given = {name: value for name, value in thresholds.items() if value is not None}
    foreign = [name for name in given if name not in THRESHOLDS]
    if method == "maps" and (foreign or not with_background):
        raise InputError(
            f"The maps of a volume know nothing of {', '.join(foreign) or 'with_background=False'}: "
            f'use method="slices", or the thresholds {", ".join(THRESHOLDS)}.'
        )
    has_maps = segmenter.method in SEGMENTERS
    if has_maps and method == "auto" and foreign:
        logger.info("Slices are segmented one by one, since the maps of a volume have no %s.", ", ".join(foreign))
    if method == "maps" or (method == "auto" and has_maps and with_background and not foreign):
        labels = _driven(iter_segment_volume(segmenter.predictor, embeddings, scale, **given), verbose)
        if min_z_extent:
            keep_large(labels, 0, min_z_extent)
        if gap_closing:
            fill_gaps(labels)
        return labels
    return merge_instance_segmentation_3d(
        segment_slices(segmenter, embeddings, verbose, **thresholds),
        with_background=with_background,
        gap_closing=gap_closing,
        min_z_extent=min_z_extent,
        verbose=verbose,
    )


def iter_segment_volume(
    predictor: Predictor,
    embeddings: Embeddings,
    scale: Sequence[float] | None = None,
    *,
    focus: Focus | None = None,
    **thresholds: Any,
) -> Generator[tuple[int, int], None, np.ndarray]:
    """Label all objects of a volume by its maps; what is missing of them is computed first and stays.

    Parameters
    ----------
    predictor : Predictor
        Of a model with a dense head.
    embeddings : Embeddings
        Of the whole volume, complete. The maps are those of :func:`maps_of`, which prompts use too.
    scale : (z, y, x), optional
        Size of a voxel; see :func:`open_volume_maps`.
    focus : callable, optional
        See :func:`iter_volume_maps`.
    **thresholds
        Of :func:`segment_volume`.

    Yields
    ------
    done, total : int
        Blocks of the maps, then slices.

    Returns
    -------
    (Z, H, W) uint32

    Raises
    ------
    InputError
        For a model without a dense head.
    NotComputedYet
        When slices are not embedded yet.
    """
    maps = maps_of(predictor, embeddings, scale)
    there, blocks = maps.progress
    total = blocks + maps.shape[0]
    for done, _ in enumerate(iter_volume_maps(predictor, embeddings, maps, focus=focus), there + 1):
        yield done, total
    labelling = iter_labels(maps, **thresholds)
    while True:
        try:
            yield blocks + next(labelling), total
        except StopIteration as stop:
            labels: np.ndarray = stop.value
            break
    for z in range(len(labels)):  # left out by a mask; planes along y and x have seen what lies there
        for tile in embeddings.grid:
            if embeddings.is_skipped(z, tile.index):
                labels[(z, *tile.inner)] = 0
        release(labels)
    return labels


def _driven(steps: Generator[tuple[int, int], None, np.ndarray], verbose: bool) -> np.ndarray:
    """The result of a job, with a progress bar if ``verbose``."""
    with tqdm(desc="Segment volume", disable=not verbose) as bar:
        while True:
            try:
                bar.n, bar.total = next(steps)
                bar.refresh()
            except StopIteration as stop:
                labels: np.ndarray = stop.value
                return labels
