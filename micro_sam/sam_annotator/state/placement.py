"""Where an image lies in the viewer: prompts and masks lie in the same place, however its layer is moved or turned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from napari.layers import Layer


@dataclass(frozen=True)
class Placement:
    """What comes after the scale of a layer: translation, rotation, shear, affine.

    Attributes
    ----------
    matrix
        (ndim + 1, ndim + 1), from pixels times scale to the world.
    units
        Units of the axes, as napari has them; None: not known to this version of napari.
    """

    matrix: np.ndarray
    units: tuple[Any, ...] | None = None

    def apply(self, layer: Layer) -> None:
        """Put a layer there; one with fewer axes lies along the last ones."""
        n = min(layer.ndim, len(self.matrix) - 1)
        matrix = np.eye(layer.ndim + 1)
        rows = [*range(layer.ndim - n, layer.ndim), layer.ndim]
        mine = [*range(len(self.matrix) - 1 - n, len(self.matrix) - 1), len(self.matrix) - 1]
        matrix[np.ix_(rows, rows)] = self.matrix[np.ix_(mine, mine)]
        if not np.array_equal(np.asarray(layer.affine.affine_matrix), matrix):
            layer.affine = matrix
        if self.units is not None and n == layer.ndim:
            layer.units = self.units[-n:]


def placement_of(layer: Layer, axes: Sequence[int]) -> Placement:
    """Where a layer lies, along some of its axes.

    Parameters
    ----------
    layer
        In the viewer.
    axes
        Axes of the layer that the image has.
    """
    axes, n = list(axes), layer.ndim
    origin = np.asarray(layer.data_to_world((0,) * n), float)
    columns = [np.asarray(layer.data_to_world(np.eye(n)[k]), float) - origin for k in axes]
    scale = np.asarray(layer.scale, float)[axes]
    matrix = np.eye(len(axes) + 1)
    matrix[:-1, :-1] = np.array(columns).T[axes] / scale
    matrix[:-1, -1] = origin[axes]
    units = getattr(layer, "units", None)
    return Placement(matrix, tuple(units[k] for k in axes) if units is not None else None)


def origin(ndim: int) -> Placement:
    """The place of an image that is nowhere else."""
    return Placement(np.eye(ndim + 1))
