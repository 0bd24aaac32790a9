"""What goes between the encoder, the decoder and those who call them."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from micro_sam.models.sizes import Size


@dataclass(frozen=True)
class ImageFeatures:
    """What the image encoder says about one image (or one slice, or one tile).

    Attributes
    ----------
    features : Tensor
        (1, C, g, g), float32, on the predictor's device.
    input_size : tuple[int, int]
        Size (h, w) of the resized image before padding, in pixels.
    original_size : tuple[int, int]
        Size (H, W) of the image, in pixels.
    dense : Tensor | None
        Dense maps (K, h, w), float32, over the padded input, of a model with a dense head.
    """

    features: Tensor
    input_size: Size
    original_size: Size
    dense: Tensor | None = None


@dataclass(frozen=True)
class Decoded:
    """Masks of B prompts, M each, at low resolution.

    Attributes
    ----------
    low_res_logits : Tensor
        (B, M, 4 g, 4 g), float32, over the padded input; a pixel belongs to the mask where its logit is above 0.
    scores : Tensor
        (B, M), float32, predicted IoU.
    """

    low_res_logits: Tensor
    scores: Tensor
