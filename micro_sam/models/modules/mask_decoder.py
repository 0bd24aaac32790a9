"""Image features and prompt tokens -> masks and their predicted quality (plain form, with gradients)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from micro_sam.models.modules.common import LayerNorm2d
from micro_sam.models.modules.derived import DerivedModule
from micro_sam.models.modules.transformer import TwoWayTransformer


class MLP(nn.Module):
    """Linear layers with ReLU between them."""

    def __init__(self, input_dim: int, hidden_dim: int, output_dim: int, num_layers: int) -> None:
        super().__init__()
        dims = [input_dim, *[hidden_dim] * (num_layers - 1), output_dim]
        self.layers = nn.ModuleList(nn.Linear(n, k) for n, k in zip(dims[:-1], dims[1:], strict=True))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers[:-1]:
            x = F.relu(layer(x))
        return self.layers[-1](x)


class MaskDecoder(DerivedModule):
    """SAM's mask decoder: one mask for unambiguous prompts and ``num_multimask_outputs`` for ambiguous ones.

    Parameters
    ----------
    transformer_dim : int
        Channels C of image features and tokens; a multiple of 8.
    transformer : TwoWayTransformer
    num_multimask_outputs : int
        Masks offered for an ambiguous prompt.
    iou_head_depth, iou_head_hidden_dim : int
        Depth and width of the MLP that predicts the masks' quality.
    """

    def __init__(
        self,
        *,
        transformer_dim: int,
        transformer: TwoWayTransformer,
        num_multimask_outputs: int = 3,
        iou_head_depth: int = 3,
        iou_head_hidden_dim: int = 256,
    ) -> None:
        super().__init__()
        self.transformer_dim = transformer_dim
        self.transformer = transformer
        self.num_multimask_outputs = num_multimask_outputs
        self.num_mask_tokens = num_multimask_outputs + 1
        self.iou_token = nn.Embedding(1, transformer_dim)
        self.mask_tokens = nn.Embedding(self.num_mask_tokens, transformer_dim)
        self.output_upscaling = nn.Sequential(
            nn.ConvTranspose2d(transformer_dim, transformer_dim // 4, kernel_size=2, stride=2),
            LayerNorm2d(transformer_dim // 4),
            nn.GELU(),
            nn.ConvTranspose2d(transformer_dim // 4, transformer_dim // 8, kernel_size=2, stride=2),
            nn.GELU(),
        )
        self.output_hypernetworks_mlps = nn.ModuleList(
            MLP(transformer_dim, transformer_dim, transformer_dim // 8, 3) for _ in range(self.num_mask_tokens)
        )
        self.iou_prediction_head = MLP(transformer_dim, iou_head_hidden_dim, self.num_mask_tokens, iou_head_depth)

    def mask_slice(self, multimask_output: bool | None) -> slice:
        """Which of the mask tokens are asked for; None: all."""
        if multimask_output is None:
            return slice(None)
        return slice(1, None) if multimask_output else slice(0, 1)

    def output_tokens(self) -> Tensor:
        """The learned tokens that come before the prompts: (1 + num_mask_tokens, C), quality first."""
        return torch.cat([self.iou_token.weight, self.mask_tokens.weight])

    def forward(
        self,
        image_embeddings: Tensor,
        image_pe: Tensor,
        sparse_prompt_embeddings: Tensor,
        dense_prompt_embeddings: Tensor,
        multimask_output: bool | None,
    ) -> tuple[Tensor, Tensor]:
        """Predicts masks for B prompts.

        Parameters
        ----------
        image_embeddings : Tensor
            (1, C, h, w), one image for all prompts, or (B, C, h, w).
        image_pe : Tensor
            (1, C, h, w), positional code of the grid.
        sparse_prompt_embeddings : Tensor
            (B, n, C).
        dense_prompt_embeddings : Tensor
            (B, C, h, w).
        multimask_output : bool | None
            Three masks for an ambiguous prompt instead of one; None: first the one, then the three.

        Returns
        -------
        Tensor
            Mask logits (B, M, 4 h, 4 w).
        Tensor
            Predicted IoU (B, M).
        """
        batch = sparse_prompt_embeddings.shape[0]
        tokens = torch.cat([self.output_tokens().expand(batch, -1, -1), sparse_prompt_embeddings], dim=1)
        src = image_embeddings + dense_prompt_embeddings
        if src.shape[0] != batch:
            src = src.expand(batch, -1, -1, -1)
        hidden, image = self.transformer(src, image_pe, tokens)

        upscaled = self.output_upscaling(image.transpose(1, 2).reshape(src.shape))
        selected = range(self.num_mask_tokens)[self.mask_slice(multimask_output)]
        weights = torch.stack([self.output_hypernetworks_mlps[i](hidden[:, 1 + i]) for i in selected], dim=1)
        masks = (weights @ upscaled.flatten(2)).unflatten(-1, upscaled.shape[-2:])
        return masks, self.iou_prediction_head(hidden[:, 0])[:, self.mask_slice(multimask_output)]
