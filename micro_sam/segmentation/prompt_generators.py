"""Prompts derived from known objects: for training, for evaluation, and for following an object."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from micro_sam.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "IterativePromptGenerator",
    "PointAndBoxPromptGenerator",
    "PromptGeneratorBase",
    "innermost",
    "points_from_mask",
]


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


class PromptGeneratorBase(ABC):
    """Base of what makes prompts from known objects: (points, labels, boxes, masks), each None when there is none.

    Points are in x, y and boxes in x0, y0, x1, y1, the order of Segment Anything, for ``SamPredictor.predict`` and
    ``inference.batched_inference``; the functions of this program take y before x.
    """

    @abstractmethod
    def __call__(
        self, segmentation: np.ndarray | Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None, Tensor | None]:
        """Prompts for each object of ``segmentation`` (n, 1, H, W)."""


class PointAndBoxPromptGenerator(PromptGeneratorBase):
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
        self,
        segmentation: np.ndarray | Tensor,
        bbox_coordinates: Sequence[Sequence[int]] | None = None,
        center_coordinates: Sequence[Sequence[float]] | None = None,
        **kwargs: Any,
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        """Prompts for each object.

        Parameters
        ----------
        segmentation : (n, H, W) or (n, 1, H, W), array or tensor
            One mask per object.
        bbox_coordinates : sequence of (y0, x0, y1, x1), optional
            Half-open boxes; computed from the masks when not given.
        center_coordinates : sequence of (y, x), optional
            The first positive point of each object, where it lies inside; else the innermost pixel.

        Returns
        -------
        points : (n, k, 2) int64 tensor, (x, y), or None
        labels : (n, k) int64 tensor, 1, 0, or -1 where an object offers no place for a point; or None
        boxes : (n, 4) int64 tensor, (x0, y0, x1, y1), or None
        None
            The place of mask prompts, which this generator does not make.

        Raises
        ------
        InputError
            For masks of another shape, or an empty mask.
        """
        import torch

        masks = _as_masks(segmentation)
        boxes = [_box(mask) for mask in masks] if bbox_coordinates is None else bbox_coordinates
        centers = [None] * len(masks) if center_coordinates is None else center_coordinates
        points = labels = found_boxes = None
        if self.get_point_prompts:
            drawn = [self._points(*one) for one in zip(masks, boxes, centers, strict=True)]
            points = torch.tensor(np.array([p for p, _ in drawn]).reshape(len(masks), -1, 2)[..., ::-1].astype("int64"))
            labels = torch.tensor(np.array([l for _, l in drawn], "int64").reshape(len(masks), -1))
        if self.get_box_prompts:
            corners = np.array([[int(v) for v in box] for box in boxes], "int64").reshape(-1, 2, 2)
            found_boxes = torch.tensor(np.ascontiguousarray(corners[..., ::-1]).reshape(-1, 4))
        return points, labels, found_boxes, None

    def _points(
        self, mask: np.ndarray, box: Sequence[float], center: Sequence[float] | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        grow = self.dilation_strength
        y0, x0 = max(int(box[0]) - grow, 0), max(int(box[1]) - grow, 0)
        local = mask[y0 : int(box[2]) + grow, x0 : int(box[3]) + grow]
        points, labels = [], []
        if self.n_positive_points:
            first = None if center is None else (int(center[0]) - y0, int(center[1]) - x0)
            within = first is not None and all(0 <= p < n for p, n in zip(first, local.shape, strict=True))
            points, labels = [first if within and local[first] else innermost(local)], [1]
        around = ~ndimage.binary_dilation(local)
        for wanted, area, label in ((self.n_positive_points - 1, local, 1), (self.n_negative_points, around, 0)):
            places = np.argwhere(area)
            for _ in range(max(wanted, 0)):
                found = len(places) > 0
                points.append(places[self._random.integers(len(places))] if found else (0, 0))
                labels.append(label if found else -1)
        return np.array(points, "float64").reshape(-1, 2) + (y0, x0), np.array(labels, "int64")


class IterativePromptGenerator(PromptGeneratorBase):
    """Corrections: for each object a point where the prediction misses it, and one where it goes too far.

    Parameters
    ----------
    seed : int, optional
        For repeatable points.
    """

    def __init__(self, seed: int | None = None) -> None:
        self._random = np.random.default_rng(seed)

    def __call__(
        self, segmentation: np.ndarray | Tensor, prediction: np.ndarray | Tensor, **kwargs: Any
    ) -> tuple[Tensor, Tensor, None, None]:
        """Points for each object.

        Parameters
        ----------
        segmentation, prediction : (n, 1, H, W), arrays or tensors
            The true masks, none of them empty, and what was predicted.

        Returns
        -------
        points : (n, 2, 2) int64 tensor, (x, y)
            A positive and a negative one, at random in what is wrong; where nothing is wrong, anywhere inside, and
            anywhere near the object.
        labels : (n, 2) int64 tensor
            1 and 0; -1 where an object offers no place for a point.
        None, None
            No boxes and no masks.
        """
        import torch

        truth, found = _as_masks(segmentation), _as_masks(prediction, may_be_empty=True)
        if truth.shape != found.shape:
            raise InputError(f"The masks have the shapes {truth.shape} and {found.shape}: they do not belong together.")
        points, labels = [], []
        for wanted, there in zip(truth, found, strict=True):
            y0, x0, y1, x1 = _box(wanted)
            near = np.zeros_like(wanted)
            near[max(y0 - _NEAR, 0) : y1 + _NEAR, max(x0 - _NEAR, 0) : x1 + _NEAR] = True
            positive = self._draw(wanted & ~there, wanted)
            negative = self._draw(there & ~wanted, near & ~wanted, ~wanted)
            points.append([(0, 0) if one is None else one[::-1] for one in (positive, negative)])
            labels.append([-1 if one is None else label for one, label in ((positive, 1), (negative, 0))])
        return torch.tensor(np.array(points, "int64")), torch.tensor(labels), None, None

    def _draw(self, *areas: np.ndarray) -> tuple[int, int] | None:
        """A pixel (y, x) of the first area that has any."""
        for area in areas:
            places = np.flatnonzero(area)
            if len(places):
                y, x = np.unravel_index(self._random.choice(places), area.shape)
                return int(y), int(x)
        return None


_NEAR = 5  # pixels around the box of an object, in which a negative point lies when nothing is too much


def _as_masks(masks: np.ndarray | Tensor, may_be_empty: bool = False) -> np.ndarray:
    """(n, H, W) or (n, 1, H, W) as (n, H, W) bool."""
    masks = np.asarray(masks.detach().cpu() if hasattr(masks, "detach") else masks)
    masks = masks[:, 0] if masks.ndim == 4 and masks.shape[1] == 1 else masks
    if masks.ndim != 3 or not (may_be_empty or masks.reshape(len(masks), -1).any(1).all()):
        raise InputError("The masks must have the shape (n, H, W), or (n, 1, H, W), and none of them may be empty.")
    return masks > 0


def _box(mask: np.ndarray) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1
