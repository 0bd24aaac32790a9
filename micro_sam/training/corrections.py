"""Where a user clicks next, for many masks at once and on any device."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

CHECK_EVERY = 8  # a GPU waits when it is asked whether anything is left


def correct(predicted: Tensor, target: Tensor, valid: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """A click on the largest error of every mask; a perfect one gets a click inside.

    Parameters
    ----------
    predicted, target, valid : Tensor
        (P, h, w) bool: the masks, the objects, and where the image is.
    generator : torch.Generator
        On the same device.

    Returns
    -------
    Tensor
        (P, 2) float32, (x, y) of a pixel.
    Tensor
        (P,) int64, 1 where object is missing, 0 where there is too much.
    """
    errors = (predicted != target) & valid
    is_perfect = ~errors.flatten(1).any(1)[:, None, None]
    depth = inner_depth(torch.stack([torch.where(is_perfect, target, errors & target), errors & predicted], 1))
    deepest = depth.amax((2, 3))
    label = (deepest[:, 0] >= deepest[:, 1]).long()
    rows = torch.arange(len(label), device=label.device)
    depth, deepest = depth[rows, 1 - label], deepest[rows, 1 - label]
    count, device = len(label), label.device
    share = torch.where(torch.rand(count, generator=generator, device=device) < 0.5, 0.99, 0.5)
    near = depth >= (deepest * share).clamp(min=1)[:, None, None]
    noise = torch.rand(depth.shape, generator=generator, device=device)
    place = torch.where(near, noise, -1.0).flatten(1).argmax(1)
    width = depth.shape[-1]
    return torch.stack([place % width, place // width], 1).float(), label


def inner_depth(masks: Tensor) -> Tensor:
    """How many times masks (..., h, w) can shrink by a pixel before a pixel is gone; float32, 0 off the masks.

    The border of the image is outside. Diagonal neighbours count: the distance of chess kings.
    """
    left = masks.float()
    depth = left.clone()
    for turn in range(1, (min(masks.shape[-2:]) + 1) // 2):
        left = -F.max_pool2d(-F.pad(left, (1, 1, 1, 1)), 3, 1)
        depth += left
        if turn % CHECK_EVERY == 0 and not left.any():
            break
    return depth
