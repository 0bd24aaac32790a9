"""Layers that only show something: they are not read back, and not made again when somebody deletes them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from napari.layers import Image, Labels
from napari.utils import DirectLabelColormap

from micro_sam.sam_annotator.view.layers.large_labels import LargeLabels, is_large_plane

EMBEDDINGS = "embeddings"
HOVER = "under_the_mouse"
HOVER_COLOUR = (1.0, 0.85, 0.2, 1.0)


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


def hover_layer(shape: tuple[int, int], scale: Sequence[float] | None) -> Labels:
    """An empty layer, one byte per pixel, for the mask that a click would give; in a stack it lies over every slice.

    Parameters
    ----------
    shape
        (H, W).
    scale
        Size of the image's pixels, or None.
    """
    colours = DirectLabelColormap(color_dict={None: (0, 0, 0, 0), 0: (0, 0, 0, 0), 1: HOVER_COLOUR})
    scale = None if scale is None else tuple(scale)[-2:]
    kind = LargeLabels if is_large_plane(shape) else Labels
    return kind(np.zeros(shape, "uint8"), name=HOVER, scale=scale, opacity=0.45, colormap=colours)
