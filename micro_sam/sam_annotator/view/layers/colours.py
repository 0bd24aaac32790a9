"""Colours of objects and tracks: told apart by colour-blind users, too, and the same before and after a commit."""

from __future__ import annotations

from typing import Any

import numpy as np
from napari.utils import CyclicLabelColormap

PALETTE = (
    *("#e69f00", "#f2a878", "#7fd1ba", "#f0e442", "#b8a800", "#009e73", "#7fb8da"),
    *("#ffd27f", "#0072b2", "#d55e00", "#b3ddf5", "#56b4e9", "#cc79a7", "#8f4d74"),
)
"""Okabe and Ito (2008), "Color Universal Design", each also lighter or darker. The order is the one in which ids that
follow each other differ most."""


def label_colours(offset: int = 0) -> CyclicLabelColormap:
    """The colours in which labels are shown: label k has that of the id `offset` + k."""
    colours = np.array([_rgba(PALETTE[(k + offset) % len(PALETTE)]) for k in range(len(PALETTE))])
    return CyclicLabelColormap(colors=np.vstack([np.zeros((1, 4)), colours]), background_value=0)


def track_colours(ids: Any) -> np.ndarray:
    """RGBA (n, 4) of tracks, as their labels are shown."""
    return np.atleast_2d(_COLOURS.map(np.atleast_1d(np.asarray(ids, dtype=np.int64))))


def _rgba(text: str) -> tuple[float, ...]:
    return (*(int(text[k : k + 2], 16) / 255 for k in (1, 3, 5)), 1.0)


_COLOURS = label_colours()
