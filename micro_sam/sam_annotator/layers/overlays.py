"""Layers that only show something: they are not read back, and not made again when somebody deletes them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from napari.layers import Image, Shapes

EMBEDDINGS = "embeddings"
CHOSEN = "chosen objects"
CHOSEN_COLOUR = "#ff9f1c"
FRAME_WIDTH = 2.5
"""Width of a frame in screen pixels."""


def embedding_layer(picture: np.ndarray, scale: Sequence[float], voxel: Sequence[float]) -> Image:
    """A picture of the embeddings, to be laid over the image.

    Parameters
    ----------
    picture
        (h, w, 3) or (Z, h, w, 3), float in 0..1.
    scale
        Size of its pixels in pixels of the image, per axis.
    voxel
        Size of the image's pixels.
    """
    return Image(
        picture,
        name=EMBEDDINGS,
        rgb=True,
        opacity=0.5,
        scale=tuple(s * v for s, v in zip(scale, voxel, strict=True)),
        translate=tuple((s - 1) / 2 * v for s, v in zip(scale, voxel, strict=True)),
    )


def frame_layer(boxes: Sequence[tuple[int, int, int, int]], scale: Sequence[float], zoom: float) -> Shapes:
    """Frames around half-open boxes (y0, x0, y1, x1); `zoom` is screen pixels per unit."""
    layer = Shapes(
        [[(y0 - 1.5, x0 - 1.5), (y1 + 0.5, x1 + 0.5)] for y0, x0, y1, x1 in boxes],
        shape_type="rectangle",
        name=CHOSEN,
        scale=scale,
        edge_color=CHOSEN_COLOUR,
        face_color="transparent",
        edge_width=FRAME_WIDTH / max(zoom * scale[-1], 1e-6),
    )
    layer.editable = False
    return layer
