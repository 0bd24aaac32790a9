"""Which format a path means."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from micro_sam.errors import InputError
from micro_sam.io.labels import load_labels
from micro_sam.io.results import recover
from micro_sam.io.tracks.beside import as_movie
from micro_sam.io.tracks.ctc import is_ctc, load_ctc, save_ctc
from micro_sam.io.tracks.geff import is_geff, load_geff, save_geff
from micro_sam.io.tracks.napari_csv import load_napari_csv, save_napari_csv
from micro_sam.io.tracks.rows import TrackRow
from micro_sam.io.tracks.trackmate import load_trackmate, save_trackmate
from micro_sam.io.tracks.tracks import Tracks, tracks_from_labels

_WRITERS = {"ctc": save_ctc, "geff": save_geff, "trackmate": save_trackmate, "napari": save_napari_csv}
_SUFFIXES = {"": "ctc", ".geff": "geff", ".xml": "trackmate", ".csv": "napari"}
FORMATS = tuple(_WRITERS)


def save_tracks(
    path: str | os.PathLike[str],
    labels: np.ndarray,
    rows: Iterable[TrackRow] | None = None,
    format: str | None = None,
    *,
    scale: tuple[float, float, float] | None = None,
    replace_unmarked: bool = False,
) -> Path:
    """Write tracks with their masks and lineage; all parts of the result change together.

    Parameters
    ----------
    path : path
        ``NAME.geff``, ``NAME.xml`` (TrackMate), ``NAME.csv`` (the columns of napari's tracks layer), or a
        folder (Cell Tracking Challenge).
    labels : (T, Y, X) array of integers
        Label = track id.
    rows : iterable of TrackRow, optional
        Extents and mothers. None: extents as in the labels, no divisions.
    format : "ctc" | "geff" | "trackmate" | "napari", optional
        None: as the path ends.
    scale : (t, y, x), optional
        Seconds from frame to frame and size of a pixel in µm; kept in GEFF, TrackMate and the masks beside a file.
        Sizes that are not above 0 count as unknown.
    replace_unmarked : bool
        Replace what exists even if it is not known to be an earlier result; it is kept as ``NAME.bak``.

    Returns
    -------
    Path

    Raises
    ------
    InputError
        If rows and labels contradict each other, or the format cannot hold them.
    NotOurs
        If what exists is not known to be earlier tracks of this program.
    OutputError
        If it cannot be written; what was there before is intact.
    """
    writer = _writer(Path(path), format)
    if scale is not None and not (len(scale) == 3 and all(0 < size < np.inf for size in scale)):
        scale = None
    return writer(Path(path), tracks_from_labels(labels, rows=rows, scale=scale), replace_unmarked=replace_unmarked)


def write_tracks(
    path: str | os.PathLike[str], tracks: Tracks, format: str | None = None, *, replace_unmarked: bool = False
) -> Path:
    """Write tracks as they are, also without masks; see `save_tracks`."""
    return _writer(Path(path), format)(Path(path), tracks, replace_unmarked=replace_unmarked)


def load_tracks(source: Any, key: str | None = None, shape: tuple[int, int, int] | None = None) -> Tracks:
    """Read tracks of any format, or a label series in which objects keep their labels.

    Parameters
    ----------
    source : path or array
        A folder of the Cell Tracking Challenge, a GEFF, a TrackMate file, a table of napari's tracks, a label series
        (stack, container, folder of label images), or an array (T, Y, X).
    key : str, optional
        Dataset inside a container.
    shape : (T, Y, X), optional
        Shape of the movie; masks of another shape are refused.

    Returns
    -------
    Tracks

    Raises
    ------
    InputError
        In one sentence what is missing or contradicts.
    """
    tracks = _load(source, key)
    if shape is not None and tracks.labels is not None and tracks.labels.shape != tuple(shape):
        what = f"{tracks.labels.shape[0]} frames" if tracks.labels.shape[0] != shape[0] else "another frame size"
        raise InputError(
            f"The tracks have {what} {tracks.labels.shape}, the movie has the shape {tuple(shape)} (T, Y, X). They "
            "belong to another movie, or to a part of it."
        )
    return tracks


def _writer(path: Path, format: str | None) -> Callable[..., Path]:
    name = format or _SUFFIXES.get(path.suffix.lower())
    if name not in _WRITERS:
        raise InputError(
            f"Tracks cannot be saved as {path.name!r}: use a folder (Cell Tracking Challenge), or a name that ends in "
            ".geff, .xml (TrackMate) or .csv (table)."
        )
    return _WRITERS[name]


def _load(source: Any, key: str | None) -> Tracks:
    if not isinstance(source, (str, os.PathLike)):
        return tracks_from_labels(load_labels(source))
    path = Path(source).expanduser()
    recover(path)
    if not path.exists():
        raise InputError(f"There are no tracks at {path}: it does not exist.")
    if is_geff(path):
        return load_geff(path)
    inside = sorted(child for child in path.iterdir() if is_geff(child)) if path.is_dir() and key is None else []
    if inside:  # a zarr group that holds the graph beside images and labels
        return load_geff(inside[0])
    if is_ctc(path):
        return load_ctc(path)
    if path.suffix.lower() == ".xml":
        return load_trackmate(path)
    if path.suffix.lower() == ".csv":
        return load_napari_csv(path)
    if path.is_dir() and not any(path.iterdir()):
        raise InputError(f"The folder {path} is empty: there are no tracks in it.")
    return tracks_from_labels(as_movie(load_labels(path, key)))
