"""Decoders for automatic segmentation as objects of their own, as scripts of micro-sam 1.x hold them.

Here a decoder is a part of its model (``Sam.dense_head``). A decoder that is given beside a predictor makes a predictor
of the two.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from micro_sam.errors import InputError, ModelError
from micro_sam.models.build import get_sam_model
from micro_sam.models.device import get_device
from micro_sam.models.modules.unetr_decoder import UNETRDecoder
from micro_sam.models.predictor import Predictor
from micro_sam.models.sam import Sam

__all__ = ["UNETR", "DecoderAdapter", "get_decoder", "get_predictor_and_decoder", "get_unetr", "with_decoder"]


class UNETR(UNETRDecoder):
    """An image encoder and a decoder in one: images (B, 3, S, S), preprocessed -> maps (B, 3, S, S) in 0..1.

    Parameters
    ----------
    image_encoder : nn.Module
    decoder : UNETRDecoder
        Its parts become those of this module.
    """

    def __init__(self, image_encoder: nn.Module, decoder: UNETRDecoder) -> None:
        nn.Module.__init__(self)
        self.encoder = image_encoder
        for name, part in decoder.named_children():
            self.add_module(name, part)

    def forward(self, x: Tensor) -> Tensor:
        return self.decode(self.encoder(x))

    def decode(self, features: Tensor) -> Tensor:
        """Features (B, C, g, g) -> maps (B, 3, S, S)."""
        return super().forward(features)


class DecoderAdapter(nn.Module):
    """A decoder that takes features and says where they lie in the image.

    Parameters
    ----------
    unetr : nn.Module
        From `get_unetr`, or the dense head of a model.
    """

    def __init__(self, unetr: nn.Module) -> None:
        super().__init__()
        self.unetr = unetr

    @property
    def kind(self) -> str:
        """See ``Sam.dense_kind``."""
        return str(self.unetr.kind)

    def decode(self, features: Tensor) -> Tensor:
        """Features (B, C, g, g) -> maps (B, K, S, S)."""
        return self.unetr.decode(features) if isinstance(self.unetr, UNETR) else self.unetr(features)

    def forward(self, input_: Tensor, input_shape: tuple[int, int], original_shape: tuple[int, int]) -> Tensor:
        """Maps (B, 3, H, W) of the size of the image.

        Parameters
        ----------
        input_ : (B, C, g, g)
            Features.
        input_shape : (h, w)
            Of the resized image before padding.
        original_shape : (H, W)
            Of the image.
        """
        return to_image(self.decode(input_), input_shape, original_shape)


def to_image(maps: Tensor, input_shape: tuple[int, int], original_shape: tuple[int, int]) -> Tensor:
    """Maps (B, K, S, S) without their padding, (B, K, H, W)."""
    height, width = (int(size) for size in input_shape[-2:])
    return F.interpolate(maps[..., :height, :width], tuple(original_shape[-2:]), mode="bilinear", align_corners=False)


def get_unetr(
    image_encoder: nn.Module,
    decoder_state: Mapping[str, Tensor] | None = None,
    device: str | torch.device | None = None,
    out_channels: int = 3,
    flexible_load_checkpoint: bool = False,
    final_activation: str | None = "Sigmoid",
) -> UNETR:
    """A UNETR with the image encoder of a model.

    Parameters
    ----------
    image_encoder : nn.Module
        Of a Segment Anything model, ``predictor.model.image_encoder``.
    decoder_state : mapping, optional
        Weights of the decoder; None: random ones.
    device : str or torch.device, optional
    out_channels : int
        Number of maps.
    flexible_load_checkpoint, final_activation
        Only False and "Sigmoid".

    Raises
    ------
    InputError, ModelError
        For other values, and weights that do not fit.
    """
    if flexible_load_checkpoint or final_activation != "Sigmoid":
        raise InputError(
            "Only decoders with all their weights and a final sigmoid are supported: leave flexible_load_checkpoint "
            "and final_activation out."
        )
    decoder = UNETRDecoder(out_channels=out_channels)
    if decoder_state is not None:
        state = {name: value for name, value in decoder_state.items() if not name.startswith("encoder.")}
        decoder = UNETRDecoder.for_state(state)
        try:
            decoder.load_state_dict(state)
        except RuntimeError as error:
            raise ModelError(f"The weights do not fit a decoder for automatic segmentation: {error}") from error
    return UNETR(image_encoder, decoder).to(get_device(device)).eval()


def get_decoder(
    image_encoder: nn.Module, decoder_state: Mapping[str, Tensor], device: str | torch.device | None = None
) -> DecoderAdapter:
    """The decoder with these weights; see `get_unetr`."""
    return DecoderAdapter(get_unetr(image_encoder, decoder_state, device))


def get_predictor_and_decoder(
    model_type: str | None,
    checkpoint_path: str | os.PathLike[str] | None = None,
    device: str | torch.device | None = None,
    peft_kwargs: Mapping[str, Any] | None = None,
) -> tuple[Predictor, DecoderAdapter]:
    """A model with its decoder for automatic segmentation; parameters as of ``util.get_sam_model``.

    Raises
    ------
    ModelError
        When the model has no decoder.
    """
    predictor = get_sam_model(model_type, device, checkpoint_path, peft_kwargs=peft_kwargs)
    head = predictor.model.dense_head
    if head is None:
        raise ModelError(
            f"The model {predictor.model_name} has no decoder for automatic segmentation. Choose one that has, such as "
            "vit_b_lm or nano_lm, or use the automatic mask generator (get_amg)."
        )
    return predictor, DecoderAdapter(head)


def with_decoder(predictor: Predictor, decoder: nn.Module | None) -> Predictor:
    """A predictor of the model with this decoder; the predictor itself when the decoder is its own or None."""
    head = decoder.unetr if isinstance(decoder, DecoderAdapter) else decoder
    model = predictor.model
    if head is None or head is model.dense_head:
        return predictor
    if isinstance(head, UNETR):
        head = _Head(head)
    if getattr(head, "kind", None) is None:
        raise InputError(
            f"A decoder for automatic segmentation comes from get_decoder or get_predictor_and_decoder, not from "
            f"{type(decoder).__name__}."
        )
    sam = Sam(
        model.image_encoder, model.prompt_encoder, model.mask_decoder, cast(UNETRDecoder, head), model.architecture
    )
    return Predictor(sam, predictor.model_name, predictor.model_hash, predictor.device, predictor.precision)


def with_own_statistics(head: nn.Module) -> nn.Module:
    """A copy of a decoder whose batch normalisation uses the statistics of the image, not those of the training.

    micro-sam 1.8.14 leaves its decoders in training mode when it segments; the published ones were judged so.
    """
    head = copy.deepcopy(head)
    for module in head.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean = module.running_var = None
            module.track_running_stats = False
    return head


class _Head(nn.Module):
    """The decoder of a UNETR, for features."""

    def __init__(self, unetr: UNETR) -> None:
        super().__init__()
        self.unetr, self.kind = unetr, unetr.kind

    def forward(self, features: Tensor) -> Tensor:
        return self.unetr.decode(features)
