"""Tracks in the form of napari's tracks layer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from micro_sam.io.tracks.rows import parents
from micro_sam.io.tracks.tracks import positions_of

__all__ = ["get_napari_track_data"]


def get_napari_track_data(
    segmentation: np.ndarray, lineages: Iterable[Mapping[int, Iterable[int]]], n_threads: int | None = None
) -> tuple[np.ndarray, dict[int, list[int]]]:
    """What ``viewer.add_tracks(data, graph=graph)`` takes.

    Parameters
    ----------
    segmentation : (T, H, W) integer array
        Label = track id.
    lineages : list of dict
        Track id -> ids of its daughters, as ``track_across_frames`` returns them.
    n_threads : int, optional
        Taken for scripts.

    Returns
    -------
    data : (n, 4) float64
        Track id, t, y, x, sorted by id and frame.
    graph : dict of int -> [int]
        Daughter -> its mother.
    """
    graph = {child: [mother] for one in lineages for child, mother in parents(one).items()}
    return positions_of(segmentation), graph
