"""The model that is trained: where it starts, and which of its weights move."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import torch
from torch import nn

from micro_sam.errors import InputError
from micro_sam.models.build import build_model, get_sam_model
from micro_sam.models.modules.nano import NanoEncoder
from micro_sam.models.modules.unetr_decoder import UNETRDecoder
from micro_sam.models.registry import get_architecture_name
from micro_sam.models.sam import Sam
from micro_sam.training.config import TrainConfig
from micro_sam.training.lora import add_adapters

# Random Fourier frequencies of one scale cannot tell neighbouring positions of small objects apart; these can.
FREQUENCY_SCALES = (1.0, 3.0, 7.0, 14.0)


def make_model(config: TrainConfig, device: torch.device) -> Sam:
    """The model to start from, in float32, with a dense head where one is wanted.

    Raises
    ------
    InputError, ModelError
        When there is no such model, or its weights are not to be had.
    """
    torch.manual_seed(config.seed)
    if config.from_scratch:
        if config.checkpoint is not None:
            raise InputError("A training from scratch has no checkpoint to start from; leave one of the two out.")
        sam = build_model(get_architecture_name(config.model))
        if sam.architecture == "nano":
            mix_frequencies(sam)
    else:
        if config.checkpoint is not None and not Path(config.checkpoint).exists():
            raise InputError(f"There is no checkpoint {config.checkpoint}.")
        model_type = config.model if config.checkpoint is None else None
        _, sam = get_sam_model(model_type, "cpu", config.checkpoint, return_sam=True, precision="fp32")
    if config.dense_head == "add" and sam.dense_head is None:
        if sam.architecture == "nano":
            raise InputError("This nano model has no dense head; start from nano_lm, whose head can be trained on.")
        sam.dense_head = UNETRDecoder(sam.embed_dim)
    return sam.to(device)


def mix_frequencies(sam: Sam) -> None:
    """Gives a new nano model positional frequencies of several scales, the same in encoder and prompt encoder."""
    matrix = sam.prompt_encoder.pe_layer.positional_encoding_gaussian_matrix
    scales = torch.tensor(FREQUENCY_SCALES).repeat(matrix.shape[1] // len(FREQUENCY_SCALES) + 1)[: matrix.shape[1]]
    with torch.no_grad():
        matrix.copy_(torch.randn_like(matrix) * scales)
        cast(NanoEncoder, sam.image_encoder).freq.copy_(matrix)


def choose_parameters(sam: Sam, config: TrainConfig) -> list[nn.Parameter]:
    """Freezes what is not trained and returns the rest; adapters are added here."""
    sam.requires_grad_(True)
    trained: list[nn.Parameter] = []
    if config.trainable == "decoder":
        sam.image_encoder.requires_grad_(False)
    elif config.trainable == "lora":
        trained = add_adapters(sam.image_encoder, config.lora_rank)
    else:
        trained = list(sam.image_encoder.parameters())
    trained += [*sam.prompt_encoder.parameters(), *sam.mask_decoder.parameters()]
    if sam.dense_head is not None:
        sam.dense_head.requires_grad_(config.dense_head != "off")
        trained += list(sam.dense_head.parameters())
    return [p for p in trained if p.requires_grad]


def set_mode(sam: Sam, config: TrainConfig) -> None:
    """Statistics of batch normalisation are learned from scratch only; small batches would spoil those of a model."""
    sam.eval()
    if config.from_scratch:
        sam.train()
    elif config.dense_head == "add" and sam.dense_head is not None and sam.dense_kind == "distances":
        sam.dense_head.train()
