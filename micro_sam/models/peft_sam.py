"""Parameter-efficient fine-tuning of Segment Anything's image encoder, with the names of micro-sam 1.x.

The training of this program (``micro_sam.training``) needs none of this: ``trainable="lora"`` adapts all linear layers
and merges the adapters in the end. These classes are for scripts with a training loop of their own. Their checkpoints
open everywhere (``get_sam_model(checkpoint_path=...)``): adapters are merged when the file is read.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from micro_sam.errors import InputError, ModelError
from micro_sam.models.modules.common import MLPBlock
from micro_sam.models.sam import Sam

__all__ = [
    "AdaptFormer",
    "AttentionSurgery",
    "BiasSurgery",
    "ClassicalSurgery",
    "FacTSurgery",
    "LayerNormSurgery",
    "LoRASurgery",
    "PEFT_Sam",
    "SSFSurgery",
    "SelectiveSurgery",
]


class AttentionLoRA(nn.Module):
    """A layer for queries, keys and values, with low-rank changes of some of them; see `LoRASurgery`."""

    def __init__(self, qkv: nn.Linear, rank: int, parts: Sequence[str]) -> None:
        super().__init__()
        self.qkv_proj = qkv
        self.parts = [part for part in ("q", "k", "v") if part in parts]
        for part in self.parts:
            _add_factors(self, part, qkv.in_features, qkv.out_features // 3, rank)

    def forward(self, x: Tensor) -> Tensor:
        third = self.qkv_proj.out_features // 3
        change = [
            _change(self, part, x) if part in self.parts else x.new_zeros((*x.shape[:-1], third))
            for part in ("q", "k", "v")
        ]
        return self.qkv_proj(x) + torch.cat(change, -1)


class MLPLoRA(nn.Module):
    """The MLP of a block with low-rank changes of its two layers; see `LoRASurgery`."""

    def __init__(self, mlp: MLPBlock, rank: int) -> None:
        super().__init__()
        self.mlp_layer = mlp
        for part, layer in (("1", mlp.lin1), ("2", mlp.lin2)):
            _add_factors(self, part, layer.in_features, layer.out_features, rank)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.mlp_layer.act(self.mlp_layer.lin1(x) + _change(self, "1", x))
        return self.mlp_layer.lin2(hidden) + _change(self, "2", hidden)


class LoRASurgery(nn.Module):
    """Low-rank adapters (Hu et al. 2021) in one block of the encoder.

    Parameters
    ----------
    rank : int
    block : nn.Module
        With ``attn.qkv`` and ``mlp``; changed in place.
    update_matrices : sequence of str
        Of "q", "k", "v" and "mlp".
    """

    def __init__(self, rank: int, block: nn.Module, update_matrices: Sequence[str] = ("q", "v")) -> None:
        super().__init__()
        unknown = set(update_matrices) - {"q", "k", "v", "mlp"}
        if unknown or not rank or rank < 1:
            raise InputError(
                f"LoRA needs a rank of at least 1 (not {rank}) and matrices of 'q', 'k', 'v' and 'mlp' "
                f"(not {', '.join(sorted(unknown)) or 'others'})."
            )
        self.block = block
        if set(update_matrices) & {"q", "k", "v"}:
            attention = cast("Any", block.attn)
            attention.qkv = AttentionLoRA(attention.qkv, rank, update_matrices)
        if "mlp" in update_matrices:
            block.mlp = MLPLoRA(cast("MLPBlock", block.mlp), rank)

    def forward(self, x: Tensor) -> Tensor:
        return x


class SelectiveSurgery(nn.Module):
    """Trains some parameters of one block as they are; those whose name `chooses` accepts.

    Parameters
    ----------
    block : nn.Module
    """

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block
        for name, parameter in block.named_parameters():
            if self.chooses(name):
                parameter.requires_grad_(True)

    @staticmethod
    def chooses(name: str) -> bool:
        """Whether a parameter of the block, by its name, is trained."""
        return False

    def forward(self, x: Tensor) -> Tensor:
        return x


class ClassicalSurgery(SelectiveSurgery):
    """Trains the whole block."""

    @staticmethod
    def chooses(name: str) -> bool:
        return True


class AttentionSurgery(SelectiveSurgery):
    """Trains the attention layer of the block."""

    @staticmethod
    def chooses(name: str) -> bool:
        return name.startswith("attn.")


class BiasSurgery(SelectiveSurgery):
    """Trains the biases of the block."""

    @staticmethod
    def chooses(name: str) -> bool:
        return name.endswith(".bias")


class LayerNormSurgery(SelectiveSurgery):
    """Trains the normalisation layers of the block."""

    @staticmethod
    def chooses(name: str) -> bool:
        return name.startswith(("norm1.", "norm2."))


class _Unsupported(nn.Module):
    def __init__(self, *_: Any, **__: Any) -> None:
        raise ModelError(
            f"{type(self).__name__} is not supported: its checkpoints cannot be merged into an ordinary model. Use "
            'LoRASurgery, or train with micro_sam.training.train_sam(trainable="lora").'
        )


class FacTSurgery(_Unsupported):
    """Not supported; use `LoRASurgery`."""


class SSFSurgery(_Unsupported):
    """Not supported; use `LoRASurgery`."""


class ScaleShiftLayer(_Unsupported):
    """Not supported; part of `SSFSurgery`."""


class AdaptFormer(_Unsupported):
    """Not supported; use `LoRASurgery`."""


class PEFT_Sam(nn.Module):
    """A Segment Anything model of which only a small part of the image encoder is trained.

    Parameters
    ----------
    model : Sam or segment_anything.modeling.Sam
        A vision transformer (vit_b, vit_l, vit_h); its parameters are shared, not copied.
    rank : int, optional
        Of `LoRASurgery`.
    peft_module : class
        What is done to each block: `LoRASurgery`, `AttentionSurgery`, `BiasSurgery`, `LayerNormSurgery` or
        `ClassicalSurgery`.
    attention_layers_to_update : sequence of int, optional
        Numbers of the blocks; None: all.
    quantize : bool
        Not supported.
    **module_kwargs
        Further arguments of ``peft_module``.

    Attributes
    ----------
    sam : segment_anything.modeling.Sam
        The adapted model.
    """

    def __init__(
        self,
        model: nn.Module,
        rank: int | None = None,
        peft_module: type[nn.Module] = LoRASurgery,
        attention_layers_to_update: Sequence[int] | None = None,
        quantize: bool = False,
        **module_kwargs: Any,
    ) -> None:
        super().__init__()
        if quantize:
            raise ModelError("Quantized (4 bit) training is not supported; leave quantize out.")
        if isinstance(model, Sam):
            from micro_sam.models.stock import to_segment_anything  # imports torchvision: not before it is needed

            model = to_segment_anything(model)
        sam = model
        blocks = getattr(sam.image_encoder, "blocks", None)
        if blocks is None or not hasattr(blocks[0].attn, "rel_pos_h"):
            raise ModelError("Only the models vit_b, vit_l and vit_h have blocks for parameter-efficient fine-tuning.")
        sam.image_encoder.requires_grad_(False)
        selected = range(len(blocks)) if not attention_layers_to_update else attention_layers_to_update
        arguments = module_kwargs if issubclass(peft_module, SelectiveSurgery) else {"rank": rank, **module_kwargs}
        self.peft_module = peft_module
        self.peft_blocks = nn.ModuleList(peft_module(block=blocks[k], **arguments) for k in selected)
        self.sam = sam

    def forward(self, batched_input: list[dict[str, Any]], multimask_output: bool) -> list[dict[str, Tensor]]:
        """As ``segment_anything.modeling.Sam.forward``."""
        return self.sam(batched_input, multimask_output)


def check_peft_kwargs(peft_kwargs: Mapping[str, Any] | None) -> None:
    """Refuses what a checkpoint cannot be merged from.

    Raises
    ------
    ModelError
    """
    module = (peft_kwargs or {}).get("peft_module", LoRASurgery)
    if not (isinstance(module, type) and issubclass(module, LoRASurgery | SelectiveSurgery)):
        raise ModelError(f"Models fine-tuned with {getattr(module, '__name__', module)} are not supported; use LoRA.")
    if (peft_kwargs or {}).get("quantize"):
        raise ModelError("Quantized (4 bit) models are not supported; use LoRA without quantize.")


def _add_factors(module: nn.Module, part: str, n_in: int, n_out: int, rank: int) -> None:
    down, up = nn.Linear(n_in, rank, bias=False), nn.Linear(rank, n_out, bias=False)
    nn.init.kaiming_uniform_(down.weight, a=math.sqrt(5))
    nn.init.zeros_(up.weight)
    setattr(module, f"w_a_linear_{part}", down)
    setattr(module, f"w_b_linear_{part}", up)


def _change(module: nn.Module, part: str, x: Tensor) -> Tensor:
    return getattr(module, f"w_b_linear_{part}")(getattr(module, f"w_a_linear_{part}")(x))
