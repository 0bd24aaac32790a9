"""TinyViT gives the numbers of MobileSAM with the same random weights."""

import sys
from types import ModuleType

import pytest
import torch
from torch import nn

from micro_sam.models.sam import Sam


class _NoDropPath(nn.Module):
    def __init__(self, drop_prob=None):
        super().__init__()

    def forward(self, x):
        return x


@pytest.fixture(scope="module")
def mobile_sam():
    """The package, with the four names that it takes from timm where that is not installed."""
    stand_ins = {}
    try:
        import timm  # noqa: F401
    except ImportError:
        stand_ins = {name: ModuleType(name) for name in ("timm", "timm.models", "timm.models.layers")}
        stand_ins["timm.models.registry"] = ModuleType("timm.models.registry")
        stand_ins["timm.models.layers"].DropPath = _NoDropPath
        stand_ins["timm.models.layers"].to_2tuple = lambda x: (x, x)
        stand_ins["timm.models.layers"].trunc_normal_ = nn.init.trunc_normal_
        stand_ins["timm.models.registry"].register_model = lambda f: f
        sys.modules.update(stand_ins)
    try:
        yield pytest.importorskip("mobile_sam")
    finally:
        for name in stand_ins:
            sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def pair(mobile_sam):
    torch.manual_seed(0)
    reference = mobile_sam.sam_model_registry["vit_t"]().eval()
    with torch.no_grad():
        for parameter in reference.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
        for name, buffer in reference.named_buffers():
            if name.endswith("running_mean"):
                buffer.copy_(0.1 * torch.randn_like(buffer))
            elif name.endswith("running_var"):
                buffer.copy_(0.5 + torch.rand_like(buffer))
    reference.train().eval()  # its attention keeps a copy of the biases
    ours = Sam.from_architecture("vit_t")
    ours.load_state_dict(reference.state_dict())
    return ours, reference


def test_state_dict_names_and_shapes_are_those_of_mobile_sam(pair):
    ours, reference = pair
    shapes = {name: tensor.shape for name, tensor in ours.state_dict().items()}
    assert shapes == {name: tensor.shape for name, tensor in reference.state_dict().items()}


def test_features_are_those_of_mobile_sam(pair):
    ours, reference = pair
    image = torch.randn(1, 3, 1024, 1024)
    with torch.no_grad():
        torch.testing.assert_close(ours.image_encoder(image), reference.image_encoder(image), atol=1e-4, rtol=0)


def test_the_training_form_gives_the_same_features_at_another_size(pair):
    ours, _ = pair
    image = torch.randn(1, 3, 256, 256)
    with torch.no_grad():
        folded = ours.image_encoder(image)
    torch.testing.assert_close(ours.image_encoder(image).detach(), folded, atol=1e-4, rtol=0)
