"""The small convolutional encoder of ``nano_lm`` and its dense head.

A 512 x 512 image costs a fraction of a second on a laptop. Half of the object-identity problem is solved here: every
position predicts where the centre of its object lies, and the positional code of that centre is added to its feature,
so that the (stock) mask decoder can tell touching objects apart.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from micro_sam.models.modules.common import ConvBN, LayerNorm2d
from micro_sam.models.modules.products import Linear, attend

STRIDE = 8  # pixels of the input image per feature position


def conv_bn(cin: int, cout: int, kernel: int = 3, stride: int = 1, act: bool = True) -> ConvBN:
    """Convolution, batch normalisation and (unless ``act`` is False) GELU."""
    layers = [nn.Conv2d(cin, cout, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(cout)]
    return ConvBN(*layers, nn.GELU()) if act else ConvBN(*layers)


class Residual(nn.Module):
    """Two 3 x 3 convolutions beside the identity."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.a = conv_bn(dim, dim)
        self.b = conv_bn(dim, dim, act=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.gelu(x + self.b(self.a(x)))


class GlobalAttention(nn.Module):
    """Self-attention over all positions, pre-norm, with a depth-wise convolution as positional code."""

    def __init__(self, dim: int, heads: int = 6) -> None:
        super().__init__()
        self.pos = nn.Conv2d(dim, dim, 3, 1, 1, groups=dim)
        self.n = nn.LayerNorm(dim)
        self.qkv = Linear(dim, 3 * dim)
        self.proj = Linear(dim, dim)
        self.n2 = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(Linear(dim, 3 * dim), nn.GELU(), Linear(3 * dim, dim))
        self.heads = heads

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        x = x + self.pos(x)
        t = x.flatten(2).transpose(1, 2)
        q, k, v = self.qkv(self.n(t)).reshape(b, h * w, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        t = t + self.proj(attend(q, k, v).transpose(1, 2).reshape(b, h * w, c))
        t = t + self.mlp(self.n2(t))
        return t.transpose(1, 2).reshape(b, c, h, w)


class NanoEncoder(nn.Module):
    """Image (B, 3, S, S) -> features (B, out, S / 8, S / 8).

    Parameters
    ----------
    img_size : int
        Side S of the square input, in pixels; a multiple of 32.
    out : int
        Number of feature channels C; even.
    """

    freq: Tensor

    def __init__(self, img_size: int = 512, out: int = 128) -> None:
        super().__init__()
        self.img_size = img_size
        self.stem = nn.Sequential(conv_bn(3, 32, 3, 2), conv_bn(32, 48, 3, 2))
        self.s1 = Residual(48)
        self.d1 = conv_bn(48, 96, 3, 2)
        self.s2 = nn.Sequential(Residual(96), Residual(96))
        self.d2 = conv_bn(96, 192, 3, 2)
        self.s3 = nn.Sequential(Residual(192), GlobalAttention(192), Residual(192), GlobalAttention(192))
        self.d3 = conv_bn(192, 256, 3, 2)
        self.s4 = nn.Sequential(Residual(256), GlobalAttention(256, 8))
        self.u4 = conv_bn(256, 192, 1, act=False)
        self.r3 = Residual(192)
        self.u3 = conv_bn(192, out, 1, act=False)
        self.l2 = conv_bn(96, out, 1, act=False)
        self.l1 = conv_bn(48, out, 3, 2, act=False)
        self.fuse = nn.Sequential(Residual(out), nn.Conv2d(out, out, 3, padding=1, bias=False))
        self.norm = LayerNorm2d(out)
        self.cen = nn.Sequential(
            nn.Conv2d(out, out, 1), nn.GELU(), nn.Conv2d(out, out, 1), nn.GELU(), nn.Conv2d(out, 2, 1)
        )
        self.ident = nn.Conv2d(out, out, 1)
        # Copy of the prompt encoder's random Fourier frequencies: centres and clicks speak the same code.
        self.register_buffer("freq", torch.zeros(2, out // 2))

    def trunk(self, x: Tensor) -> Tensor:
        """Image (B, 3, S, S) -> features before the centre code (B, C, S / 8, S / 8); the dense head reads these."""
        a = self.s1(self.stem(x))  # stride 4
        b = self.s2(self.d1(a))  # stride 8
        c = self.s3(self.d2(b))  # stride 16
        c = self.r3(c + _upsample_like(self.u4(self.s4(self.d3(c))), c))
        return self.norm(self.fuse(F.gelu(_upsample_like(self.u3(c), b) + self.l2(b) + self.l1(a))))

    def centre_offsets(self, trunk: Tensor) -> Tensor:
        """Predicted offset from each position to the centre of its object, (B, 2, h, w), (y, x) in strides."""
        return self.cen(trunk)

    def add_centre_code(self, trunk: Tensor) -> Tensor:
        """Adds the positional code of each position's predicted object centre: trunk -> features, same shape."""
        h, w = trunk.shape[-2:]
        ys, xs = torch.meshgrid(
            torch.arange(h, device=trunk.device), torch.arange(w, device=trunk.device), indexing="ij"
        )
        xy = torch.stack([xs, ys]).float()[None] * STRIDE + STRIDE / 2
        centre = xy + self.centre_offsets(trunk).float().flip(1) * STRIDE
        # float32 under autocast too: a phase of many turns does not survive bfloat16
        with torch.autocast(trunk.device.type, enabled=False):
            code = (2 * centre.permute(0, 2, 3, 1) / self.img_size - 1) @ self.freq.float() * (2 * math.pi)
            code = torch.cat([code.sin(), code.cos()], -1).permute(0, 3, 1, 2)
        return trunk + self.ident(code.to(trunk.dtype))

    def forward(self, x: Tensor) -> Tensor:
        """Image (B, 3, S, S) -> features (B, C, S / 8, S / 8)."""
        return self.add_centre_code(self.trunk(x))


class DenseHead(nn.Module):
    """Trunk features (B, C, g, g) -> dense maps (B, 4, 4 g, 4 g).

    The maps: foreground logit; distance to the object's boundary (0..1 per object); offset to the object's centre in
    y and in x, in object radii.
    """

    kind = "offsets"
    scale = 4  # map positions per feature position, along each axis

    def __init__(self, dim: int = 128) -> None:
        super().__init__()
        self.a = nn.ConvTranspose2d(dim, 64, 2, 2)
        self.b = nn.ConvTranspose2d(64, 32, 2, 2)
        self.c = nn.Conv2d(32, 4, 3, padding=1)

    def forward(self, trunk: Tensor) -> Tensor:
        return self.c(F.gelu(self.b(F.gelu(self.a(trunk)))))


def _upsample_like(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, size=like.shape[-2:], mode="bilinear", align_corners=False)
