"""Low-rank adapters on the linear layers of an image encoder (Hu et al. 2021, arXiv 2106.09685).

Ten lines of our own instead of ``peft``: the adapters are merged into the weights when training ends, so the result is
an ordinary model that every tool opens, and nothing of peft's bookkeeping, nor the dependency, would be used.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from micro_sam.errors import InputError

MIN_WIDTH = 64  # narrower layers are cheaper to train as they are


class LowRank(nn.Module):
    """The part that is learned of a weight (out, in): ``weight + up @ down``, starting at the weight itself."""

    def __init__(self, out_features: int, in_features: int, rank: int) -> None:
        super().__init__()
        self.down = nn.Parameter(torch.empty(rank, in_features))
        self.up = nn.Parameter(torch.zeros(out_features, rank))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))

    def forward(self, weight: Tensor) -> Tensor:
        return weight + self.up @ self.down


def add_adapters(encoder: nn.Module, rank: int) -> list[nn.Parameter]:
    """Freezes an encoder and gives its linear layers adapters; returns what there is to train.

    Raises
    ------
    InputError
        When the encoder has no linear layers to adapt.
    """
    encoder.requires_grad_(False)
    layers = [m for m in encoder.modules() if isinstance(m, nn.Linear) and min(m.weight.shape) >= MIN_WIDTH]
    if not layers:
        raise InputError("This model's encoder has no layers for low-rank adapters; train it fully, or its decoder.")
    trained = []
    for layer in layers:
        adapter = LowRank(layer.weight.shape[0], layer.weight.shape[1], rank).to(layer.weight.device)
        nn.utils.parametrize.register_parametrization(layer, "weight", adapter)
        trained += [adapter.down, adapter.up]
    return trained


def merge_adapters(model: nn.Module) -> None:
    """Adds the adapters to the weights and removes them; the names of the weights are the original ones again."""
    for layer in model.modules():
        if nn.utils.parametrize.is_parametrized(layer, "weight"):
            nn.utils.parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)
