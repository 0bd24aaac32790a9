"""Layers that only show something: they are not read back, and not made again when somebody deletes them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from napari import Viewer
from napari.layers import Image, Labels, Layer
from napari.utils import DirectLabelColormap

from micro_sam.sam_annotator.view.layers.label_layers import LabelLayer
from micro_sam.sam_annotator.view.layers.large_labels import LargeLabels, is_large_plane
from micro_sam.segmentation.values import ObjectMask

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


def replace(viewer: Viewer, name: str, layer: Layer | None, position: int, fallback: Layer) -> None:
    """Put an overlay in place of the one of its name, or (None) take that away; the selected layer stays selected.

    Parameters
    ----------
    position
        In the list of layers.
    fallback
        Is selected when the layer that was is gone.
    """
    active, layers = viewer.layers.selection.active, viewer.layers
    if name in layers:
        position -= layers.index(name) < position
        layers.remove(name)
    elif layer is None:
        return
    if layer is not None:
        layers.insert(position, layer)
    layers.selection.active = active if active in layers else fallback


class MaskOverlay:
    """One mask that comes and goes; only the part of the layer that changes is sent to the screen.

    Parameters
    ----------
    viewer
        Has the layer, until the user deletes it.
    layer
        Made by :func:`hover_layer`.
    """

    def __init__(self, viewer: Viewer, layer: Labels) -> None:
        self._viewer, self._layer = viewer, LabelLayer(layer)
        self._region: tuple[slice, slice] | None = None

    def draw(self, mask: ObjectMask | None) -> None:
        """Replace what is shown; None: nothing is."""
        layer = self._layer.layer
        if layer not in self._viewer.layers:
            return
        regions = [] if self._region is None else [self._region]
        if self._region is not None:
            layer.data[self._region] = 0
        self._region = None
        if mask is not None:
            y0, x0, y1, x1 = mask.box
            self._region = (slice(y0, y1), slice(x0, x1))
            layer.data[self._region] = mask.mask
            regions.append(self._region)
        if regions:
            both = zip(*regions, strict=True)  # the rows of all regions, then their columns
            self._layer.repaint(tuple(slice(min(p.start for p in axis), max(p.stop for p in axis)) for axis in both))
