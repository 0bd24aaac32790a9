"""A strong outline around the current objects, drawn over the canvas: nothing else looks like it."""

from __future__ import annotations

from typing import Any

import numpy as np
from napari import Viewer
from qtpy.QtCore import QLineF
from qtpy.QtGui import QColor, QPainter, QPaintEvent, QPen

from micro_sam.sam_annotator.state.window import WindowState
from micro_sam.sam_annotator.view.canvas_overlay import CanvasOverlay
from micro_sam.sam_annotator.view.layers.session_layers import SessionLayers
from micro_sam.session.session import Session

COLOUR = "#00e5ff"
WIDTHS = (("black", 4.5), (COLOUR, 2.0))
"""Colours and widths in pixels of the screen: seen on any image."""


class CurrentOutline(CanvasOverlay):
    """Follows the current objects in the slice in view."""

    def __init__(self, state: WindowState, viewer: Viewer, layers: SessionLayers) -> None:
        self._edges = np.zeros((0, 4))
        self._is_current = False
        super().__init__(state, viewer, layers)
        state.events.z.connect(self._changed)
        state.events.session.connect(self._follow)

    @property
    def edges(self) -> np.ndarray:
        """The outline in the slice in view: (n, 4), each row (y0, x0, y1, x1) in pixels of the image."""
        if not self._is_current:
            session, z = self._state.session, self._state.z
            masks = session.labels.current_in(z) if session is not None else {}
            found = [outline(mask.mask) + np.tile(mask.box[:2], 2) - 0.5 for mask in masks.values()]
            self._edges = np.concatenate(found) if found else np.zeros((0, 4))
            self._is_current = True
        return self._edges

    def _follow(self, session: Session) -> None:
        session.events.labels_changed.connect(self._labels_changed)
        self._changed()

    def _labels_changed(self, name: str, _region: Any) -> None:
        if name == "current":
            self._changed()

    def _changed(self, *_: Any) -> None:
        self._is_current = False
        self._show()

    def _is_needed(self) -> bool:
        return self._state.session is not None and bool(self._state.session.labels.current_slices)

    def paintEvent(self, _event: QPaintEvent) -> None:
        """See Qt."""
        layer = self._layers.labels.get("current")
        if layer is None or not layer.layer.visible:
            return
        lines = [QLineF(x0, y0, x1, y1) for y0, x0, y1, x1 in self.edges.tolist()]
        painter = QPainter(self)
        painter.setTransform(self._to_canvas())
        for colour, width in WIDTHS:
            pen = QPen(QColor(colour), width)
            pen.setCosmetic(True)
            painter.setPen(pen)
            painter.drawLines(lines)


def outline(mask: np.ndarray) -> np.ndarray:
    """The edges between object and background.

    Parameters
    ----------
    mask
        (H, W), bool.

    Returns
    -------
    edges
        (n, 4): y0, x0, y1, x1 of straight pieces along the borders of pixels; pixel (0, 0) reaches from 0 to 1.
    """
    padded = np.pad(mask, 1).astype(np.int8)
    rows = _runs(np.diff(padded, axis=0)[:, 1:-1])  # (y, x0, x1)
    columns = _runs(np.diff(padded, axis=1)[1:-1].T)  # (x, y0, y1)
    along_x = np.stack([rows[:, 0], rows[:, 1], rows[:, 0], rows[:, 2]], axis=1)
    along_y = np.stack([columns[:, 1], columns[:, 0], columns[:, 2], columns[:, 0]], axis=1)
    return np.concatenate([along_x, along_y]).astype(float)


def _runs(steps: np.ndarray) -> np.ndarray:
    """(n, 3): line, begin and end of each run of equal steps that are not 0."""
    padded = np.pad(steps, ((0, 0), (1, 1)))
    before, after = padded[:, :-1], padded[:, 1:]
    changes = before != after
    begin, end = np.nonzero(changes & (after != 0)), np.nonzero(changes & (before != 0))
    return np.stack([begin[0], begin[1], end[1]], axis=1)
