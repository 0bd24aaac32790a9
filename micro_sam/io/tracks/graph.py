"""Tracks as a graph of spots, which some formats hold instead of a table of tracks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from micro_sam.errors import InputError
from micro_sam.io.tracks.rows import TrackRow
from micro_sam.io.tracks.tracks import Tracks, check_rows, frames_of


def spots_and_links(tracks: Tracks) -> tuple[np.ndarray, np.ndarray]:
    """One spot per track and frame, and links that point forward in time, from mothers to daughters.

    Returns
    -------
    spots : (n, 4) float64
        ``tracks.positions``; the index of a spot is its id.
    links : (m, 2) int64
        Source and target spot.
    """
    spots = tracks.positions
    first: dict[int, int] = {}
    last: dict[int, int] = {}
    links = []
    for k, track in enumerate(spots[:, 0].astype(int)):
        if track in last:
            links.append((last[track], k))
        first.setdefault(int(track), k)
        last[int(track)] = k
    links += [(last[row.parent], first[row.track_id]) for row in tracks.rows if row.parent]
    return spots, np.array(sorted(links), np.int64).reshape(-1, 2)


def rows_from_graph(
    frames: Sequence[int], links: Iterable[tuple[int, int]], track_ids: Sequence[int] | None = None
) -> tuple[list[TrackRow], np.ndarray]:
    """Cut a graph of spots into tracks.

    Parameters
    ----------
    frames : (n,) int
        Frame of each spot.
    links : iterable of (source, target)
        Indices of spots, in either direction: links are turned to point forward in time.
    track_ids : (n,) int, optional
        Track of each spot, where the file states it. None: a track ends where the graph branches.

    Returns
    -------
    rows : list of TrackRow
    track_ids : (n,) int
        Track of each spot.

    Raises
    ------
    InputError
        If a spot has two mothers, or a link stays within a frame.
    """
    frames = np.asarray(frames, int)
    before: dict[int, int] = {}
    after: dict[int, list[int]] = {}
    for a, b in links:
        a, b = (int(a), int(b)) if frames[a] <= frames[b] else (int(b), int(a))
        if frames[a] == frames[b]:
            raise InputError(f"Spots {a} and {b} are linked, but both lie in frame {frames[a]}.")
        if b in before and before[b] != a:
            raise InputError(f"Spot {b} in frame {frames[b]} has two mothers, spots {before[b]} and {a}.")
        if b not in before:
            before[b] = a
            after.setdefault(a, []).append(b)
    if track_ids is None:
        ids = np.zeros(len(frames), int)
        for k in np.argsort(frames, kind="stable"):
            goes_on = k in before and len(after[before[k]]) == 1
            ids[k] = ids[before[k]] if goes_on else ids.max(initial=0) + 1
    else:
        ids = np.asarray(track_ids, int)
    rows = []
    positions = np.stack([ids, frames, np.arange(len(ids)), np.zeros(len(ids))], 1)
    positions = positions[np.lexsort((frames, ids))].astype(float)
    mothers: dict[int, set[int]] = {}
    for b, a in before.items():
        if ids[a] != ids[b]:
            mothers.setdefault(int(ids[b]), set()).add(int(ids[a]))
    for track, times in frames_of(positions).items():
        found = sorted(mothers.get(track, {0}))
        if len(found) > 1:
            raise InputError(f"Track {track} has two mothers, {found[0]} and {found[1]}. A track has one at most.")
        rows.append(TrackRow(track, int(times[0]), int(times[-1]), found[0]))
    return check_rows(rows), ids
