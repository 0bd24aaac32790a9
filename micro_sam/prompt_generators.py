"""Prompts derived from known objects: for training, for evaluation, and for following an object."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from micro_sam.errors import InputError

__all__ = ["PointAndBoxPromptGenerator", "innermost", "points_from_mask"]


def innermost(mask: np.ndarray) -> tuple[int, int]:
    """The pixel (y, x) of a bool mask (h, w) that is farthest from its outline; the mask must not be empty."""
    distance = ndimage.distance_transform_edt(np.pad(mask, 1))
    y, x = np.unravel_index(int(distance.argmax()), distance.shape)
    return int(y) - 1, int(x) - 1


def points_from_mask(mask: np.ndarray, single: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Points that describe a mask: the innermost pixel and, unless ``single``, points around the object.

    Parameters
    ----------
    mask : (h, w) bool
        Cropped to the object; not empty.

    Returns
    -------
    points : (n, 2) float64
        (y, x); the negative ones lie outside the crop, a quarter of its size away from its corners.
    labels : (n,) int64
    """
    positive = np.array([innermost(mask)], "float64")
    if single:
        return positive, np.ones(1, "int64")
    height, width = mask.shape
    margin = 0.25 * max(height, width) + 2
    corners = [(y, x) for y in (-margin, height - 1 + margin) for x in (-margin, width - 1 + margin)]
    return np.concatenate([positive, corners]), np.array([1, 0, 0, 0, 0], "int64")


class PointAndBoxPromptGenerator:
    """Random points and the box of objects.

    Parameters
    ----------
    n_positive_points : int
        Points inside each object; the first is the innermost pixel, the others are drawn at random.
    n_negative_points : int
        Points outside each object, but within its box grown by ``dilation_strength``.
    dilation_strength : int
        Pixels; negative points keep at least one pixel of distance from the object.
    get_point_prompts, get_box_prompts : bool
        What is returned.
    seed : int, optional
        For repeatable points.
    """

    def __init__(
        self,
        n_positive_points: int,
        n_negative_points: int,
        dilation_strength: int,
        get_point_prompts: bool = True,
        get_box_prompts: bool = False,
        seed: int | None = None,
    ) -> None:
        if not (get_point_prompts or get_box_prompts):
            raise InputError("Ask for points, for boxes, or for both.")
        if n_positive_points < 0 or n_negative_points < 0 or dilation_strength < 0:
            raise InputError("Numbers of points and the dilation strength must not be negative.")
        self.n_positive_points, self.n_negative_points = n_positive_points, n_negative_points
        self.dilation_strength = dilation_strength
        self.get_point_prompts, self.get_box_prompts = get_point_prompts, get_box_prompts
        self._random = np.random.default_rng(seed)

    def __call__(
        self, segmentation: np.ndarray, bbox_coordinates: Sequence[Sequence[int]] | None = None, **kwargs
    ) -> tuple[np.ndarray | None, np.ndarray | None, np.ndarray | None, None]:
        """Prompts for each object.

        Parameters
        ----------
        segmentation : (n, H, W) or (n, 1, H, W), array or tensor
            One mask per object.
        bbox_coordinates : sequence of (y0, x0, y1, x1), optional
            Half-open boxes; computed from the masks when not given.

        Returns
        -------
        points : (n, k, 2) float32, (y, x), or None
        labels : (n, k) int64, 1, 0, or -1 where an object offers no place for a point; or None
        boxes : (n, 4) float32, (y0, x0, y1, x1), or None
        None
            The place of mask prompts, which this generator does not make.

        Raises
        ------
        InputError
            For masks of another shape, or an empty mask.
        """
        masks = np.asarray(segmentation)
        masks = masks[:, 0] if masks.ndim == 4 and masks.shape[1] == 1 else masks
        if masks.ndim != 3 or not masks.reshape(len(masks), -1).any(1).all():
            raise InputError("The masks must have the shape (n, H, W), or (n, 1, H, W), and none of them may be empty.")
        masks = masks != 0
        if bbox_coordinates is None:
            bbox_coordinates = [_box(mask) for mask in masks]
        points = labels = boxes = None
        if self.get_point_prompts:
            drawn = [self._points(mask, box) for mask, box in zip(masks, bbox_coordinates, strict=True)]
            points = np.array([p for p, _ in drawn], "float32").reshape(len(masks), -1, 2)
            labels = np.array([l for _, l in drawn], "int64").reshape(len(masks), -1)
        if self.get_box_prompts:
            boxes = np.array([[int(v) for v in box] for box in bbox_coordinates], "float32")
        return points, labels, boxes, None

    def _points(self, mask: np.ndarray, box) -> tuple[np.ndarray, np.ndarray]:
        grow = self.dilation_strength
        y0, x0 = max(int(box[0]) - grow, 0), max(int(box[1]) - grow, 0)
        local = mask[y0 : int(box[2]) + grow, x0 : int(box[3]) + grow]
        points, labels = [], []
        if self.n_positive_points:
            points, labels = [innermost(local)], [1]
        around = ~ndimage.binary_dilation(local)
        for wanted, area, label in ((self.n_positive_points - 1, local, 1), (self.n_negative_points, around, 0)):
            places = np.argwhere(area)
            for _ in range(max(wanted, 0)):
                found = len(places) > 0
                points.append(places[self._random.integers(len(places))] if found else (0, 0))
                labels.append(label if found else -1)
        return np.array(points, "float64").reshape(-1, 2) + (y0, x0), np.array(labels, "int64")


def _box(mask: np.ndarray) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1
