"""Which objects are worth a look first, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

SIZES = ("volume_um3", "area_um2", "voxels", "pixels", "mean_area_um2", "mean_pixels")
FEWEST = 8  # objects from which on a size can be far from the others
FAR = 3.5  # robust standard deviations; Iglewicz and Hoaglin 1993
STEP = 1.6  # factor by which a track grows or shrinks from frame to frame; a division that is passed gives about 2
CERTAIN = 0.9
"""Certainty from which on it is no reason to look."""
SHORTEST = 8  # pixels of a straight side, below which a round object has one, too
SHARE = 0.6
"""Part of its extent along which a side of an object is straight where it is cut; the outermost row of a disc with a
diameter of 20 pixels has 0.44 of it."""


@dataclass(frozen=True)
class Doubt:
    """Why an object is worth a look.

    Attributes
    ----------
    id : int
    score : float
        0: nothing speaks against it, 1: it is most likely wrong. The worst reason counts, the others break ties.
    reasons : tuple of str
        In words, the worst first.
    """

    id: int
    score: float
    reasons: tuple[str, ...] = ()


def review_order(
    table: pd.DataFrame,
    shape: Sequence[int] | None = None,
    *,
    cut_by_tiles: Mapping[int, int] | None = None,
    passed_divisions: Mapping[int, int] | None = None,
) -> list[Doubt]:
    """Objects or tracks, the most doubtful first; equal ones in the order of their ids.

    Parameters
    ----------
    table : DataFrame
        As `measure_objects` or `measure_tracks` makes it; columns that are not there give no reasons.
    shape : (Y, X) or (Z, Y, X), optional
        Of the image, to tell which objects its border cuts.
    cut_by_tiles : mapping, optional
        Id -> pixels along which a border between tiles cuts it, see `tile_cuts`.
    passed_divisions : mapping, optional
        Id of a track -> frame in which its object was seen to become two, and the track goes on.

    Returns
    -------
    list of Doubt
    """
    found: list[list[tuple[float, str]]] = [[] for _ in range(len(table))]
    for reasons in (
        certainty_reasons(table),
        piece_reasons(table),
        size_reasons(table),
        border_reasons(table, shape),
        tile_reasons(table, cut_by_tiles or {}),
        gap_reasons(table),
        step_reasons(table),
        division_reasons(table, passed_divisions or {}),
    ):
        for k, reason in reasons.items():
            found[k].append(reason)
    doubts = []
    for i, reasons_of_one in zip(table["id"], found, strict=True):
        ordered = sorted(reasons_of_one, reverse=True)
        score = ordered[0][0] + 0.01 * sum(one for one, _ in ordered[1:]) if ordered else 0.0
        doubts.append(Doubt(int(i), min(score, 1.0), tuple(words for _, words in ordered)))
    return sorted(doubts, key=lambda doubt: (-doubt.score, doubt.id))


Reasons = dict[int, tuple[float, str]]
"""Row of the table -> score and words."""


def certainty_reasons(table: pd.DataFrame) -> Reasons:
    """The model was not sure (in the worst slice)."""
    values = _column(table, "certainty")
    doubtful = np.flatnonzero(values < CERTAIN)
    return {int(k): (float(1 - values[k]), f"certainty {values[k]:.2f}") for k in doubtful}


def piece_reasons(table: pd.DataFrame) -> Reasons:
    """An object has several pieces."""
    values = _column(table, "pieces")
    return {int(k): (float(1 - 1 / values[k]), f"in {values[k]:.0f} pieces") for k in np.flatnonzero(values > 1)}


def size_reasons(table: pd.DataFrame) -> Reasons:
    """The size is far from that of the others: by the median of its logarithm, and the deviations from it."""
    name = next((name for name in SIZES if name in table), None)
    if name is None or len(table) < FEWEST:
        return {}
    logs = np.log(np.maximum(_column(table, name), 1e-9))
    middle = float(np.median(logs))
    spread = max(1.4826 * float(np.median(np.abs(logs - middle))), 0.05)
    distance = (logs - middle) / spread
    found: Reasons = {}
    for k in np.flatnonzero(np.abs(distance) > FAR):
        factor = float(np.exp(abs(logs[k] - middle)))
        words = f"{factor:.1f} times {'larger' if distance[k] > 0 else 'smaller'} than most"
        found[int(k)] = (float(min(0.3 + (abs(distance[k]) - FAR) / 20, 0.9)), words)
    return found


def border_reasons(table: pd.DataFrame, shape: Sequence[int] | None) -> Reasons:
    """The border of the image cuts it: a weak reason."""
    if shape is None or "y_min" not in table:
        return {}
    height, width = shape[-2:]
    cut = (_column(table, "y_min") <= 0) | (_column(table, "x_min") <= 0)
    cut |= (_column(table, "y_max") >= height) | (_column(table, "x_max") >= width)
    if "first_slice" in table and len(shape) == 3:
        cut |= (_column(table, "first_slice") <= 0) | (_column(table, "last_slice") >= shape[0] - 1)
    return {int(k): (0.1, "cut by the border of the image") for k in np.flatnonzero(cut)}


def tile_cuts(places: pd.DataFrame, labels: Any, tile_shape: Sequence[int]) -> dict[int, int]:
    """Objects of which a straight side lies on a border between tiles: their other part is missing, or another object.

    Parameters
    ----------
    places : DataFrame
        The boxes, as `measure_objects` has them: of objects, or of each frame of a track.
    labels : (Y, X), (Z, Y, X) or (T, Y, X) integers
        Of each object that ends at such a border, one row or column is read.
    tile_shape : (height, width)
        In pixels, without the halo.

    Returns
    -------
    dict
        Id -> pixels of the longest such side.
    """
    found: dict[int, int] = {}
    if not len(places):
        return found
    ids = places["id"].to_numpy(int)
    first, last = (_first_of(places, names) for names in (("frame", "first_slice"), ("frame", "last_slice")))
    box = {name: places[name].to_numpy(int) for name in ("y_min", "x_min", "y_max", "x_max")}
    for (axis, other), tile, size in zip((("y", "x"), ("x", "y")), tile_shape, labels.shape[-2:], strict=True):
        for end, inside in (("min", 0), ("max", -1)):
            borders = box[f"{axis}_{end}"]
            for k in np.flatnonzero((borders % tile == 0) & (borders > 0) & (borders < size)):
                low, high = int(box[f"{other}_min"][k]), int(box[f"{other}_max"][k])
                line = int(borders[k]) + inside
                plane = (line, slice(low, high)) if axis == "y" else (slice(low, high), line)
                stack = () if first is None or last is None else (slice(int(first[k]), int(last[k]) + 1),)
                own = np.asarray(labels[(*stack, *plane)]) == ids[k]
                length = int(own.reshape(-1, high - low).any(axis=0).sum())
                if length >= max(SHORTEST, SHARE * (high - low)):
                    found[int(ids[k])] = max(length, found.get(int(ids[k]), 0))
    return found


def tile_reasons(table: pd.DataFrame, cut_by_tiles: Mapping[int, int]) -> Reasons:
    """A border between tiles cuts it."""
    return {
        k: (0.5, f"cut by the border of a tile ({cut_by_tiles[i]} pixels)")
        for k, i in enumerate(table["id"].astype(int))
        if i in cut_by_tiles
    }


def division_reasons(table: pd.DataFrame, passed_divisions: Mapping[int, int]) -> Reasons:
    """A track goes on where its object was seen to become two: its mask covers both daughters."""
    return {
        k: (0.7, f"passes a division in frame {passed_divisions[i]}")
        for k, i in enumerate(table["id"].astype(int))
        if i in passed_divisions
    }


def gap_reasons(table: pd.DataFrame) -> Reasons:
    """A track is not seen in some of its frames, or in one frame only."""
    if "frames" not in table:
        return {}
    seen = _column(table, "frames")
    missing = _column(table, "last_frame") - _column(table, "first_frame") + 1 - seen
    found: Reasons = {int(k): (0.3, "in one frame only") for k in np.flatnonzero(seen == 1)}
    found |= {int(k): (0.6, f"missing in {missing[k]:.0f} of its frames") for k in np.flatnonzero(missing > 0)}
    return found


def step_reasons(table: pd.DataFrame) -> Reasons:
    """The size of a track jumps from one frame to the next: it may have swallowed another, or passed a division."""
    values = _column(table, "largest_size_step")
    jumps = np.flatnonzero(values > STEP)
    return {
        int(k): (float(min(0.35 + (values[k] - STEP) / 4, 0.9)), f"its size changes by a factor of {values[k]:.1f}")
        for k in jumps
    }


def _first_of(table: pd.DataFrame, names: Sequence[str]) -> npt.NDArray[np.int64] | None:
    """The first of some columns that there is."""
    name = next((name for name in names if name in table), None)
    return None if name is None else table[name].to_numpy(np.int64)


def _column(table: pd.DataFrame, name: str) -> npt.NDArray[np.float64]:
    """A column as numbers; NaN, which no comparison finds, where there is none."""
    return np.asarray(table[name], float) if name in table else np.full(len(table), np.nan)
