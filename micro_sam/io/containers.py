"""Containers with many datasets: hdf5, mrc, n5, zarr and OME-Zarr."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from micro_sam.errors import InputError
from micro_sam.io import n5
from micro_sam.io.source import ImageSource

HDF5_SUFFIXES = (".h5", ".hdf5", ".hdf")
MRC_SUFFIXES = (".mrc", ".rec")
ZARR_FILES = (".zarray", ".zgroup", "zarr.json")
LARGEST_EAGER_DATASET = 2**28  # bytes; larger datasets stay on disc


def is_container(path: Path) -> bool:
    """Whether a path is something that may hold several datasets."""
    if path.is_dir():
        marked = any((path / name).exists() for name in (*ZARR_FILES, "attributes.json"))
        return marked or path.suffix.lower() in (".zarr", ".n5")
    return path.suffix.lower() in (*HDF5_SUFFIXES, *MRC_SUFFIXES)


def open_container(path: Path, key: str | None = None) -> ImageSource:
    """One dataset of a container; OME-Zarr opens at full resolution.

    Raises
    ------
    InputError
        When the key is missing or wrong (the message lists the datasets), or the container cannot be read.
    """
    try:
        if path.is_file():
            if path.stat().st_size == 0:
                raise InputError(f"{path} is empty (0 bytes). Was it copied completely?")
            return _open_with_elf(path, key)
        if path.suffix.lower() == ".n5" or (path / "attributes.json").exists():
            return _open_n5(path, key)
        return _open_zarr(path, key)
    except (InputError, PermissionError, MemoryError):
        raise
    except Exception as error:  # the readers raise many kinds for damaged containers
        raise InputError(
            f"{path} cannot be read ({type(error).__name__}: {error}). It may be damaged or copied incompletely."
        ) from error


def _open_with_elf(path: Path, key: str | None) -> ImageSource:
    from elf.io import open_file

    try:
        file = open_file(str(path), mode="r")
    except ValueError as error:
        kind = "mrcfile" if path.suffix.lower() in MRC_SUFFIXES else "h5py"
        raise InputError(f"{path} needs a package that is not installed: pip install {kind}") from error
    if path.suffix.lower() in MRC_SUFFIXES:
        return ImageSource(np.asarray(file["data"][:]), path=path, key="data")
    shapes: dict[str, tuple[int, ...]] = {}
    file.visititems(lambda name, node: shapes.update({name: node.shape}) if hasattr(node, "shape") else None)
    key = _choose_key(path, key, shapes)
    dataset = file[key]
    if dataset.nbytes > LARGEST_EAGER_DATASET:
        return ImageSource(dataset, path=path, key=key)  # the dataset keeps its file open
    data = dataset[()]
    file.close()
    return ImageSource(np.asarray(data), path=path, key=key)


def _open_n5(path: Path, key: str | None) -> ImageSource:
    if "dimensions" in n5.read_attributes(path) and key is None:
        return ImageSource(n5.N5Array(path), path=path)
    key = _choose_key(path, key, n5.find_datasets(path))
    return ImageSource(n5.N5Array(path / key), path=path, key=key)


def _open_zarr(path: Path, key: str | None) -> ImageSource:
    import zarr

    node = zarr.open(str(path), mode="r")
    if isinstance(node, zarr.Array):
        if key:
            raise InputError(f"{path} is a single dataset; leave out the key {key!r}.")
        return ImageSource(node, path=path)
    key = None if key is None else key.strip("/")
    inside = key if key and key in node and isinstance(node[key], zarr.Group) else ""
    if key is None and "bioformats2raw.layout" in _ome(node):
        inside = "0"
    group = node[inside] if inside else node
    images = _ome(group).get("multiscales")
    if images and (inside or key is None):
        level = images[0]["datasets"][0]  # level 0 is the full resolution
        name = f"{inside}/{level['path']}".strip("/")
        return ImageSource(group[level["path"]], *_ome_axes(images[0], level), path, name)
    shapes = {name: a.shape for name, a in node.members(max_depth=None) if isinstance(a, zarr.Array)}
    key = _choose_key(path, key, shapes)
    parent, _, last = key.rpartition("/")
    described = _ome(node[parent] if parent else node).get("multiscales", ())
    level = next(((image, d) for image in described for d in image["datasets"] if d["path"] == last), None)
    axes, scale, unit = (None, None, None) if level is None else _ome_axes(*level)
    return ImageSource(node[key], axes, scale, unit, path, key)


def _ome(group: Any) -> dict[str, Any]:
    """The OME-Zarr metadata: in "ome" from version 0.5 on, at the top before."""
    attributes = dict(group.attrs)
    return attributes.get("ome", attributes)


def _ome_axes(image: dict[str, Any], level: dict[str, Any]) -> tuple[str | None, tuple[float, ...] | None, str | None]:
    described = [a if isinstance(a, dict) else {"name": a} for a in image.get("axes", ())]
    axes = "".join(a["name"].upper() for a in described)
    if not axes or any(letter not in "TZCYX" for letter in axes):
        return None, None, None
    steps = [*level.get("coordinateTransformations", ()), *image.get("coordinateTransformations", ())]
    scale = np.ones(len(axes))
    for step in steps:
        if step.get("type") == "scale" and len(step["scale"]) == len(axes):
            scale = scale * np.asarray(step["scale"], dtype=float)
    unit = next((a.get("unit") for a in described if a["name"] == "x"), None)
    known = any(step.get("type") == "scale" for step in steps)
    return axes, tuple(scale.tolist()) if known else None, {"micrometer": "µm"}.get(unit, unit)


def _choose_key(path: Path, key: str | None, shapes: dict[str, tuple[int, ...]]) -> str:
    if not shapes:
        raise InputError(f"{path} holds no dataset.")
    if key is not None and key.strip("/") in shapes:
        return key.strip("/")
    if key is None and len(shapes) == 1:
        return next(iter(shapes))
    listed = ", ".join(f"{name} {shape}" for name, shape in list(shapes.items())[:20])
    problem = f"has no dataset {key!r}" if key is not None else "holds several datasets"
    raise InputError(f"{path} {problem}; choose one with the key (--key): {listed}.")
