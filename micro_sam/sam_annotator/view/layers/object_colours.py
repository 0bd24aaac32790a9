"""In which colours objects are shown: each in its own or by its class, filled or as outlines."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from psygnal import Signal
from qtpy.QtCore import QTimer

from micro_sam.sam_annotator.state.window import WindowState
from micro_sam.sam_annotator.view.layers.colours import NO_CLASS, ClassColormap, one_colour
from micro_sam.sam_annotator.view.layers.label_layers import LabelLayer
from micro_sam.sam_annotator.view.layers.shared_labels import Region
from micro_sam.session.session import Session
from micro_sam.session.values import ObjectClass, ObjectRecord

CONTOUR = 2  # width of outlines of committed objects, in pixels of the image
FEW = 32
"""Objects that are drawn again one by one; more of them cost more than the whole slice in view."""


class ObjectColours:
    """Dresses the label layers of a window, and follows what the objects are.

    Parameters
    ----------
    state
        Of the window; ``by_class`` says whether the classes are shown.
    labels
        The layers, by the session's names; some may come later.

    Signals
    -------
    changed
        Committed objects have other colours.
    """

    changed = Signal()

    def __init__(self, state: WindowState, labels: dict[str, LabelLayer]) -> None:
        self._state, self._labels = state, labels
        self._contour = 0
        self._classes: tuple[ObjectClass, ...] = ()
        self._numbers = np.zeros(1, np.uint8)
        self._map: ClassColormap | None = None
        state.events.by_class.connect(self._switched)

    def outline(self, on: bool) -> None:
        """Show committed objects as outlines, or filled."""
        self._contour = CONTOUR if on else 0
        if "committed" in self._labels:
            self._labels["committed"].layer.contour = self._contour

    def dress(self, key: str) -> None:
        """A layer was made."""
        if key == "committed":
            self._labels[key].layer.contour = self._contour
            if self._map is not None:
                self._labels[key].wear(object(), lambda: self._map)

    def follow(self, _: Any = None) -> None:
        """The objects are others, or their classes are."""
        if self._map is not None and self._state.session is not None and "committed" in self._labels:
            self._follow_classes(self._state.session)
        QTimer.singleShot(0, self._own_colours)  # after the step: it takes the window's thread a tenth of a second

    def follow_current(self) -> None:
        """Something was done: the current object may get another class."""
        if self._map is not None:
            QTimer.singleShot(0, self._own_colours)

    def of_committed(self, ids: np.ndarray) -> np.ndarray:
        """RGB of committed objects, float in 0..1, with one more axis at the end."""
        colours: np.ndarray = self._labels["committed"].layer.colormap.map(ids)[..., :3]
        return colours

    # ------------------------------------------------------------------ by class

    def _switched(self, on: bool) -> None:
        if self._state.session is None or "committed" not in self._labels:
            return
        if on:
            self._follow_classes(self._state.session)
        else:
            self._map = None
            self._labels["committed"].colour_from(1)
            self.changed.emit()
        self._own_colours()

    def _follow_classes(self, session: Session) -> None:
        objects, committed = session.objects, self._labels["committed"]
        before, self._numbers = self._numbers, class_numbers(objects.values())
        if self._map is None or session.classes.known != self._classes:
            self._classes = session.classes.known
            self._map = colours = ClassColormap.of({one.number: one.colour for one in self._classes}, self._numbers)
            committed.wear(object(), lambda: colours)  # maps of the same colours are equal for napari
            self.changed.emit()
            return
        changed = differing(before, self._numbers)
        if len(changed):
            self._map.set_numbers(self._numbers)
            records = [record for i in changed.tolist() if (record := objects.get(i)) is not None]
            for region in [region_of(one, session.ndim) for one in records] if len(records) <= FEW else [None]:
                committed.repaint(region)
            self.changed.emit()

    # ------------------------------------------------------------------ what is not committed yet

    def _own_colours(self) -> None:
        """Show what is not committed yet in the colours that it will have then."""
        session = self._state.session
        if session is None or self._state.closed:
            return
        known = session.classes.numbered(session.classes.current)
        colour = NO_CLASS if known is None else known.colour
        for key in ("current", *(() if session.objects.reopened else ("auto",))):
            if key == "current" and self._map is not None and key in self._labels:
                self._labels[key].wear(colour, lambda: one_colour(colour))
            elif key in self._labels:
                self._labels[key].colour_from(session.objects.next_id)


def class_numbers(records: Iterable[ObjectRecord]) -> np.ndarray:
    """Number of the class of each id, uint8 (last id + 1,); 0: none."""
    pairs = np.fromiter(((one.id, one.object_class) for one in records), np.dtype((np.int64, 2)))
    numbers = np.zeros(int(pairs[:, 0].max(initial=0)) + 1, np.uint8)
    numbers[pairs[:, 0]] = pairs[:, 1]
    return numbers


def differing(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Ids whose class is another one; what lies behind the end of one has none there."""
    short, long = sorted((a, b), key=len)
    tail = np.flatnonzero(long[len(short) :]) + len(short)
    return np.concatenate([np.flatnonzero(short != long[: len(short)]), tail])


def region_of(record: ObjectRecord, ndim: int) -> Region:
    """The part of the image that holds a committed object."""
    y0, x0, y1, x1 = record.box
    return (*([slice(*record.slices)] if ndim == 3 else []), slice(y0, y1), slice(x0, x1))
