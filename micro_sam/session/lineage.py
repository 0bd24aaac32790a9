"""Who comes from whom: tracks in time and the directed relation from mothers to daughters.

A :class:`Lineage` is an immutable value. Every operation returns a new one and leaves the old one as it was, so the
old value is the inverse of the operation. What cannot be is refused with a sentence: a daughter with two mothers, a
daughter that begins before her mother ends, a mother that does not exist, a cycle.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from micro_sam.errors import InputError
from micro_sam.io.tracks import TrackRow


@dataclass(frozen=True, order=True)
class Track:
    """One object from its first to its last frame, without gaps.

    Attributes
    ----------
    id
        Label of the track, > 0.
    start, end
        First and last frame, both included.
    parent
        The track that divided into (or goes on as) this one; None for a founder.
    """

    id: int
    start: int
    end: int
    parent: int | None = None

    @property
    def frames(self) -> range:
        """All frames of the track."""
        return range(self.start, self.end + 1)


@dataclass(frozen=True)
class Lineage(Mapping[int, Track]):
    """Tracks by id. Valid at any time: a lineage that cannot be is never made.

    Parameters
    ----------
    tracks
        Any order. Parents must be among them.

    Raises
    ------
    InputError
        With a sentence that names the tracks in question.
    """

    tracks: Iterable[Track] = ()
    _by_id: Mapping[int, Track] = field(init=False, repr=False, compare=False, default_factory=dict)
    _daughters: Mapping[int, tuple[int, ...]] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        tracks = tuple(sorted(self.tracks, key=lambda track: track.id))
        by_id: dict[int, Track] = {}
        daughters: dict[int, list[int]] = {}
        for track in tracks:
            if track.id in by_id:
                raise InputError(f"Track {track.id} exists twice. Every track needs an id of its own.")
            by_id[track.id] = track
            if track.parent is not None:
                daughters.setdefault(track.parent, []).append(track.id)
        for track in tracks:
            _check(track, by_id)
        object.__setattr__(self, "tracks", tracks)
        object.__setattr__(self, "_by_id", MappingProxyType(by_id))
        object.__setattr__(self, "_daughters", {mother: tuple(ids) for mother, ids in daughters.items()})

    # ------------------------------------------------------------------ reading

    def __getitem__(self, track_id: int) -> Track:
        return self._by_id[track_id]

    def __iter__(self) -> Iterator[int]:
        return iter(self._by_id)

    def __len__(self) -> int:
        return len(self._by_id)

    def track(self, track_id: int) -> Track:
        """One track; InputError when there is none."""
        if track_id not in self._by_id:
            raise InputError(f"There is no track {track_id}. Click on a committed track to select it.")
        return self._by_id[track_id]

    def daughters(self, track_id: int) -> tuple[int, ...]:
        """Sorted ids of the tracks that come from this one."""
        return self._daughters.get(track_id, ())

    def descendants(self, track_id: int) -> tuple[int, ...]:
        """Sorted ids of daughters, their daughters, and so on."""
        found: list[int] = []
        waiting = list(self.daughters(track_id))
        while waiting:
            found.append(waiting.pop())
            waiting += self.daughters(found[-1])
        return tuple(sorted(found))

    @property
    def roots(self) -> tuple[int, ...]:
        """Sorted ids of the tracks without a mother."""
        return tuple(track.id for track in self.tracks if track.parent is None)

    @property
    def divisions(self) -> tuple[int, ...]:
        """Sorted ids of the tracks with two or more daughters."""
        return tuple(sorted(mother for mother, ids in self._daughters.items() if len(ids) > 1))

    # ------------------------------------------------------------------ operations

    def add(self, *tracks: Track) -> Lineage:
        """With more tracks."""
        return Lineage((*self.tracks, *tracks))

    def change(self, track_id: int, **values: Any) -> Lineage:
        """With other values of one track."""
        changed = replace(self.track(track_id), **values)
        return Lineage(changed if track.id == track_id else track for track in self.tracks)

    def delete(self, ids: Iterable[int]) -> Lineage:
        """Without some tracks; their daughters become founders."""
        gone = {self.track(i).id for i in ids}
        kept = (track for track in self.tracks if track.id not in gone)
        return Lineage(replace(track, parent=None) if track.parent in gone else track for track in kept)

    def split(self, track_id: int, frame: int, new_id: int, link: bool = False) -> Lineage:
        """With a track cut in two.

        Parameters
        ----------
        frame
            First frame of the second part, which gets `new_id` and the daughters.
        link
            Whether the second part is a daughter of the first. Otherwise it is a founder.
        """
        track = self.track(track_id)
        if not track.start < frame <= track.end:
            raise InputError(
                f"Track {track_id} goes from frame {track.start} to {track.end} and cannot be split at frame {frame}. "
                "Go to a frame inside the track, after its first."
            )
        tracks = [replace(t, parent=new_id) if t.parent == track_id else t for t in self.tracks if t.id != track_id]
        second = Track(new_id, frame, track.end, track_id if link else None)
        return Lineage((*tracks, replace(track, end=frame - 1), second))

    def merge(self, first: int, second: int) -> Lineage:
        """With two tracks made one: `second` begins in the frame after `first` ends, and goes on under its id."""
        a, b = self.track(first), self.track(second)
        if b.start != a.end + 1:
            raise InputError(
                f"Track {first} ends in frame {a.end} and track {second} begins in frame {b.start}: only a track that "
                "begins in the very next frame can go on as the same track."
            )
        others = [i for i in self.daughters(first) if i != second]
        if others:
            raise InputError(
                f"Track {first} divides: track {others[0]} is its daughter too. Unlink that daughter first."
            )
        if b.parent not in (None, first):
            raise InputError(f"Track {second} is a daughter of track {b.parent}. Unlink it from there first.")
        tracks = (replace(t, parent=first) if t.parent == second else t for t in self.tracks if t.id != second)
        return Lineage(replace(t, end=b.end) if t.id == first else t for t in tracks)

    def relink(self, track_id: int, parent: int | None) -> Lineage:
        """With another mother (or none) for one track."""
        return self.change(track_id, parent=parent)

    def divide(self, mother: int, frame: int, daughters: tuple[int, int]) -> Lineage:
        """With a mother that ends at `frame` and goes on as the first (new) of two daughters; the second exists.

        Parameters
        ----------
        frame
            Last frame of the mother.
        daughters
            Id for the rest of the mother's track, and id of the track that is the other daughter.
        """
        track, other = self.track(mother), self.track(daughters[1])
        if other.parent not in (None, mother):
            raise InputError(f"Track {other.id} is a daughter of track {other.parent} already. Unlink it first.")
        result = self if track.end == frame else self.split(mother, frame + 1, daughters[0], link=True)
        return result.relink(other.id, mother)

    # ------------------------------------------------------------------ other forms

    def to_dict(self) -> dict[int, list[int]]:
        """Mother id -> ids of her daughters; only mothers are listed."""
        return {mother: list(ids) for mother, ids in sorted(self._daughters.items())}

    @classmethod
    def from_dict(
        cls, extents: Mapping[int, tuple[int, int]], lineage: Mapping[int, Iterable[int]] | None = None
    ) -> Lineage:
        """From first and last frame per track, and mother id -> ids of her daughters."""
        parents: dict[int, int] = {}
        for mother, ids in (lineage or {}).items():
            for daughter in ids:
                daughter, mother = int(daughter), int(mother)
                if parents.get(daughter, mother) != mother:
                    raise InputError(
                        f"Track {daughter} has two mothers, {parents[daughter]} and {mother}. A track has one at most."
                    )
                if daughter not in extents:
                    raise InputError(f"The lineage names track {daughter}, which is not in the label images.")
                parents[daughter] = mother
        return cls(Track(int(i), int(a), int(b), parents.get(int(i))) for i, (a, b) in extents.items())

    def to_rows(self) -> list[TrackRow]:
        """Rows of the Cell Tracking Challenge (parent 0: none)."""
        return [TrackRow(track.id, track.start, track.end, track.parent or 0) for track in self.tracks]

    @classmethod
    def from_rows(cls, rows: Iterable[TrackRow]) -> Lineage:
        """Inverse of :meth:`to_rows`."""
        return cls(Track(row.track_id, row.start, row.end, row.parent or None) for row in rows)

    def to_napari_graph(self) -> dict[int, list[int]]:
        """Daughter id -> [mother id], as napari's tracks layer wants it."""
        return {track.id: [track.parent] for track in self.tracks if track.parent is not None}


def _check(track: Track, by_id: Mapping[int, Track]) -> None:
    if track.id < 1:
        raise InputError(f"A track cannot have the id {track.id}: ids begin with 1, 0 is the background.")
    if track.start < 0 or track.end < track.start:
        raise InputError(f"Track {track.id} cannot go from frame {track.start} to frame {track.end}.")
    if track.parent is None:
        return
    if track.parent == track.id:
        raise InputError(f"Track {track.id} cannot be its own daughter.")
    if track.parent not in by_id:
        raise InputError(f"The mother of track {track.id} is track {track.parent}, which does not exist.")
    mother = by_id[track.parent]
    if mother.parent == track.id:
        raise InputError(f"Tracks {mother.id} and {track.id} cannot each be the daughter of the other.")
    if track.start <= mother.end:
        raise InputError(
            f"Track {track.id} begins in frame {track.start}, but its mother, track {mother.id}, goes on until frame "
            f"{mother.end}. Split track {mother.id} at frame {track.start} first."
        )
