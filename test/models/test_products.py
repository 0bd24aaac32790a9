"""Linear layers and attention give the same numbers in whatever form the device runs them fastest."""

import pytest
import torch
import torch.nn.functional as F

from micro_sam.models.modules.products import Linear, attend, linear


@pytest.mark.parametrize("gelu", [False, True])
@pytest.mark.parametrize("shape", [(7, 24), (2, 3, 5, 24), (1, 24)])
def test_a_linear_layer_without_gradients_gives_the_numbers_of_torch(shape, gelu):
    x, weight, bias = torch.randn(shape), torch.randn(16, 24), torch.randn(16)
    for offset in (bias, None):
        expected = F.linear(x, weight, offset)
        expected = F.gelu(expected) if gelu else expected
        with torch.no_grad():
            torch.testing.assert_close(linear(x, weight, offset, gelu), expected, atol=1e-5, rtol=0)


def test_a_linear_layer_with_gelu_in_bfloat16_agrees_with_float32_to_its_rounding():
    x, weight, bias = torch.randn(9, 24), torch.randn(16, 24), torch.randn(16)
    with torch.no_grad():
        actual = linear(*(t.bfloat16() for t in (x, weight, bias)), gelu=True)
        assert actual.dtype == torch.bfloat16
        torch.testing.assert_close(actual.float(), F.gelu(F.linear(x, weight, bias)), atol=0.1, rtol=0.02)


def test_a_linear_layer_takes_weights_that_are_views():
    x, stored = torch.randn(9, 24), torch.randn(24, 16)
    with torch.no_grad():
        torch.testing.assert_close(linear(x, stored.T), x @ stored, atol=1e-5, rtol=0)


def test_a_linear_layer_has_gradients_and_the_names_of_torchs():
    layer, reference = Linear(8, 4), torch.nn.Linear(8, 4)
    reference.load_state_dict(layer.state_dict())
    x = torch.randn(3, 8)
    for one in (layer, reference):
        one(x).square().sum().backward()
    torch.testing.assert_close(layer.weight.grad, reference.weight.grad)


def test_under_autocast_a_linear_layer_computes_in_bfloat16():
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        assert Linear(8, 4)(torch.randn(3, 8)).dtype == torch.bfloat16


@pytest.mark.parametrize("batch, heads", [(1, 1), (3, 4)])
def test_attention_in_bfloat16_agrees_with_float32_to_its_rounding(batch, heads):
    q, k, v = (torch.randn(batch, heads, n, 16) for n in (25, 36, 36))
    for bias in (None, torch.randn(1, heads, 25, 36)):
        expected = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        with torch.no_grad():
            half = [None if x is None else x.bfloat16() for x in (q, k, v, bias)]
            actual = attend(*half)
            torch.testing.assert_close(attend(q, k, v, bias), expected)
        assert actual.dtype == torch.bfloat16
        torch.testing.assert_close(actual.float(), expected, atol=0.05, rtol=0)
