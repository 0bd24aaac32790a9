"""The Segment Anything model: image encoder, prompt encoder, mask decoder, and optionally a dense head."""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from micro_sam.errors import ModelError
from micro_sam.models.frames import PIXEL_MEAN
from micro_sam.models.modules import architectures
from micro_sam.models.modules.image_encoder import ImageEncoderViT
from micro_sam.models.modules.mask_decoder import MaskDecoder
from micro_sam.models.modules.nano import DenseHead, NanoEncoder
from micro_sam.models.modules.prompt_encoder import PromptEncoder
from micro_sam.models.modules.tiny_vit import TinyViT
from micro_sam.models.modules.unetr_decoder import UNETRDecoder

PIXEL_STD = (58.395, 57.12, 57.375)


class Sam(nn.Module):
    """A Segment Anything model with the state-dict names of the original.

    Parameters
    ----------
    image_encoder : nn.Module
        Image (B, 3, S, S) -> features (B, C, g, g); has the attribute ``img_size`` (S).
    prompt_encoder : PromptEncoder
    mask_decoder : MaskDecoder
    dense_head : nn.Module | None
        Head for automatic segmentation with an attribute ``kind``: "offsets" (reads the encoder's trunk) or
        "distances" (reads the features).
    architecture : str
        "vit_h", "vit_l", "vit_b", "vit_t" or "nano".

    Attributes
    ----------
    decode_window : int | None
        See ``Architecture``; set it to None to decode on the whole grid.
    close_up : int | None
        See ``Architecture``; set it to None to never look closer.
    """

    mask_threshold: float = 0.0
    image_format: str = "RGB"

    image_encoder: ImageEncoderViT | TinyViT | NanoEncoder
    dense_head: DenseHead | UNETRDecoder | None
    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(
        self,
        image_encoder: ImageEncoderViT | TinyViT | NanoEncoder,
        prompt_encoder: PromptEncoder,
        mask_decoder: MaskDecoder,
        dense_head: DenseHead | UNETRDecoder | None = None,
        architecture: str = "vit_b",
    ) -> None:
        super().__init__()
        self.image_encoder = image_encoder
        self.prompt_encoder = prompt_encoder
        self.mask_decoder = mask_decoder
        self.dense_head = dense_head
        self.architecture = architecture
        self.decode_window = architectures.get_architecture(architecture).decode_window
        self.close_up = architectures.get_architecture(architecture).close_up
        self.register_buffer("pixel_mean", torch.tensor(PIXEL_MEAN).view(-1, 1, 1), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(PIXEL_STD).view(-1, 1, 1), persistent=False)

    @classmethod
    def from_architecture(cls, architecture: str, dense_head: DenseHead | UNETRDecoder | None = None) -> Sam:
        """A model with random weights, in evaluation mode.

        Parameters
        ----------
        architecture : str
            One of ``architectures.ARCHITECTURES``; another name is an `InputError`.
        dense_head : nn.Module | None
            None is the architecture's own head: nano has one, the others have none.
        """
        return cls(
            architectures.make_image_encoder(architecture),
            architectures.make_prompt_encoder(architecture),
            architectures.make_mask_decoder(architecture),
            dense_head if dense_head is not None else architectures.make_dense_head(architecture),
            architecture,
        ).eval()

    @property
    def image_size(self) -> int:
        """Side of the square input image, in pixels."""
        return self.image_encoder.img_size

    @property
    def whole_up_to(self) -> float:
        """See ``Architecture``."""
        return architectures.get_architecture(self.architecture).whole_up_to

    @property
    def smallest_halo(self) -> int:
        """See ``Architecture``."""
        return architectures.get_architecture(self.architecture).smallest_halo

    @property
    def grid_size(self) -> int:
        """Side g of the feature grid; masks come out at 4 g x 4 g."""
        return self.prompt_encoder.image_embedding_size[0]

    @property
    def embed_dim(self) -> int:
        """Channels of the features."""
        return self.prompt_encoder.embed_dim

    @property
    def dense_kind(self) -> str | None:
        """What the dense maps mean: "offsets", "distances", or None without a dense head."""
        return None if self.dense_head is None else self.dense_head.kind

    @property
    def device(self) -> torch.device:
        return self.pixel_mean.device

    def preprocess(self, x: Tensor, side: int | None = None) -> Tensor:
        """Normalises the colours of (..., 3, h, w) in 0..255; pads to ``side`` (that of the input), bottom and right,
        with zeros."""
        x = (x - self.pixel_mean) / self.pixel_std
        h, w = x.shape[-2:]
        side = side or self.image_size
        return F.pad(x, (0, side - w, 0, side - h))

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Preprocessed images (B, 3, S, S) -> features (B, C, g, g) and dense maps (B, K, h, w) or None.

        Only a head that needs the trunk runs here. One that reads the features ("distances", as dear as a vit_b) waits
        until somebody asks for its maps, see :meth:`dense_from_features`.
        """
        if self.dense_kind == "offsets":
            trunk = self.trunk(x)
            return cast(NanoEncoder, self.image_encoder).add_centre_code(trunk), self.maps_of_trunk(trunk)
        return self.image_encoder(x), None

    def dense_from_features(self, features: Tensor) -> Tensor:
        """Dense maps (B, K, h, w) from features (B, C, g, g), for heads that need no more than these.

        Raises
        ------
        ModelError
            When the model has no dense head, or its head reads the encoder's trunk.
        """
        if self.dense_kind is None:
            raise ModelError(
                f"The model ({self.architecture}) has no decoder for automatic segmentation; "
                "choose a model that has one, or use the automatic mask generator."
            )
        if self.dense_kind == "offsets":
            raise ModelError(
                "The dense maps of this model are computed together with its features and cannot be had from them "
                "afterwards; compute the embeddings again."
            )
        assert self.dense_head is not None
        return self.dense_head(features)

    def trunk(self, x: Tensor) -> Tensor:
        """Preprocessed images -> what the encoder of a model with "offsets" sees before its centre code."""
        return cast(NanoEncoder, self.image_encoder).trunk(x)

    def maps_of_trunk(self, trunk: Tensor) -> Tensor:
        """Dense maps (B, K, h, w) of :meth:`trunk`, for a model with "offsets"."""
        return cast(DenseHead, self.dense_head)(trunk)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Images (B, 3, h, w) in 0..255, longest side S -> features and dense maps, see :meth:`encode`."""
        return self.encode(self.preprocess(images))
