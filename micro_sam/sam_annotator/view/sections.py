"""The sections of a volume along y and x, beside the slice in view: where an object begins and ends is seen at once.

They are pictures that Qt draws, not canvases of napari: each of those would hold all layers once more.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from napari import Viewer
from qtpy.QtCore import QLineF, QPointF, QRectF, QSize, Qt
from qtpy.QtGui import QColor, QImage, QMouseEvent, QPainter, QPaintEvent, QPen, QTransform, QWheelEvent
from qtpy.QtWidgets import QHBoxLayout, QSizePolicy, QWidget

from micro_sam.sam_annotator.state.window import WindowState
from micro_sam.sam_annotator.view.canvas_overlays import WIDTHS, CanvasOverlay, outline, screen_pen
from micro_sam.sam_annotator.view.layers.session_layers import SessionLayers

Colours = Callable[[np.ndarray], np.ndarray]
"""Ids (n,) of committed objects -> their colours (n, 3), float in 0..1."""

OPACITY = 0.45  # of committed objects
CROSS = "#ffe066"
POSITIVE, NEGATIVE = "#00c853", "#ff1744"
POINT = 4.0  # radius on the screen, in pixels


@dataclass(frozen=True, eq=False)
class Plane:
    """What a section shows: rows along z, columns along y or x.

    Attributes
    ----------
    values
        (n, m) or (n, m, 3), of the image.
    committed
        (n, m), ids of committed objects.
    current
        (n, m), the current objects.
    first
        The slice of the first row.
    spacing
        Height and width of a pixel of the section.
    points
        (row, column, is positive) of the points that lie in it.
    limits, gamma
        Contrast of the image layer; of colours there are none.
    """

    values: np.ndarray
    committed: np.ndarray
    current: np.ndarray
    first: int = 0
    spacing: tuple[float, float] = (1.0, 1.0)
    points: tuple[tuple[float, float, bool], ...] = ()
    limits: tuple[float, float] | None = None
    gamma: float = 1.0

    @property
    def image(self) -> np.ndarray:
        """As bright as the slice in view: (n, m) or (n, m, 3), uint8."""
        return brightness(self.values, self.limits, self.gamma)


class Section(QWidget):
    """One section. A click is a prompt, a click with the right button goes there, the wheel turns to the next section.

    Parameters
    ----------
    axes
        What it is called, ``"xz"`` or ``"yz"``.
    clicked
        Called with (z, place along the columns, whether it is a prompt), in pixels of the volume.
    turned
        Called with the number of sections to go on.
    colours_of
        Colours of committed objects.
    """

    def __init__(
        self,
        axes: str,
        clicked: Callable[[float, float, bool], object],
        turned: Callable[[int], object],
        colours_of: Colours,
    ) -> None:
        super().__init__()
        self._axes, self._clicked, self._turned, self._colours_of = axes, clicked, turned, colours_of
        self.plane: Plane | None = None
        self._cross = (0.0, 0.0)
        self._picture = QImage()
        self._edges: list[QLineF] = []
        self.setToolTip(
            f"{axes}: the section through the last point. A click is a prompt, a right click goes there, the mouse "
            "wheel turns to the next section."
        )
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.setMinimumSize(80, 60)

    def end(self) -> None:
        """Tell nobody of clicks any more."""
        self._clicked, self._turned = lambda *_: None, lambda _: None

    def sizeHint(self) -> QSize:
        """See Qt."""
        return QSize(300, 160)

    def show_plane(self, plane: Plane | None, cross: tuple[float, float]) -> None:
        """Show another section; ``cross`` is the (z, place along the columns) that the other views show."""
        self._cross = cross
        if plane is not self.plane:
            self.plane = plane
            self._draw(plane)
        self.update()

    def recolour(self) -> None:
        """Committed objects have other colours."""
        self._draw(self.plane)
        self.update()

    def to_screen(self, z: float, along: float) -> QPointF:
        """Where a place of the section is, in pixels of the widget."""
        first = 0 if self.plane is None else self.plane.first
        return self._transform().map(QPointF(along, z - first))

    def _draw(self, plane: Plane | None) -> None:
        if plane is None:
            self._picture, self._edges = QImage(), []
            return
        colours = coloured(plane.image, plane.committed, self._colours_of)
        height, width = colours.shape[:2]
        self._picture = QImage(colours.tobytes(), width, height, 3 * width, QImage.Format.Format_RGB888).copy()
        edges = outline(plane.current > 0) - 0.5
        self._edges = [QLineF(x0, y0, x1, y1) for y0, x0, y1, x1 in edges.tolist()]

    def _transform(self) -> QTransform:
        """From (x, y) in pixels of the section, whose corners lie at -0.5, to pixels of the widget."""
        if self.plane is None:
            return QTransform()
        rows, columns = self.plane.committed.shape
        tall, wide = (n * size for n, size in zip((rows, columns), self.plane.spacing, strict=True))
        zoom = min(self.width() / wide, self.height() / tall)
        left, top = (self.width() - wide * zoom) / 2, (self.height() - tall * zoom) / 2
        down, right = (size * zoom for size in self.plane.spacing)
        return QTransform(right, 0, 0, down, left + right / 2, top + down / 2)

    def paintEvent(self, _event: QPaintEvent) -> None:
        """See Qt."""
        painter = QPainter(self)
        painter.fillRect(self.rect(), QColor("black"))
        if self.plane is None:
            return
        rows, columns = self.plane.committed.shape
        painter.setTransform(self._transform())
        painter.drawImage(QRectF(-0.5, -0.5, columns, rows), self._picture)
        z, along = self._cross[0] - self.plane.first, self._cross[1]
        painter.setPen(screen_pen(CROSS, 1))
        painter.drawLines([QLineF(-0.5, z, columns - 0.5, z), QLineF(along, -0.5, along, rows - 0.5)])
        for colour, width in WIDTHS:
            painter.setPen(screen_pen(colour, width))
            painter.drawLines(self._edges)
        transform = painter.transform()
        painter.resetTransform()
        for row, column, is_positive in self.plane.points:
            painter.setPen(QPen(QColor("black"), 1))
            painter.setBrush(QColor(POSITIVE if is_positive else NEGATIVE))
            painter.drawEllipse(transform.map(QPointF(column, row)), POINT, POINT)
        painter.setPen(QColor(CROSS))
        painter.drawText(self.rect().adjusted(4, 2, -4, -2), Qt.AlignmentFlag.AlignTop, self._axes)

    def mousePressEvent(self, event: QMouseEvent) -> None:
        """See Qt."""
        back, possible = self._transform().inverted()
        if self.plane is None or not possible:
            return
        place = back.map(QPointF(event.position()))
        rows, columns = self.plane.committed.shape
        if -0.5 <= place.y() < rows - 0.5 and -0.5 <= place.x() < columns - 0.5:
            is_prompt = event.button() == Qt.MouseButton.LeftButton
            self._clicked(place.y() + self.plane.first, place.x(), is_prompt)

    def wheelEvent(self, event: QWheelEvent) -> None:
        """See Qt."""
        steps = event.angleDelta().y()
        if steps:
            self._turned(1 if steps > 0 else -1)
        event.accept()


class SectionsView(QWidget):
    """Both sections, side by side.

    Parameters
    ----------
    clicked
        Called with the axis that is cut (1: y, 2: x), z, the place along the columns, and whether it is a prompt.
    turned
        Called with the axis that is cut and the number of sections to go on.
    colours_of
        Colours of committed objects.
    """

    def __init__(
        self,
        clicked: Callable[[int, float, float, bool], object],
        turned: Callable[[int, int], object],
        colours_of: Colours,
    ) -> None:
        super().__init__()
        self.xz = Section("xz", lambda *where: clicked(1, *where), lambda steps: turned(1, steps), colours_of)
        self.yz = Section("yz", lambda *where: clicked(2, *where), lambda steps: turned(2, steps), colours_of)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(2, 2, 2, 2)
        layout.setSpacing(4)
        for section in (self.xz, self.yz):
            layout.addWidget(section)

    def end(self) -> None:
        """Tell nobody of clicks any more; napari keeps what was docked."""
        for section in (self.xz, self.yz):
            section.end()

    def recolour(self) -> None:
        """Committed objects have other colours."""
        for section in (self.xz, self.yz):
            section.recolour()


class SectionLines(CanvasOverlay):
    """Lines in the slice in view, where the sections cut it."""

    def __init__(self, state: WindowState, viewer: Viewer, layers: SessionLayers) -> None:
        super().__init__(state, viewer, layers)
        state.events.section.connect(self._show)

    def _is_needed(self) -> bool:
        return self._state.section is not None

    def paintEvent(self, _event: QPaintEvent) -> None:
        """See Qt."""
        if self._state.section is None:
            return
        y, x = self._state.section
        height, width = self._layers.session.shape[-2:]
        painter = QPainter(self)
        painter.setTransform(self._to_canvas())
        painter.setPen(screen_pen(CROSS, 1))
        painter.drawLines([QLineF(-0.5, y, width - 0.5, y), QLineF(x, -0.5, x, height - 0.5)])


def coloured(image: np.ndarray, committed: np.ndarray, colours_of: Colours) -> np.ndarray:
    """Red, green and blue (n, m, 3), uint8, of an image with its committed objects, in the colours of their layer."""
    colours = np.repeat(image[..., None], 3, -1) if image.ndim == 2 else image[..., :3]
    where = committed > 0
    if not where.any():
        return np.ascontiguousarray(colours)
    mixed = colours.astype(float)
    mixed[where] = (1 - OPACITY) * mixed[where] + OPACITY * 255 * colours_of(committed[where])
    return mixed.round().astype(np.uint8)


def brightness(plane: np.ndarray, limits: tuple[float, float] | None, gamma: float = 1.0) -> np.ndarray:
    """A plane of an image as uint8: between the limits of contrast, colours as they are."""
    if plane.ndim == 3 or limits is None:
        return plane if plane.dtype == np.uint8 else (np.clip(plane, 0, 1) * 255).round().astype(np.uint8)
    low, high = limits
    scaled = np.nan_to_num(np.clip((plane.astype(np.float32) - low) / max(high - low, 1e-12), 0, 1))
    return ((scaled if gamma == 1 else scaled**gamma) * 255).round().astype(np.uint8)
