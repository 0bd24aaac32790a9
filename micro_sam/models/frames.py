"""From the frame of the original image to that of the model, and back for masks.

The model sees the image with its longest side resized to S pixels, padded at the bottom and on the right to S x S.
Numbers agree with Segment Anything's ``ResizeLongestSide`` and ``postprocess_masks``.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from micro_sam.errors import InputError
from micro_sam.models.sizes import Box, Size, resized_size

PIXEL_MEAN = (123.675, 116.28, 103.53)  # of ImageNet, on the scale 0..255
PAD_COLOUR = PIXEL_MEAN  # becomes 0 when the colours are normalised, as the model was trained with


def check_pixels(image: np.ndarray) -> None:
    """Raise InputError unless an image is (H, W, 3), uint8."""
    if image.ndim != 3 or image.shape[-1] != 3 or image.dtype != np.uint8 or 0 in image.shape:
        raise InputError(
            f"An image for the model has the shape (height, width, 3) and the type uint8, not {image.shape} and "
            f"{image.dtype}. Normalise it first (micro_sam.embeddings)."
        )


def resize_image(image: np.ndarray, size: Size) -> np.ndarray:
    """Resizes (H, W, 3) uint8 to ``size`` (h, w), bilinear and anti-aliased, as Pillow does it."""
    if image.shape[:2] == tuple(size):
        return image
    return np.asarray(Image.fromarray(image).resize((size[1], size[0]), Image.Resampling.BILINEAR))


def pad_image(image: np.ndarray, image_size: int) -> np.ndarray:
    """Image (H, W, 3), uint8, RGB -> what exported encoders take, (1, 3, S, S), float32: resized and padded."""
    h, w = resized_size(image.shape[:2], image_size)
    padded = np.empty((1, 3, image_size, image_size), np.float32)
    padded[:] = np.array(PAD_COLOUR, np.float32)[:, None, None]
    padded[0, :, :h, :w] = resize_image(image, (h, w)).transpose(2, 0, 1)
    return padded


def resize_points(points: np.ndarray, original_size: Size, input_size: Size) -> np.ndarray:
    """Points (..., 2), (y, x) in pixels of the original image -> float32, x before y, in pixels of the resized one."""
    scale = np.array([input_size[0] / original_size[0], input_size[1] / original_size[1]])
    return np.ascontiguousarray((np.asarray(points, dtype=np.float64) * scale)[..., ::-1], dtype=np.float32)


def upscale_logits(logits: Tensor, image_size: int, input_size: Size, original_size: Size) -> Tensor:
    """Low-resolution logits (M, l, l) -> logits (M, H, W) of the whole original image."""
    x = F.interpolate(logits[None], (image_size, image_size), mode="bilinear", align_corners=False)
    x = x[..., : input_size[0], : input_size[1]]
    return F.interpolate(x, original_size, mode="bilinear", align_corners=False)[0]


def upscale_logits_in_box(logits: Tensor, image_size: int, input_size: Size, original_size: Size, box: Box) -> Tensor:
    """The part of :func:`upscale_logits` inside ``box`` (half-open y0, x0, y1, x1), at the cost of that part.

    Returns
    -------
    Tensor
        (M, y1 - y0, x1 - x0).
    """
    y0, x0, y1, x1 = box
    rows = _Taps.of(y0, y1, original_size[0], input_size[0], logits.device)
    columns = _Taps.of(x0, x1, original_size[1], input_size[1], logits.device)
    middle = _upsample_window(logits, image_size, rows, columns)
    # Narrow axes first: the columns are the strided ones, so they are gathered on as few rows as possible.
    middle = middle[:, rows.lower] * (1 - rows.weight)[:, None] + middle[:, rows.upper] * rows.weight[:, None]
    return middle[..., columns.lower] * (1 - columns.weight) + middle[..., columns.upper] * columns.weight


class _Taps:
    """The two source positions and the weight of each output position along one axis, relative to ``start``."""

    def __init__(self, start: int, stop: int, lower: Tensor, upper: Tensor, weight: Tensor) -> None:
        self.start, self.stop = start, stop  # the part of the source that is read
        self.lower, self.upper, self.weight = lower, upper, weight

    @classmethod
    def of(cls, first: int, last: int, size: int, source_size: int, device: torch.device) -> _Taps:
        """For output positions ``first`` to ``last`` (exclusive) of ``size``, from a source of ``source_size``.

        The arithmetic is torch's (``area_pixel_compute_source_index``): the scale and the result are rounded to
        float32, and nothing between them, as its fused multiply-add does it.
        """
        scale = torch.tensor(source_size / size, dtype=torch.float32).double()
        position = (scale * (torch.arange(first, last, dtype=torch.float64) + 0.5) - 0.5).float().clamp(min=0)
        lower = position.long().clamp(max=source_size - 1)
        upper = (lower + 1).clamp(max=source_size - 1)
        weight = (position - lower).clamp(0, 1)
        start, stop = int(lower[0]), int(upper[-1]) + 1
        return cls(start, stop, (lower - start).to(device), (upper - start).to(device), weight.to(device))


def _upsample_window(logits: Tensor, image_size: int, rows: _Taps, columns: _Taps) -> Tensor:
    """Rows and columns ``start`` to ``stop`` of the logits upsampled to ``image_size`` (a whole multiple)."""
    factor = image_size // logits.shape[-1]
    cuts, offsets = [], []
    for taps, low in ((rows, logits.shape[-2]), (columns, logits.shape[-1])):
        first = max(taps.start // factor - 1, 0)  # one more on each side, so that the cut is no border
        last = min(-(-taps.stop // factor) + 1, low)
        cuts.append(slice(first, last))
        offsets.append(slice(taps.start - first * factor, taps.stop - first * factor))
    part = logits[None, :, cuts[0], cuts[1]]
    size = (part.shape[-2] * factor, part.shape[-1] * factor)
    return F.interpolate(part, size, mode="bilinear", align_corners=False)[0][:, offsets[0], offsets[1]]


def foreground_box(
    logits: Tensor, image_size: int, input_size: Size, original_size: Size, threshold: float = 0.0
) -> Box | None:
    """Box in the original image outside which no upscaled logit exceeds ``threshold``; None for an empty mask.

    Parameters
    ----------
    logits : Tensor
        Low-resolution logits (l, l) of one mask.

    Returns
    -------
    tuple[int, int, int, int] | None
        Half-open (y0, x0, y1, x1) in pixels, at most about two low-resolution pixels wider than the mask.
    """
    mask = logits > threshold
    box = []
    for axis in (0, 1):
        hit = torch.nonzero(mask.any(1 - axis))
        if len(hit) == 0:
            return None
        # Interpolation spreads a value by less than one low-resolution pixel, and once more by one resized pixel.
        factor = image_size / logits.shape[axis]
        scale = original_size[axis] / input_size[axis]
        first = (float(hit[0]) - 0.5) * factor - 1
        last = (float(hit[-1]) + 1.5) * factor + 1
        box.append((max(math.floor(first * scale), 0), min(math.ceil(last * scale), original_size[axis])))
    (y0, y1), (x0, x1) = box
    return (y0, x0, y1, x1) if y0 < y1 and x0 < x1 else None


def upscale_masks(
    logits: Tensor, image_size: int, input_size: Size, original_size: Size, threshold: float = 0.0
) -> np.ndarray:
    """Masks (M, H, W), bool, of low-resolution logits (M, l, l), each upscaled only where it can be foreground."""
    masks = np.zeros((len(logits), *original_size), dtype=bool)
    for mask, logit in zip(masks, logits, strict=True):
        box = foreground_box(logit, image_size, input_size, original_size, threshold)
        if box is not None:
            part = upscale_logits_in_box(logit[None], image_size, input_size, original_size, box)[0] > threshold
            mask[box[0] : box[2], box[1] : box[3]] = part.cpu().numpy()
    return masks
