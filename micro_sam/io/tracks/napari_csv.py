"""Tables of tracks: one line per track and frame, and what other programs write with one line per detection.

Ours have the columns ``track_id, t, y, x`` (pixels) as in the data of napari's tracks layer, and ``parent_id``, which
the layer calls graph (0: no mother). Masks are kept beside the table. Of other programs are read btrack, funtracks,
laptrack, ultrack, TrackMate's tables of spots, and tables that a spreadsheet has saved.
"""

from __future__ import annotations

import csv
import io
import logging
from pathlib import Path

import numpy as np

from micro_sam.errors import InputError
from micro_sam.io.marks import csv_header
from micro_sam.io.tracks.beside import save_with_labels, with_labels_beside
from micro_sam.io.tracks.frames import check_plane, frames_of_times
from micro_sam.io.tracks.graph import LARGEST_TRACK, NO_TRACK, rows_from_graph
from micro_sam.io.tracks.rows import TrackRow
from micro_sam.io.tracks.tables import Table
from micro_sam.io.tracks.tracks import Tracks, check_rows, frames_of

log = logging.getLogger(__name__)

_COLUMNS = ("track_id", "t", "y", "x", "parent_id")
# what programs call a column, the one that is taken first where a table has several of them
_NAMES = {
    "track_id": ("track_id", "trackid", "tracklet_id", "track", "track_n", "particle"),  # ImageJ's Track n°, trackpy
    "t": ("frame", "t", "time", "timepoint", "slice_n", "axis_0"),  # napari numbers the columns of a tracks layer
    "y": ("y", "position_y"),
    "x": ("x", "position_x"),
    "z": ("z", "position_z"),
    "spot": ("id", "node_id", "spot_id"),
    "mother_track": ("parent_track_id", "mother_id"),
    "parent": ("parent_id", "parent"),
}


def save_napari_csv(path: str | Path, tracks: Tracks, *, replace_unmarked: bool = False) -> Path:
    """Write the table, and the masks beside it as ``NAME_labels.tif``; both change together.

    `replace_unmarked`: see :func:`~micro_sam.io.tracks.save_tracks`.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    parents = {row.track_id: row.parent for row in tracks.rows}
    table = io.StringIO(newline="")
    table.write(f"{csv_header(_COLUMNS, 'tracks')}\r\n")
    writer = csv.writer(table)
    for track, t, y, x in tracks.positions:
        writer.writerow([int(track), int(t), repr(float(y)), repr(float(x)), parents[int(track)]])
    return save_with_labels(path, table.getvalue().encode(), tracks, replace_unmarked)


def load_napari_csv(path: str | Path) -> Tracks:
    """Read a table; without masks beside it the tracks have positions only.

    A parent is a track, unless the table numbers its detections, too: then it is a detection.

    Raises
    ------
    InputError
        If columns are missing, a value is no number, a place is missing, or a track has two mothers.
    """
    path = Path(path)
    table = Table(path)
    names = _columns(table)
    missing = [name for name in _COLUMNS[:4] if name not in names and not (name == "track_id" and "spot" in names)]
    if missing:
        raise InputError(f"{path} has no column {missing[0]}; a table of tracks has the columns {', '.join(_COLUMNS)}.")
    values = {name: table.column(column) for name, column in names.items()}
    if "track_id" not in values and not _numbers_detections(values):
        values["track_id"] = values.pop("spot")
    by_detection = "spot" in values and "parent" in values and "mother_track" not in values
    if by_detection and "track_id" in values:
        values["track_id"] = np.where(np.isnan(values["track_id"]), NO_TRACK, values["track_id"])
    _check(table, names, values)
    frames = frames_of_times(values["t"], str(path))
    if "z" in values:
        check_plane(values["z"], str(path))
    rows, ids, kept = (_by_detection if by_detection else _by_track)(path, values, frames)
    positions = np.column_stack([ids, frames[kept], values["y"][kept], values["x"][kept]]).astype(float)
    return with_labels_beside(path, rows, positions[np.lexsort((positions[:, 1], positions[:, 0]))])


def _columns(table: Table) -> dict[str, str]:
    """Our name -> the table's name of each column that has a meaning."""
    has_z = "axis_3" in table.columns
    numbered = {"axis_1": "z", "axis_2": "y", "axis_3": "x"} if has_z else {"axis_1": "y", "axis_2": "x"}
    found = {ours: theirs for theirs, ours in numbered.items() if theirs in table.columns}
    for ours, names in _NAMES.items():
        theirs = next((name for name in names if name in table.columns), None)
        if theirs is not None:
            found[ours] = theirs
    return found


