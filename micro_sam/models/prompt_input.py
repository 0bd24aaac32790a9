"""Prompts in pixels of an image -> what the prompt encoder takes."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from micro_sam.errors import InputError
from micro_sam.models.frames import resize_points
from micro_sam.models.image_features import ImageFeatures

Clicks = tuple[Tensor, Tensor]  # (B, N, 2), x before y, in pixels of the resized image, and their labels (B, N)
Prepared = tuple[Clicks | None, Tensor | None, Tensor | None]  # clicks, boxes (B, 4), masks (B, 1, 4 g, 4 g)


def prepare_prompts(
    image: ImageFeatures,
    points: np.ndarray | Tensor | None,
    labels: np.ndarray | Tensor | None,
    boxes: np.ndarray | Tensor | None,
    mask_input: np.ndarray | Tensor | None,
    side: int,
    device: torch.device,
) -> Prepared:
    """Prompts as the prompt encoder takes them: resized, x before y, on the device.

    Parameters
    ----------
    image : ImageFeatures
        What they are about.
    points, labels, boxes, mask_input
        See :meth:`Predictor.decode <micro_sam.models.predictor.Predictor.decode>`.
    side : int
        Of mask inputs.
    device : torch.device

    Raises
    ------
    InputError
        When there is no prompt, or shapes do not fit together.
    """
    if (points is None) != (labels is None):
        raise InputError("Point prompts need coordinates and labels, one label for each point.")
    if points is None and boxes is None and mask_input is None:
        raise InputError("There is no prompt: give points, boxes or a mask.")
    sizes: set[int] = set()
    clicks, corners, masks = None, None, None
    if points is not None and labels is not None:
        places, kinds = _as_array(points), _as_array(labels)
        if places.ndim != 3 or places.shape[-1] != 2 or kinds.shape != places.shape[:2]:
            raise InputError(
                f"Points must have the shape (B, N, 2) and labels (B, N), not {places.shape} and {kinds.shape}."
            )
        coords = resize_points(places, image.original_size, image.input_size)
        clicks = (torch.tensor(coords, device=device), torch.tensor(kinds.astype(np.int32)).to(device))
        sizes.add(len(kinds))
    if boxes is not None:
        areas = _as_array(boxes)
        if areas.ndim != 2 or areas.shape[-1] != 4:
            raise InputError(f"Boxes must have the shape (B, 4), not {areas.shape}.")
        resized = resize_points(areas.reshape(-1, 2, 2), image.original_size, image.input_size)
        corners = torch.tensor(resized.reshape(-1, 4), device=device)
        sizes.add(len(corners))
    if mask_input is not None:
        masks = torch.as_tensor(mask_input, dtype=torch.float32, device=device)
        if masks.shape[1:] != (1, side, side):
            raise InputError(f"Mask inputs must have the shape (B, 1, {side}, {side}), not {masks.shape}.")
        sizes.add(len(masks))
    if len(sizes) > 1:
        raise InputError("Points, boxes and mask inputs of one call must be of the same number of prompts.")
    return clicks, corners, masks


def take(index: Tensor, points: Clicks | None, boxes: Tensor | None, masks: Tensor | None) -> Prepared:
    """Some of the prompts."""
    points = None if points is None else (points[0][index], points[1][index])
    return points, None if boxes is None else boxes[index], None if masks is None else masks[index]


def _as_array(x: np.ndarray | Tensor) -> np.ndarray:
    return x.cpu().numpy() if isinstance(x, Tensor) else np.asarray(x)
