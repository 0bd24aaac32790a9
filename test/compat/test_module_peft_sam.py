"""``micro_sam.models.peft_sam``: what each of its surgeries trains, on a small encoder of segment-anything."""

from functools import partial

import pytest
import torch
from torch import nn

from micro_sam.errors import InputError, ModelError
from micro_sam.models import peft_sam


@pytest.fixture
def model():
    """A model with two blocks of a vision transformer."""
    from segment_anything import modeling

    sam = nn.Module()
    size = {"img_size": 64, "patch_size": 16, "embed_dim": 32, "depth": 2, "num_heads": 2, "out_chans": 8}
    norm = partial(nn.LayerNorm, eps=1e-6)
    sam.image_encoder = modeling.ImageEncoderViT(**size, norm_layer=norm, use_rel_pos=True, window_size=0)
    return sam


def trained(sam):
    return {name for name, parameter in sam.image_encoder.named_parameters() if parameter.requires_grad}


@pytest.mark.parametrize(
    ("surgery", "expected"),
    [
        (peft_sam.AttentionSurgery, lambda name: "attn" in name),
        (peft_sam.BiasSurgery, lambda name: name.endswith("bias")),
        (peft_sam.LayerNormSurgery, lambda name: "norm" in name),
        (peft_sam.ClassicalSurgery, lambda name: True),
        (peft_sam.SelectiveSurgery, lambda name: False),
    ],
)
def test_a_surgery_trains_what_it_names_in_the_blocks_that_are_chosen(model, surgery, expected):
    names = {name for name, _ in model.image_encoder.named_parameters() if name.startswith("blocks.")}
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        before = model.image_encoder(image)
        adapted = peft_sam.PEFT_Sam(model, peft_module=surgery)
        assert torch.equal(adapted.sam.image_encoder(image), before)
    assert trained(adapted.sam) == {name for name in names if expected(name)}
    last = peft_sam.PEFT_Sam(model, peft_module=surgery, attention_layers_to_update=[1])
    assert all(name.startswith("blocks.1.") for name in trained(last.sam))


def test_low_rank_adapters_begin_without_effect_and_are_all_that_is_trained(model):
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        before = model.image_encoder(image)
        adapted = peft_sam.PEFT_Sam(model, rank=2, update_matrices=["q", "k", "v", "mlp"])
        assert torch.allclose(adapted.sam.image_encoder(image), before, atol=1e-6)
    kinds = {type(module) for module in adapted.sam.image_encoder.modules()}
    assert {peft_sam.AttentionLoRA, peft_sam.MLPLoRA} <= kinds
    assert all(isinstance(block, peft_sam.LoRASurgery) for block in adapted.peft_blocks)
    adapted.sam.image_encoder(image).sum().backward()
    names = trained(adapted.sam)
    assert names and all("linear" in name or "lora" in name.lower() for name in names)
    assert all(p.grad is None for n, p in adapted.sam.image_encoder.named_parameters() if n not in names)


def test_what_cannot_be_adapted_is_said(model):
    with pytest.raises(InputError, match="update_matrices|'q'"):
        peft_sam.PEFT_Sam(model, rank=2, update_matrices=["w"])
    with pytest.raises(ModelError, match="4 bit"):
        peft_sam.PEFT_Sam(model, rank=2, quantize=True)
    model.image_encoder = nn.Conv2d(3, 8, 16, 16)
    with pytest.raises(ModelError, match="vit_b, vit_l and vit_h"):
        peft_sam.PEFT_Sam(model, rank=2)
