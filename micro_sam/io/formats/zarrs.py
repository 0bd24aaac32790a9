"""Zarr 2 and 3: OME-Zarr of the versions 0.1 to 0.5, xarray, dimension names, and plain arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from micro_sam.errors import InputError
from micro_sam.io.addresses import is_address, open_address
from micro_sam.io.axes import axes_from_names
from micro_sam.io.choices import choose
from micro_sam.io.formats.hdf5 import choices_of, choose_dataset, scale_of_attributes
from micro_sam.io.lazy import LazyArray, reading
from micro_sam.io.source import ImageSource
from micro_sam.io.units import scale_for, size_of

MARKS = (".zarray", ".zgroup", "zarr.json")
MOST_COUNTED = 20_000  # chunks of which the missing ones are counted
BEFORE_0_3 = "TCZYX"  # OME-Zarr 0.1 and 0.2 have these axes always
KINDS = {"time": "T", "channel": "C"}


def open_zarr(path: Path, key: str | None = None, as_labels: bool = False) -> ImageSource:
    """One dataset of a group; OME-Zarr opens at full resolution.

    Parameters
    ----------
    path
        Folder of the group or array, or an `Address`.
    key
        An array, or a group that is an image.
    as_labels
        Prefer the labels that belong to an OME-Zarr image over the image.

    Raises
    ------
    InputError
        When the key is missing or wrong (the message lists the datasets), or it cannot be read.
    """
    import zarr

    with reading(path, "a zarr"):
        node = open_address(path) if is_address(path) else zarr.open(str(path), mode="r")
        if isinstance(node, zarr.Array):
            if key:
                raise InputError(f"{path} is a single dataset; leave out the key {key!r}.")
            axes, scale = _array_axes(node)
            return _source(node, axes, scale, path, None)
        key = None if key is None else key.strip("/")
        if key and key in node and isinstance(node[key], zarr.Group):
            return _open_group(node[key], key, path, None, as_labels)
        if key and key in node:
            return _open_array(node, key, path)
        return _open_group(node, "", path, key, as_labels)


def _open_group(group: Any, inside: str, path: Path, key: str | None, as_labels: bool) -> ImageSource:
    """What a group holds: labels, the image, or one of several images."""
    described = _ome(group)
    images = described.get("multiscales")
    if as_labels and key is None and "labels" in group and not _is_label(described):
        names = _ome(group["labels"]).get("labels") or list(group["labels"].group_keys())
        if names:
            parts = {f"{inside}/labels/{name}".strip("/"): "" for name in names}
            selected, note = choose(path, None, parts)
            inner = group["labels"][selected.rpartition("/labels/")[2].removeprefix("labels/")]
            return _with(_open_group(inner, selected, path, None, False), note, parts)
    if images and key is None:
        found = _open_multiscale(group, images[0], inside, path)
        if len(images) > 1:  # selected by their full resolutions
            parts = {f"{inside}/{_finest(image)}".strip("/"): str(image.get("name", "")) for image in images}
            return _with(found, choose(path, None, parts)[1], parts)
        return _with(found, "", {k: "" for k in _labels_of(group, inside)} if as_labels else {})
    parts, missing = _parts(group, described)
    if parts and (key is None or key in parts):
        parts = {f"{inside}/{name}".strip("/"): words for name, words in parts.items()}
        selected, note = choose(path, None if key is None else f"{inside}/{key}".strip("/"), parts)
        below = selected.removeprefix(inside).strip("/")
        return _with(_open_group(group[below], selected, path, None, as_labels), f"{missing} {note}".strip(), parts)
    import zarr

    shapes = {name: a.shape for name, a in group.members(max_depth=None) if isinstance(a, zarr.Array)}
    full = {name: shape for name, shape in shapes.items() if not _is_lower_level(group, name)}
    if key is None and len({n for n, s in full.items() if len(s) >= 2}) == 1:
        shapes = full
    key = choose_dataset(path, key, shapes)
    found = _open_array(group, key, path)
    return _with(found, "", choices_of(full), f"{inside}/{key}".strip("/"))


def _with(found: ImageSource, note: str, choices: dict[str, str], key: str | None = None) -> ImageSource:
    from dataclasses import replace

    return replace(
        found,
        note=" ".join(part for part in (note, found.note) if part),
        choices=choices if len(choices) > 1 else found.choices,
        key=key or found.key,
    )


def _open_multiscale(group: Any, image: dict[str, Any], inside: str, path: Path) -> ImageSource:
    if not image.get("datasets"):
        raise InputError(f"{path} describes an image in {inside or 'its group'}, but names no dataset of it.")
    level = image["datasets"][0]  # the first level is the full resolution
    array = group[str(level["path"])]
    axes, scale = _ome_axes(image, level, array.ndim)
    source = _source(array, axes or _array_axes(array)[0], scale, path, f"{inside}/{level['path']}".strip("/"))
    return replace(source, levels=_coarser(group, image["datasets"][1:], array, path))


def _coarser(group: Any, levels: Sequence[dict[str, Any]], finest: Any, path: Path) -> tuple[LazyArray, ...]:
    """The lower resolutions of an image, as far as they are there and smaller step by step."""
    found, shape = [], finest.shape
    for level in levels:
        array = group.get(str(level.get("path")))
        if not hasattr(array, "shape") or array.ndim != finest.ndim or array.dtype != finest.dtype:
            break
        if array.shape == shape or any(a > b for a, b in zip(array.shape, shape, strict=True)):
            break
        found.append(LazyArray(array, path))
        shape = array.shape
    return tuple(found)


def _open_array(group: Any, key: str, path: Path) -> ImageSource:
    """An array of a group, with the axes that the group or the array itself gives."""
    array = group[key]
    level = _level_of(group, key)
    axes, scale = _array_axes(array) if level is None else _ome_axes(*level, array.ndim)
    return _source(array, axes, scale, path, key)


def _level_of(group: Any, key: str) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """The image and the level of it that an array is, as the nearest group above says that describes it."""
    parts = key.split("/")
    for k in range(len(parts) - 1, -1, -1):
        above, below = "/".join(parts[:k]), "/".join(parts[k:])
        for image in _ome(group[above] if above else group).get("multiscales", ()):
            for level in image["datasets"]:
                if str(level["path"]) == below:
                    return image, level
    return None


def _source(array: Any, axes: str | None, scale: Any, path: Path, key: str | None) -> ImageSource:
    from micro_sam.io.formats.blosc import with_checked_chunks

    note = ""
    if array.nchunks <= MOST_COUNTED and not is_address(path):  # many servers list nothing, or a page a time
        missing = array.nchunks - array.nchunks_initialized if not array.shards else 0
        if missing > 0:
            value = array.fill_value
            note = f"{missing} of {array.nchunks} chunks of {path.name} are not there; they are read as {value}."
    data = LazyArray(with_checked_chunks(array), path)
    return ImageSource(data, axes, scale, "µm" if scale is not None else None, path, key, note)


def _array_axes(array: Any) -> tuple[str | None, tuple[float, ...] | None]:
    """Axes that an array names itself: zarr 3 dimension names, or xarray's attribute."""
    names = getattr(array.metadata, "dimension_names", None) or array.attrs.get("_ARRAY_DIMENSIONS")
    axes = axes_from_names(names) if isinstance(names, (list, tuple)) and len(names) == array.ndim else None
    return axes, scale_of_attributes(array.attrs, axes, array.ndim)


