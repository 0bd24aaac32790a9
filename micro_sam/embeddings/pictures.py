"""Image embeddings as pictures: what the network tells apart has different colours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from micro_sam.embeddings.embeddings import Embeddings, as_embeddings
from micro_sam.embeddings.store import Item

if TYPE_CHECKING:
    from micro_sam.models.predictor import ImageFeatures

__all__ = ["compute_pca", "project_embeddings_for_visualization"]

SAMPLES = 20_000  # vectors that the components are found from
PERCENTILES = (1, 99)


def compute_pca(embeddings: np.ndarray, n_components: int = 3, as_rgb: bool = True) -> np.ndarray:
    """The first principal components of features.

    Parameters
    ----------
    embeddings
        (1, C, g, g) or (Z, 1, C, g, g), or the same without the axis of length 1.
    n_components
        Number of components, at most C.
    as_rgb
        As colours, each component stretched over 0..255, uint8; else the components themselves, float32.

    Returns
    -------
    np.ndarray
        (g, g, n) or (Z, g, g, n); all slices share the components, so colours can be compared.
    """
    features = np.asarray(embeddings, dtype="float32")
    if features.ndim == 4 and features.shape[0] == 1:
        features = features[0]
    elif features.ndim == 5:
        features = features[:, 0]
    maps = np.moveaxis(features, -3, -1)
    vectors = maps.reshape(-1, maps.shape[-1])
    components, mean = _components(vectors, n_components)
    projected = (vectors - mean) @ components.T
    return (_colours(projected) if as_rgb else projected).reshape(*maps.shape[:-1], n_components)


def project_embeddings_for_visualization(
    image_embeddings: Embeddings | Mapping[str, Any], n_components: int = 3, as_rgb: bool = True
) -> tuple[np.ndarray, tuple[float, ...]]:
    """The principal components of an image's embeddings as a colour image, and how to lay it over the image.

    Parameters
    ----------
    image_embeddings
        2D, 3D, tiled or untiled; what is not computed yet is left black.
    n_components
        Colours.
    as_rgb
        See :func:`compute_pca`.

    Returns
    -------
    image : np.ndarray
        uint8, or with ``as_rgb=False`` float32, (h, w, n) or (Z, h, w, n), a few hundred pixels wide.
    scale : tuple of float
        Size of its pixels in pixels of the original image, along (y, x) or (z, y, x).
    """
    embeddings = as_embeddings(image_embeddings)
    grid, store = embeddings.grid, embeddings.store
    complete = [item for item in store.items() if store.is_complete(*item)]
    step = _pixel_size(embeddings, complete)
    height, width = (max(1, round(size / step)) for size in grid.shape)
    slices = 1 if embeddings.n_slices is None else embeddings.n_slices
    picture = np.zeros((slices, height, width, n_components), "float32")
    covered = np.zeros((slices, height, width), bool)
    scale = (grid.shape[0] / height, grid.shape[1] / width)
    if complete:
        per_item = max(16, SAMPLES // len(complete))
        sample = np.concatenate([_vectors(store.load(*item))[:: max(1, 4096 // per_item)] for item in complete])
        components, mean = _components(sample, n_components)
        for i, tile in complete:
            place = grid[tile]
            rows, columns = (
                slice(round(s.start / f), max(round(s.stop / f), round(s.start / f) + 1))
                for s, f in zip(place.inner, scale, strict=True)
            )
            features = store.load(i, tile)
            projected = (_vectors(features) - mean) @ components.T
            side = features.features.shape[-1]
            projected = projected.reshape(side, side, n_components)
            y, x = (
                _grid_index(np.arange(r.start, r.stop), f, o.start, size, max(features.input_size), side, length)
                for r, f, o, size, length in zip(
                    (rows, columns), scale, place.outer, features.input_size, features.original_size, strict=True
                )
            )
            picture[i or 0, rows, columns] = projected[np.ix_(y, x)]
            covered[i or 0, rows, columns] = True
    if as_rgb:
        colours = np.zeros(picture.shape, "uint8")
        if complete:
            colours[covered] = _colours(picture[covered])
        picture = colours
    if embeddings.n_slices is None:
        return picture[0], scale
    return picture, (1.0, *scale)


def _pixel_size(embeddings: Embeddings, complete: list[Item]) -> float:
    """Pixels of the image per grid point of the features."""
    if not complete:
        return max(embeddings.grid.shape) / 64
    features = embeddings.store.load(*complete[0])
    return max(1.0, max(features.original_size) / features.features.shape[-1])


def _grid_index(
    pixels: np.ndarray, scale: float, origin: int, input_size: int, longest: int, side: int, length: int
) -> np.ndarray:
    """The grid points of a tile that picture rows (or columns) show.

    A tile of `length` pixels is resized to `input_size` and padded to a square of `longest` pixels, which is the
    `side` of the grid.
    """
    positions = (pixels + 0.5) * scale - origin
    index: np.ndarray = np.clip((positions / length * input_size / longest * side).astype(int), 0, side - 1)
    return index


def _vectors(features: ImageFeatures) -> np.ndarray:
    array: np.ndarray = features.features[0].detach().cpu().numpy()
    return np.moveaxis(array, 0, -1).reshape(-1, array.shape[0]).astype("float32")


def _components(vectors: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Principal components (count, C), each with its largest entry positive, and the mean (C,)."""
    vectors = vectors[:: max(1, len(vectors) // SAMPLES)]
    mean = vectors.mean(axis=0)
    centred = (vectors - mean).astype("float64")
    _, directions = np.linalg.eigh(centred.T @ centred)
    components = directions[:, ::-1][:, :count].T
    signs = np.sign(components[np.arange(len(components)), np.abs(components).argmax(axis=1)])
    components = components * np.where(signs == 0, 1, signs)[:, None]
    if len(components) < count:
        components = np.pad(components, ((0, count - len(components)), (0, 0)))
    return components.astype("float32"), mean


def _colours(values: np.ndarray) -> np.ndarray:
    """Each component between its percentiles 1 and 99, as uint8."""
    flat = values.reshape(-1, values.shape[-1])
    lower, upper = np.percentile(flat, PERCENTILES, axis=0)
    colours: np.ndarray = np.rint(255 * np.clip((values - lower) / np.maximum(upper - lower, 1e-8), 0, 1))
    return colours.astype("uint8")
