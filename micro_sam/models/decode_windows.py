"""Decoding in a window of the feature grid around each prompt, for models that were trained so.

``nano`` learns its mask decoder in windows of 16 and 32 positions, because a prompt then costs a fraction. In use a
window of 32 x 32 costs a quarter of the whole grid of 64 x 64, and its masks are better: the decoder meets what it
knows. An object that does not fit is decoded on the whole grid.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from micro_sam.models.modules.decoding import EMPTY_LOGIT, ImageSide
from micro_sam.models.prompt_input import Prepared, take

MARGIN = 3  # feature positions that a window shows beyond the prompts on each side
OUTSIDE_LOGIT = -20.0  # beyond the window: surely background; less would be foreign to the encoder of mask prompts
CELL = 4  # mask positions per feature position


def decode_in_windows(
    run: Callable[..., tuple[Tensor, Tensor]],
    prompts: Prepared,
    seen: tuple[int, int],
    window: int,
    stride: int,
    grid: int,
) -> tuple[Tensor, Tensor]:
    """Logits (B, M, 4 g, 4 g) and scores (B, M) of prompts, each in a window around it where it fits into one.

    Parameters
    ----------
    run : callable
        ``run(points, boxes, masks, corner=None)`` -> logits and scores, on the whole grid or in windows at ``corner``.
    prompts : Prepared
    seen : (rows, columns)
        Of the feature grid that the image covers.
    window, grid : int
        Sides in feature positions.
    stride : int
        Pixels of the input per feature position.
    """
    points, boxes, masks = prompts
    # padding of short prompts says nothing about where the object lies
    places = None if points is None else torch.where(points[1][..., None] >= 0, points[0], -1.0)
    corner, fits = place_windows(seen, window, stride, places, boxes, masks)
    count = len(fits)
    if count == 0:
        return run(*prompts)
    logits: dict[int, Tensor] = {}
    scores: dict[int, Tensor] = {}
    for selected in (fits.nonzero()[:, 0], (~fits).nonzero()[:, 0]):
        if len(selected) == 0:
            continue
        own = corner[selected] if fits[selected[0]] else None
        found, quality = run(*take(selected, *prompts), corner=own)
        if own is not None:
            again = cut_off(found, own, seen)
            found = paste(found, own, CELL * grid)
            if again.any():  # larger than the window
                found[again], quality[again] = run(*take(selected[again], *prompts))
        for k, one, score in zip(selected.tolist(), found, quality, strict=True):
            logits[k], scores[k] = one, score
    return torch.stack([logits[k] for k in range(count)]), torch.stack([scores[k] for k in range(count)])


def place_windows(
    grid: tuple[int, int],
    window: int,
    stride: int,
    points: Tensor | None,
    boxes: Tensor | None,
    masks: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Where the window of each prompt lies.

    Parameters
    ----------
    grid : tuple[int, int]
        Rows and columns of the feature grid that the image covers, see :func:`covered`.
    window : int
        Side of the window, in feature positions.
    stride : int
        Pixels of the model's input frame per feature position.
    points : Tensor | None
        (B, N, 2), (x, y) in the input frame; padding is marked by negative coordinates.
    boxes : Tensor | None
        (B, 4), (x0, y0, x1, y1) in the input frame.
    masks : Tensor | None
        (B, 1, 4 g, 4 g), logits.

    Returns
    -------
    Tensor
        Corners (B, 2), (y, x) in feature positions.
    Tensor
        (B,) bool, whether all of the prompts, with a margin, lie inside.
    """
    lows, highs = [], []
    if points is not None and points.shape[1]:
        there = (points >= 0).all(-1, keepdim=True)
        lows.append(torch.where(there, points, torch.inf).amin(1))
        highs.append(torch.where(there, points, -torch.inf).amax(1))
    if boxes is not None:
        lows.append(boxes[:, :2])
        highs.append(boxes[:, 2:])
    if masks is not None:
        low, high = _extent(masks[:, 0] > 0)
        lows.append(low * stride / CELL)
        highs.append(high * stride / CELL)
    low, high = (torch.stack(ends).float() / stride for ends in (lows, highs))
    ends = torch.tensor(grid[::-1], device=low.device)  # (x, y)
    low, high = low.amin(0).clamp(min=0).minimum(ends), high.amax(0).clamp(min=0).minimum(ends)
    # a window as large as the image shows everything, whatever the margin
    fits = ((high - low + 2 * MARGIN <= window) | (ends <= window)).all(1) & (low <= high).all(1)
    middle = torch.where(fits[:, None], (low + high) / 2, ends / 2)
    corner = (middle - window / 2).round().clamp(min=0).minimum((ends - window).clamp(min=0)).long().flip(1)
    return corner, fits


def covered(input_size: tuple[int, int], stride: int) -> tuple[int, int]:
    """Rows and columns of the feature grid that an input of ``input_size`` (h, w) pixels covers; the rest is padded."""
    return math.ceil(input_size[0] / stride), math.ceil(input_size[1] / stride)


def cut_side(side: ImageSide, corner: Tensor, window: int, grid: int) -> ImageSide:
    """The part of an image side that each of B windows shows: tensors (B, w * w, C)."""
    steps = torch.arange(window, device=corner.device)
    rows, columns = corner[:, 0, None] + steps, corner[:, 1, None] + steps
    index = (rows[:, :, None] * grid + columns[:, None, :]).flatten(1)  # (B, w * w)

    def take(x: Tensor) -> Tensor:
        own = torch.arange(len(x), device=x.device)[:, None] if len(x) > 1 else 0
        return x[own, index]

    return ImageSide(take(side.image), take(side.placed), take(side.code))


def paste(logits: Tensor, corner: Tensor, side: int) -> Tensor:
    """Logits (B, M, 4 w, 4 w) of windows in the whole frame (B, M, side, side)."""
    whole = logits.new_full((*logits.shape[:2], side, side), OUTSIDE_LOGIT)
    length = logits.shape[-1]
    for target, part, (y, x) in zip(whole, logits, (corner * CELL).tolist(), strict=True):
        target[:, y : y + length, x : x + length] = part
    # a mask that was not computed is as empty outside as it is inside
    return torch.where((logits[..., :1, :1] == EMPTY_LOGIT), EMPTY_LOGIT, whole)


def cut_off(logits: Tensor, corner: Tensor, grid: tuple[int, int]) -> Tensor:
    """(B,) bool: whether a mask (B, M, 4 w, 4 w) goes on beyond its window, where the window ends inside the image."""
    mask = logits > 0
    window = logits.shape[-1] // CELL
    ends = [
        (mask[..., 0, :], corner[:, 0] > 0),
        (mask[..., -1, :], corner[:, 0] < grid[0] - window),
        (mask[..., :, 0], corner[:, 1] > 0),
        (mask[..., :, -1], corner[:, 1] < grid[1] - window),
    ]
    return torch.stack([edge.any(-1).any(-1) & inside for edge, inside in ends]).any(0)


def _extent(mask: Tensor) -> tuple[Tensor, Tensor]:
    """First and last + 1 position (x, y) of masks (B, h, w); inf and -inf where there is none."""
    low, high = [], []
    for axis in (1, 2):  # over rows: extent in x; over columns: extent in y
        line = mask.any(axis).float()
        length = line.shape[1]
        there = line.any(1)
        low.append(torch.where(there, line.argmax(1), torch.inf))
        high.append(torch.where(there, length - line.flip(1).argmax(1), -torch.inf))
    return torch.stack(low, 1), torch.stack(high, 1)
