"""Stacks whose "features" are the truth, so that tests of runs do not depend on a model's quality."""

import numpy as np
import torch

from micro_sam.embeddings.embeddings import Embeddings
from micro_sam.embeddings.store import MemoryStore
from micro_sam.embeddings.tiles import TileGrid
from micro_sam.models.predictor import ImageFeatures
from micro_sam.models.sizes import resized_size
from micro_sam.segmentation.values import ObjectMask


def oracle_stack(labels, tile_shape=None, halo=None):
    """Embeddings of a label stack (Z, H, W) for the Oracle of ``segmentation_helpers``."""
    grid = TileGrid(labels.shape[1:], tile_shape, halo)
    store = MemoryStore(grid, len(labels))
    for z, plane in enumerate(labels):
        for tile in grid:
            part = torch.from_numpy(plane[tile.outer].astype("int64"))[None, None]
            size = tuple(part.shape[-2:])
            store.write(z, tile.index, ImageFeatures(part, resized_size(size, 1024), size))
    return Embeddings(store)


def masks_of(labels, value, slices):
    """The object ``value`` in some slices."""
    return {z: ObjectMask.from_array(labels[z] == value) for z in slices}


def painted(steps, shape):
    """What the steps of a run leave in an empty stack."""
    result = np.zeros(shape, bool)
    for step in steps:
        if step.mask is not None:
            index = step.z if hasattr(step, "z") else step.t
            result[index] |= step.mask.full(shape[1:])
    return result


def cone(n_slices=15, shape=(90, 130), centre=(50, 70), radius=22, first=2, last=12):
    """An object that is largest in its middle slice, on a non-square plane; (labels)."""
    y, x = np.ogrid[: shape[0], : shape[1]]
    labels = np.zeros((n_slices, *shape), "uint32")
    middle, half = (first + last) / 2, (last - first) / 2
    for z in range(first, last + 1):
        r = radius * (1 - 0.45 * abs(z - middle) / half)
        labels[z][(y - centre[0]) ** 2 + (x - centre[1]) ** 2 <= r**2] = 5
    return labels
