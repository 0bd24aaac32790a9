"""All that a session knows. Written only through :class:`~micro_sam.session.commands.Draft`."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from micro_sam.io.label_arrays import new_labels
from micro_sam.models.sizes import Box
from micro_sam.session.prompts import PromptSet

if TYPE_CHECKING:
    from micro_sam.segmentation.region_of_interest import RegionOfInterest
    from micro_sam.session.current_tracks import CurrentTrack
    from micro_sam.session.label_edits import LabelEdit
    from micro_sam.session.lineage import Track
    from micro_sam.session.values import Anchors, ObjectClass, ObjectRecord, Reopened, SliceAnswer, SliceConfidence

LAYERS = ("current", "committed", "auto")


@dataclass
class State:
    """The state of a session. Values are immutable; dicts and label arrays change entry by entry.

    Attributes
    ----------
    labels
        ``"current"``, ``"committed"``, ``"auto"`` -> uint32 array, (H, W) or (Z, H, W). Never re-allocated; very large
        ones lie in files (:mod:`micro_sam.io.label_arrays`).
    prompts
        The prompts of the current object.
    objects
        Committed id -> where it came from.
    last_id
        The largest id ever committed; new objects count on from here.
    regions
        Slice -> rectangle outside which `current` is zero. Slices that are not listed are empty, so no action ever
        looks for the current object in the whole volume.
    answers
        Slice -> the last answer of the network that `current` shows there.
    confidence
        Slice -> {label in `current`: confidence}.
    painted
        Slice -> number of brush strokes, where `current` was painted by hand.
    anchors
        Prompts and strokes at the time of the last propagation, None before it.
    reopened
        The committed object that is being corrected.
    tracks
        Committed tracks (tracking only): id -> track.
    current_tracks
        Current tracks: label in `current` -> track.
    auto_parents
        Daughter -> mother among the labels of `auto`.
    auto_in_pieces
        Whether objects of `auto` may have several pieces: another program or the user's brush made them so.
    region_of_interest
        Where automatic segmentation looks for objects; None: in the whole image.
    classes
        Classes of objects, sorted by number.
    current_class
        Number of the class that the current object gets when it is committed; 0: none.
    unwritten
        Edits of pixels, and whether they go forward, that are done but not yet in `labels`: those of large steps are
        written one by one, while the window goes on. Who reads labels through :meth:`layer` or :meth:`plane` gets
        them written.
    written
        Layer, slice and rectangle of those that were written, for who draws them.
    """

    labels: dict[str, np.ndarray]
    prompts: PromptSet = field(default_factory=PromptSet)
    objects: dict[int, ObjectRecord] = field(default_factory=dict)
    last_id: int = 0
    regions: dict[int, Box] = field(default_factory=dict)
    answers: dict[int, SliceAnswer] = field(default_factory=dict)
    confidence: dict[int, dict[int, SliceConfidence]] = field(default_factory=dict)
    painted: dict[int, int] = field(default_factory=dict)
    anchors: Anchors | None = None
    reopened: Reopened | None = None
    tracks: dict[int, Track] = field(default_factory=dict)
    current_tracks: dict[int, CurrentTrack] = field(default_factory=dict)
    auto_parents: dict[int, int] = field(default_factory=dict)
    auto_in_pieces: bool = False
    region_of_interest: RegionOfInterest | None = None
    classes: tuple[ObjectClass, ...] = ()
    current_class: int = 0
    unwritten: deque[tuple[LabelEdit, bool]] = field(default_factory=deque)
    written: deque[tuple[str, int, Box]] = field(default_factory=deque)
    _lock: threading.RLock = field(default_factory=threading.RLock, repr=False, compare=False)

    @classmethod
    def empty(cls, shape: tuple[int, ...]) -> State:
        """The state of a session in which nothing has been done."""
        return cls({name: new_labels(shape) for name in LAYERS})

    @property
    def shape(self) -> tuple[int, ...]:
        """(H, W) or (Z, H, W)."""
        return self.labels["current"].shape

    def plane(self, name: str, z: int) -> np.ndarray:
        """Slice `z` of a layer as a (H, W) view; a 2D layer is its own slice 0."""
        if self.unwritten:
            with self._lock:
                for entry in [entry for entry in self.unwritten if (entry[0].name, entry[0].z) == (name, z)]:
                    self._write(*entry)
                    self.unwritten.remove(entry)  # only now: who sees none waiting reads without the lock
        return self._plane_of(name, z)

    def _plane_of(self, name: str, z: int) -> np.ndarray:
        array = self.labels[name]
        return array[z] if array.ndim == 3 else array

    def layer(self, name: str) -> np.ndarray:
        """The whole array of a layer."""
        while self.unwritten:
            self.write_next()
        return self.labels[name]

    def write_later(self, edit: LabelEdit, forward: bool) -> None:
        """Leave an edit of pixels to :meth:`write_next`, or to who reads its slice first."""
        with self._lock:
            self.unwritten.append((edit, forward))

    def write_next(self) -> None:
        """Write the next of the edits that are not yet in `labels`. Any thread may do it."""
        with self._lock:
            if self.unwritten:
                self._write(*self.unwritten[0])
                self.unwritten.popleft()

    def _write(self, edit: LabelEdit, forward: bool) -> None:
        edit.write(self._plane_of(edit.name, edit.z), forward)
        self.written.append((edit.name, edit.z, edit.box))
