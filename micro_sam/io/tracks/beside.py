"""Masks for formats that hold none: a label series beside the file, ``NAME.xml`` -> ``NAME_labels.tif``."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from micro_sam.io.labels import load_labels, save_labels
from micro_sam.io.tracks.rows import TrackRow
from micro_sam.io.tracks.tracks import Tracks, tracks_from_labels


def labels_beside(path: Path) -> Path:
    """Where the masks of a file of tracks are kept."""
    return path.with_name(f"{path.stem}_labels.tif")


def save_beside(path: Path, tracks: Tracks) -> None:
    """Write the masks beside the file, if there are any."""
    if tracks.labels is not None:
        save_labels(labels_beside(path), tracks.labels)


def with_labels_beside(path: Path, rows: Iterable[TrackRow], positions: np.ndarray) -> Tracks:
    """The tracks of a file, with the masks beside it where they exist."""
    masks = labels_beside(path)
    if masks.is_file():
        return tracks_from_labels(load_labels(masks), rows=rows)
    return Tracks(tuple(rows), None, positions)
