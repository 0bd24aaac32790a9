"""Low-rank adapters in checkpoints of micro-sam 1.x, merged into the weights that they adapt.

Such a checkpoint holds, beside the frozen weight of a layer, two factors of what was learned (Hu et al. 2021): of the
queries, keys and values of an attention layer, and of the two layers of a block's MLP. The sum is an ordinary model.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

__all__ = ["merge_lora"]

FACTOR = re.compile(r"(?P<layer>.+)\.w_a_linear_(?P<part>q|k|v|1|2)\.weight")
PARTS = ("q", "k", "v")  # their order in the common projection


def merge_lora(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict with Segment Anything's names; one without adapters is returned as it is.

    Parameters
    ----------
    state : mapping of str -> Tensor
        With names such as ``image_encoder.blocks.0.attn.qkv.w_a_linear_q.weight``.
    """
    factors = [match for name in state if (match := FACTOR.fullmatch(name))]
    if not factors:
        return dict(state)
    merged = {_plain(name): value for name, value in state.items() if ".w_a_linear_" not in name}
    merged = {name: value for name, value in merged.items() if ".w_b_linear_" not in name}
    for match in factors:
        layer, part = match["layer"], match["part"]
        change = state[f"{layer}.w_b_linear_{part}.weight"].float() @ state[match[0]].float()
        name = f"{layer}.weight" if part in PARTS else f"{layer}.lin{part}.weight"
        weight = merged[name].float().clone()
        if part in PARTS:
            first = PARTS.index(part) * len(change)
            weight[first : first + len(change)] += change
        else:
            weight += change
        merged[name] = weight
    return merged


def _plain(name: str) -> str:
    return name.replace(".qkv.qkv_proj.", ".qkv.").replace(".mlp.mlp_layer.", ".mlp.")
