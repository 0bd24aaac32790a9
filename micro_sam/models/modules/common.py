"""Building blocks that the encoders and the decoder share. State-dict names are those of Segment Anything."""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from micro_sam.models.modules.derived import DerivedModule
from micro_sam.models.modules.products import Linear, linear


class LayerNorm2d(nn.Module):
    """Layer normalisation over the channels of (B, C, H, W), each position on its own."""

    def __init__(self, num_channels: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(num_channels))
        self.bias = nn.Parameter(torch.zeros(num_channels))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        normed = F.layer_norm(x.permute(0, 2, 3, 1), self.weight.shape, self.weight, self.bias, self.eps)
        return normed.permute(0, 3, 1, 2)


class MLPBlock(nn.Module):
    """Two linear layers with an activation between them, on the last axis."""

    def __init__(self, embedding_dim: int, mlp_dim: int, act: type[nn.Module] = nn.GELU) -> None:
        super().__init__()
        self.lin1 = Linear(embedding_dim, mlp_dim)
        self.lin2 = Linear(mlp_dim, embedding_dim)
        self.act = act()

    def forward(self, x: Tensor) -> Tensor:
        if isinstance(self.act, nn.GELU):
            return self.lin2(linear(x, self.lin1.weight, self.lin1.bias, gelu=True))
        return self.lin2(self.act(self.lin1(x)))


class ConvBN(DerivedModule, nn.Sequential):
    """Convolution without bias, batch normalisation, and an optional activation after them.

    The first two children are the convolution and the normalisation, whatever they are called. For inference the
    normalisation is folded into the convolution, which saves one pass over the activations.
    """

    def forward(self, x: Tensor) -> Tensor:
        first, second, *rest = self
        conv, norm = cast("nn.Conv2d", first), cast("nn.BatchNorm2d", second)
        if self.training or torch.is_grad_enabled():
            x = norm(conv(x))
        else:
            mean, variance = running(norm)
            sources = (conv.weight, norm.weight, norm.bias, mean, variance)
            weight, bias = self.derived("folded", sources, lambda: fold_batch_norm(conv, norm))
            if conv.kernel_size == conv.stride == (1, 1) and x.is_contiguous(memory_format=torch.channels_last):
                # one matrix product; torch has no fast convolution for this case on a single thread
                x = linear(x.permute(0, 2, 3, 1), weight.flatten(1), bias).permute(0, 3, 1, 2)
            else:
                x = F.conv2d(x, weight, bias, conv.stride, conv.padding, conv.dilation, conv.groups)
        for layer in rest:
            x = layer(x)
        return x


def running(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Mean and variance that a normalisation has learned, each (C,)."""
    mean, variance = norm.running_mean, norm.running_var
    assert mean is not None and variance is not None  # all normalisations here keep them
    return mean, variance


def fold_batch_norm(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Weight and bias of the one convolution that does what ``norm(conv(x))`` does in evaluation mode."""
    mean, variance = running(norm)
    scale = norm.weight / torch.sqrt(variance + norm.eps)
    weight = conv.weight * scale[:, None, None, None]
    return weight, norm.bias - mean * scale
