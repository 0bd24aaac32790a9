"""What a sample is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from micro_sam.io.tracks.rows import TrackRow

Kind = Literal["2d", "3d", "tracking"]


@dataclass(frozen=True)
class Sample:
    """An image to try a tool on, and what is known about it.

    Attributes
    ----------
    name : str
        The name it is opened by.
    image : np.ndarray
        (Y, X) or (Y, X, 3) for ``"2d"``, (Z, Y, X) for ``"3d"``, (T, Y, X) for ``"tracking"``.
    kind : "2d" | "3d" | "tracking"
        The tool it belongs to.
    description, source, licence : str
        What it shows, where it comes from and on which terms it may be used.
    labels : np.ndarray, optional
        Ground truth, uint32, the shape of the image without channels; 0 is background. In time-lapse images a label is
        a track.
    tracks : tuple of TrackRow
        Ground truth lineage of a time-lapse image, else empty.
    scale : tuple of float
        Size of a pixel along the axes of the labels; relative units where the source states none.
    """

    name: str
    image: np.ndarray
    kind: Kind
    description: str
    source: str
    licence: str
    labels: np.ndarray | None = None
    tracks: tuple[TrackRow, ...] = ()
    scale: tuple[float, ...] = ()


def read_image(path: str | Path) -> np.ndarray:
    """The pixels of a file of a sample, as imageio has them."""
    import imageio.v3 as imageio  # the names of the samples are wanted without it

    return imageio.imread(path)