def _finest(image: dict[str, Any]) -> str:
    return str((image.get("datasets") or [{}])[0].get("path", ""))


def _parts(group: Any, described: dict[str, Any]) -> tuple[dict[str, str], str]:
    """The images below a group: series of bioformats2raw, fields of a plate or a well; what is missing in words."""
    if "plate" in described:
        found: dict[str, str] = {}
        wells = [str(well["path"]) for well in described["plate"].get("wells", ())]
        there = [well for well in wells if well in group]  # a plate may be copied in part, or still be acquired
        for well in there:
            images = _ome(group[well]).get("well", {}).get("images", ())
            found.update({f"{well}/{image['path']}": "" for image in images})
        missing = len(wells) - len(there)
        return found, f"{missing} of {len(wells)} wells of the plate are not there." if missing else ""
    if "well" in described:
        return {str(image["path"]): "" for image in described["well"].get("images", ())}, ""
    if "bioformats2raw.layout" in described or "bioformats2raw.layout" in dict(group.attrs):
        named = _ome(group["OME"]).get("series") if "OME" in group else None
        names = named or sorted((n for n in group.group_keys() if n.isdigit()), key=int)
        return {str(name): "" for name in names}, ""
    return {name: "" for name, one in group.groups() if "multiscales" in _ome(one)}, ""


