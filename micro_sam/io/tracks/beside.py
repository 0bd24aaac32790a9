"""Masks for formats that hold none: a label series beside the file, ``NAME.xml`` -> ``NAME_labels.tif``."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from micro_sam.io.labels import load_labels, small_ids, write_labels_file
from micro_sam.io.results import write_result
from micro_sam.io.tracks.rows import TrackRow
from micro_sam.io.tracks.tracks import Tracks, tracks_from_labels


def labels_beside(path: Path) -> Path:
    """Where the masks of a file of tracks are kept."""
    return path.with_name(f"{path.stem}_labels.tif")


def save_with_labels(path: str | Path, content: bytes, tracks: Tracks, replace_unmarked: bool) -> Path:
    """Write a file of tracks and the masks beside it, if there are any: both change together."""
    path = Path(path)
    masks = [] if tracks.labels is None else [labels_beside(path)]
    with write_result(path, "tracks", parts=masks, replace_unmarked=replace_unmarked) as places:
        places[0].write_bytes(content)
        for place in places[1:]:
            assert tracks.labels is not None  # there is such a place only if there are masks
            write_labels_file(place, small_ids(tracks.labels), tracks.scale, kind="tracks")
    return path


def as_movie(labels: np.ndarray) -> np.ndarray:
    """Labels (T, Y, X) of a file: of a movie of one frame a tif keeps a plane."""
    return labels[None] if labels.ndim == 2 else labels


def with_labels_beside(
    path: Path,
    rows: Iterable[TrackRow],
    positions: np.ndarray,
    scale: tuple[float, float, float] | None = None,
) -> Tracks:
    """The tracks of a file, with the masks beside it where they exist."""
    masks = labels_beside(path)
    if masks.is_file():
        return tracks_from_labels(as_movie(load_labels(masks)), rows=rows, scale=scale)
    return Tracks(tuple(rows), None, positions, scale)
