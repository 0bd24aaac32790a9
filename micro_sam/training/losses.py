"""Losses of masks, of their predicted quality, and of the dense head.

Focal loss normalised by object area (as SAM's) collapsed to empty masks when training small models from scratch;
cross entropy balanced between object and background, plus plain cross entropy and dice, did not. In
fine-tuning the loss fell while the overlap on other images fell, too; the balanced term, which forgives masks that are
too large, is suspected (not shown) and counts little there.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def mask_loss(logits: Tensor, target: Tensor, valid: Tensor, balance: float = 1.0) -> Tensor:
    """Loss of every mask.

    Parameters
    ----------
    logits : Tensor
        (P, M, h, w): M masks for each of P prompts.
    target : Tensor
        (P, h, w), 0..1, the share of each position that the object covers.
    valid : Tensor
        (P, h, w), 1 where the image is, 0 in the padding.
    balance : float
        Weight of the cross entropy that is balanced between object and background.

    Returns
    -------
    Tensor
        (P, M).
    """
    target, valid = target[:, None], valid[:, None]
    cross_entropy = F.binary_cross_entropy_with_logits(logits, target.expand_as(logits), reduction="none") * valid
    inside, outside = target * valid, (1 - target) * valid
    plain = cross_entropy.sum((-2, -1)) / valid.sum((-2, -1)).clamp(min=1)
    balanced = 0.5 * (cross_entropy * inside).sum((-2, -1)) / inside.sum((-2, -1)).clamp(min=1)
    balanced = balanced + 0.5 * (cross_entropy * outside).sum((-2, -1)) / outside.sum((-2, -1)).clamp(min=1)
    probability = logits.sigmoid() * valid
    overlap = (probability * inside).sum((-2, -1))
    dice = 1 - (2 * overlap + 1) / (probability.sum((-2, -1)) + inside.sum((-2, -1)) + 1)
    return balance * balanced + plain + 2 * dice


def mask_iou(logits: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """IoU of thresholded masks (P, M, h, w) with ``target`` > 0.5 (P, h, w): (P, M), without gradients."""
    with torch.no_grad():
        mask = (logits > 0) & (valid[:, None] > 0)
        target = (target[:, None] > 0.5) & (valid[:, None] > 0)
        union = (mask | target).sum((-2, -1))
        return (mask & target).sum((-2, -1)) / union.clamp(min=1)


def offsets_loss(maps: Tensor, foreground: Tensor, distance: Tensor, offset: Tensor, taught: Tensor) -> Tensor:
    """Loss of nano's dense maps.

    Parameters
    ----------
    maps : Tensor
        (B, 4, h, w): foreground logit, boundary distance, offset to the centre (y, x) in object radii.
    foreground, distance : Tensor
        (B, h, w), 0 / 1 and 0..1.
    offset : Tensor
        (B, 2, h, w) in object radii.
    taught : Tensor
        (B, h, w), 1 where foreground or background is known.
    """
    count = foreground.sum().clamp(min=1)
    loss = foreground_loss(maps[:, 0], foreground, taught)
    # the background's distance is 0, where it is known to be background
    near = (maps[:, 1] - distance).abs() * torch.where(foreground > 0, 1.0, 0.3 * taught)
    far = F.smooth_l1_loss(maps[:, 2:], offset.clamp(-3, 3), beta=0.3, reduction="none").sum(1) * foreground
    return loss + 2.0 * near.sum() / count.clamp(min=0.3 * taught.sum()) + far.sum() / count


def distances_loss(maps: Tensor, foreground: Tensor, distance: Tensor, offset: Tensor, taught: Tensor) -> Tensor:
    """Loss of UNETR's dense maps (B, 3, h, w), all after a sigmoid: foreground, distance to the object's centre and to
    its boundary (0 at the centre and far inside, 1 outside of objects); other parameters as ``offsets_loss``."""
    maps = maps.float().clamp(1e-5, 1 - 1e-5)
    loss = foreground_loss(torch.logit(maps[:, 0]), foreground, taught)
    centre = torch.where(foreground > 0, (offset.norm(dim=1) / 1.5).clamp(max=1), 1.0)
    boundary = torch.where(foreground > 0, 1 - distance, 1.0)
    error = (maps[:, 1] - centre).square() + (maps[:, 2] - boundary).square()
    return loss + 2.0 * (error * taught).sum() / taught.sum().clamp(min=1)


def foreground_loss(logits: Tensor, target: Tensor, taught: Tensor) -> Tensor:
    """Cross entropy plus dice of foreground logits (B, h, w)."""
    cross_entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none") * taught
    probability = logits.sigmoid() * taught
    overlap = (probability * target).sum((-2, -1))
    dice = 1 - (2 * overlap + 1) / (probability.sum((-2, -1)) + (target * taught).sum((-2, -1)) + 1)
    return cross_entropy.sum() / taught.sum().clamp(min=1) + dice.mean()
