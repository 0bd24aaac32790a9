"""The mask decoder's arithmetic in an order that costs a fraction of it; for inference.

``MaskDecoder.forward`` is the plain form. The same numbers (to rounding) come from less work because

- prompts of one image share the image: what layer 0 projects from it is computed once per image;
- an inner product with a projected image is one of the unprojected image with a folded query:
  ``q . (W k) = (q W) . k``. There are 4096 image tokens and about 7 prompt tokens, so the fold is on the small side;
- a bias of the keys shifts all scores of a query alike and leaves the softmax as it is;
- transposed convolutions with kernel = stride are matrix products of each position on its own;
- the quality of a mask is known before the mask is: masks below a threshold are never upscaled;
- the last look at the image is taken by the tokens that are read afterwards, those of the quality and of the masks
  that were asked for;
- scores are kept as (heads x tokens, positions), so that every softmax runs along or across a long last axis;
- pixels are brought into their order at the end, two at a time.

Shapes: B prompts, T tokens, C channels, N = g * g positions of the feature grid, h heads of d channels each.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from micro_sam.models.modules.common import LayerNorm2d
from micro_sam.models.modules.mask_decoder import MaskDecoder
from micro_sam.models.modules.products import linear
from micro_sam.models.modules.transformer import CrossAttention

# Prompts decoded at a time. A CPU gains 6 to 8 % from 1 to 4 (weights are read once for all) and hardly more beyond.
MICRO_BATCH = {"cpu": 4, "cuda": 64, "mps": 16}
EMPTY_LOGIT = -100.0  # of masks that are not upscaled because their score is too low


@dataclass(frozen=True)
class ImageSide:
    """What the decoder needs of an image, shared by its prompts. The dtype is that of the arithmetic with positions.

    Attributes
    ----------
    image : Tensor
        Features plus dense prompt embedding, (b, N, C), with b = 1 unless prompts have masks of their own.
    placed : Tensor
        The same plus the positional code.
    code : Tensor
        Positional code of the positions, (1, N, C), or (b, N, C) where every prompt has positions of its own.
    projected : tuple[Tensor, Tensor, Tensor] | None
        Projections of layer 0, each (h, N, d): keys and values for the tokens, queries to the tokens. They are worth
        their cost from about three prompts on.
    """

    image: Tensor
    placed: Tensor
    code: Tensor
    projected: tuple[Tensor, Tensor, Tensor] | None = None

    @classmethod
    def of(cls, features: Tensor, dense: Tensor, code: Tensor, dtype: torch.dtype = torch.float32) -> ImageSide:
        """From features (1, C, g, g), dense prompt embeddings (b, C, g, g) and positional code (1, N, C)."""
        image = as_positions(features) + as_positions(dense)
        return cls(image.to(dtype), (image + code).to(dtype), code.to(dtype))

    def project(self, decoder: MaskDecoder) -> ImageSide:
        """The same with the projections of layer 0; for one image only (b = 1)."""
        layer = decoder.transformer.blocks[0]
        to_image, to_tokens = layer.cross_attn_token_to_image, layer.cross_attn_image_to_token
        keys, values, queries = (
            _split_heads(F.linear(x, linear.weight.to(x), linear.bias.to(x)), attention.num_heads).contiguous()
            for linear, x, attention in (
                (to_image.k_proj, self.placed, to_image),
                (to_image.v_proj, self.image, to_image),
                (to_tokens.q_proj, self.placed, to_tokens),
            )
        )
        return replace(self, projected=(keys, values, queries))

    def part(self, prompts: slice) -> ImageSide:
        """The side that these prompts see."""
        if self.image.shape[0] == 1:
            return self
        code = self.code if self.code.shape[0] == 1 else self.code[prompts]
        return ImageSide(self.image[prompts], self.placed[prompts], code)


def decode(
    decoder: MaskDecoder,
    side: ImageSide,
    sparse: Tensor,
    multimask_output: bool,
    score_threshold: float | None = None,
    micro_batch: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Masks and scores of B prompts on one image.

    Parameters
    ----------
    decoder : MaskDecoder
    side : ImageSide
        Of the image; its dtype is that of the arithmetic with image positions.
    sparse : Tensor
        Sparse prompt embeddings (B, n, C), float32.
    multimask_output : bool
        Three masks for an ambiguous prompt instead of one.
    score_threshold : float | None
        Masks whose predicted IoU is below are not computed; their logits are `EMPTY_LOGIT` everywhere.
    micro_batch : int | None
        Prompts at a time; None chooses by the device.

    Returns
    -------
    Tensor
        Logits (B, M, 4 g, 4 g), float32.
    Tensor
        Predicted IoU (B, M), float32.
    """
    batch = sparse.shape[0]
    step = micro_batch or MICRO_BATCH.get(sparse.device.type, 16)
    selected = decoder.mask_slice(multimask_output)
    count = len(range(decoder.num_mask_tokens)[selected])
    grid = math.isqrt(side.image.shape[1])
    logits = sparse.new_empty((batch, count, 4 * grid, 4 * grid))
    scores = sparse.new_empty((batch, count))
    for start in range(0, batch, step):
        part = slice(start, min(start + step, batch))
        tokens, image = run_transformer(decoder, side.part(part), sparse[part], selected)
        scores[part] = decoder.iou_prediction_head(tokens[:, 0])[:, selected]
        keep = None if score_threshold is None else (scores[part] >= score_threshold).any(1)
        if keep is None or keep.all():
            logits[part] = _masks(decoder, tokens[:, 1:], image, selected)
        else:
            logits[part] = EMPTY_LOGIT
            if keep.any():
                logits[part][keep] = _masks(decoder, tokens[keep, 1:], image[keep], selected)
    if score_threshold is not None:
        logits[scores < score_threshold] = EMPTY_LOGIT
    return logits, scores


