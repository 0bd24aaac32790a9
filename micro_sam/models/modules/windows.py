"""Cutting a token grid into square windows and joining them again."""

from __future__ import annotations

import torch
from torch import Tensor


def split_windows(x: Tensor, window: int, padding: Tensor) -> Tensor:
    """Cuts (B, H, W, D) into windows (B * n, window, window, D), row by row.

    A grid that is no multiple of the window is filled up at the bottom and on the right with ``padding`` (D,).
    """
    b, h, w, d = (int(n) for n in x.shape)  # numbers also where the call is traced (ONNX)
    rows, columns = -(-h // window), -(-w // window)
    if (rows * window, columns * window) != (h, w):
        padded = padding.to(x.dtype).expand(b, rows * window, columns * window, d).clone()
        padded[:, :h, :w] = x
        x = padded
    x = x.view(b, rows, window, columns, window, d).transpose(2, 3)
    return x.reshape(b * rows * columns, window, window, d)


def join_windows(windows: Tensor, window: int, size: tuple[int, int] | torch.Size) -> Tensor:
    """Undoes :func:`split_windows`: (B * n, window, window, D) -> (B, H, W, D), the padding cut off."""
    h, w = (int(n) for n in size)
    rows, columns = -(-h // window), -(-w // window)
    x = windows.view(-1, rows, columns, window, window, windows.shape[-1]).transpose(2, 3)
    return x.reshape(x.shape[0], rows * window, columns * window, -1)[:, :h, :w]
