"""Tracks with their masks, and what must be true of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import scipy  # its parts are loaded when they are used

from micro_sam.errors import InputError
from micro_sam.io.tracks.rows import TrackRow


@dataclass(frozen=True, eq=False)
class Tracks:
    """Objects through time.

    Attributes
    ----------
    rows : tuple of TrackRow
        One per track, sorted by id.
    labels : (T, Y, X) uint32, optional
        Masks: each pixel holds the id of its track, 0 is background. None when only positions are known.
    positions : (n, 4) float64
        Rows (track id, frame, y, x), sorted by track and frame, in pixels: what napari's tracks layer shows.
    scale : (t, y, x), optional
        Seconds from frame to frame and size of a pixel in µm; None when they are not known.
    """

    rows: tuple[TrackRow, ...]
    labels: np.ndarray | None
    positions: np.ndarray
    scale: tuple[float, float, float] | None = None


def tracks_from_labels(
    labels: np.ndarray,
    parents: Mapping[int, int] | None = None,
    rows: Iterable[TrackRow] | None = None,
    scale: tuple[float, float, float] | None = None,
) -> Tracks:
    """Tracks from a label series in which an object keeps its label over time.

    Parameters
    ----------
    labels : (T, Y, X) array of integers
    parents : mapping, optional
        Daughter id -> mother id.
    rows : iterable of TrackRow, optional
        The tracks as a table states them; checked against the labels. None: they are read from the labels.
    scale : (t, y, x), optional
        Seconds from frame to frame and size of a pixel in µm.

    Raises
    ------
    InputError
        If the table, the lineage and the labels contradict each other.
    """
    labels = np.asarray(labels)
    if labels.ndim != 3 or labels.dtype.kind not in "biu":
        raise InputError(
            f"Tracks need labels of shape (T, Y, X) with whole numbers, not {labels.dtype} {labels.shape}."
        )
    positions = positions_of(labels)
    frames = frames_of(positions)
    if rows is None:
        unknown = sorted((set(parents or {}) | set((parents or {}).values())) - set(frames))
        if unknown:
            raise InputError(f"The lineage names track {unknown[0]}, which has no mask in the label series.")
        rows = [TrackRow(i, int(t[0]), int(t[-1]), int((parents or {}).get(i, 0))) for i, t in frames.items()]
    rows = check_rows(rows, len(labels))
    known = {row.track_id: row for row in rows}
    for i, t in frames.items():
        if i not in known:
            raise InputError(f"The label series has masks of track {i}, but the table of tracks does not name it.")
        if t[0] < known[i].start or t[-1] > known[i].end:
            raise InputError(
                f"Track {i} has masks in frames {t[0]} to {t[-1]}, but the table says {known[i].start} to "
                f"{known[i].end}. The masks and the table belong to different results."
            )
    missing = sorted(set(known) - set(frames))
    if missing:
        raise InputError(f"The table of tracks names track {missing[0]}, which has no mask in the label series.")
    return Tracks(tuple(rows), labels.astype(np.uint32, copy=False), positions, scale)


def tracks_from_positions(
    positions: np.ndarray,
    parents: Mapping[int, int] | None = None,
    scale: tuple[float, float, float] | None = None,
) -> Tracks:
    """Tracks without masks, as napari's tracks layer has them.

    Parameters
    ----------
    positions : (n, 4) array
        Rows (track id, frame, y, x) in pixels, in any order. Where ids begin with 0, all are one larger in the result.
    parents : mapping, optional
        Daughter id -> mother id.
    scale : (t, y, x), optional
        Seconds from frame to frame and size of a pixel in µm.

    Raises
    ------
    InputError
        If a track is in two places at once, or the positions and the lineage contradict each other.
    """
    positions = np.array(positions, float)
    if positions.ndim != 2 or positions.shape[1] != 4:
        raise InputError(
            f"Tracks of 2D images have the columns track, frame, y and x; these have the shape {positions.shape}."
        )
    if not np.isfinite(positions).all() or (positions[:, :2] != np.rint(positions[:, :2])).any():
        raise InputError("Ids and frames of tracks are whole numbers, and every position has a place.")
    first = int(not positions[:, 0].all())
    positions[:, 0] += first
    positions = positions[np.lexsort((positions[:, 1], positions[:, 0]))]
    twice = np.flatnonzero((np.diff(positions[:, :2], axis=0) == 0).all(axis=1))
    if len(twice):
        track, frame = positions[twice[0], :2].astype(int)
        raise InputError(f"Track {track - first} is in two places in frame {frame}. A track is in one place at a time.")
    mothers = {child + first: mother + first for child, mother in (parents or {}).items()}
    extents = frames_of(positions)
    unknown = sorted(set(mothers) - set(extents))
    if unknown:
        raise InputError(f"The lineage names track {unknown[0] - first}, which has no position.")
    rows = check_rows(TrackRow(i, int(t[0]), int(t[-1]), mothers.get(i, 0)) for i, t in extents.items())
    return Tracks(tuple(rows), None, positions, scale)


def check_rows(rows: Iterable[TrackRow], n_frames: int | None = None) -> list[TrackRow]:
    """The rows sorted by id, if they are a lineage: no cycles, no unknown or second mother, daughters come later.

    Raises
    ------
    InputError
        In one sentence what is wrong with which track.
    """
    by_id: dict[int, TrackRow] = {}
    for row in sorted(rows):
        other = by_id.get(row.track_id)
        if other is not None:
            if other.parent != row.parent:
                raise InputError(
                    f"Track {row.track_id} has two mothers, {other.parent} and {row.parent}. A track has one at most."
                )
            raise InputError(f"Track {row.track_id} is listed twice. Every track needs an id of its own.")
        by_id[row.track_id] = row
    for row in by_id.values():
        if row.track_id < 1:
            raise InputError(f"A track cannot have the id {row.track_id}: ids begin with 1, 0 is the background.")
        if not 0 <= row.start <= row.end:
            raise InputError(f"Track {row.track_id} cannot go from frame {row.start} to frame {row.end}.")
        if n_frames is not None and row.end >= n_frames:
            raise InputError(
                f"Track {row.track_id} goes on until frame {row.end}, but the label series has {n_frames} frames only. "
                "Is a part of the series missing?"
            )
        if row.parent and row.parent not in by_id:
            raise InputError(f"The mother of track {row.track_id} is track {row.parent}, which does not exist.")
    for row in by_id.values():
        _check_no_cycle(row, by_id)
    for row in by_id.values():
        if row.parent and row.start <= by_id[row.parent].end:
            raise InputError(
                f"Track {row.track_id} begins in frame {row.start}, but its mother, track {row.parent}, goes on until "
                f"frame {by_id[row.parent].end}. A mother ends before her daughters begin."
            )
    return list(by_id.values())


def check_no_gaps(tracks: Tracks, what: str) -> None:
    """InputError if a track has no mask in a frame between its first and its last."""
    for track, frames in frames_of(tracks.positions).items():
        gap = np.flatnonzero(np.diff(frames) > 1)
        if len(gap):
            raise InputError(
                f"Track {track} has no mask in frame {frames[gap[0]] + 1}, between its first and its last frame; "
                f"{what} cannot hold that. Close the gap, or split the track there."
            )


def positions_of(labels: np.ndarray) -> np.ndarray:
    """Centre of mass of each label in each frame: rows (id, frame, y, x), sorted by id and frame."""
    rows = []
    for t, frame in enumerate(labels):
        ids = np.unique(frame)
        ids = ids[ids > 0]
        if len(ids):
            compact = np.searchsorted(ids, frame) + 1  # a table as long as the largest id would be wasteful
            compact = np.where(frame > 0, compact, 0)
            centres = scipy.ndimage.center_of_mass(compact > 0, compact, np.arange(1, len(ids) + 1))
            rows += [(int(i), t, y, x) for i, (y, x) in zip(ids, centres, strict=True)]
    return np.array(sorted(rows), float).reshape(-1, 4)


def frames_of(positions: np.ndarray) -> dict[int, np.ndarray]:
    """Track id -> its frames, sorted."""
    if len(positions) == 0:
        return {}
    ids, begin = np.unique(positions[:, 0].astype(np.int64), return_index=True)
    return {int(i): frames.astype(int) for i, frames in zip(ids, np.split(positions[:, 1], begin[1:]), strict=True)}


def _check_no_cycle(row: TrackRow, by_id: Mapping[int, TrackRow]) -> None:
    seen = {row.track_id}
    while row.parent:
        if row.parent in seen:
            raise InputError(f"The lineage runs in a circle: track {row.parent} is its own ancestor.")
        seen.add(row.parent)
        row = by_id[row.parent]
