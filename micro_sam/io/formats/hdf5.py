"""HDF5 files, with the axes that vigra and ilastik (axistags), h5py (dimension labels) or ImageJ give."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from micro_sam.errors import ChoiceError, InputError
from micro_sam.io.axes import axes_from_names
from micro_sam.io.choices import listed, no_such_image
from micro_sam.io.formats import bdv, imaris
from micro_sam.io.lazy import LazyArray, reading
from micro_sam.io.source import ImageSource
from micro_sam.io.units import scale_for, size_of

SUFFIXES = (".h5", ".hdf5", ".hdf", ".ilp", ".ims")
LARGEST_EAGER_DATASET = 2**28  # bytes; larger datasets stay on disc


def open_hdf5(path: Path, key: str | None = None) -> ImageSource:
    """One dataset of a file.

    Raises
    ------
    InputError
        When the key is missing or wrong (the message lists the datasets), or the file cannot be read.
    """
    import h5py

    with reading(path, "an hdf5 file"):
        file = h5py.File(path, "r")
        try:
            shapes = bdv.full_resolution(_shapes(file, path))
            if key is None and imaris.is_imaris(shapes):
                source, file = imaris.open_imaris(file, path, shapes), None  # the array keeps its file open
                return source
            key = None if key is None else key.strip("/")
            named = file.get(key) if key else None  # also through a link
            if key is None or not isinstance(named, h5py.Dataset) or named.shape is None:
                key = choose_dataset(path, key, shapes)
            dataset = file[key]
            axes, scale, unit = _described(dataset)
            if axes is None and bdv.is_cells(key) and dataset.ndim == 3:
                axes = "ZYX"
                if scale is None:
                    scale, unit = scale_for(axes, bdv.voxel_sizes(path, key))
            is_signed = bdv.is_signed(key, dataset.dtype)
            if dataset.nbytes > LARGEST_EAGER_DATASET:  # the array keeps its file open
                data: Any = LazyArray(dataset, path)
                if is_signed:
                    data = LazyArray(dataset, path, bdv.unsigned, dtype=np.dtype("uint16"))
                file = None
            else:
                data = np.asarray(dataset[()])
                data = bdv.unsigned(data) if is_signed else data
        finally:
            if file is not None:
                file.close()
    return ImageSource(data, axes, scale, unit, path, key, choices=choices_of(shapes))


def _shapes(file: Any, path: Path) -> dict[str, tuple[int, ...]]:
    """Names and shapes of all datasets, those of other files included that this one links to.

    Raises
    ------
    InputError
        When there are only links to files that are missing.
    """
    import h5py

    found: dict[str, tuple[int, ...]] = {}
    missing: list[str] = []

    def note(name: str, node: Any) -> None:
        if isinstance(node, h5py.Dataset) and node.shape is not None:
            found[name] = node.shape

    def follow(name: str, link: Any) -> None:
        if not isinstance(link, h5py.ExternalLink):
            return
        node = file.get(name)
        if node is None:
            missing.append(link.filename)
        elif isinstance(node, h5py.Group):
            node.visititems(lambda inner, one: note(f"{name}/{inner}", one))
        else:
            note(name, node)

    file.visititems(note)
    file.visititems_links(follow)
    if missing and not found:
        raise InputError(f"The images of {path} are in {missing[0]}, which is not there. Copy that file beside it.")
    return found


def choose_dataset(path: Path, key: str | None, shapes: dict[str, tuple[int, ...]]) -> str:
    """The dataset to open: the one that is named, or the only one that could be an image.

    Raises
    ------
    ChoiceError
        When there are several or the key is wrong; the message lists them.
    """
    images = {name: shape for name, shape in shapes.items() if len(shape) >= 2} or dict(shapes)
    if not images:
        raise InputError(f"{path} holds no dataset.")
    wanted = None if key is None else key.strip("/")
    if wanted is not None and wanted in shapes:
        return wanted
    words = {name: str(shape) for name, shape in images.items()}
    if key is not None:
        raise no_such_image(path, key, words)
    if len(images) == 1:
        return next(iter(images))
    raise ChoiceError(
        f"{path} holds several datasets; choose one with the key (--key): {listed(words)}.",
        words,
        path,
    )


def choices_of(shapes: dict[str, tuple[int, ...]]) -> dict[str, str]:
    """The datasets that could be images, if there are several."""
    images = {name: str(shape) for name, shape in shapes.items() if len(shape) >= 2}
    return images if len(images) > 1 else {}


def scale_of_attributes(attributes: Any, axes: str | None, ndim: int) -> tuple[float, ...] | None:
    """Pixel sizes in µm that ImageJ's hdf5 plugins (``element_size_um``) and this program (``scale``) write."""
    values: Sequence[Any] | None = None
    for name in ("element_size_um", "scale"):
        if name in attributes:
            values = np.asarray(attributes[name], dtype=float).ravel().tolist()
    if not values or not np.all(np.isfinite(values)) or min(values) <= 0:
        return None
    if len(values) == ndim:
        return tuple(float(v) for v in values)
    if axes is not None and len(values) == 3:
        sizes = dict(zip("ZYX", values, strict=True))
        return tuple(float(sizes.get(letter, 1.0)) for letter in axes)
    return None


def _described(dataset: Any) -> tuple[str | None, tuple[float, ...] | None, str | None]:
    """Axes, scale and unit that stand in the attributes of a dataset."""
    axes, sizes = _axistags(dataset)
    if axes is None:
        labels = [dimension.label for dimension in dataset.dims] if dataset.ndim else []
        axes = axes_from_names(labels) if all(labels) else None
    known = scale_of_attributes(dataset.attrs, axes, dataset.ndim)
    if known is not None:
        return axes, known, "µm"
    return axes, *scale_for(axes, sizes)


def _axistags(dataset: Any) -> tuple[str | None, dict[str, float | None]]:
    tags = dataset.attrs.get("axistags")
    if tags is None:
        return None, {}
    try:
        described = json.loads(tags)["axes"]
        axes = axes_from_names([one["key"] for one in described])
    except (ValueError, KeyError, TypeError):
        return None, {}
    if axes is None or len(axes) != dataset.ndim:
        return None, {}
    sizes = {
        letter: size_of(letter, one.get("resolution"), str(one.get("description", "")).split(" ")[-1])
        for letter, one in zip(axes, described, strict=True)
    }
    return axes, sizes
