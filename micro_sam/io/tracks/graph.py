"""Tracks as a graph of spots, which some formats hold instead of a table of tracks."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from micro_sam.errors import InputError
from micro_sam.io.tracks.rows import TrackRow
from micro_sam.io.tracks.tracks import Tracks, check_rows, frames_of

LARGEST_TRACK = np.iinfo(np.int32).max
"""Largest id of a track in a file; ids that are given here to others are larger, and fit into 32 bits, too."""
NO_TRACK = -1
"""Track of a spot for which a file states none."""


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
    frames: npt.ArrayLike,
    links: Iterable[tuple[int, int]],
    track_ids: npt.ArrayLike | None = None,
    names: npt.ArrayLike | None = None,
) -> tuple[list[TrackRow], np.ndarray]:
    """Cut a graph of spots into tracks.

    Parameters
    ----------
    frames : (n,) int
        Frame of each spot.
    links : iterable of (source, target)
        Indices of spots, in either direction: links are turned to point forward in time.
    track_ids : (n,) int, optional
        Track of each spot, where the file states it; below 0: not stated. Where ids begin with 0, all are one larger in
        the result. None, and spots without one: a track ends where the graph branches.
    names : (n,) int, optional
        What the file calls each spot, for messages. None: indices.

    Returns
    -------
    rows : list of TrackRow
    track_ids : (n,) int
        Track of each spot.

    Raises
    ------
    InputError
        If a spot has two mothers, a link stays within a frame, or a track has two spots in a frame.
    """
    frames = np.asarray(frames, int)
    names = np.arange(len(frames)) if names is None else np.asarray(names)
    before: dict[int, int] = {}
    after: dict[int, list[int]] = {}
    for a, b in links:
        a, b = (int(a), int(b)) if frames[a] <= frames[b] else (int(b), int(a))
        if frames[a] == frames[b]:
            raise InputError(f"Spots {names[a]} and {names[b]} are linked, but both lie in frame {frames[a]}.")
        if b in before and before[b] != a:
            raise InputError(
                f"Spot {names[b]} in frame {frames[b]} has two mothers, spots {names[before[b]]} and {names[a]}."
            )
        if b not in before:
            before[b] = a
            after.setdefault(a, []).append(b)
    ids = np.full(len(frames), NO_TRACK) if track_ids is None else np.array(track_ids, int)
    stated = ids >= 0
    if (ids == 0).any():
        ids[stated] += 1
    free = int(ids.max(initial=0)) + 1
    for k in np.argsort(frames, kind="stable"):
        if stated[k]:
            continue
        mother = before.get(int(k))
        goes_on = mother is not None and not stated[mother] and len(after[mother]) == 1
        ids[k] = ids[mother] if goes_on else free
        free += not goes_on
    order = np.lexsort((frames, ids))
    twice = np.flatnonzero((np.diff(ids[order]) == 0) & (np.diff(frames[order]) == 0))
    if len(twice):
        a, b = order[twice[0]], order[twice[0] + 1]
        raise InputError(
            f"Spots {names[a]} and {names[b]} lie in frame {frames[a]} and are both called track {ids[a]}. A track is "
            "in one place at a time: does the number stand for a whole lineage?"
        )
    rows = []
    positions = np.stack([ids, frames, np.arange(len(ids)), np.zeros(len(ids))], 1)[order].astype(float)
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
