"""Layers that only show something: they are not read back, and not made again when somebody deletes them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from napari.layers import Image

EMBEDDINGS = "embeddings"


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
