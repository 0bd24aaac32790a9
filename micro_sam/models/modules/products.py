"""Linear layers and attention in the form that is fastest on the device at hand; the numbers are the same to rounding.

Measured on one core of an AMD EPYC with AVX-512 (torch 2.14): oneDNN is 8 to 20 % faster than MKL for float32 products
and takes the bias and the GELU along; torch's fused attention runs bfloat16 at the speed of float32, two products and
a softmax run it 1.6 times as fast. Everything that records gradients, traces or runs on a GPU takes torch's own form.
"""

from __future__ import annotations

import platform

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# what torch's own compiler calls; not there in builds without oneDNN
_ONEDNN = getattr(torch.ops.mkldnn, "_linear_pointwise", None) if torch.backends.mkldnn.is_available() else None
if platform.machine().lower() not in ("x86_64", "amd64"):
    _ONEDNN = None  # not measured
# on processors without AVX-512 the fused product refuses bfloat16, which torch's own form computes there
_ONEDNN_BF16 = _ONEDNN is not None and torch.ops.mkldnn._is_mkldnn_bf16_supported()


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None, gelu: bool = False) -> Tensor:
    """``x @ weight.T + bias``, followed by a GELU if asked for.

    Parameters
    ----------
    x : Tensor
        (..., n).
    weight : Tensor
        (m, n).
    bias : Tensor | None
        (m,).
    gelu : bool
        Apply the (exact) GELU to the result.

    Returns
    -------
    Tensor
        (..., m).
    """
    # torch's own bfloat16 products are oneDNN's already; only the GELU gains there
    takes = x.dtype == torch.float32 or (gelu and (x.dtype != torch.bfloat16 or _ONEDNN_BF16))
    if _plain(x) and _ONEDNN is not None and x.dtype == weight.dtype and takes:
        return _ONEDNN(x, weight, bias, "gelu" if gelu else "none", [], "none")
    x = F.linear(x, weight, bias)
    return F.gelu(x) if gelu else x


class Linear(nn.Linear):
    """A linear layer (..., in) -> (..., out) by :func:`linear`."""

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias)


def attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None, scale: float | None = None) -> Tensor:
    """Scaled dot product attention, ``softmax(scale q k^T + bias) v``.

    Parameters
    ----------
    q, k, v : Tensor
        (B, heads, n, d), (B, heads, m, d), (B, heads, m, d).
    bias : Tensor | None
        Added to the scores; broadcasts to (B, heads, n, m).
    scale : float | None
        1 / sqrt(d) if None.

    Returns
    -------
    Tensor
        (B, heads, n, d).
    """
    if not (_plain(q, autocast=True) and q.dtype == torch.bfloat16):
        return F.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=scale)
    single = q.shape[0] == q.shape[1] == 1
    q, k, v = ((x[0, 0] if single else x) for x in (q * (q.shape[-1] ** -0.5 if scale is None else scale), k, v))
    scores = q @ k.transpose(-1, -2)
    if bias is not None:
        scores += bias.view(scores.shape) if single else bias
    out = torch.softmax(scores, dim=-1, dtype=scores.dtype) @ v
    return out[None, None] if single else out


def _plain(x: Tensor, autocast: bool = False) -> bool:
    """Whether this is inference on a CPU that nobody watches: no gradients, no trace, no casts (unless allowed)."""
    return (
        x.device.type == "cpu"
        and not torch.is_grad_enabled()
        and not torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]  # public, without types
        and (autocast or not torch.is_autocast_enabled("cpu"))
    )