def run_transformer(
    decoder: MaskDecoder, side: ImageSide, sparse: Tensor, selected: slice = slice(None)
) -> tuple[Tensor, Tensor]:
    """The two-way transformer.

    Returns the output tokens of the quality and of the selected masks (B, 1 + M, C), float32, and the image (B, N, C).
    """
    transformer = decoder.transformer
    batch = sparse.shape[0]
    token_pe = torch.cat([decoder.output_tokens().expand(batch, -1, -1), sparse], dim=1)
    tokens, image, placed = token_pe, side.image, side.placed
    for i, layer in enumerate(transformer.blocks):
        tokens = layer.attend_tokens(tokens, token_pe)
        projected = side.projected if i == 0 else None
        tokens = layer.norm2(
            tokens + _tokens_look(layer.cross_attn_token_to_image, tokens + token_pe, placed, image, projected)
        )
        tokens = layer.norm3(tokens + layer.mlp(tokens))
        image = _image_looks(layer.cross_attn_image_to_token, tokens + token_pe, tokens, placed, image, projected)
        image = _layer_norm(layer.norm4, image)
        placed = image + side.code
    read = [0, *range(1, 1 + decoder.num_mask_tokens)[selected]]
    tokens, token_pe = tokens[:, read], token_pe[:, read]
    looked = _tokens_look(transformer.final_attn_token_to_image, tokens + token_pe, placed, image, None)
    return transformer.norm_final_attn(tokens + looked), image


def _tokens_look(
    attention: CrossAttention,
    queries: Tensor,
    placed: Tensor,
    image: Tensor,
    projected: tuple[Tensor, Tensor, Tensor] | None,
) -> Tensor:
    """Tokens (B, T, C) look at the image; returns what is added to them, (B, T, C)."""
    batch, count, _ = queries.shape
    heads = attention.num_heads
    q = _split_heads(attention.q_proj(queries), heads)  # (h, B T, d)
    q = q / math.sqrt(q.shape[-1])
    if projected is not None:
        keys, values, _ = projected
        scores = torch.softmax(q.to(keys) @ keys.transpose(1, 2), dim=-1)  # (h, B T, N)
        looked = (scores @ values).float()
    else:
        folded = q @ _head_weights(attention.k_proj.weight, heads)  # (h, B T, C)
        folded = _by_prompt(folded, batch).to(placed)  # (B, h T, C)
        scores = torch.softmax(_products(folded, placed), dim=-1)  # (B, h T, N)
        pooled = _by_head(_products(scores, image.transpose(1, 2)).float(), heads)  # (h, B T, C)
        looked = pooled @ _head_weights(attention.v_proj.weight, heads).transpose(1, 2)
        looked = looked + attention.v_proj.bias.view(heads, 1, -1)
    return attention.out_proj(_join_heads(looked, batch))


def _image_looks(
    attention: CrossAttention,
    keys: Tensor,
    values: Tensor,
    placed: Tensor,
    image: Tensor,
    projected: tuple[Tensor, Tensor, Tensor] | None,
) -> Tensor:
    """The image (b, N, C) looks at the tokens (B, T, C); returns the image with what it saw added, (B, N, C)."""
    batch, count, channels = keys.shape
    heads = attention.num_heads
    k = _split_heads(attention.k_proj(keys), heads)  # (h, B T, d)
    k = k / math.sqrt(k.shape[-1])
    if projected is not None:
        queries = projected[2]
        scores = (k.to(queries) @ queries.transpose(1, 2)).view(heads, batch, count, -1).transpose(0, 1)
    else:
        folded = _by_prompt(k @ _head_weights(attention.q_proj.weight, heads), batch).to(placed)
        shift = _by_prompt(k @ attention.q_proj.bias.view(heads, -1, 1), batch).to(placed)  # (B, h T, 1)
        scores = (_products(folded, placed) + shift).view(batch, heads, count, -1)
    scores = torch.softmax(scores, dim=2).reshape(batch, heads * count, -1)  # over the tokens, along the positions

    v = _split_heads(attention.v_proj(values), heads)  # (h, B T, d)
    seen = v @ attention.out_proj.weight.T.reshape(heads, -1, channels)
    seen = seen + attention.out_proj.bias / heads  # the scores of each head add up to 1
    scores, seen = scores.transpose(1, 2), _by_prompt(seen, batch).to(image)
    if image.dtype == torch.float32:
        return torch.baddbmm(image.expand(batch, -1, -1), scores, seen)
    return torch.bmm(scores, seen).add_(image)  # torch adds to a bf16 product in a slow path of its own