def _is_lower_level(group: Any, name: str) -> bool:
    level = _level_of(group, name)
    return level is not None and level[1] is not level[0]["datasets"][0]


def _is_label(described: dict[str, Any]) -> bool:
    return "image-label" in described


def _labels_of(group: Any, inside: str) -> list[str]:
    if "labels" not in group:
        return []
    names = _ome(group["labels"]).get("labels") or list(group["labels"].group_keys())
    return [f"{inside}/labels/{name}".strip("/") for name in names]


def _ome(group: Any) -> dict[str, Any]:
    """The OME-Zarr metadata: in "ome" from version 0.5 on, at the top before."""
    attributes = dict(group.attrs)
    inner = attributes.get("ome", attributes)
    return inner if isinstance(inner, dict) else {}


def _ome_axes(image: dict[str, Any], level: dict[str, Any], ndim: int) -> tuple[str | None, tuple[float, ...] | None]:
    """Axes and scale (µm, seconds) of a level, by the specification of its version."""
    if "axes" not in image and str(image.get("version", "0.1")) in ("0.1", "0.2"):
        return (BEFORE_0_3 if ndim == 5 else None), None
    described = [a if isinstance(a, dict) else {"name": a} for a in image.get("axes", ())]
    if len(described) != ndim:
        return None, None
    axes = axes_from_names([a.get("name") for a in described]) or _axes_from_kinds(described)
    if axes is None:
        return None, None
    scale = np.ones(ndim)
    known = False
    for step in (*level.get("coordinateTransformations", ()), *image.get("coordinateTransformations", ())):
        if step.get("type") == "scale" and len(step.get("scale", ())) == ndim:
            scale, known = scale * np.asarray(step["scale"], dtype=float), True
    if not known:
        return axes, None
    units = [a.get("unit") for a in described]
    if not any(units) and all(value == 1 for value, letter in zip(scale, axes, strict=True) if letter in "ZYX"):
        return axes, None  # a scale has to be written, and this is that of writers which do not know it
    has_units = any(u for u, letter in zip(units, axes, strict=True) if letter in "ZYX")
    sizes = {
        letter: size_of(letter, value, unit or ("s" if letter == "T" else None if has_units else "µm"))
        for letter, value, unit in zip(axes, scale.tolist(), units, strict=True)
        if letter in "TZYX"
    }
    return axes, scale_for(axes, sizes)[0]


def _axes_from_kinds(described: list[dict[str, Any]]) -> str | None:
    """Letters of axes with names of their own: time and channel by their type, the others z, y, x in order."""
    kinds = [KINDS.get(str(a.get("type")), "") for a in described]
    space = [k for k, letter in enumerate(kinds) if not letter]
    if not 2 <= len(space) <= 3:
        return None
    for k, letter in zip(space, "ZYX"[-len(space) :], strict=True):
        kinds[k] = letter
    return "".join(kinds) if len(set(kinds)) == len(kinds) else None
