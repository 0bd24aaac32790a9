"""A table of tracks: how far, how fast, and where each comes from."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from micro_sam.io.tracks import Tracks, daughters, load_tracks


def track_columns(has_length: bool = False, has_time: bool = False) -> list[str]:
    """The columns of `measure_tracks`."""
    length, speed = ("um" if has_length else "px"), ("s" if has_time else "frame")
    return [
        "id",
        "parent",
        "daughters",
        "depth",
        "first_frame",
        "last_frame",
        "frames",
        f"path_{length}",
        f"displacement_{length}",
        f"mean_speed_{length}_per_{speed}",
    ]


def measure_tracks(
    tracks: Tracks | str | os.PathLike[str] | Any, *, scale: Sequence[float] | None = None, key: str | None = None
) -> pd.DataFrame:
    """A table of tracks.

    Parameters
    ----------
    tracks : Tracks, path or array
        What `micro_sam.io.tracks.load_tracks` takes: a folder of the Cell Tracking Challenge, GEFF, TrackMate, csv, or
        a label series (T, Y, X) in which an object keeps its label.
    scale : (t, y, x), optional
        Seconds from frame to frame and size of a pixel in µm. None: as the file says. One second counts as not known,
        as files without a time say it; the speed is the same number in frames.
    key : str, optional
        Dataset inside a container.

    Returns
    -------
    DataFrame
        One row per track, sorted by ``id``: ``parent`` (0: none), ``daughters`` (ids with a blank between),
        ``depth`` (divisions before the track), ``first_frame``, ``last_frame``, ``frames`` (in which it is seen),
        ``path`` (sum of the steps of its centre), ``displacement`` (from first to last centre) and ``mean_speed``
        (path by time). Lengths are in µm and times in seconds where the file says how large they are, else in
        pixels and frames; the names of the columns say which.

    Raises
    ------
    InputError
        When there are no such tracks, or they contradict each other.
    """
    if not isinstance(tracks, Tracks):
        tracks = load_tracks(tracks, key)
    known = scale if scale is not None else tracks.scale
    sizes = np.asarray(known if known is not None else (1.0, 1.0, 1.0), float)
    columns = track_columns(known is not None, known is not None and sizes[0] != 1)
    children = daughters(tracks.rows)
    parents = {row.track_id: row.parent for row in tracks.rows}
    ids, begin = np.unique(tracks.positions[:, 0].astype(np.int64), return_index=True)
    of_track = dict(zip(ids.tolist(), np.split(tracks.positions[:, 1:], begin[1:]), strict=False))
    nowhere = np.zeros((0, 3))
    rows = []
    for row in tracks.rows:
        places = of_track.get(row.track_id, nowhere) * sizes
        path = float(np.linalg.norm(np.diff(places[:, 1:], axis=0), axis=1).sum())
        time = float(places[-1, 0] - places[0, 0]) if len(places) else 0.0
        rows.append(
            (
                row.track_id,
                row.parent,
                " ".join(map(str, children.get(row.track_id, ()))),
                _depth(row.track_id, parents),
                row.start,
                row.end,
                len(places),
                path,
                float(np.linalg.norm(places[-1, 1:] - places[0, 1:])) if len(places) else 0.0,
                path / time if time else np.nan,
            )
        )
    return pd.DataFrame(rows, columns=columns)


def _depth(track: int, parents: dict[int, int]) -> int:
    depth = 0
    while parents.get(track):
        track, depth = parents[track], depth + 1
    return depth
