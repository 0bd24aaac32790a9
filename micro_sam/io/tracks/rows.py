"""One row per track: the value that every format of this folder can hold."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class TrackRow:
    """A track without its masks, as in the tables of the Cell Tracking Challenge.

    Attributes
    ----------
    track_id : int
        Label of the track in the label series, > 0.
    start, end : int
        First and last frame of the track, both included.
    parent : int
        Track that divided into this one; 0 if it has none.
    """

    track_id: int
    start: int
    end: int
    parent: int = 0


def daughters(rows: Iterable[TrackRow]) -> dict[int, list[int]]:
    """Mother id -> sorted ids of her daughters. Links always point from mothers to daughters."""
    result: dict[int, list[int]] = {}
    for row in sorted(rows):
        if row.parent:
            result.setdefault(row.parent, []).append(row.track_id)
    return result


def parents(lineage: Mapping[int, Iterable[int]]) -> dict[int, int]:
    """Daughter id -> mother id, from a mapping of mothers to daughters."""
    return {int(child): int(mother) for mother, children in lineage.items() for child in children}
