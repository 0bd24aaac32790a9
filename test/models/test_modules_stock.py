"""Our modules give the numbers of segment_anything with the same random weights."""

import pytest
import segment_anything.modeling as stock
import torch
from torch import nn

from micro_sam.models.modules.architectures import get_architecture, make_dense_head, make_mask_decoder
from micro_sam.models.modules.image_encoder import ImageEncoderViT, relative_positions
from micro_sam.models.modules.nano import NanoEncoder
from micro_sam.models.modules.prompt_encoder import PromptEncoder
from micro_sam.models.sam import Sam
from micro_sam.models.stock import to_segment_anything

TOLERANCE = 1e-4


def randomise(module: nn.Module, seed: int = 0) -> nn.Module:
    """Weights that no initialisation leaves at zero, and batch statistics as after training."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
        for name, buffer in module.named_buffers():
            if name.endswith("running_mean"):
                buffer.copy_(0.1 * torch.randn(buffer.shape, generator=generator))
            elif name.endswith("running_var"):
                buffer.copy_(0.5 + torch.rand(buffer.shape, generator=generator))
    return module


def small_model(architecture: str, seed: int) -> Sam:
    """A model of full width on a grid of 20 x 20 positions."""
    torch.manual_seed(seed)
    channels = get_architecture(architecture).embed_dim
    if architecture == "nano":
        encoder, size = NanoEncoder(160, channels), 160
    else:
        encoder, size = ImageEncoderViT(320, 16, 48, 2, 2, window_size=7, global_attn_indexes=(1,)), 320
    return randomise(
        Sam(
            encoder,
            PromptEncoder(channels, (20, 20), (size, size)),
            make_mask_decoder(architecture),
            make_dense_head(architecture),
            architecture,
        )
    ).eval()


@pytest.fixture(scope="module")
def sam() -> Sam:
    return small_model("vit_b", 0)


@pytest.fixture(scope="module")
def nano() -> Sam:
    return small_model("nano", 1)


def stock_encoder(encoder: ImageEncoderViT, sam: Sam) -> nn.Module:
    other = Sam(encoder, sam.prompt_encoder, sam.mask_decoder)
    return to_segment_anything(other).image_encoder


@pytest.mark.parametrize("grid, window", [(16, 14), (14, 7), (12, 5), (40, 14)])
def test_the_image_encoder_gives_stock_features_whether_or_not_the_windows_fit(sam, grid, window):
    encoder = ImageEncoderViT(16 * grid, 16, 96, 4, 3, window_size=window, global_attn_indexes=(1, 3))
    encoder = randomise(encoder).eval()
    reference = stock_encoder(encoder, sam)
    image = torch.randn(2, 3, 16 * grid, 16 * grid)
    with torch.no_grad():
        torch.testing.assert_close(encoder(image), reference(image), atol=TOLERANCE, rtol=0)


def test_the_image_encoder_gives_stock_features_at_full_resolution_with_few_layers(sam):
    encoder = randomise(ImageEncoderViT(1024, 16, 64, 2, 2, global_attn_indexes=(1,))).eval()
    reference = stock_encoder(encoder, sam)
    image = torch.randn(1, 3, 1024, 1024)
    with torch.no_grad():
        torch.testing.assert_close(encoder(image), reference(image), atol=TOLERANCE, rtol=0)


@pytest.mark.slow
def test_the_whole_vit_b_gives_stock_features():
    """All layers at full width on a part of the grid; on the whole grid a few narrow layers are compared above."""
    ours, grid = randomise(Sam.from_architecture("vit_b")), 24  # where windows of 14 do not fit, as on 64 x 64
    ours.image_encoder.pos_embed = nn.Parameter(ours.image_encoder.pos_embed[:, :grid, :grid].clone())
    image = torch.randn(1, 3, 16 * grid, 16 * grid)
    with torch.no_grad():
        expected = to_segment_anything(ours).image_encoder(image)
        torch.testing.assert_close(ours.image_encoder(image), expected, atol=TOLERANCE, rtol=0)


def test_the_image_encoder_has_the_gradients_of_stock(sam):
    encoder = randomise(ImageEncoderViT(96, 16, 32, 2, 2, window_size=4, global_attn_indexes=(1,)))
    reference = stock_encoder(encoder, sam)
    image = torch.randn(1, 3, 96, 96)
    gradients = []
    for module in (encoder, reference):
        encoder.zero_grad()
        module(image).square().sum().backward()
        gradients.append({name: p.grad.clone() for name, p in module.named_parameters()})
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][name], atol=1e-2, rtol=1e-4)


def test_relative_positions_of_another_size_are_interpolated_as_in_stock():
    from segment_anything.modeling.image_encoder import get_rel_pos

    table = torch.randn(27, 8)
    for size in (14, 9, 20):
        torch.testing.assert_close(relative_positions(table, size), get_rel_pos(size, size, table))


@pytest.mark.parametrize("architecture", ["vit_h", "vit_l", "vit_b"])
def test_state_dict_names_and_shapes_are_those_of_segment_anything(architecture):
    from segment_anything import sam_model_registry

    with torch.device("meta"):
        ours = Sam.from_architecture(architecture)
        reference = sam_model_registry[architecture]()
    shapes = {name: tensor.shape for name, tensor in ours.state_dict().items()}
    assert shapes == {name: tensor.shape for name, tensor in reference.state_dict().items()}


def test_the_stock_model_shares_the_parameters_of_ours(nano):
    reference = to_segment_anything(nano)
    shared = {name: tensor.data_ptr() for name, tensor in reference.state_dict().items()}
    for name, tensor in nano.state_dict().items():
        if not name.startswith("dense_head"):
            assert shared[name] == tensor.data_ptr(), name
    assert isinstance(reference, stock.Sam)
    assert not reference.training


def some_prompts(kind: str, batch: int, size: int) -> dict:
    generator = torch.Generator().manual_seed(batch)
    points = torch.rand(batch, 3, 2, generator=generator) * size
    labels = torch.randint(-1, 2, (batch, 3), generator=generator)
    boxes = torch.rand(batch, 4, generator=generator) * size
    masks = 5 * torch.randn(batch, 1, 80, 80, generator=generator)
    return {
        "points": (points, labels) if "points" in kind else None,
        "boxes": boxes if "boxes" in kind else None,
        "masks": masks if "masks" in kind else None,
    }


@pytest.mark.parametrize("architecture", ["sam", "nano"])
@pytest.mark.parametrize("kind", ["points", "boxes", "masks", "points boxes", "points boxes masks"])
def test_prompt_encoder_and_plain_decoder_give_the_numbers_of_stock(architecture, kind, request):
    ours = request.getfixturevalue(architecture)
    reference = to_segment_anything(ours)
    prompts = some_prompts(kind, 2, ours.image_size)
    features = torch.randn(1, ours.embed_dim, 20, 20)
    with torch.no_grad():
        for multimask in (True, False):
            results = []
            for model in (ours, reference):
                sparse, dense = model.prompt_encoder(**prompts)
                pe = model.prompt_encoder.get_dense_pe()
                results.append((sparse, dense, pe, *model.mask_decoder(features, pe, sparse, dense, multimask)))
            for ours_value, stock_value in zip(*results, strict=True):
                torch.testing.assert_close(ours_value, stock_value, atol=TOLERANCE, rtol=0)


def test_the_plain_decoder_has_the_gradients_of_stock(nano):
    reference = to_segment_anything(nano)
    prompts = some_prompts("points masks", 2, nano.image_size)
    features = torch.randn(1, 128, 20, 20)
    gradients = []
    for model in (nano, reference):
        nano.zero_grad()
        sparse, dense = model.prompt_encoder(**prompts)
        masks, scores = model.mask_decoder(features, model.prompt_encoder.get_dense_pe(), sparse, dense, True)
        (masks.square().mean() + scores.square().mean()).backward()
        gradients.append({n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None})
    for name, gradient in gradients[1].items():  # stock also computes the mask that is not asked for
        ours = gradients[0].get(name, torch.zeros_like(gradient))
        torch.testing.assert_close(ours, gradient, atol=1e-4, rtol=1e-3)


def test_nano_gives_the_same_features_in_training_form_and_with_folded_normalisation(nano):
    image = torch.randn(1, 3, 160, 160)
    with torch.no_grad():
        features, dense = nano.encode(image)
    with torch.enable_grad():  # evaluation mode, but normalisation and convolution one after the other
        plain_features, plain_dense = nano.encode(image)
    assert features.shape == (1, 128, 20, 20) and dense.shape == (1, 4, 80, 80)
    torch.testing.assert_close(features, plain_features.detach(), atol=TOLERANCE, rtol=0)
    torch.testing.assert_close(dense, plain_dense.detach(), atol=TOLERANCE, rtol=0)


def test_folded_weights_follow_training_steps_and_loaded_weights():
    encoder = NanoEncoder(64).eval()
    image = torch.randn(1, 3, 64, 64)

    def both() -> tuple[torch.Tensor, torch.Tensor]:
        with torch.no_grad():
            folded = encoder(image)
        return folded, encoder(image).detach()

    torch.testing.assert_close(*both(), atol=TOLERANCE, rtol=0)
    encoder.train()
    optimiser = torch.optim.SGD(encoder.parameters(), lr=0.1)
    encoder(image).square().mean().backward()
    optimiser.step()
    encoder.eval()
    torch.testing.assert_close(*both(), atol=TOLERANCE, rtol=0)
    encoder.load_state_dict(randomise(NanoEncoder(64), seed=3).state_dict())
    torch.testing.assert_close(*both(), atol=TOLERANCE, rtol=0)
    assert not any("derived" in name for name in encoder.state_dict())


def test_the_nano_encoder_takes_other_image_sizes():
    with torch.no_grad():
        assert NanoEncoder(256).eval()(torch.randn(2, 3, 256, 256)).shape == (2, 128, 32, 32)