def _masks(decoder: MaskDecoder, tokens: Tensor, image: Tensor, selected: slice) -> Tensor:
    """Upscales the image (B, N, C) and takes the masks of their tokens (B, M, C) out of it.

    Returns (B, M, 4 g, 4 g), float32.
    """
    batch, positions, channels = image.shape
    grid = math.isqrt(positions)
    first, norm = cast("nn.ConvTranspose2d", decoder.output_upscaling[0]), decoder.output_upscaling[1]
    second = cast("nn.ConvTranspose2d", decoder.output_upscaling[3])
    indices = range(decoder.num_mask_tokens)[selected]
    weights = torch.stack([decoder.output_hypernetworks_mlps[i](tokens[:, k]) for k, i in enumerate(indices)], dim=1)
    weights = weights.to(image)

    x = linear(image.reshape(-1, channels), *_as_linear(decoder, "first", first, image.dtype))
    x = F.gelu(_layer_norm(cast("LayerNorm2d", norm), x.view(-1, first.out_channels)))  # (B N 4, C / 4)
    x = linear(x, *_as_linear(decoder, "second", second, image.dtype), gelu=True).view(batch, 16 * positions, -1)
    # Position (y, x), then the 2 x 2 of the first step, then that of the second: (M, y, x, y, x, y, x). Two pixels of
    # a row lie side by side all along, so the two are moved as one number of 64 bits.
    pairs = torch.empty((batch, len(indices), grid, 2, 2, grid, 2), dtype=torch.int64, device=image.device)
    for own, weight, upscaled in zip(pairs, weights, x, strict=True):
        masks = (weight @ upscaled.T).float().view(torch.int64)
        own.copy_(masks.view(-1, grid, grid, 2, 2, 2).permute(0, 1, 3, 5, 2, 4))
    return pairs.view(torch.float32).view(batch, -1, 4 * grid, 4 * grid)


def _as_linear(decoder: MaskDecoder, name: str, conv: nn.ConvTranspose2d, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """A transposed convolution with kernel = stride = 2 as weight (2 2 C', C) and bias of a linear layer."""

    bias = conv.bias
    assert bias is not None  # both have one

    def reorder() -> tuple[Tensor, Tensor]:
        return conv.weight.permute(2, 3, 1, 0).flatten(0, 2).to(dtype), bias.repeat(4).to(dtype)

    return decoder.derived((name, dtype), (conv.weight, bias), reorder)


def _layer_norm(norm: nn.LayerNorm | LayerNorm2d, x: Tensor) -> Tensor:
    return F.layer_norm(x, norm.weight.shape, norm.weight.to(x), norm.bias.to(x), norm.eps)


def as_positions(x: Tensor) -> Tensor:
    """(b, C, g, g) -> (b, N, C), contiguous."""
    x = x.flatten(2)
    if len(x) > 1:
        return x.transpose(1, 2).contiguous()
    return x[0].T.contiguous()[None]  # torch transposes matrices four times as fast as stacks of matrices


def _products(small: Tensor, image: Tensor) -> Tensor:
    """(B, n, k), (b, m, k) -> (B, n, m), products over k, with b = B or 1; one image is one matrix product for all."""
    if image.shape[0] == 1:
        return linear(small.flatten(0, 1), image[0]).view(*small.shape[:2], -1)
    if small.device.type != "cpu":
        return small @ image.transpose(1, 2)
    # one by one: a stack of products takes up to three times as long in bfloat16
    return torch.stack([linear(own, one) for own, one in zip(small, image, strict=True)])


def _head_weights(weight: Tensor, heads: int) -> Tensor:
    """Weight (h d, C) of a projection -> (h, d, C)."""
    return weight.view(heads, -1, weight.shape[1])


def _split_heads(x: Tensor, heads: int) -> Tensor:
    """(B, T, h d) -> (h, B T, d)."""
    return x.flatten(0, 1).unflatten(-1, (heads, -1)).transpose(0, 1)


def _join_heads(x: Tensor, batch: int) -> Tensor:
    """(h, B T, d) -> (B, T, h d)."""
    return x.transpose(0, 1).flatten(1).unflatten(0, (batch, -1))


def _by_prompt(x: Tensor, batch: int) -> Tensor:
    """(h, B T, c) -> (B, h T, c)."""
    return x.unflatten(1, (batch, -1)).transpose(0, 1).flatten(1, 2)


def _by_head(x: Tensor, heads: int) -> Tensor:
    """(B, h T, c) -> (h, B T, c)."""
    return x.unflatten(1, (heads, -1)).transpose(0, 1).flatten(1, 2)
