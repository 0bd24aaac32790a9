"""Between the model's low-resolution logits and masks in boxes of the image.

The decoder answers on a grid of (4g, 4g) pixels (256 x 256 for SAM) that covers the padded square of the network's
input. Bringing such an answer to the resolution of the image is the costliest part of post-processing when it is done
for the whole image; here it is done only where the object is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from micro_sam.models.sizes import Box
from micro_sam.segmentation.values import ObjectMask

if TYPE_CHECKING:
    from micro_sam.models.predictor import ImageFeatures, Predictor

CERTAIN = 8.0  # logit of a pixel that is surely inside a mask prompt: the order of what the models answer themselves
_SAMPLES = 4  # samples per low-resolution pixel and axis when a mask is drawn on the low-resolution grid


def lowres_scale(image: ImageFeatures, side: int, image_size: int) -> np.ndarray:
    """Low-resolution pixels per pixel of the image (y, x), for an answer of ``side`` pixels a side."""
    scale: np.ndarray = np.array(image.input_size) / np.array(image.original_size) * side / image_size
    return scale


def valid_part(logits: torch.Tensor, image: ImageFeatures, image_size: int) -> torch.Tensor:
    """Logits (..., 4g, 4g) without the padding of non-square images."""
    ratio = logits.shape[-1] / image_size
    height, width = (max(1, int(np.ceil(size * ratio))) for size in image.input_size)
    return logits[..., :height, :width]


def stability_score(logits: torch.Tensor, offset: float = 1.0) -> torch.Tensor:
    """How little masks (..., h, w) change with the threshold: IoU of the masks above ``offset`` and above ``-offset``.

    Kirillov et al. 2023, "Segment Anything", appendix B. 0 for empty masks.
    """
    high, low = (logits > offset).sum((-2, -1)), (logits > -offset).sum((-2, -1))
    return high / low.clamp(min=1)


def mask_from_logits(
    predictor: Predictor,
    logits: torch.Tensor,
    image: ImageFeatures,
    score: float = 0.0,
    origin: tuple[int, int] = (0, 0),
    tile: int | Box = 0,
    keep_logits: bool = True,
) -> ObjectMask:
    """An answer of the decoder (4g, 4g) as mask at the resolution of the image, computed only where the object is.

    Parameters
    ----------
    origin : (y, x)
        Where the frame of ``image`` begins in the slice (a tile's outer area).
    tile : int or Box
        Number of that tile, or box of that close-up, noted in the result.
    keep_logits : bool
        Keep the logits in the result, for corrections.
    """
    kept = logits.detach().to("cpu", torch.float32).numpy() if keep_logits else None
    box = predictor.foreground_box(logits, image)
    if box is None:
        return ObjectMask((0, 0, 0, 0), np.zeros((0, 0), bool), score, kept, tile)
    upscaled = predictor.upscale(logits[None], image, box=box)[0]
    offset = (box[0] + origin[0], box[1] + origin[1])
    return ObjectMask.from_array((upscaled > 0).cpu().numpy(), score, kept, tile, offset)


def logits_from_mask(
    mask: ObjectMask, image: ImageFeatures, origin: tuple[int, int], side: int, image_size: int
) -> np.ndarray:
    """A mask drawn as mask prompt: low-resolution logits between -8 (outside) and 8 (inside).

    Each low-resolution pixel gets the share of the mask in its area, so thin objects survive. The cost does not
    depend on the size of the image.

    Parameters
    ----------
    mask : ObjectMask
        In the frame of the slice; may lie partly outside the frame of ``image``.
    image : ImageFeatures
    origin : (y, x)
        Where the frame of ``image`` begins in the slice.
    side, image_size : int
        Size of the answer (4g) and of the network's input.

    Returns
    -------
    logits : array of shape (side, side), float32
        Padding of non-square images is outside.
    """
    scale = lowres_scale(image, side, image_size)
    inside, index = [], []
    for axis in range(2):
        begin, end = mask.box[axis], mask.box[axis + 2]
        centres = (np.arange(side * _SAMPLES) + 0.5) / _SAMPLES / scale[axis]
        position = np.floor(centres).astype(int)  # pixel of the frame under each sample
        valid = position < image.original_size[axis]
        position = position + origin[axis] - begin
        valid &= (position >= 0) & (position < end - begin)
        index.append(np.where(valid, position, 0))
        inside.append(valid)
    if mask.is_empty:
        share = np.zeros((side, side))
    else:
        samples = mask.mask[np.ix_(*index)] & inside[0][:, None] & inside[1][None]
        share = samples.reshape(side, _SAMPLES, side, _SAMPLES).mean((1, 3))
    return ((2 * share - 1) * CERTAIN).astype("float32")
