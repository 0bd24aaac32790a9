"""Colours of objects and tracks: told apart by colour-blind users, too, and the same before and after a commit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from napari.utils import CyclicLabelColormap
from pydantic import PrivateAttr

PALETTE = (
    *("#e69f00", "#f2a878", "#7fd1ba", "#f0e442", "#b8a800", "#009e73", "#7fb8da"),
    *("#ffd27f", "#0072b2", "#d55e00", "#b3ddf5", "#56b4e9", "#cc79a7", "#8f4d74"),
)
"""Okabe and Ito (2008), "Color Universal Design", each also lighter or darker. The order is the one in which ids that
follow each other differ most."""
NO_CLASS = "#a0a0a0"
"""Of objects without a class, where classes are shown."""
AT_ONCE = 2**20
"""Pixels that are looked up in one piece; numpy needs eight bytes for each."""


def label_colours(offset: int = 0) -> CyclicLabelColormap:
    """The colours in which labels are shown: label k has that of the id `offset` + k."""
    colours = np.array([_rgba(PALETTE[(k + offset) % len(PALETTE)]) for k in range(len(PALETTE))])
    return CyclicLabelColormap(colors=np.vstack([np.zeros((1, 4)), colours]), background_value=0)


def one_colour(colour: str) -> CyclicLabelColormap:
    """All labels in one colour."""
    return CyclicLabelColormap(colors=np.array([(0.0,) * 4, _rgba(colour)]), background_value=0)


class ClassColormap(CyclicLabelColormap):
    """Shows each label in the colour of its class: a look-up of one byte for each label, whatever their number.

    napari's own map from labels to colours makes a texture and a dictionary of all labels whenever one of them changes.
    """

    # of each label: which of the colours it has; the last entry is that of all labels behind the end
    _place: np.ndarray = PrivateAttr(default_factory=lambda: np.array([0, 1], np.uint8))

    @classmethod
    def of(cls, colours: Mapping[int, str], numbers: np.ndarray) -> ClassColormap:
        """Make one.

        Parameters
        ----------
        colours
            Number of a class -> ``"#rrggbb"``.
        numbers
            Number of the class of each label, (n,), 0: none.
        """
        rows = [colours.get(number, NO_CLASS) for number in range(max(colours, default=0) + 1)]
        made = cls(colors=np.array([(0.0,) * 4, *map(_rgba, (NO_CLASS, *rows[1:]))]), background_value=0)
        made.set_numbers(numbers)
        return made

    def set_numbers(self, numbers: np.ndarray) -> None:
        """Labels have other classes; the layer is still to be drawn again."""
        place = np.append(numbers, 0).astype(np.uint8) + np.uint8(1)
        place[place >= len(self.colors)] = 1
        place[0] = 0
        self._place = place

    def map(self, values: Any) -> np.ndarray:
        """RGBA of labels, one more axis at the end."""
        mapped: np.ndarray = self.colors[np.take(self._place, np.asarray(values, np.int64), mode="clip")]
        if self.use_selection:
            mapped[np.asarray(values) != self.selection] = 0
        return mapped

    def _data_to_texture(self, values: Any) -> Any:
        if self.use_selection or np.ndim(values) == 0:  # one label is shown: napari says in which colour
            return super()._data_to_texture(values)
        found = np.empty(values.shape, np.uint8)
        rows = max(1, AT_ONCE // max(1, values[:1].size))
        for k in range(0, len(values), rows):
            np.take(self._place, values[k : k + rows], mode="clip", out=found[k : k + rows])
        return found


def track_colours(ids: Any) -> np.ndarray:
    """RGBA (n, 4) of tracks, as their labels are shown."""
    return np.atleast_2d(_COLOURS.map(np.atleast_1d(np.asarray(ids, dtype=np.int64))))


def _rgba(text: str) -> tuple[float, ...]:
    return (*(int(text[k : k + 2], 16) / 255 for k in (1, 3, 5)), 1.0)


_COLOURS = label_colours()
