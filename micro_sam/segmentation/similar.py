"""Objects like some examples: by the mean embedding features of their pixels, their grey values, and their size.

The features of a small network (nano_lm) alone tell kinds of objects badly apart; grey values, where the image is at
hand, and sizes do much of the work there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from micro_sam.embeddings.compute import network_image

if TYPE_CHECKING:
    from micro_sam.embeddings.embeddings import Embeddings

__all__ = ["ObjectFeatures", "find_similar", "object_features", "similarity"]

THRESHOLD = 0.5  # similarity from which on an object counts as similar
FEATURES = 0.5  # exponent of the cosine: objects of one kind have 0.6 to 0.9 with nano_lm
GREY = 0.3  # difference of grey values, of 1 from black to white, at which objects are e times less similar
SIZE = 0.5  # exponent of the ratio of areas: an object four times as large as the example is half as similar


@dataclass(frozen=True, eq=False)
class ObjectFeatures:
    """What objects look like.

    Attributes
    ----------
    ids : (n,) int64
    features : (n, C) float32
        Mean of the embedding over the pixels of the object.
    areas : (n,) int64
        Pixels; in a stack, of the slice in which the object is largest.
    image_mean : (C,) float32
        Mean of the embedding where the objects are: what all of the image has in common says nothing of an object.
    grey : (n, 2) float32
        Mean and standard deviation of their pixels as the network sees them, 0 to 1; NaN where the image is not at
        hand.
    """

    ids: np.ndarray
    features: np.ndarray
    areas: np.ndarray
    image_mean: np.ndarray
    grey: np.ndarray


def object_features(embeddings: Embeddings, labels: np.ndarray, i: int | None = None) -> ObjectFeatures:
    """The mean embedding features of objects; those in tiles that are not embedded are left out.

    Parameters
    ----------
    embeddings : Embeddings
    labels : (H, W) or (Z, H, W) of integers
        Of the image, of a slice of a stack, or of the whole stack, where each object is looked at in the slice in which
        it is largest.
    i : int, optional
        Which slice (H, W) labels are of.
    """
    places: dict[int, tuple[int, int | None]] = {}
    for z, plane in [(i, labels)] if labels.ndim == 2 else enumerate(labels):
        for value, pixels in enumerate(np.bincount(plane.ravel()).tolist()):
            if value and pixels > places.get(value, (0, None))[0]:
                places[value] = (pixels, z)
    by_slice: dict[int | None, list[int]] = {}
    for value, (_, z) in places.items():
        by_slice.setdefault(z, []).append(value)
    ids, features, grey = [], [], []
    means: dict[tuple[int | None, int], np.ndarray] = {}
    for z, values in by_slice.items():
        plane = labels if labels.ndim == 2 else labels[z]
        boxes = ndimage.find_objects(plane.astype("int32", copy=False))
        for value in values:
            box = boxes[value - 1]
            mask = plane[box] == value
            y, x = (at + side.start for at, side in zip(np.nonzero(mask), box, strict=True))
            tile = embeddings.grid.tile_at(float(y.mean()), float(x.mean()))
            if not embeddings.is_complete(z, tile.index):
                continue
            image = embeddings.load(z, tile.index)
            values_of = image.features[0].float().cpu().numpy()  # (C, g, g)
            side = values_of.shape[-1]
            step = max(image.input_size) / side  # pixels of the network's input per feature
            cells = []
            for at, area, seen, size in zip((y, x), tile.outer, image.input_size, image.original_size, strict=True):
                inside = np.clip(at - area.start, 0, size - 1)
                cells.append(np.minimum(((inside + 0.5) * seen / size / step).astype(int), side - 1))
            weights = np.bincount(cells[0] * side + cells[1], minlength=side * side)
            ids.append(value)
            grey.append(_grey(embeddings, z, box, mask))
            features.append(values_of.reshape(len(values_of), -1) @ (weights / weights.sum()))
            if (z, tile.index) not in means:
                rows, columns = (max(1, round(size / step)) for size in image.input_size)
                means[z, tile.index] = values_of[:, :rows, :columns].mean((1, 2))
    n = len(next(iter(means.values()), ()))
    return ObjectFeatures(
        np.array(ids, "int64"),
        np.array(features, "float32").reshape(len(ids), n),
        np.array([places[value][0] for value in ids], "int64"),
        np.mean(list(means.values()), axis=0, dtype="float32") if means else np.zeros(0, "float32"),
        np.array(grey, "float32").reshape(-1, 2),
    )


def similarity(examples: ObjectFeatures, candidates: ObjectFeatures) -> np.ndarray:
    """How similar each candidate is to the example that it is most like, from 0 to 1; (n,) float32.

    That is the cosine of the angle between their features, less what all of the image has in common, times the square
    root of the ratio of their areas, times what is left of 1 for the difference of their grey values.
    """
    if not len(examples.ids) or not len(candidates.ids):
        return np.zeros(len(candidates.ids), "float32")
    a, b = (_directions(some.features - candidates.image_mean) for some in (candidates, examples))
    ratio = candidates.areas[:, None] / examples.areas[None]
    different = np.abs(candidates.grey[:, None] - examples.grey[None]).sum(-1) / GREY
    alike = np.exp(-np.nan_to_num(different))
    found = np.clip(a @ b.T, 0, 1) ** FEATURES * np.minimum(ratio, 1 / ratio) ** SIZE * alike
    most_like: np.ndarray = found.max(axis=1).astype("float32")
    return most_like


def find_similar(
    embeddings: Embeddings,
    candidates: np.ndarray,
    examples: np.ndarray,
    threshold: float = THRESHOLD,
    i: int | None = None,
) -> np.ndarray:
    """Those of some objects that are like examples.

    Parameters
    ----------
    embeddings : Embeddings
        Of the image or stack.
    candidates, examples : (H, W) or (Z, H, W) of integers
        Labels, for instance all objects of an automatic segmentation, and the selected ones.
    threshold : float
        Between 0 and 1; see :func:`similarity`.
    i : int, optional
        Slice of a stack that (H, W) labels are of.

    Returns
    -------
    labels
        `candidates` without the objects that are not similar; numbers stay.
    """
    found = object_features(embeddings, candidates, i)
    alike = similarity(object_features(embeddings, examples, i), found) >= threshold
    kept: np.ndarray = np.where(np.isin(candidates, found.ids[alike]), candidates, 0).astype(candidates.dtype)
    return kept


def _grey(embeddings: Embeddings, i: int | None, box: tuple[slice, slice], mask: np.ndarray) -> tuple[float, float]:
    """Mean and standard deviation of the pixels of an object."""
    if embeddings.image is None or embeddings.store.normalization is None:
        return float("nan"), float("nan")
    pixels = network_image(embeddings.image, i, box, embeddings.store)[mask] / 255
    return float(pixels.mean()), float(pixels.std())


def _directions(features: np.ndarray) -> np.ndarray:
    directions: np.ndarray = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-9)
    return directions
