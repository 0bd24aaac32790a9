"""SAM's image encoder: a plain vision transformer with windowed and four global attention layers (ViT-B, -L, -H).

State-dict names and numbers are those of Segment Anything. What differs is the work: the relative position bias is
built for one head and a strip of rows at a time instead of for all heads at once, and the tokens with which the
windows are filled up to 14 x 14 are never projected (their queries are not needed, their keys and values are the bias).
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from micro_sam.models.modules.common import LayerNorm2d, MLPBlock
from micro_sam.models.modules.products import Linear, attend
from micro_sam.models.modules.windows import join_windows, split_windows

CPU_STRIP_BYTES = 8 * 2**20  # of the attention bias that each thread of a CPU holds at a time
GPU_STRIP_BYTES = 2**30  # of the attention bias on a GPU: all heads of one image


class PatchEmbed(nn.Module):
    """Image (B, 3, H, W) -> tokens (B, H / p, W / p, D)."""

    def __init__(self, patch_size: int, embed_dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, embed_dim, kernel_size=patch_size, stride=patch_size)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(x).permute(0, 2, 3, 1)


class RelPosAttention(nn.Module):
    """Multi-head attention with a relative position bias that is the sum of a row and a column part (MViTv2)."""

    def __init__(self, dim: int, num_heads: int, size: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.scale = (dim // num_heads) ** -0.5
        self.qkv = Linear(dim, 3 * dim)
        self.proj = Linear(dim, dim)
        self.rel_pos_h = nn.Parameter(torch.zeros(2 * size - 1, dim // num_heads))
        self.rel_pos_w = nn.Parameter(torch.zeros(2 * size - 1, dim // num_heads))

    def forward(self, x: Tensor, window: int = 0) -> Tensor:
        """Tokens (B, H, W, D) look at each other, everywhere or within windows of ``window`` x ``window``."""
        size = x.shape[1:3]
        qkv = self.qkv(x)
        if window:
            # A token of zeros, with which the stock model pads, has the bias as its query, key and value.
            qkv = split_windows(qkv, window, self.qkv.bias)
        b, h, w, _ = qkv.shape
        q, k, v = qkv.view(b, h * w, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        out = self._attend(q, k, v, (h, w)).transpose(1, 2).reshape(b, h, w, -1)
        if window:
            out = join_windows(out, window, size)
        return self.proj(out)

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, size: tuple[int, int]) -> Tensor:
        """q, k, v (B, heads, h w, d) -> (B, heads, h w, d)."""
        h, w = size
        rel_h, rel_w = (
            relative_positions(table, n).to(q.dtype) for table, n in ((self.rel_pos_h, h), (self.rel_pos_w, w))
        )
        grid = q.unflatten(2, size)  # (B, heads, h, w, d)
        rows = torch.einsum("bnhwc,hkc->bnhwk", grid, rel_h).unsqueeze(-1)  # (B, heads, h, w, h, 1)
        columns = torch.einsum("bnhwc,wkc->bnhwk", grid, rel_w).unsqueeze(-2)  # (B, heads, h, w, 1, w)
        tracked = torch.is_grad_enabled() and (q.requires_grad or rel_h.requires_grad)
        if tracked:
            return self._attend_with_bias(q, k, v, rows, columns)
        out = torch.empty_like(q)
        for part in _strips(rows.shape, q.element_size(), q.device.type == "cpu"):
            batch, heads, strip = part
            queries = slice(strip.start * w, strip.stop * w)
            out[batch, heads, queries] = self._attend_with_bias(
                q[batch, heads, queries], k[batch, heads], v[batch, heads], rows[part], columns[part]
            )
        return out

    def _attend_with_bias(self, q: Tensor, k: Tensor, v: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        bias = (rows + columns).flatten(4).flatten(2, 3)  # (B, heads, queries, keys)
        return attend(q, k, v, bias, self.scale)


def _strips(shape: torch.Size, element_size: int, on_cpu: bool) -> Iterator[tuple[slice, slice, slice]]:
    """Cuts queries (B, heads, h, w, ...) into parts whose bias stays in the caches of a CPU or the memory of a GPU.

    Yields slices of batch, heads and rows: several windows with all their heads, or some rows of one head.
    """
    b, heads, h, w = shape[:4]
    budget = (CPU_STRIP_BYTES * max(2, torch.get_num_threads()) if on_cpu else GPU_STRIP_BYTES) // element_size
    windows = budget // (heads * (h * w) ** 2)
    if windows:
        for start in range(0, b, windows):
            yield slice(start, min(start + windows, b)), slice(None), slice(0, h)
        return
    strip = max(1, min(h, budget // (w * h * w)))
    for i in range(b):
        for n in range(heads):
            for y in range(0, h, strip):
                yield slice(i, i + 1), slice(n, n + 1), slice(y, min(y + strip, h))


def relative_positions(table: Tensor, size: int) -> Tensor:
    """Embeddings (size, size, d) of query position minus key position, from a table (2 n - 1, d)."""
    if table.shape[0] != 2 * size - 1:
        table = F.interpolate(table.T[None], size=2 * size - 1, mode="linear")[0].T
    steps = torch.arange(size, device=table.device)
    return table[steps[:, None] - steps[None, :] + size - 1]


class Block(nn.Module):
    """Transformer block, pre-norm; ``window_size`` 0 is global attention."""

    def __init__(self, dim: int, num_heads: int, mlp_ratio: float, window_size: int, grid_size: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = RelPosAttention(dim, num_heads, window_size or grid_size)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = MLPBlock(dim, int(dim * mlp_ratio))
        self.window_size = window_size

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x), self.window_size)
        return x + self.mlp(self.norm2(x))


class ImageEncoderViT(nn.Module):
    """Image (B, 3, S, S) -> features (B, out_chans, S / p, S / p).

    Parameters
    ----------
    img_size : int
        Side S of the square input, in pixels; a multiple of ``patch_size``.
    patch_size : int
        Pixels per token, p.
    embed_dim, depth, num_heads, mlp_ratio
        Width, number of blocks, heads, and hidden width over width of the MLPs.
    out_chans : int
        Channels of the features.
    window_size : int
        Side of the attention windows, in tokens.
    global_attn_indexes : tuple[int, ...]
        Blocks with global attention.
    """

    def __init__(
        self,
        img_size: int = 1024,
        patch_size: int = 16,
        embed_dim: int = 768,
        depth: int = 12,
        num_heads: int = 12,
        mlp_ratio: float = 4.0,
        out_chans: int = 256,
        window_size: int = 14,
        global_attn_indexes: tuple[int, ...] = (2, 5, 8, 11),
    ) -> None:
        super().__init__()
        self.img_size = img_size
        grid = img_size // patch_size
        self.patch_embed = PatchEmbed(patch_size, embed_dim)
        self.pos_embed = nn.Parameter(torch.zeros(1, grid, grid, embed_dim))
        self.blocks = nn.ModuleList(
            Block(embed_dim, num_heads, mlp_ratio, 0 if i in global_attn_indexes else window_size, grid)
            for i in range(depth)
        )
        self.neck = make_neck(embed_dim, out_chans)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pos_embed + self.patch_embed(x)  # in this order, so that the channels lie next to each other
        for block in self.blocks:
            x = block(x)
        return self.neck(x.permute(0, 3, 1, 2))


def make_neck(dim: int, out_chans: int) -> nn.Sequential:
    """Two convolutions that bring the encoder's width to the features' channels."""
    return nn.Sequential(
        nn.Conv2d(dim, out_chans, kernel_size=1, bias=False),
        LayerNorm2d(out_chans),
        nn.Conv2d(out_chans, out_chans, kernel_size=3, padding=1, bias=False),
        LayerNorm2d(out_chans),
    )
