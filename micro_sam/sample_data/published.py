"""The samples of micro-sam 1.x: published data, fetched into a folder of one's choice behind a hash.

``fetch_*`` return a path; ``sample_data_*`` return what napari adds as layers: (data, properties[, kind]).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from micro_sam.sample_data.download import RemoteFile, fetch_sample, sample_directory, unpack_sample
from micro_sam.sample_data.sample import read_image

Layer = tuple[np.ndarray, dict[str, Any]] | tuple[np.ndarray, dict[str, Any], str]
Folder = str | os.PathLike[str]

_OWNCLOUD = "https://owncloud.gwdg.de/index.php/s"
LUCCHI = RemoteFile(
    "lucchi_pp.zip",
    "http://www.casser.io/files/lucchi_pp.zip",
    "770ce9e98fc6f29c1b1a250c637e6c5125f2b5f1260e5a7687b55a79e2e8844d",
)
HELA_2D = RemoteFile(
    "hela-2d-image.png",
    f"{_OWNCLOUD}/2sr1DHQ34tV7WEb/download",
    "908fa00e4b273610aa4e0a9c0f22dfa64a524970852f387908f3fa65238259c7",
)
SERIES = RemoteFile(
    "image-series.zip",
    f"{_OWNCLOUD}/M1zGnfkulWoAhUG/download",
    "92346ca9770bcaf55248efee590718d54c7135b6ebca15d669f3b77b6afc8706",
)
LIVECELL = RemoteFile(
    "livecell-2d-image.png",
    f"{_OWNCLOUD}/fSaOJIOYjmFBjPM/download",
    "4f190983ea672fc333ac26d735d9625d5abb6e4a02bd4d32523127977a31e8fe",
)
NUCLEUS_3D = RemoteFile(
    "3d-nucleus-data.tif",
    f"{_OWNCLOUD}/eW0uNCo8gedzWU4/download",
    "4946896f747dc1c3fc82fb2e1320226d92f99d22be88ea5f9c37e3ba4e281205",
)
HELA_MOVIE = RemoteFile(
    "DIC-C2DH-HeLa.zip",
    "http://data.celltrackingchallenge.net/training-datasets/DIC-C2DH-HeLa.zip",
    "832fed2d05bb7488cf9c51a2994b75f8f3f53b3c3098856211f2d39023c34e1a",
)
HELA_TRACKS = RemoteFile(
    "hela-ctc-01-gt.zip",
    f"{_OWNCLOUD}/AWxQMblxwR99OjC/download",
    "c0644d8ebe1390fb60125560ba15aa2342caf44f50ff0667a0318ea0ac6c958b",
)
WHOLE_SLIDE = RemoteFile(
    "whole-slide-example-image.tif",
    f"{_OWNCLOUD}/6ozPtgBmAAJC1di/download",
    "3ddb9c9dcc844429932ab951eb0743d5a1af83ee9b0ab54f06ceb2090a606d36",
)
HISTOPATHOLOGY = RemoteFile(
    "whole-slide-histopathology-example-image.svs",
    "https://openslide.cs.cmu.edu/download/openslide-testdata/Aperio/CMU-1.svs",
    "00a3d54482cd707abf254fe69dccc8d06b8ff757a1663f1290c23418c480eb30",
)


def _file(remote: RemoteFile, save_directory: Folder) -> str:
    return os.fspath(fetch_sample(remote, Path(save_directory)))


def _folder(remote: RemoteFile, save_directory: Folder, folder: str) -> str:
    return os.fspath(unpack_sample(fetch_sample(remote, Path(save_directory)), folder))


def fetch_3d_example_data(save_directory: Folder) -> str:
    """The folder with the slices of Lucchi++ (mitochondria, FIB-SEM; Casser et al. 2020), fetched once."""
    return _folder(LUCCHI, save_directory, "Lucchi++/Test_In")


def fetch_hela_2d_example_data(save_directory: Folder) -> str:
    """The path of a DIC image of HeLa cells (Cell Tracking Challenge, DIC-C2DH-HeLa)."""
    return _file(HELA_2D, save_directory)


def fetch_image_series_example_data(save_directory: Folder) -> str:
    """The folder with three images for the series annotator."""
    return _folder(SERIES, save_directory, "series")


def fetch_livecell_example_data(save_directory: Folder) -> str:
    """The path of a phase contrast image of LIVECell (Edlund et al. 2021, doi 10.1038/s41592-021-01249-6)."""
    return _file(LIVECELL, save_directory)


def fetch_nucleus_3d_example_data(save_directory: Folder) -> str:
    """The path of a stack of nuclei (doi 10.1186/s12859-022-04737-4)."""
    return _file(NUCLEUS_3D, save_directory)


def fetch_tracking_example_data(save_directory: Folder) -> str:
    """The folder with the frames of DIC-C2DH-HeLa, sequence 01 (Cell Tracking Challenge; Dr. G. van Cappellen)."""
    return _folder(HELA_MOVIE, save_directory, "DIC-C2DH-HeLa/01")


def fetch_tracking_segmentation_data(save_directory: Folder) -> str:
    """The folder with the true segmentation of the frames of :func:`fetch_tracking_example_data`."""
    return _folder(HELA_TRACKS, save_directory, "masks")


def fetch_wholeslide_example_data(save_directory: Folder) -> str:
    """The path of a part of a slide (NeurIPS 2022 Cell Segmentation Challenge)."""
    return _file(WHOLE_SLIDE, save_directory)


def fetch_wholeslide_histopathology_example_data(save_directory: Folder) -> str:
    """The path of a whole slide (openslide-testdata, Aperio CMU-1, CC0-1.0)."""
    return _file(HISTOPATHOLOGY, save_directory)


def sample_data_3d() -> list[Layer]:
    """The slices of :func:`fetch_3d_example_data` as one image layer."""
    return [(_stack(fetch_3d_example_data(sample_directory()), "*.png"), {"name": "lucchi++"})]


def sample_data_hela_2d() -> list[Layer]:
    """The image of :func:`fetch_hela_2d_example_data`."""
    return [(read_image(fetch_hela_2d_example_data(sample_directory())), {"name": "hela"})]


def sample_data_livecell() -> list[Layer]:
    """The image of :func:`fetch_livecell_example_data`."""
    return [(read_image(fetch_livecell_example_data(sample_directory())), {"name": "livecell"})]


def sample_data_wholeslide() -> list[Layer]:
    """The image of :func:`fetch_wholeslide_example_data`."""
    return [(read_image(fetch_wholeslide_example_data(sample_directory())), {"name": "wholeslide"})]


def sample_data_image_series() -> list[Layer]:
    """Three image layers; the third image has another size and modality."""
    paths = sorted(Path(fetch_image_series_example_data(sample_directory())).glob("*.tif"))
    return [(read_image(path), {"name": f"image-{number}"}) for number, path in enumerate(paths)]


def sample_data_tracking() -> list[Layer]:
    """The movie of :func:`fetch_tracking_example_data`."""
    return [(_stack(fetch_tracking_example_data(sample_directory()), "*.tif"), {"name": "tracking"})]


def sample_data_segmentation() -> list[Layer]:
    """The true segmentation of :func:`fetch_tracking_segmentation_data`, a labels layer."""
    labels = _stack(fetch_tracking_segmentation_data(sample_directory()), "*.tif")
    return [(labels, {"name": "segmentation"}, "labels")]


def synthetic_data(shape: tuple[int, ...], seed: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """An image of bright blobs on black, and their labels.

    Parameters
    ----------
    shape : (H, W) or (Z, H, W)
    seed : int, optional
        For repeatable images.

    Returns
    -------
    image : uint8 array, 0 or 255
    labels : uint32 array
    """
    from skimage.data import binary_blobs
    from skimage.measure import label

    blobs = binary_blobs(max(shape), blob_size_fraction=0.05, n_dim=len(shape), volume_fraction=0.15, rng=seed)
    blobs = blobs[tuple(slice(0, size) for size in shape)]
    return blobs.astype("uint8") * 255, label(blobs).astype("uint32")


def _stack(folder: str, pattern: str) -> np.ndarray:
    return np.stack([read_image(path) for path in sorted(Path(folder).glob(pattern))])
