"""Labels as a new group ``labels/NAME`` inside an OME-Zarr: the one thing that is added to an existing image.

The specification (https://ngff.openmicroscopy.org) wants a multiscale image below ``labels``, whose own attributes
list the groups.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import numpy as np

from micro_sam.errors import OutputError
from micro_sam.io.atomic import locked, replacing, write_bytes
from micro_sam.io.label_arrays import Cast, written_pieces
from micro_sam.io.marks import KEY, MOVIES, mark

CHUNK = 1024  # pixels along each side
SMALLEST = 1024  # pixels along the longer side of the coarsest level, at most

_GROUP_FILES = (".zgroup", "zarr.json")


def is_label_group(path: Path) -> bool:
    """Whether a path means a group ``labels/NAME`` inside a zarr group."""
    image = path.parent.parent
    return path.parent.name == "labels" and any((image / name).is_file() for name in _GROUP_FILES)


def is_ome_zarr(path: Path) -> bool:
    """Whether a name means an OME-Zarr of its own."""
    return path.name.lower().endswith(".ome.zarr")


def write_label_group(path: Path, labels: np.ndarray | Cast, scale: tuple[float, ...] | None) -> None:
    """Add the group; the image and its other labels are not touched.

    Raises
    ------
    OutputError
        When the group exists, or cannot be written; it is then not there.
    """
    if path.exists():
        raise OutputError(f"{path} exists already. Choose another name for the new group of labels.")
    image = path.parent.parent
    version: Literal[2, 3] = 3 if (image / "zarr.json").is_file() else 2
    with replacing(path, only_new=True) as (place,):  # another process may make it meanwhile
        write_pyramid(place, path.name, labels, scale, "labels", version, "../../")
    with locked(image):  # of groups that are added at once, each is listed
        _list(path, version)


def write_pyramid(
    place: Path,
    name: str,
    labels: np.ndarray | Cast,
    scale: tuple[float, ...] | None,
    kind: str,
    version: Literal[2, 3] = 2,
    source: str | None = None,
) -> None:
    """Labels as a multiscale image with ``image-label``, in parts: only a few rows are ever in memory.

    Parameters
    ----------
    place
        A folder that does not exist yet.
    name
        Of the image.
    labels
        (H, W) or (Z, H, W).
    scale
        Size of a pixel in µm; None: not known.
    kind
        See `micro_sam.io.marks`; the first axis of tracks is time.
    version
        Of zarr: 2 (OME-Zarr 0.4) or 3 (0.5).
    source
        The image that they belong to, as seen from the group.
    """
    import zarr

    group = zarr.open_group(str(place), mode="w", zarr_format=version)
    level = group.create_array("0", shape=labels.shape, chunks=_chunks(labels.shape), dtype=labels.dtype)
    fill(level, labels)
    number = 1
    while max(level.shape[-2:]) > SMALLEST:
        finer, shape = level, (*level.shape[:-2], *(-(-size // 2) for size in level.shape[-2:]))
        level = group.create_array(str(number), shape=shape, chunks=_chunks(shape), dtype=labels.dtype)
        _halve(finer, level)
        number += 1
    group.attrs.update(_attributes(name, labels.ndim, scale, version, number, kind, source) | {KEY: mark(kind)})


def fill(array: Any, labels: np.ndarray | Cast) -> None:
    """Write labels into an array on disc (zarr, hdf5), some rows at a time; what is empty is left out."""
    if 0 in labels.shape or labels.ndim not in (2, 3):
        array[...] = np.asarray(labels)
        return
    for where, part in written_pieces(labels, CHUNK):
        if part.any():
            array[where] = part


def _chunks(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (1,) * (len(shape) - 2) + tuple(max(1, min(CHUNK, size)) for size in shape[-2:])


def _halve(finer: Any, coarser: Any) -> None:
    """Every second pixel of every second row: ids stay ids, and pixel i is pixel 2 i of the finer one."""
    height = coarser.shape[-2]
    for z in range(coarser.shape[0]) if coarser.ndim == 3 else (None,):
        for y in range(0, height, CHUNK):
            rows, finer_rows = slice(y, min(y + CHUNK, height)), slice(2 * y, 2 * (y + CHUNK))
            part = finer[finer_rows] if z is None else finer[z, finer_rows]
            part = part[::2, ::2]
            if part.any():
                coarser[rows if z is None else (z, rows)] = part


def _attributes(
    name: str, ndim: int, scale: tuple[float, ...] | None, version: int, levels: int, kind: str, source: str | None
) -> dict[str, Any]:
    letters = ("tyx" if kind in MOVIES else "zyx")[-ndim:]
    axes = [
        {"name": letter, "type": "time" if letter == "t" else "space"}
        | ({"unit": "second" if letter == "t" else "micrometer"} if scale else {})
        for letter in letters
    ]
    datasets = []
    for k in range(levels):
        # Pixel i of a level is pixel 2**k i of the labels, so their middles lie where this says, without a shift.
        size = [s * (2**k if axis >= ndim - 2 else 1) for axis, s in enumerate(scale or (1.0,) * ndim)]
        datasets.append({"path": str(k), "coordinateTransformations": [{"type": "scale", "scale": size}]})
    multiscale = {"name": name, "axes": axes, "datasets": datasets}
    label = {} if source is None else {"source": {"image": source}}
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
