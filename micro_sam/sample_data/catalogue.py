"""All samples by name, and how each is opened."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from micro_sam.errors import InputError
from micro_sam.sample_data import synthetic
from micro_sam.sample_data.download import RemoteFile, fetch_sample
from micro_sam.sample_data.sample import Sample, read_image

_SKIMAGE = "scikit-image, skimage.data"
_CELLS3D = RemoteFile(
    "cells3d.tif",
    "https://gitlab.com/scikit-image/data/-/raw/2cdc5ce89b334d28f06a58c9f0ca21aa6992a5ba/cells3d.tif",
    "afc7c7d80d38bfde09788b4064ac1e64ec14e88454ab785ebdc8dbba5ca3b222",
)
_MITOSIS = RemoteFile(
    "mitosis.tif",
    "https://gitlab.com/scikit-image/data/-/raw/2cdc5ce89b334d28f06a58c9f0ca21aa6992a5ba/AS_09125_050116030001_D03f00d0.tif",
    "2751ba667c4067c5d30817cff004aa06f6f6287f1cdbb5b8c9c6a500308cb456",
)


def sample_names(kind: str | None = None, offline: bool = False) -> list[str]:
    """Names that :func:`open_sample` knows.

    Parameters
    ----------
    kind : "2d" | "3d" | "tracking", optional
        Only samples for this tool.
    offline : bool
        Only samples that need no download.
    """
    if kind not in (None, "2d", "3d", "tracking"):
        raise InputError(f'The kind of a sample is "2d", "3d" or "tracking", not {kind!r}.')
    return [name for name, (k, remote, _) in _SAMPLES.items() if kind in (None, k) and not (offline and remote)]


def open_sample(name: str) -> Sample:
    """Open a sample by its name.

    Parameters
    ----------
    name : str
        One of :func:`sample_names`.

    Returns
    -------
    Sample

    Raises
    ------
    InputError
        If there is no such sample, or it needs a download and none is possible.
    """
    if name not in _SAMPLES:
        raise InputError(f"There is no sample {name!r}. The samples are {', '.join(_SAMPLES)}.")
    return _SAMPLES[name][2]()


def _in_skimage(filename: str) -> np.ndarray:
    """An image that lies in the installed scikit-image wheel (its pooch is not needed, and not asked)."""
    import skimage.data

    return read_image(Path(skimage.data.__file__).parent / filename)


def _cell() -> Sample:
    image = _in_skimage("cell.png")
    return Sample("cell", image, "2d", "One cell in a quantitative phase image", _SKIMAGE, "CC0-1.0")


def _immunohistochemistry() -> Sample:
    return Sample(
        "immunohistochemistry",
        _in_skimage("ihc.png"),
        "2d",
        "Stained colon tissue, RGB: haematoxylin nuclei, DAB",
        f"{_SKIMAGE}; Human Protein Atlas, colonic glands, FHL2 antibody",
        "no known restrictions (as stated by scikit-image)",
    )


def _coins() -> Sample:
    return Sample(
        "coins",
        _in_skimage("coins.png"),
        "2d",
        "24 coins: large, clear objects to learn the tools with",
        f"{_SKIMAGE}; Brooklyn Museum collection",
        "no known restrictions (as stated by scikit-image)",
    )


def _nuclei_volume() -> Sample:
    image, labels = synthetic.nuclei_volume()
    return Sample(
        "nuclei_volume",
        image,
        "3d",
        "Generated stack of nuclei with exact labels",
        "micro_sam.sample_data.synthetic",
        "CC0-1.0",
        labels,
        scale=(2.5, 1.0, 1.0),
    )


def _dividing_cells() -> Sample:
    image, labels, tracks = synthetic.dividing_cells()
    return Sample(
        "dividing_cells",
        image,
        "tracking",
        "Generated movie of nuclei that move and divide, with exact labels and lineage",
        "micro_sam.sample_data.synthetic",
        "CC0-1.0",
        labels,
        tracks,
    )


def _cells3d() -> Sample:
    image = read_image(fetch_sample(_CELLS3D))  # (Z, C, Y, X), channels: membranes, nuclei
    return Sample(
        "cells3d_nuclei",
        np.ascontiguousarray(image[:, 1]),
        "3d",
        "Nuclei of human iPS cells, confocal stack",
        f"{_SKIMAGE}; Allen Institute for Cell Science",
        "CC0-1.0 (as stated by scikit-image)",
        scale=(0.29, 0.26, 0.26),
    )


def _human_mitosis() -> Sample:
    return Sample(
        "human_mitosis",
        read_image(fetch_sample(_MITOSIS)),
        "2d",
        "Nuclei of human cells, some in mitosis",
        f"{_SKIMAGE}; Moffat et al. 2006, Broad Bioimage Benchmark Collection",
        "CC0-1.0 (as stated by scikit-image)",
    )


# name -> (kind, needs a download, how it is opened)
_SAMPLES: dict[str, tuple[str, bool, Callable[[], Sample]]] = {
    "cell": ("2d", False, _cell),
    "immunohistochemistry": ("2d", False, _immunohistochemistry),
    "coins": ("2d", False, _coins),
    "human_mitosis": ("2d", True, _human_mitosis),
    "nuclei_volume": ("3d", False, _nuclei_volume),
    "cells3d_nuclei": ("3d", True, _cells3d),
    "dividing_cells": ("tracking", False, _dividing_cells),
}
