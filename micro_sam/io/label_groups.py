"""Labels as a new group ``labels/NAME`` inside an OME-Zarr: the one thing that is added to an existing image.

The specification (https://ngff.openmicroscopy.org) wants a multiscale image below ``labels``, whose own attributes
list the groups. One level is written, at full resolution.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import numpy as np

from micro_sam.errors import OutputError
from micro_sam.io.atomic import replacing, write_bytes
from micro_sam.io.marks import KEY, mark

_GROUP_FILES = (".zgroup", "zarr.json")


def is_label_group(path: Path) -> bool:
    """Whether a path means a group ``labels/NAME`` inside a zarr group."""
    image = path.parent.parent
    return path.parent.name == "labels" and any((image / name).is_file() for name in _GROUP_FILES)


def write_label_group(path: Path, labels: np.ndarray, scale: tuple[float, ...] | None) -> None:
    """Add the group; the image and its other labels are not touched.

    Raises
    ------
    OutputError
        When the group exists, or cannot be written; it is then not there.
    """
    import zarr

    if path.exists():
        raise OutputError(f"{path} exists already. Choose another name for the new group of labels.")
    image = path.parent.parent
    version: Literal[2, 3] = 3 if (image / "zarr.json").is_file() else 2
    chunks = (1,) * (labels.ndim - 2) + tuple(min(1024, s) for s in labels.shape[-2:])
    with replacing(path) as (place,):
        group = zarr.open_group(str(place), mode="w", zarr_format=version)
        array = group.create_array("0", shape=labels.shape, chunks=chunks, dtype=labels.dtype)
        array[...] = labels
        group.attrs.update(_attributes(path.name, labels.ndim, scale, version) | {KEY: mark("labels")})
    _list(path, version)


def _attributes(name: str, ndim: int, scale: tuple[float, ...] | None, version: int) -> dict[str, Any]:
    axes = [{"name": letter, "type": "space"} | ({"unit": "micrometer"} if scale else {}) for letter in "zyx"[-ndim:]]
    level = {"path": "0", "coordinateTransformations": [{"type": "scale", "scale": list(scale or (1.0,) * ndim)}]}
    multiscale = {"name": name, "axes": axes, "datasets": [level]}
    label = {"source": {"image": "../../"}}
    if version == 3:
        return {"ome": {"version": "0.5", "multiscales": [multiscale], "image-label": label}}
    return {"multiscales": [{"version": "0.4", **multiscale}], "image-label": {"version": "0.4", **label}}


def _list(path: Path, version: int) -> None:
    """Name the group in the attributes of ``labels``."""
    folder = path.parent
    content: dict[str, Any]
    if version == 3:
        file = folder / "zarr.json"
        content = json.loads(file.read_text()) if file.exists() else {"zarr_format": 3, "node_type": "group"}
        attributes = content.setdefault("attributes", {}).setdefault("ome", {"version": "0.5"})
    else:
        if not (folder / ".zgroup").exists():
            write_bytes(folder / ".zgroup", b'{"zarr_format": 2}')
        file = folder / ".zattrs"
        content = attributes = json.loads(file.read_text()) if file.exists() else {}
    attributes["labels"] = [*(name for name in attributes.get("labels", ()) if name != path.name), path.name]
    write_bytes(file, json.dumps(content, indent=2).encode())
