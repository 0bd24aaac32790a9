"""Sizes, boxes, and how large the network sees an image. Nothing heavy: caches are checked before a model is there."""

from __future__ import annotations

Size = tuple[int, int]  # height, width
Box = tuple[int, int, int, int]  # (y0, x0, y1, x1), half-open, in pixels


def resized_size(original_size: Size, image_size: int) -> Size:
    """Size (h, w) of an image of ``original_size`` (H, W) once its longest side is ``image_size`` pixels."""
    scale = image_size / max(original_size)
    return int(original_size[0] * scale + 0.5), int(original_size[1] * scale + 0.5)
