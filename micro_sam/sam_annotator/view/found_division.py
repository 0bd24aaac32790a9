"""A division that was found: outlines of both daughters over the canvas, and the question what it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from napari import Viewer
from psygnal import SignalInstance
from qtpy.QtCore import QLineF, Qt
from qtpy.QtGui import QPainter, QPaintEvent
from qtpy.QtWidgets import QLabel, QVBoxLayout, QWidget

from micro_sam.sam_annotator.actions import Actions
from micro_sam.sam_annotator.state.window import WindowState
from micro_sam.sam_annotator.view.canvas_overlays import CanvasOverlay, outline, screen_pen
from micro_sam.sam_annotator.view.layers.session_layers import SessionLayers
from micro_sam.sam_annotator.view.panels.parts import action_button, row
from micro_sam.segmentation.values import ObjectMask

COLOUR = "#ffb000"


class FoundDivision(Protocol):
    """What is shown of a division."""

    track_id: int
    t: int

    @property
    def daughters(self) -> Sequence[ObjectMask]:
        """In frame `t`."""


class DivisionsState(Protocol):
    """What panel and outline read."""

    @property
    def offer(self) -> Any:
        """The division (:class:`FoundDivision`) that is offered, or None."""

    @property
    def changed(self) -> SignalInstance:
        """Another one is offered, or none."""


class DivisionPanel(QWidget):
    """Shown while a division is offered."""

    def __init__(self, divisions: DivisionsState, actions: Actions) -> None:
        super().__init__()
        self._divisions = divisions
        self.text = QLabel()
        self.text.setWordWrap(True)
        self.divide = action_button(actions, "divide_as_found")
        self.go_on = action_button(actions, "is_one_object")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(6, 6, 6, 6)
        layout.addWidget(self.text)
        layout.addWidget(row(self.divide, self.go_on).native)
        divisions.changed.connect(self._show)
        self._show()

    def _show(self) -> None:
        offer: FoundDivision | None = self._divisions.offer
        self.setVisible(offer is not None)
        if offer is not None:
            self.text.setText(
                f"<b>Track {offer.track_id} seems to divide after frame {offer.t - 1}.</b> "
                "The two objects are outlined."
            )


class DivisionOutline(CanvasOverlay):
    """Dashed outlines of the daughters, in their frame."""

    def __init__(self, state: WindowState, viewer: Viewer, layers: SessionLayers, divisions: DivisionsState) -> None:
        self._divisions = divisions
        super().__init__(state, viewer, layers)
        divisions.changed.connect(self._show)

    @property
    def edges(self) -> np.ndarray:
        """The outlines in the frame in view, as those of :class:`.CurrentOutline`."""
        offer: FoundDivision | None = self._divisions.offer
        if offer is None or offer.t != self._state.z:
            return np.zeros((0, 4))
        return np.concatenate([outline(one.mask) + np.tile(one.box[:2], 2) - 0.5 for one in offer.daughters])

    def _is_needed(self) -> bool:
        offer: FoundDivision | None = self._divisions.offer
        return offer is not None and offer.t == self._state.z

    def paintEvent(self, _event: QPaintEvent) -> None:
        """See Qt."""
        lines = [QLineF(x0, y0, x1, y1) for y0, x0, y1, x1 in self.edges.tolist()]
        painter = QPainter(self)
        painter.setTransform(self._to_canvas())
        for colour, width, style in (("black", 4.0, Qt.PenStyle.SolidLine), (COLOUR, 2.0, Qt.PenStyle.DashLine)):
            painter.setPen(screen_pen(colour, width, style))
            painter.drawLines(lines)
