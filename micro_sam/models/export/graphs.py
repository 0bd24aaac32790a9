"""The model as plain functions of tensors, for formats that know no Python.

Prompts are in pixels of the model's input: the image with its longest side resized to S pixels, padded to S x S at the
bottom and on the right. Names of inputs and outputs are those of Segment Anything's own ONNX export, and so is the way
to give a prompt: boxes are two points with the labels 2 (upper left) and 3 (lower right), and a prompt without a box
has one more point with the label -1.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from micro_sam.models.sam import Sam

BOX_CORNERS = (2, 3)  # labels of the points that are a box's corners, and the rows of their codes
MASKS = ("single", "ambiguous 1", "ambiguous 2", "ambiguous 3")  # what the four masks of a prompt are for


class EncoderGraph(nn.Module):
    """Image (1, 3, S, S), RGB in 0..255, padded with `PAD_COLOUR` -> features (1, C, g, g) [, dense (1, K, h, w)]."""

    def __init__(self, model: Sam) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        features, dense = self.model(image)
        return (features,) if dense is None else (features, dense)


class DenseGraph(nn.Module):
    """Features (1, C, g, g) -> dense maps (1, K, h, w), for heads that read the features ("distances")."""

    def __init__(self, model: Sam) -> None:
        super().__init__()
        self.model = model

    def forward(self, features: Tensor) -> Tensor:
        return self.model.dense_from_features(features)


class DecoderGraph(nn.Module):
    """Features and B prompts -> four masks for each, see `MASKS`.

    ``forward(image_embeddings (1, C, g, g), point_coords (B, N, 2) float x y, point_labels (B, N) float,
    mask_input (B, 1, 4 g, 4 g), has_mask_input (B,) float 0 or 1)`` returns logits (B, 4, 4 g, 4 g) and predicted
    IoU (B, 4).
    """

    def __init__(self, model: Sam) -> None:
        super().__init__()
        self.prompt_encoder = model.prompt_encoder
        self.mask_decoder = model.mask_decoder
        self.register_buffer("dense_pe", model.prompt_encoder.get_dense_pe().detach().clone(), persistent=False)

    def forward(
        self, image_embeddings: Tensor, point_coords: Tensor, point_labels: Tensor, mask_input: Tensor, has_mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        sparse = self._embed(point_coords, point_labels)
        has_mask = has_mask.view(-1, 1, 1, 1)
        no_mask = self.prompt_encoder.no_mask_embed.weight.view(1, -1, 1, 1)
        dense = has_mask * self.prompt_encoder.mask_downscaling(mask_input) + (1 - has_mask) * no_mask
        return self.mask_decoder(image_embeddings, self.dense_pe, sparse, dense, multimask_output=None)

    def _embed(self, xy: Tensor, labels: Tensor) -> Tensor:
        """Points and corners of boxes as tokens (B, N, C); ``labels`` is (B, N)."""
        encoder = self.prompt_encoder
        tokens = encoder._embed_points(xy, labels, pad=False)  # of a label that is no point's: the position alone
        for corner in BOX_CORNERS:
            own = tokens + encoder.point_embedding(corner)
            tokens = torch.where(labels[..., None] == corner, own, tokens)
        return tokens


class PromptedGraph(nn.Module):
    """Encoder and decoder in one, for formats of one graph; without mask prompts.

    ``forward(image (1, 3, S, S), point_coords (1, N, 2), point_labels (1, N))`` returns logits (1, 4, 4 g, 4 g),
    predicted IoU (1, 4), and dense maps (1, K, h, w) of a model that has them.
    """

    no_mask: Tensor

    def __init__(self, model: Sam) -> None:
        super().__init__()
        self.encoder = EncoderGraph(model)
        self.decoder = DecoderGraph(model)
        side = 4 * model.grid_size
        self.register_buffer("no_mask", torch.zeros(1, 1, side, side), persistent=False)

    def forward(self, image: Tensor, point_coords: Tensor, point_labels: Tensor) -> tuple[Tensor, ...]:
        features, *dense = self.encoder(image)
        masks = self.decoder(features, point_coords, point_labels, self.no_mask, self.no_mask[:, 0, 0, 0])
        return *masks, *dense
