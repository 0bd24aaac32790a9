"""MobileSAM's image encoder: a TinyViT with 5 million parameters (Wu et al. 2022; Zhang et al. 2023).

State-dict names are those of MobileSAM's checkpoints, the unused classification head among them. For inference the
batch normalisations are folded into the convolutions, and the tokens with which the windows are filled up are never
projected: the normalisation maps a token of zeros to its bias, so their keys and values are a constant.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from micro_sam.models.modules.common import ConvBN
from micro_sam.models.modules.derived import DerivedModule
from micro_sam.models.modules.image_encoder import make_neck
from micro_sam.models.modules.products import Linear, attend, linear
from micro_sam.models.modules.windows import join_windows, split_windows

EMBED_DIMS = (64, 128, 160, 320)
DEPTHS = (2, 2, 6, 2)
HEADS = (2, 4, 5, 10)
WINDOWS = (7, 7, 14, 7)
EXPANSION = 4  # hidden width of the convolution blocks and MLPs over their width
CLASSES = 1000  # of the classification head, which checkpoints hold and nobody uses


def conv_bn(cin: int, cout: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> ConvBN:
    """Convolution ``c`` and batch normalisation ``bn``."""
    block = ConvBN()
    block.add_module("c", nn.Conv2d(cin, cout, kernel, stride, kernel // 2, groups=groups, bias=False))
    block.add_module("bn", nn.BatchNorm2d(cout))
    return block


class PatchEmbed(nn.Module):
    """Image (B, 3, S, S) -> (B, D, S / 4, S / 4)."""

    def __init__(self, embed_dim: int) -> None:
        super().__init__()
        self.seq = nn.Sequential(conv_bn(3, embed_dim // 2, 3, 2), nn.GELU(), conv_bn(embed_dim // 2, embed_dim, 3, 2))

    def forward(self, x: Tensor) -> Tensor:
        return self.seq(x)


class MBConv(nn.Module):
    """Inverted bottleneck: widen, depth-wise 3 x 3, narrow, beside the identity."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        hidden = EXPANSION * dim
        self.conv1 = conv_bn(dim, hidden)
        self.conv2 = conv_bn(hidden, hidden, 3, groups=hidden)
        self.conv3 = conv_bn(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        return F.gelu(x + self.conv3(F.gelu(self.conv2(F.gelu(self.conv1(x))))))


class PatchMerging(nn.Module):
    """Changes the width and, unless ``stride`` is 1, halves the grid: (B, D, H, W) -> (B, D', H / s, W / s)."""

    def __init__(self, dim: int, out_dim: int, stride: int) -> None:
        super().__init__()
        self.conv1 = conv_bn(dim, out_dim)
        self.conv2 = conv_bn(out_dim, out_dim, 3, stride, groups=out_dim)
        self.conv3 = conv_bn(out_dim, out_dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv3(F.gelu(self.conv2(F.gelu(self.conv1(x)))))


class WindowAttention(DerivedModule):
    """Multi-head attention within windows, with a bias for every absolute offset and head."""

    attention_bias_idxs: Tensor

    def __init__(self, dim: int, num_heads: int, window: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.window = window
        self.norm = nn.LayerNorm(dim)
        self.qkv = Linear(dim, 3 * dim)
        self.proj = Linear(dim, dim)
        self.attention_biases = nn.Parameter(torch.zeros(num_heads, window * window))
        self.register_buffer("attention_bias_idxs", _offset_indices(window), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens (B, H, W, D) -> (B, H, W, D)."""
        size = x.shape[1:3]
        padding = F.linear(self.norm.bias, self.qkv.weight, self.qkv.bias)
        windows = split_windows(self.qkv(self.norm(x)), self.window, padding).flatten(1, 2)
        # in each head's part of the projection the query comes first, then key and value
        q, k, v = windows.unflatten(-1, (self.num_heads, 3, -1)).permute(3, 0, 2, 1, 4).unbind(0)
        out = attend(q, k, v, self._bias().to(q.dtype))
        out = out.transpose(1, 2).reshape(-1, self.window, self.window, x.shape[-1])
        return self.proj(join_windows(out, self.window, size))

    def _bias(self) -> Tensor:
        """(1, heads, window ** 2, window ** 2)."""
        if torch.is_grad_enabled():
            return self.attention_biases[:, self.attention_bias_idxs][None]
        return self.derived(
            "bias", (self.attention_biases,), lambda: self.attention_biases[:, self.attention_bias_idxs][None]
        )


def _offset_indices(window: int) -> Tensor:
    """Index of the offset (|dy|, |dx|) between every two positions of a window, row-major: (window², window²)."""
    y, x = torch.meshgrid(torch.arange(window), torch.arange(window), indexing="ij")
    y, x = y.flatten(), x.flatten()
    return (y[:, None] - y).abs() * window + (x[:, None] - x).abs()


class Mlp(nn.Module):
    """Normalisation and two linear layers with GELU between them."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.fc1 = Linear(dim, EXPANSION * dim)
        self.fc2 = Linear(EXPANSION * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(linear(self.norm(x), self.fc1.weight, self.fc1.bias, gelu=True))


class TinyViTBlock(nn.Module):
    """Window attention, a depth-wise convolution across the windows' borders, and an MLP."""

    def __init__(self, dim: int, num_heads: int, window: int) -> None:
        super().__init__()
        self.attn = WindowAttention(dim, num_heads, window)
        self.mlp = Mlp(dim)
        self.local_conv = conv_bn(dim, dim, 3, groups=dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, D, H, W) -> (B, D, H, W)."""
        tokens = x.permute(0, 2, 3, 1)
        x = self.local_conv((tokens + self.attn(tokens)).permute(0, 3, 1, 2))
        tokens = x.permute(0, 2, 3, 1)
        return (tokens + self.mlp(tokens)).permute(0, 3, 1, 2)


class Stage(nn.Module):
    """Blocks of one width, and the step to the next width."""

    def __init__(self, blocks: list[nn.Module], downsample: PatchMerging | None) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return x if self.downsample is None else self.downsample(x)


class TinyViT(nn.Module):
    """Image (B, 3, S, S) -> features (B, out_chans, S / 16, S / 16).

    Parameters
    ----------
    img_size : int
        Side S of the square input, in pixels; a multiple of 16.
    out_chans : int
        Channels of the features.
    """

    def __init__(self, img_size: int = 1024, out_chans: int = 256) -> None:
        super().__init__()
        self.img_size = img_size
        self.patch_embed = PatchEmbed(EMBED_DIMS[0])
        self.layers = nn.ModuleList()
        for i, (dim, depth) in enumerate(zip(EMBED_DIMS, DEPTHS, strict=True)):
            if i == 0:
                blocks: list[nn.Module] = [MBConv(dim) for _ in range(depth)]
            else:
                blocks = [TinyViTBlock(dim, HEADS[i], WINDOWS[i]) for _ in range(depth)]
            # MobileSAM keeps the grid at the last step, so that its features are as fine as SAM's
            last_step = i == len(DEPTHS) - 2
            merging = PatchMerging(dim, EMBED_DIMS[i + 1], 1 if last_step else 2) if i < len(DEPTHS) - 1 else None
            self.layers.append(Stage(blocks, merging))
        self.norm_head = nn.LayerNorm(EMBED_DIMS[-1])
        self.head = nn.Linear(EMBED_DIMS[-1], CLASSES)
        self.neck = make_neck(EMBED_DIMS[-1], out_chans)

    def forward(self, x: Tensor) -> Tensor:
        if not torch.is_grad_enabled():
            x = x.contiguous(memory_format=torch.channels_last)
        x = self.patch_embed(x)
        for stage in self.layers:
            x = stage(x)
        return self.neck(x)
