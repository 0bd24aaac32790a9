"""What goes into the segmentation of one object of a volume, and what comes out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from micro_sam.errors import InputError
from micro_sam.segmentation.values import ObjectMask

__all__ = ["Box3D", "VolumeObject", "VolumePrompts"]

Box3D = tuple[int, int, int, int, int, int]


def as_numbers(values: Any, form: str) -> np.ndarray:
    """Values as float64; InputError, with the form in which they must come, when they are no numbers."""
    try:
        return np.asarray(values, "float64")
    except (TypeError, ValueError) as error:
        raise InputError(f"{form}; got {values!r:.80}.") from error


@dataclass(frozen=True, eq=False)
class VolumePrompts:
    """The prompts of one object, in any slices. Coordinates are voxels of the volume.

    Parameters
    ----------
    points : array (n, 3)
        Clicks (z, y, x), in the order in which they were made.
    labels : array (n,)
        1 positive, 0 negative.
    boxes : mapping
        Slice -> box (y0, x0, y1, x1), half-open.
    box : (z0, y0, x0, z1, y1, x1), optional
        A box around the whole object, half-open.
    masks : mapping
        Slice -> mask that is exact there: painted, or imposed by the user. An empty one says that the object is not
        there.
    decoded : mapping
        Slice -> mask that the model gives for the prompts there; used where it agrees with the maps.

    Raises
    ------
    InputError
        For arrays of a wrong shape, values that are not finite, labels that are not 0 or 1.
    """

    points: np.ndarray = field(default_factory=lambda: np.zeros((0, 3)))
    labels: np.ndarray = field(default_factory=lambda: np.zeros(0, "int64"))
    boxes: Mapping[int, Sequence[float]] = field(default_factory=dict)
    box: Sequence[float] | None = None
    masks: Mapping[int, ObjectMask] = field(default_factory=dict)
    decoded: Mapping[int, ObjectMask] = field(default_factory=dict)

    def __post_init__(self) -> None:
        points = as_numbers(self.points if self.points is not None else (), "Points are numbers (n, 3): z, y, x")
        points = points.reshape(-1, 3) if points.size == 0 or points.ndim == 1 and points.size == 3 else points
        if points.ndim != 2 or points.shape[1] != 3 or not np.isfinite(points).all():
            raise InputError(f"Points must be finite numbers of the shape (n, 3): z, y, x; got {points.shape}.")
        labels = np.ones(len(points)) if self.labels is None else np.asarray(self.labels).reshape(-1)
        if len(labels) != len(points) or not np.isin(labels, (0, 1)).all():
            raise InputError(
                f"Every point needs a label, 1 (positive) or 0 (negative): got {len(points)} points, labels "
                f"{labels.tolist()}."
            )
        object.__setattr__(self, "points", points)
        object.__setattr__(self, "labels", labels.astype("int64"))

    def check(self, shape: Sequence[int]) -> None:
        """Raise InputError unless all prompts lie in a volume (Z, H, W) and say where the object is."""
        size = np.array(shape)
        for point in self.points:
            if (point < -0.5).any() or (point > size - 0.5).any():
                raise InputError(f"The point {point.tolist()} (z, y, x) lies outside the volume {tuple(shape)}.")
        for z in (*self.boxes, *self.masks, *self.decoded):
            if not 0 <= z < shape[0]:
                raise InputError(f"Slice {z} is not in the volume, which has the slices 0 to {shape[0] - 1}.")
        boxes = [(z, y0, x0, z + 1, y1, x1) for z, (y0, x0, y1, x1) in self.boxes.items()]
        for one in (*boxes, *([self.box] if self.box is not None else [])):
            if len(one) != 6 or not np.isfinite(one).all():
                raise InputError(
                    f"A box is (y0, x0, y1, x1) in a slice, or (z0, y0, x0, z1, y1, x1), not {tuple(one)}."
                )
            low, high = np.maximum(one[:3], 0), np.minimum(one[3:], size)
            if (high <= low).any():
                numbers = ", ".join(f"{float(v):g}" for v in one)
                raise InputError(f"The box ({numbers}) has no area in the volume {tuple(shape)}.")
        for z, mask in self.masks.items():
            if not mask.is_empty and (mask.box[2] > shape[1] or mask.box[3] > shape[2] or min(mask.box) < 0):
                raise InputError(f"The mask in slice {z} is larger than the slice, {shape[1]} x {shape[2]}.")
        painted = any(not mask.is_empty for mask in self.masks.values())
        if not (painted or self.boxes or self.box is not None or (self.labels == 1).any()):
            raise InputError("There is no object to segment: place a positive point, draw a box, or paint a slice.")

    @property
    def positive(self) -> np.ndarray:
        """The positive points (k, 3)."""
        positive: np.ndarray = self.points[self.labels == 1]
        return positive

    @property
    def negative(self) -> np.ndarray:
        """The negative points (k, 3)."""
        negative: np.ndarray = self.points[self.labels == 0]
        return negative


@dataclass(frozen=True, eq=False)
class VolumeObject:
    """One object of a volume, kept inside its box.

    Attributes
    ----------
    box : (z0, y0, x0, z1, y1, x1)
        Half-open, in voxels of the volume; all 0 for an empty object.
    mask : (z1 - z0, y1 - y0, x1 - x0) bool
    certainty : (z1 - z0,) float32
        Of each slice, from 0 to 1: how probable the maps say its voxels are; 1 in painted slices.
    hint : str
        What to do when nothing was found, as a sentence for the user; else empty.
    """

    box: Box3D
    mask: np.ndarray
    certainty: np.ndarray
    hint: str = ""

    @classmethod
    def empty(cls, hint: str) -> VolumeObject:
        """Nothing, and why."""
        return cls((0,) * 6, np.zeros((0, 0, 0), bool), np.zeros(0, "float32"), hint)

    @property
    def is_empty(self) -> bool:
        """Whether the object has no voxel."""
        return not self.mask.any()

    @property
    def slices(self) -> range:
        """The slices of its box."""
        return range(self.box[0], self.box[3])

    @property
    def window(self) -> tuple[slice, slice, slice]:
        """The box as index into the volume."""
        z0, y0, x0, z1, y1, x1 = self.box
        return slice(z0, z1), slice(y0, y1), slice(x0, x1)

    def in_slice(self, z: int) -> ObjectMask:
        """The object in one slice; its score is the certainty."""
        if z not in self.slices:
            return ObjectMask((0, 0, 0, 0), np.zeros((0, 0), bool))
        k = z - self.box[0]
        return ObjectMask.from_array(self.mask[k], float(self.certainty[k]), offset=self.box[1:3])

    def full(self, shape: Sequence[int]) -> np.ndarray:
        """The mask (Z, H, W) bool of the volume."""
        out = np.zeros(tuple(shape), bool)
        out[self.window] = self.mask
        return out
