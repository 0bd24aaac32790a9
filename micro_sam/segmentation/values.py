"""The two values that cross the border of this room: prompts go in, object masks come out.

Both are small, immutable and free of any model: the session keeps them, journals them and paints them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from micro_sam.errors import InputError
from micro_sam.models.sizes import Box

__all__ = ["ObjectMask", "Prompts"]


def _rows(values: ArrayLike | None, width: int, name: str) -> np.ndarray:
    array = np.asarray(values if values is not None else (), dtype="float64")
    if array.size == 0:
        return np.zeros((0, width), dtype="float64")
    if array.ndim == 1 and array.size == width:
        array = array[None]
    if array.ndim != 2 or array.shape[1] != width:
        raise InputError(f"{name} must be an array of shape (n, {width}), got shape {array.shape}.")
    if not np.isfinite(array).all():
        raise InputError(f"{name} must be finite numbers, got NaN or infinity.")
    return array


@dataclass(frozen=True, eq=False)
class Prompts:
    """All prompts of one slice.

    Parameters
    ----------
    points : array of shape (n, 2), float64
        Clicks (y, x) in pixels of the slice; the centre of the first pixel is (0, 0).
    labels : array of shape (n,), int64
        1 for positive (object), 0 for negative (background) clicks.
    boxes : array of shape (m, 4), float64
        Boxes (y0, x0, y1, x1) in pixels. Corners may be given in any order: they are sorted on use.
    masks : tuple of (ObjectMask or None)
        One per box: the area of a polygon or an ellipse, used as mask prompt with its box. Empty: boxes only.

    Raises
    ------
    InputError
        For arrays of a wrong shape, values that are not finite, or labels that are not 0 or 1.
    """

    points: np.ndarray = field(default_factory=lambda: np.zeros((0, 2)))
    labels: np.ndarray = field(default_factory=lambda: np.zeros((0,), dtype="int64"))
    boxes: np.ndarray = field(default_factory=lambda: np.zeros((0, 4)))
    masks: tuple[ObjectMask | None, ...] = ()

    def __post_init__(self) -> None:
        points, boxes = _rows(self.points, 2, "Point prompts"), _rows(self.boxes, 4, "Box prompts")
        labels = np.asarray(self.labels if self.labels is not None else ()).reshape(-1).astype("int64")
        if len(labels) != len(points):
            raise InputError(
                f"Every point prompt needs a label (1 or 0): got {len(points)} points, {len(labels)} labels."
            )
        if not np.isin(labels, (0, 1)).all():
            raise InputError("Labels of point prompts must be 1 (positive) or 0 (negative).")
        masks = tuple(self.masks or ())
        if masks and len(masks) != len(boxes):
            raise InputError(f"Mask prompts come one per box (or None): got {len(masks)} masks, {len(boxes)} boxes.")
        for name, value in (("points", points), ("labels", labels), ("boxes", boxes), ("masks", masks)):
            object.__setattr__(self, name, value)

    @property
    def is_empty(self) -> bool:
        """True when there is neither a point nor a box."""
        return len(self.points) == 0 and len(self.boxes) == 0

    @property
    def positive(self) -> np.ndarray:
        """The positive points, (k, 2)."""
        positive: np.ndarray = self.points[self.labels == 1]
        return positive

    @property
    def negative(self) -> np.ndarray:
        """The negative points, (k, 2)."""
        negative: np.ndarray = self.points[self.labels == 0]
        return negative


@dataclass(frozen=True, eq=False)
class ObjectMask:
    """One segmented object, kept inside its box: its size is that of the object, not that of the image.

    Parameters
    ----------
    box : tuple (y0, x0, y1, x1) of int
        Half-open box in pixels of the slice. An empty object has the box (0, 0, 0, 0).
    mask : array of shape (y1 - y0, x1 - x0), bool
        The pixels of the object inside its box.
    score : float
        The IoU that the model predicts for its mask.
    logits : array of shape (4g, 4g), float32, optional
        The model's low-resolution answer (256 x 256 for SAM), which serves as mask prompt for corrections.
    tile : int or Box
        What the frame of ``logits`` shows: the tile of that number (0 for an untiled image), or a close-up of that box.
    cut_at : tuple of int
        Tiles that the object reaches into, but that are not embedded yet: it ends at their border for the time being.
    """

    box: Box
    mask: np.ndarray
    score: float = 0.0
    logits: np.ndarray | None = None
    tile: int | Box = 0
    cut_at: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        y0, x0, y1, x1 = (int(v) for v in self.box)
        mask = np.asarray(self.mask, dtype=bool)
        if mask.shape != (y1 - y0, x1 - x0):
            raise InputError(f"The mask has the shape {mask.shape}, but its box {(y0, x0, y1, x1)} has another size.")
        object.__setattr__(self, "box", (y0, x0, y1, x1))
        object.__setattr__(self, "mask", mask)

    @classmethod
    def from_array(
        cls,
        mask: np.ndarray,
        score: float = 0.0,
        logits: np.ndarray | None = None,
        tile: int | Box = 0,
        offset: tuple[int, int] = (0, 0),
    ) -> ObjectMask:
        """Crop an array (any non-zero value is object) to its content; ``offset`` is its origin (y, x) in the slice."""
        mask = np.asarray(mask)
        if mask.ndim != 2:
            raise InputError(f"A mask must have two dimensions, got shape {mask.shape}.")
        mask = mask != 0
        rows, cols = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        if len(rows) == 0:
            return cls((0, 0, 0, 0), np.zeros((0, 0), bool), float(score), logits, tile)
        y0, y1, x0, x1 = int(rows[0]), int(rows[-1]) + 1, int(cols[0]), int(cols[-1]) + 1
        dy, dx = offset
        box = (y0 + dy, x0 + dx, y1 + dy, x1 + dx)
        return cls(box, mask[y0:y1, x0:x1].copy(), float(score), logits, tile)

    @property
    def area(self) -> int:
        """Number of pixels of the object."""
        return int(self.mask.sum())

    @property
    def is_empty(self) -> bool:
        """True when the object has no pixel."""
        return self.area == 0

    @property
    def slices(self) -> tuple[slice, slice]:
        """The box as index into the slice."""
        y0, x0, y1, x1 = self.box
        return slice(y0, y1), slice(x0, x1)

    def paint(self, labels: np.ndarray, value: int) -> None:
        """Write ``value`` into the pixels of the object in ``labels`` (H, W), in place."""
        labels[self.slices][self.mask] = value

    def full(self, shape: tuple[int, int]) -> np.ndarray:
        """The mask as bool array of the size of the slice (H, W)."""
        out = np.zeros(tuple(shape), dtype=bool)
        self.paint(out, True)
        return out

    def intersection(self, other: ObjectMask) -> int:
        """Number of pixels shared with another object of the same slice."""
        (a0, b0, a1, b1), (c0, d0, c1, d1) = self.box, other.box
        y0, x0, y1, x1 = max(a0, c0), max(b0, d0), min(a1, c1), min(b1, d1)
        if y1 <= y0 or x1 <= x0:
            return 0
        mine = self.mask[y0 - a0 : y1 - a0, x0 - b0 : x1 - b0]
        theirs = other.mask[y0 - c0 : y1 - c0, x0 - d0 : x1 - d0]
        return int((mine & theirs).sum())

    def iou(self, other: ObjectMask) -> float:
        """Intersection over union with another object of the same slice; 0 when both are empty."""
        shared = self.intersection(other)
        union = self.area + other.area - shared
        return shared / union if union else 0.0
