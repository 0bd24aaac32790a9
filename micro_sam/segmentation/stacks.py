"""Automatic segmentation of volumes and automatic tracking: every slice or frame, then merged or linked."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Generator, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from micro_sam.embeddings.compute import precompute_image_embeddings
from micro_sam.errors import InputError
from micro_sam.io.inputs import as_array
from micro_sam.io.label_arrays import LARGEST_RESULT, new_labels, release
from micro_sam.io.tracks import TrackRow, save_tracks
from micro_sam.segmentation.automatic.slices import segment_slices
from micro_sam.segmentation.propagation.frame_linking import FrameObjects, link_frames
from micro_sam.segmentation.volume.automatic import Method, segment_stack
from micro_sam.segmentation.volume.merging import fill_gaps

if TYPE_CHECKING:
    from micro_sam.embeddings.embeddings import Embeddings
    from micro_sam.models.predictor import Predictor
    from micro_sam.segmentation.automatic.segmenter import Segmenter

logger = logging.getLogger(__name__)

__all__ = [
    "automatic_3d_segmentation",
    "automatic_tracking",
    "iter_track_labels",
    "lineages_of",
    "track_across_frames",
    "track_labels",
]

Lineage = dict[int, list[int]]


def track_labels(
    labels: np.ndarray,
    mode: str = "optimal",
    max_distance: float = 1.5,
    gap_closing: int | None = None,
    min_time_extent: int | None = None,
    divisions: bool = True,
) -> tuple[np.ndarray, list[TrackRow]]:
    """Link the objects of a label series, whatever tool it comes from; drives :func:`iter_track_labels`."""
    linking = iter_track_labels(labels, mode, max_distance, gap_closing, min_time_extent, divisions)
    while True:
        try:
            next(linking)
        except StopIteration as stop:
            linked: tuple[np.ndarray, list[TrackRow]] = stop.value
            return linked


def iter_track_labels(
    labels: np.ndarray,
    mode: str = "optimal",
    max_distance: float = 1.5,
    gap_closing: int | None = None,
    min_time_extent: int | None = None,
    divisions: bool = True,
) -> Generator[int, None, tuple[np.ndarray, list[TrackRow]]]:
    """Link the objects of a label series.

    Parameters
    ----------
    labels : (T, H, W) array of integers
        Objects of each frame; the same number in another frame means nothing.
    mode, max_distance, divisions
        See :func:`~micro_sam.segmentation.propagation.frame_linking.link_frames`.
    gap_closing : int, optional
        Objects that are missing in up to this many frames are linked over the gap, and the gap is interpolated.
    min_time_extent : int, optional
        Lineages in fewer frames are left out.

    Yields
    ------
    int
        Number of frames whose objects were measured.

    Returns
    -------
    tracks : (T, H, W) uint32
        Label = track id, numbered from 1 in order of appearance.
    rows : list of TrackRow

    Raises
    ------
    InputError
        If the array is no label series.
    """
    labels = np.asarray(labels)
    if labels.ndim != 3 or labels.dtype.kind not in "biu":
        raise InputError(f"Tracking needs labels of shape (T, Y, X), not {labels.dtype} {labels.shape}.")
    frames = []
    for plane in labels:
        frames.append(FrameObjects.of(plane))
        release(labels)
        yield len(frames)
    linked = link_frames(frames, mode, max_distance, gap_closing or 0, divisions)
    extent: dict[int, list[int]] = {}
    for t, tracks in enumerate(linked.track_of):
        for track in tracks.values():
            extent.setdefault(track, [t, t])[1] = t
    kept = _long_enough(extent, linked.parents, min_time_extent or 1)
    number = {track: k for k, track in enumerate(sorted(kept), 1)}
    result = new_labels(labels.shape, largest=LARGEST_RESULT)
    for t, (objects, tracks) in enumerate(zip(frames, linked.track_of, strict=True)):
        table = np.array([0, *(number.get(tracks[int(i)], 0) for i in objects.ids)], np.uint32)
        position = np.searchsorted(objects.ids, labels[t]) + 1
        result[t] = table[np.where(labels[t] > 0, position, 0)]
        release(labels, result)
    if gap_closing:
        fill_gaps(result)
    rows = [
        TrackRow(number[track], extent[track][0], extent[track][1], number.get(linked.parents.get(track, 0), 0))
        for track in sorted(kept)
    ]
    return result, rows


def lineages_of(rows: Iterable[TrackRow]) -> list[Lineage]:
    """One mapping per lineage: track -> its daughters, with an empty list for tracks without any."""
    rows = sorted(rows)
    daughters: Lineage = {row.track_id: [] for row in rows}
    root = {row.track_id: row.track_id for row in rows}
    for row in rows:
        if row.parent:
            daughters[row.parent].append(row.track_id)
    lineages: dict[int, Lineage] = {}
    for row in sorted(rows, key=lambda row: row.start):
        root[row.track_id] = root[row.parent] if row.parent else row.track_id
        lineages.setdefault(root[row.track_id], {})[row.track_id] = daughters[row.track_id]
    return list(lineages.values())


def track_across_frames(
    timeseries: np.ndarray | None,
    segmentation: np.ndarray,
    gap_closing: int | None = None,
    min_time_extent: int | None = None,
    mode: str = "greedy",
    tracking_model: str | None = None,
    verbose: bool = True,
    pbar_init: Callable[[int, str], None] | None = None,
    pbar_update: Callable[[int], None] | None = None,
    output_folder: str | os.PathLike[str] | None = None,
) -> tuple[np.ndarray, list[Lineage]]:
    """Link the objects of a label series into tracks.

    Parameters
    ----------
    timeseries : (T, H, W), optional
        The images; their shape is checked, the linker does not look at them.
    segmentation : (T, H, W) array of integers
        Objects of each frame.
    gap_closing, min_time_extent, mode
        See :func:`track_labels`. ``"ilp"`` is another name of ``"optimal"``.
    tracking_model : str, optional
        Taken for scripts that name a network for linking; this linker needs none.
    verbose, pbar_init, pbar_update
        Progress: ``pbar_init(total, description)``, ``pbar_update(1)``.
    output_folder : path, optional
        Save the result there, in the format of the Cell Tracking Challenge.

    Returns
    -------
    segmentation : (T, H, W) uint32
        Label = track id.
    lineages : list of dict
        One per lineage: track id -> ids of its daughters.
    """
    segmentation = np.asarray(segmentation)
    shape = segmentation.shape if timeseries is None else tuple(as_array(timeseries).shape)
    if shape[:3] != segmentation.shape:
        raise InputError(f"The label series has the shape {segmentation.shape}, but the images have {shape}.")
    if pbar_init is not None:
        pbar_init(1, "Link frames")
    tracks, rows = track_labels(
        segmentation, "optimal" if mode == "ilp" else mode, gap_closing=gap_closing, min_time_extent=min_time_extent
    )
    if pbar_update is not None:
        pbar_update(1)
    if output_folder is not None:
        save_tracks(Path(output_folder), tracks, rows, format="ctc")
    return tracks, lineages_of(rows)


def automatic_3d_segmentation(
    volume: np.ndarray,
    predictor: Predictor,
    segmentor: Segmenter,
    embedding_path: str | os.PathLike[str] | None = None,
    with_background: bool = True,
    gap_closing: int | None = None,
    min_z_extent: int | None = None,
    tile_shape: tuple[int, int] | None = None,
    halo: tuple[int, int] | None = None,
    verbose: bool = True,
    return_embeddings: bool = False,
    batch_size: int | None = None,
    method: Method = "auto",
    scale: tuple[float, float, float] | None = None,
    **kwargs: Any,
) -> np.ndarray | tuple[np.ndarray, Embeddings]:
    """Segment a volume; drives :func:`~micro_sam.segmentation.volume.automatic.segment_stack`.

    Parameters
    ----------
    volume : (Z, H, W)
    predictor : Predictor
    segmentor : Segmenter
        An automatic segmenter of 2D images.
    embedding_path : path, optional
        Where the features are kept, or are already.
    with_background, gap_closing, min_z_extent, method, scale, kwargs
        See :func:`segment_stack`.
    tile_shape, halo : (int, int), optional
    verbose : bool
        Show progress bars.
    return_embeddings : bool
        Return the features too.
    batch_size : int, optional
        Slices that the network encodes at once.

    Returns
    -------
    (Z, H, W) uint32, and the embeddings if asked for
    """
    embeddings = _embed_stack(volume, predictor, embedding_path, tile_shape, halo, verbose, batch_size)
    result = segment_stack(
        segmentor,
        embeddings,
        method,
        scale,
        with_background=with_background,
        gap_closing=gap_closing,
        min_z_extent=min_z_extent,
        verbose=verbose,
        **kwargs,
    )
    return (result, embeddings) if return_embeddings else result


def automatic_tracking(
    timeseries: np.ndarray,
    predictor: Predictor,
    segmentor: Segmenter,
    embedding_path: str | os.PathLike[str] | None = None,
    gap_closing: int | None = None,
    min_time_extent: int | None = None,
    mode: str = "greedy",
    tracking_model: str | None = None,
    tile_shape: tuple[int, int] | None = None,
    halo: tuple[int, int] | None = None,
    verbose: bool = True,
    return_embeddings: bool = False,
    batch_size: int | None = None,
    output_folder: str | os.PathLike[str] | None = None,
    **kwargs: Any,
) -> tuple[np.ndarray, list[Lineage]] | tuple[np.ndarray, list[Lineage], Embeddings]:
    """Segment every frame, then link the objects with :func:`track_across_frames`; parameters as there and above.

    Returns
    -------
    segmentation : (T, H, W) uint32
        Label = track id.
    lineages : list of dict
        One per lineage: track id -> ids of its daughters.
    embeddings
        If asked for.
    """
    embeddings = _embed_stack(timeseries, predictor, embedding_path, tile_shape, halo, verbose, batch_size)
    frames = segment_slices(segmentor, embeddings, verbose=verbose, **kwargs)
    tracks, lineages = track_across_frames(
        None, frames, gap_closing, min_time_extent, mode, tracking_model, verbose, output_folder=output_folder
    )
    return (tracks, lineages, embeddings) if return_embeddings else (tracks, lineages)


def _embed_stack(
    stack: Any,
    predictor: Predictor,
    path: str | os.PathLike[str] | None,
    tile_shape: tuple[int, int] | None,
    halo: tuple[int, int] | None,
    verbose: bool,
    batch_size: int | None,
) -> Embeddings:
    return precompute_image_embeddings(
        predictor,
        stack,
        save_path=None if path is None else Path(path),
        ndim=3,
        tile_shape=tile_shape,
        halo=halo,
        verbose=verbose,
        batch_size=batch_size,
    )


def _long_enough(extent: dict[int, list[int]], parents: dict[int, int], least: int) -> set[int]:
    """Tracks whose lineage spans at least so many frames."""
    root: dict[int, int] = {}
    span: dict[int, list[int]] = {}
    for track in sorted(extent):  # mothers are numbered before their daughters
        root[track] = root[parents[track]] if track in parents else track
        whole = span.setdefault(root[track], list(extent[track]))
        whole[1] = max(whole[1], extent[track][1])
    return {track for track in extent if span[root[track]][1] - span[root[track]][0] + 1 >= least}
