"""Tables of napari's tracks layer: one line per track and frame.

The columns are ``track_id, t, y, x`` (pixels) as in the layer's data, and ``parent_id``, which the layer calls graph
(0: no mother). Masks are kept beside the table.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np

from micro_sam.errors import InputError
from micro_sam.io.marks import csv_header
from micro_sam.io.tracks.beside import save_with_labels, with_labels_beside
from micro_sam.io.tracks.rows import TrackRow
from micro_sam.io.tracks.tracks import Tracks, check_rows, frames_of

_COLUMNS = ("track_id", "t", "y", "x", "parent_id")
_OTHER_NAMES = {"id": "track_id", "trackid": "track_id", "frame": "t", "time": "t", "parent": "parent_id"}
# napari's own writer numbers the columns of a tracks layer
_OTHER_NAMES |= {"axis-0": "t", "axis-1": "y", "axis-2": "x"}


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

    Raises
    ------
    InputError
        If columns are missing, a value is no number, or a track has two mothers.
    """
    path = Path(path)
    with open(path, newline="") as file:
        lines = list(csv.reader(file))
    header = [_OTHER_NAMES.get(name.strip().lower(), name.strip().lower()) for name in lines[0]] if lines else []
    missing = [name for name in _COLUMNS[:4] if name not in header]
    if missing:
        raise InputError(f"{path} has no column {missing[0]}; a table of tracks has the columns {', '.join(_COLUMNS)}.")
    wanted = [header.index(name) for name in _COLUMNS if name in header]
    try:
        values = np.array([[float(line[k] or 0) for k in wanted] for line in lines[1:] if line], float)
    except (ValueError, IndexError) as error:
        raise InputError(f"{path} holds something that is no number: {error}.") from error
    values = values.reshape(-1, len(wanted))
    positions = values[np.lexsort((values[:, 1], values[:, 0]))]
    parents: dict[int, int] = {}
    for track, parent in positions[:, [0, 4]].astype(int) if len(wanted) == 5 else ():
        if parents.setdefault(track, parent) != parent:
            raise InputError(f"Track {track} has two mothers, {parents[track]} and {parent}. A track has one at most.")
    rows = [TrackRow(i, int(t[0]), int(t[-1]), int(parents.get(i, 0))) for i, t in frames_of(positions).items()]
    return with_labels_beside(path, check_rows(rows), positions[:, :4])