def _numbers_detections(values: dict[str, np.ndarray]) -> bool:
    """Whether the only column of ids is that of detections: all differ, and some are mothers of others."""
    ids = values["spot"]
    mothers = values["parent"][values["parent"] != ids] if "parent" in values else np.zeros(0)
    return len(np.unique(ids)) == len(ids) and bool(np.isin(mothers, ids).any())


def _check(table: Table, names: dict[str, str], values: dict[str, np.ndarray]) -> None:
    """InputError unless every detection has a place, and ids are whole numbers."""
    needed = [name for name in ("track_id", "t", "y", "x") if name in values]
    for name in (*needed, *(other for other in ("spot", "parent", "mother_track") if other in values)):
        column, is_id = values[name], name in ("track_id", "spot", "parent", "mother_track")
        is_bad = np.isinf(column)
        if is_id:
            is_bad |= (column != np.rint(column)) & np.isfinite(column)
            is_bad |= np.abs(column) > (2**53 if name in ("spot", "parent") else LARGEST_TRACK)
        if name in needed:
            is_bad |= np.isnan(column)
        if is_bad.any():
            k = int(np.flatnonzero(is_bad)[0])
            what = "nothing" if np.isnan(column[k]) else f"{column[k]:g}"
            rule = "ids are whole numbers" if is_id else "every detection needs a time and a place"
            raise InputError(
                f"Line {table.lines[k][0]} of {table.path} has {what} in the column "
                f"{names.get(name, names.get('spot'))}; {rule}."
            )


def _by_detection(
    path: Path, values: dict[str, np.ndarray], frames: np.ndarray
) -> tuple[list[TrackRow], np.ndarray, np.ndarray]:
    """Rows, and track and index of each detection, of a table whose parents are detections."""
    spots = values["spot"]
    index = {int(spot): k for k, spot in enumerate(spots) if np.isfinite(spot)}
    if len(index) < len(spots):
        raise InputError(f"{path} numbers its detections, but some have no number or share one.")
    links = []
    for k, parent in enumerate(values["parent"]):
        if np.isnan(parent) or parent < 0 or parent == spots[k] or (parent == 0 and 0 not in index):
            continue
        if int(parent) not in index:
            raise InputError(
                f"{path}: the mother of detection {int(spots[k])} is {int(parent)}, which it does not have."
            )
        links.append((index[int(parent)], k))
    stated = values.get("track_id")
    rows, ids = rows_from_graph(frames, links, None if stated is None else stated.astype(int), spots.astype(int))
    return rows, ids, np.arange(len(ids))


def _by_track(
    path: Path, values: dict[str, np.ndarray], frames: np.ndarray
) -> tuple[list[TrackRow], np.ndarray, np.ndarray]:
    """Rows, and track and index of each detection, of a table whose parents are tracks."""
    ids = values["track_id"].astype(int)
    parents = values.get("mother_track", values.get("parent"))
    parents = np.zeros(len(ids), int) if parents is None else np.where(np.isnan(parents), NO_TRACK, parents).astype(int)
    # btrack's founders are their own mothers; for track 0 that may as well mean that it has none
    parents = np.where((parents == ids) & (ids != 0), NO_TRACK, parents)
    if (ids == 0).any():
        # 0 is a mother only where the table says otherwise that a track has none
        none = (parents < 0) | (parents == ids) if (parents < 0).any() else (parents <= 0)
        ids, parents = ids + 1, np.where(none, 0, parents + 1)
    parents = np.maximum(parents, 0)
    order = np.lexsort((frames, ids))
    twice = (np.diff(ids[order]) == 0) & (np.diff(frames[order]) == 0)
    if twice.any():
        places = np.column_stack([values["y"], values["x"]])[order]
        other = twice & (np.diff(places, axis=0) != 0).any(axis=1)
        if other.any():
            k = order[np.flatnonzero(other)[0]]
            raise InputError(
                f"{path} has track {int(values['track_id'][k])} in two places in frame {frames[k]}. Does the number "
                "stand for a whole lineage?"
            )
        log.info("%s has %d lines twice; they are used once.", path, twice.sum())
    kept = order[np.concatenate([[True], ~twice])] if len(order) else order
    mothers: dict[int, int] = {}
    for track, parent in zip(ids[kept].tolist(), parents[kept].tolist(), strict=True):
        if mothers.setdefault(track, parent) != parent:
            raise InputError(f"Track {track} has two mothers, {mothers[track]} and {parent}. A track has one at most.")
    extents = frames_of(np.column_stack([ids[kept], frames[kept]]).astype(float))
    rows = check_rows(TrackRow(i, int(t[0]), int(t[-1]), mothers[i]) for i, t in extents.items())
    return rows, ids[kept], kept
