"""Prompts -> tokens: points and boxes become sparse embeddings, a mask becomes a dense one.

State-dict names and numbers are those of Segment Anything (Kirillov et al. 2023, section 3).
"""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn

from micro_sam.models.modules.common import LayerNorm2d
from micro_sam.models.modules.derived import DerivedModule

BACKGROUND, FOREGROUND, PADDING = 0, 1, -1  # labels of points


class PositionEmbeddingRandom(nn.Module):
    """Random Fourier code of positions in the unit square, ``2 * num_pos_feats`` channels."""

    positional_encoding_gaussian_matrix: Tensor

    def __init__(self, num_pos_feats: int = 64, scale: float = 1.0) -> None:
        super().__init__()
        self.register_buffer("positional_encoding_gaussian_matrix", scale * torch.randn((2, num_pos_feats)))

    def encode(self, xy: Tensor) -> Tensor:
        """Code (..., 2 * num_pos_feats) of positions (..., 2), x before y, in 0..1."""
        phase = 2 * math.pi * ((2 * xy - 1) @ self.positional_encoding_gaussian_matrix)
        return torch.cat([phase.sin(), phase.cos()], dim=-1)

    def forward(self, size: tuple[int, int]) -> Tensor:
        """Code of the centres of a grid of ``size`` (h, w), as (C, h, w)."""
        h, w = size
        device = self.positional_encoding_gaussian_matrix.device
        y = (torch.arange(h, device=device, dtype=torch.float32) + 0.5) / h
        x = (torch.arange(w, device=device, dtype=torch.float32) + 0.5) / w
        grid = torch.stack([x.expand(h, w), y[:, None].expand(h, w)], dim=-1)
        return self.encode(grid).permute(2, 0, 1)


class PromptEncoder(DerivedModule):
    """Encodes prompts for the mask decoder.

    Parameters
    ----------
    embed_dim : int
        Channels C of the embeddings; even.
    image_embedding_size : tuple[int, int]
        Grid (h, w) of the image features.
    input_image_size : tuple[int, int]
        Size (H, W) of the padded input image, in pixels; prompts are given in this frame.
    mask_in_chans : int
        Hidden channels of the mask branch.
    """

    def __init__(
        self,
        embed_dim: int,
        image_embedding_size: tuple[int, int],
        input_image_size: tuple[int, int],
        mask_in_chans: int = 16,
    ) -> None:
        super().__init__()
        self.embed_dim = embed_dim
        self.image_embedding_size = image_embedding_size
        self.input_image_size = input_image_size
        self.mask_input_size = (4 * image_embedding_size[0], 4 * image_embedding_size[1])
        self.pe_layer = PositionEmbeddingRandom(embed_dim // 2)
        self.point_embeddings = nn.ModuleList(nn.Embedding(1, embed_dim) for _ in range(4))  # bg, fg, two box corners
        self.not_a_point_embed = nn.Embedding(1, embed_dim)
        self.mask_downscaling = nn.Sequential(
            nn.Conv2d(1, mask_in_chans // 4, kernel_size=2, stride=2),
            LayerNorm2d(mask_in_chans // 4),
            nn.GELU(),
            nn.Conv2d(mask_in_chans // 4, mask_in_chans, kernel_size=2, stride=2),
            LayerNorm2d(mask_in_chans),
            nn.GELU(),
            nn.Conv2d(mask_in_chans, embed_dim, kernel_size=1),
        )
        self.no_mask_embed = nn.Embedding(1, embed_dim)

    def point_embedding(self, kind: int) -> Tensor:
        """(1, C): 0 background, 1 foreground, 2 and 3 the corners of a box."""
        return cast("nn.Embedding", self.point_embeddings[kind]).weight

    def get_dense_pe(self) -> Tensor:
        """Positional code of the feature grid, (1, C, h, w); computed once per model."""
        matrix = self.pe_layer.positional_encoding_gaussian_matrix
        return self.derived("dense_pe", (matrix,), lambda: self.pe_layer(self.image_embedding_size)[None])

    def forward(
        self, points: tuple[Tensor, Tensor] | None, boxes: Tensor | None, masks: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Embeds prompts given in pixels of the padded input image.

        Parameters
        ----------
        points : tuple[Tensor, Tensor] | None
            Coordinates (B, N, 2), x before y, and labels (B, N): 1 foreground, 0 background, -1 padding.
        boxes : Tensor | None
            (B, 4), x0 y0 x1 y1.
        masks : Tensor | None
            Logits (B, 1, 4 h, 4 w).

        Returns
        -------
        Tensor
            Sparse embeddings (B, n, C).
        Tensor
            Dense embeddings (B, C, h, w).
        """
        sparse = self.embed_sparse(points, boxes)
        if masks is not None:
            batch = sparse.shape[0] if sparse is not None else masks.shape[0]
            dense = self.mask_downscaling(masks)
        else:
            batch = sparse.shape[0] if sparse is not None else 1
            dense = self.no_mask_embed.weight.reshape(1, -1, 1, 1).expand(batch, -1, *self.image_embedding_size)
        if sparse is None:
            sparse = self.no_mask_embed.weight.new_empty((batch, 0, self.embed_dim))
        return sparse, dense

    def embed_sparse(self, points: tuple[Tensor, Tensor] | None, boxes: Tensor | None) -> Tensor | None:
        """Embeddings (B, n, C) of points and boxes; None when there are neither."""
        parts = []
        if points is not None:
            parts.append(self._embed_points(*points, pad=boxes is None))
        if boxes is not None:
            parts.append(self._embed_boxes(boxes))
        return torch.cat(parts, dim=1) if parts else None

    def _embed_points(self, coords: Tensor, labels: Tensor, pad: bool) -> Tensor:
        if pad:  # the model was trained with one padding point where there is no box
            coords = torch.cat([coords, coords.new_zeros((coords.shape[0], 1, 2))], dim=1)
            labels = torch.cat([labels, labels.new_full((labels.shape[0], 1), PADDING)], dim=1)
        code = self._encode_pixels(coords)
        labels = labels[..., None]
        code = torch.where(labels == PADDING, self.not_a_point_embed.weight, code)
        code = torch.where(labels == BACKGROUND, code + self.point_embedding(0), code)
        return torch.where(labels == FOREGROUND, code + self.point_embedding(1), code)

    def _embed_boxes(self, boxes: Tensor) -> Tensor:
        corners = torch.cat([self.point_embedding(2), self.point_embedding(3)])
        return self._encode_pixels(boxes.reshape(-1, 2, 2)) + corners

    def _encode_pixels(self, xy: Tensor) -> Tensor:
        h, w = self.input_image_size
        return self.pe_layer.encode((xy.float() + 0.5) / xy.new_tensor([w, h], dtype=torch.float32))
