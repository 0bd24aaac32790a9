"""Encoding and decoding in windows of the model's input frame, for many images at once and with gradients."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from micro_sam.models.modules.mask_decoder import MaskDecoder
from micro_sam.models.modules.nano import NanoEncoder
from micro_sam.models.sam import Sam
from micro_sam.training.batches import Batch


@dataclass(frozen=True)
class Encoded:
    """What the image encoder says about B windows.

    Attributes
    ----------
    features : Tensor
        (B, C, g, g), what the mask decoder reads.
    trunk : Tensor | None
        (B, C, g, g), what nano's dense head reads; None for other models, whose heads read the features.
    centres : Tensor | None
        (B, 2, g, g), nano's predicted offsets to the centre of the object, (y, x) in strides.
    """

    features: Tensor
    trunk: Tensor | None = None
    centres: Tensor | None = None


class Encoder:
    """Crops -> ``Encoded``; with ``keep``, a frozen encoder sees every crop once.

    Parameters
    ----------
    model : Sam
    keep : bool
        Remember what was said about a crop that comes with a key. Only right while the encoder does not change.
    """

    def __init__(self, model: Sam, keep: bool = False) -> None:
        self.model, self.keep = model, keep
        self._kept: dict[int, Encoded] = {}

    def __call__(self, batch: Batch, keys: Sequence[int] | None = None) -> Encoded:
        """Encodes crops; ``keys`` name them when they may come again."""
        if not self.keep or keys is None:
            return self._encode(batch.pixels, batch.valid, batch.origin)
        for number, key in enumerate(keys):
            if key not in self._kept:  # one by one: the same numbers in whatever company a crop comes
                one = slice(number, number + 1)
                with torch.no_grad():
                    self._kept[key] = self._encode(batch.pixels[one], batch.valid[one], batch.origin[one])
        parts = [self._kept[key] for key in keys]
        joined: list[Any] = [_join([getattr(part, f.name) for part in parts]) for f in fields(Encoded)]
        return Encoded(*joined)

    def _encode(self, pixels: Tensor, inside: Tensor, origin: Tensor) -> Encoded:
        model = self.model
        pixels = (pixels - model.pixel_mean) / model.pixel_std * inside[:, None]
        pixels = pixels.contiguous(memory_format=torch.channels_last)  # convolutions on a CPU: up to twice as fast
        return encode_windows(model, pixels, origin.float())


def encode_windows(model: Sam, pixels: Tensor, origins: Tensor) -> Encoded:
    """Encodes windows of the input frame.

    Parameters
    ----------
    model : Sam
    pixels : Tensor
        (B, 3, S, S), normalised; S is the whole frame unless the encoder is convolutional (nano).
    origins : Tensor
        (B, 2), (y, x) of the windows in the frame, in pixels.
    """
    encoder = model.image_encoder
    if not isinstance(encoder, NanoEncoder):
        return Encoded(encoder(pixels))
    trunk = encoder.trunk(pixels)
    centres = encoder.centre_offsets(trunk)
    stride = pixels.shape[-1] / trunk.shape[-1]
    steps = torch.arange(trunk.shape[-1], device=trunk.device) * stride + stride / 2
    yx = torch.stack(torch.meshgrid(steps, steps, indexing="ij"))[None] + origins[:, :, None, None]
    xy = (yx + centres.float() * stride).flip(1).permute(0, 2, 3, 1)
    # float32 under autocast too: a phase of many turns does not survive bfloat16
    with torch.autocast(trunk.device.type, enabled=False):
        phase = (2 * xy / encoder.img_size - 1) @ encoder.freq.float() * (2 * math.pi)
        code = torch.cat([phase.sin(), phase.cos()], -1).permute(0, 3, 1, 2)
    return Encoded(trunk + encoder.ident(code.to(trunk.dtype)), trunk, centres)


def dense_maps(model: Sam, encoded: Encoded) -> Tensor | None:
    """Dense maps (B, K, h, w) of a model with a dense head."""
    if model.dense_head is None:
        return None
    maps: Tensor = model.dense_head(encoded.features if encoded.trunk is None else encoded.trunk)
    return maps


def decode_all(
    decoder: MaskDecoder, image: Tensor, position: Tensor, sparse: Tensor, dense: Tensor, several: bool
) -> tuple[Tensor, Tensor]:
    """Masks (P, M, 4 w, 4 w) and predicted IoU (P, M) for P prompts: all four tokens, or the first alone."""
    tokens = torch.cat([decoder.output_tokens().expand(len(image), -1, -1), sparse], dim=1)
    hidden, image = decoder.transformer(image + dense, position, tokens)
    side = position.shape[-2:]
    upscaled = decoder.output_upscaling(image.transpose(1, 2).unflatten(-1, side))
    selected = range(decoder.num_mask_tokens if several else 1)
    weights = torch.stack([decoder.output_hypernetworks_mlps[i](hidden[:, 1 + i]) for i in selected], dim=1)
    logits = (weights @ upscaled.flatten(2)).unflatten(-1, upscaled.shape[-2:])
    return logits, decoder.iou_prediction_head(hidden[:, 0])[:, : len(selected)]


def cut(maps: Tensor, index: Tensor, corner: Tensor, window: int) -> Tensor:
    """Square windows (P, C, w, w) of maps (B, C, g, g): of the maps ``index`` (P,), from ``corner`` (P, 2), (y, x)."""
    if window == maps.shape[-1]:
        return maps[index]
    # rows of one table: the gradients of slices, one by one, would each be as large as all maps
    side = maps.shape[-1]
    steps = torch.arange(window, device=maps.device)
    y, x = (corner[:, axis, None] + steps for axis in (0, 1))
    rows = (index[:, None, None] * side + y[:, :, None]) * side + x[:, None, :]
    taken = maps.permute(0, 2, 3, 1).flatten(0, 2).index_select(0, rows.flatten())
    return taken.view(*rows.shape, -1).permute(0, 3, 1, 2)


def _join(parts: Sequence[Tensor | None]) -> Tensor | None:
    return None if parts[0] is None else torch.cat([part for part in parts if part is not None])
