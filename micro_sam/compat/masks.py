"""Boxes and run lengths of stacks of masks, as tensors."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from micro_sam.segmentation.rle import rle_from_object
from micro_sam.segmentation.values import ObjectMask

__all__ = ["batched_mask_to_box", "mask_to_rle_pytorch"]


def batched_mask_to_box(masks: Tensor) -> Tensor:
    """Boxes of masks (..., H, W), bool, as (..., 4) int tensor x0, y0, x1, y1; x1, y1 are the last pixels, not beyond.

    Zero for empty masks.
    """
    boxes = [_box(one) for one in masks.reshape(-1, *masks.shape[-2:])]
    return torch.tensor(boxes, dtype=torch.int, device=masks.device).reshape(*masks.shape[:-2], 4)


def mask_to_rle_pytorch(tensor: Tensor, rle_implementation: str = "default") -> list[dict[str, Any]]:
    """Masks (n, H, W) as run lengths down the columns, ``{"size": [H, W], "counts": [...]}``, as Segment Anything does.

    ``rle_implementation`` is taken for scripts.
    """
    masks = tensor.cpu().numpy()
    return [rle_from_object(ObjectMask.from_array(one), tuple(one.shape)) for one in masks]


def _box(mask: Tensor) -> list[int]:
    rows, columns = (torch.nonzero(mask.any(axis)).flatten() for axis in (1, 0))
    return [int(columns[0]), int(rows[0]), int(columns[-1]), int(rows[-1])] if len(rows) else [0, 0, 0, 0]
