"""GEFF, the graph exchange file format (https://live-image-tracking-tools.github.io/geff), a zarr group.

Nodes are the masks (one per track and frame), numbered from 1, with the properties ``t``, ``y``, ``x`` (pixels),
``track_id`` and ``seg_id`` (label in the masks: the track again, under the name that funtracks looks for); edges point
forward in time. The masks themselves are kept inside the group as array ``labels``, which the metadata name as related
object, so that the file is complete when it is copied. Needs the package ``geff``.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from micro_sam.errors import InputError
from micro_sam.io.labels import load_labels, small_ids, write_zarr_array
from micro_sam.io.lazy import in_memory
from micro_sam.io.marks import is_zarr
from micro_sam.io.results import KEY, mark, write_result
from micro_sam.io.tracks.frames import check_plane, frames_of_times
from micro_sam.io.tracks.graph import LARGEST_TRACK, NO_TRACK, rows_from_graph, spots_and_links
from micro_sam.io.tracks.tracks import Tracks, tracks_from_labels
from micro_sam.io.units import size_of

log = logging.getLogger(__name__)

_LABELS = "labels"
_TRACK = "track_id"
_SEGMENT = "seg_id"
_EXACT = 2**53  # larger ones are no whole numbers as float64
_LARGE = 2**24  # a table of labels up to here is small and fast
_SIZES = "tracksdata"  # entry of funtracks' library among the metadata
_NODE = "node_id"  # funtracks: the labels are the nodes' own ids, which are no property


def is_geff(path: Path) -> bool:
    """Whether the path is a zarr group with the metadata of GEFF."""
    if not path.is_dir():
        return False
    return any((path / name).is_file() and b'"geff"' in (path / name).read_bytes() for name in (".zattrs", "zarr.json"))


def save_geff(path: str | Path, tracks: Tracks, *, replace_unmarked: bool = False) -> Path:
    """Write nodes, edges and masks; what is at the path stays whole until the new file is complete.

    `replace_unmarked`: see :func:`~micro_sam.io.tracks.save_tracks`.

    Raises
    ------
    InputError
        If the package ``geff`` is not installed.
    OutputError
        If it cannot be written.
    """
    _require_geff()
    import zarr
    from geff.core_io import write_arrays
    from geff_spec import Axis, GeffMetadata, RelatedObject

    path = Path(path)
    spots, links = spots_and_links(tracks)
    properties = {
        "t": spots[:, 1].astype(np.int64),
        "y": spots[:, 2],
        "x": spots[:, 3],
        _TRACK: spots[:, 0].astype(np.int64),
        _SEGMENT: spots[:, 0].astype(np.int64),
    }
    # The format's tracklets are as long as they can be: a mother with a single daughter would be one with her.
    n_daughters = np.bincount([row.parent for row in tracks.rows if row.parent] or [0])
    is_maximal = not (n_daughters[1:] == 1).any()
    has_masks = tracks.labels is not None
    units = [("t", "time", "frame", "second"), *((name, "space", "pixel", "micrometer") for name in "yx")]
    sizes = tracks.scale or (None, None, None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # label_prop is the older name, which traccuracy reads
        related = RelatedObject(type="labels", path=_LABELS, node_prop=_SEGMENT, label_prop=_SEGMENT)
    metadata = GeffMetadata(
        directed=True,
        axes=[
            Axis(name=name, type=kind, unit=unit, scale=size, scaled_unit=scaled if size else None)
            for (name, kind, unit, scaled), size in zip(units, sizes, strict=True)
        ],
        node_props_metadata={},
        edge_props_metadata={},
        track_node_props={"tracklet": _TRACK} if is_maximal else None,
        related_objects=[related] if has_masks else None,
        # where funtracks looks for the size of a pixel in the masks
        extra={_SIZES: {"scale": list(tracks.scale[1:])}} if tracks.scale else {},
    )

    with write_result(path, "tracks", replace_unmarked=replace_unmarked) as (place,):
        write_arrays(
            str(place),
            np.arange(1, len(spots) + 1, dtype=np.uint64),
            {name: {"values": values, "missing": None} for name, values in properties.items()},
            (links + 1).astype(np.uint64),
            {},
            metadata,
            zarr_format=2,
        )
        zarr.open_group(str(place), mode="r+").attrs[KEY] = mark("tracks")
        if tracks.labels is not None and has_masks:
            write_zarr_array(place / _LABELS, small_ids(tracks.labels), kind="tracks")
    return path


def load_geff(path: str | Path) -> Tracks:
    """Read a GEFF of this program or another.

    Masks come from the related object of type ``labels``; without it the tracks have positions only. Tracks are the
    property that the metadata call tracklet, else ``track_id``, else they end where the graph branches. A value that is
    marked as missing is none.

    Raises
    ------
    InputError
        If it is not valid, a node has two mothers, the masks cannot be matched to the nodes, or the package ``geff`` is
        not installed.
    """
    _require_geff()
    from geff.core_io import read_to_memory

    path = Path(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            graph = read_to_memory(str(path))
    except Exception as error:  # its errors have many types; each means that the file cannot be used
        raise InputError(f"{path} is not a valid GEFF: {error}") from error
    metadata, properties = graph["metadata"], {k: _column(v) for k, v in graph["node_props"].items()}
    nodes = np.asarray(graph["node_ids"]).astype(np.int64)
    frames, y, x, is_flat = _axes(path, metadata, properties)
    index = {int(node): k for k, node in enumerate(nodes)}
    edges = np.asarray(graph["edge_ids"]).reshape(-1, 2).tolist()
    lost = [node for edge in edges for node in edge if int(node) not in index]
    if lost:
        raise InputError(f"{path} links the node {lost[0]}, which it does not have.")
    links = [(index[int(a)], index[int(b)]) for a, b in edges]
    tracklet = _tracklet(metadata, properties)
    stated = None if tracklet is None else _as_ids(path, tracklet, properties[tracklet])
    rows, ids = rows_from_graph(frames, links, stated, nodes)
    scale = _scale(metadata)
    place, named = _masks(path, metadata, properties)
    if place is not None:
        labels = _numbers(place)
        if is_flat and labels.ndim == 4 and labels.shape[1] == 1:
            labels = labels[:, 0]
        labels = _by_track(path, labels, frames, ids, _segments(path, named, labels, frames, nodes, properties))
        return tracks_from_labels(labels, rows=rows, scale=scale)
    height, width = _world(metadata)
    positions = np.stack([ids, frames, y / height, x / width], 1).astype(float)
    if not np.isfinite(positions).all():
        raise InputError(f"{path} has nodes without a place, and no masks that would tell it.")
    return Tracks(tuple(rows), None, positions[np.lexsort((positions[:, 1], positions[:, 0]))], scale)


def _column(prop: Mapping[str, Any]) -> np.ndarray:
    """The values of a property of one number per node, as float64; NaN where it is missing."""
    values = np.asarray(prop["values"])
    if values.ndim != 1 or values.dtype.kind not in "biuf":
        return np.full(len(values), np.nan)  # a vector or a text: nothing here is described by one
    values = values.astype(np.float64)
    missing = prop.get("missing")
    return values if missing is None else np.where(np.asarray(missing, bool), np.nan, values)


def _axes(
    path: Path, metadata: Any, properties: dict[str, np.ndarray]
) -> tuple[np.ndarray, np.ndarray, np.ndarray, bool]:
    """Frames, y and x of the nodes, and whether an axis z was left out."""
    axes = metadata.axes or ()
    time = [axis.name for axis in axes if axis.type == "time"]
    time = time or [name for name in ("t", "frame") if name in properties][:1]
    space = [axis.name for axis in axes if axis.type == "space"]
    space = space or [name for name in ("z", "y", "x") if name in properties]
    if len(time) != 1 or len(space) not in (2, 3) or any(name not in properties for name in (*time, *space)):
        raise InputError(
            f"{path} cannot be used: tracks of 2D images over time need one time axis and two axes of space, but it "
            f"has {', '.join(axis.name for axis in axes) or 'none'}."
        )
    if len(space) == 3:
        # by name where the names say it, in whatever order they stand; else the first is the slowest, as in arrays
        by_name = {name.lower()[-1:]: name for name in space}
        space = [by_name[letter] for letter in "zyx"] if set(by_name) == set("zyx") else space
        check_plane(properties[space[0]], str(path))
    elif {name.lower() for name in space} == {"x", "y"}:
        space = sorted(space, key=str.lower, reverse=True)
    axis = next((axis for axis in axes if axis.name == time[0]), None)
    unit = getattr(axis, "unit", None)
    frames = frames_of_times(properties[time[0]], str(path), unit=unit, step=getattr(axis, "scale", None))
    return frames, properties[space[-2]], properties[space[-1]], len(space) == 3


def _tracklet(metadata: Any, properties: dict[str, np.ndarray]) -> str | None:
    """The property that numbers the tracks; one that the file calls lineage numbers whole families."""
    declared = metadata.track_node_props or {}
    name = declared.get("tracklet") or (_TRACK if _TRACK not in declared.values() else None)
    return name if name in properties else None


def _as_ids(path: Path, name: str, values: np.ndarray) -> np.ndarray:
    """Whole numbers; NO_TRACK where there is none."""
    known = values[~np.isnan(values)]
    if (known != np.rint(known)).any() or (np.abs(known) > LARGEST_TRACK).any():
        raise InputError(
            f"{path} numbers its tracks by {name}, which does not hold whole numbers up to {LARGEST_TRACK}."
        )
    return np.where(np.isnan(values), NO_TRACK, values).astype(np.int64)


def _scale(metadata: Any) -> tuple[float, float, float] | None:
    """Seconds per frame and µm per pixel, where the file's axes are frames and pixels and say their size."""
    found = {}
    for axis in metadata.axes or ():
        size = size_of(axis.name[-1:].upper(), axis.scale, axis.scaled_unit) if axis.scale else None
        found[axis.name[-1:].lower()] = size
    t, y, x = (found.get(name) for name in "tyx")
    return None if t is None or y is None or x is None else (t, y, x)


def _world(metadata: Any) -> tuple[float, float]:
    """Height and width of a pixel in the units of the places: funtracks multiplies them."""
    extra = metadata.extra or {}
    sizes = extra.get(_SIZES)
    sizes = sizes.get("scale") if isinstance(sizes, dict) and "funtracks" in extra else None
    try:
        height, width = (float(size) for size in (sizes or ())[-2:])
    except (TypeError, ValueError):
        return 1.0, 1.0
    return (height, width) if 0 < height < np.inf and 0 < width < np.inf else (1.0, 1.0)


def _numbers(place: Path) -> np.ndarray:
    """Masks; ids of nodes above 32 bits are kept, which `load_labels` would number anew."""
    from micro_sam.io.images import open_source

    if place.is_dir():
        source = open_source(place, as_labels=True)
        if source.data.dtype.kind in "iu" and source.data.dtype.itemsize > 4:
            return np.asarray(in_memory(source.data, place)).astype(np.int64)
    return load_labels(str(place))


def _masks(path: Path, metadata: Any, properties: dict[str, np.ndarray]) -> tuple[Path | None, str | None]:
    """Where the masks lie, and the property that numbers them, as far as the file says."""
    for related in metadata.related_objects or ():
        place = (path / related.path).resolve()
        if related.type == "labels" and place.exists():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # label_prop is the older name
                return place, related.node_prop or related.label_prop
    beside = path.resolve().parent / "segmentation"
    if "label" in properties and not metadata.related_objects and is_zarr(beside):
        return beside, "label"  # trackastra names no related object
    return None, None


def _segments(
    path: Path,
    named: str | None,
    labels: np.ndarray,
    frames: np.ndarray,
    nodes: np.ndarray,
    properties: dict[str, np.ndarray],
) -> np.ndarray:
    """The label of each node in the masks of its frame; NaN where it has none."""
    if named in properties:
        segments = properties[named]
    elif named == _NODE:
        segments = nodes.astype(float)
    elif named is not None:
        raise InputError(
            f"{path} says that its masks are numbered by {named!r}, which its nodes do not have. Export it anew with "
            "the property, or with masks that are numbered by the nodes."
        )
    else:
        candidates = [properties[name] for name in (_SEGMENT, _TRACK) if name in properties] + [nodes.astype(float)]
        segments = max(candidates, key=lambda values: _found(values, frames, labels))
    segments = np.where(np.abs(segments) <= _EXACT, segments, np.nan)
    known = ~np.isnan(segments)
    pairs, counts = np.unique(np.stack([frames[known], segments[known]]), axis=1, return_counts=True)
    if (counts > 1).any():
        t, segment = pairs[:, np.argmax(counts)].astype(int)
        raise InputError(
            f"The masks of {path} are numbered by {named or 'a number'} that several cells of a frame share (label "
            f"{segment} in frame {t}): they cannot be told apart, as when a whole lineage has one number. Export the "
            "masks numbered by track or by node."
        )
    return segments


def _found(segments: np.ndarray, frames: np.ndarray, labels: np.ndarray) -> int:
    """How many nodes have a mask if these are their labels."""
    there = {(t, int(i)) for t in range(len(labels)) for i in np.unique(labels[t]) if i}
    return sum((int(t), int(s)) in there for t, s in zip(frames, segments, strict=True) if not np.isnan(s))


def _by_track(path: Path, labels: np.ndarray, frames: np.ndarray, ids: np.ndarray, segments: np.ndarray) -> np.ndarray:
    """Masks as they are numbered in the file, numbered by their tracks instead."""
    if labels.ndim != 3:
        raise InputError(f"The masks of {path} have the shape {labels.shape}; tracks of 2D images have (T, Y, X).")
    result, without_node = np.zeros(labels.shape, np.uint32), 0
    order = np.argsort(frames, kind="stable")
    bounds = np.searchsorted(frames[order], np.arange(len(labels) + 1))
    for t in range(len(labels)):
        here = order[bounds[t] : bounds[t + 1]]
        here = here[~np.isnan(segments[here])]
        table = dict(zip(segments[here].astype(np.int64).tolist(), ids[here].tolist(), strict=True))
        if len(here) and max(table) < _LARGE and all(segment == track for segment, track in table.items()):
            known = np.isin(labels[t], [0, *table], kind="table")
            result[t] = np.where(known, labels[t], 0)
            without_node += 0 if known.all() else len(np.unique(labels[t][~known]))
            continue
        present, inverse = np.unique(labels[t], return_inverse=True)
        without_node += sum(int(p) not in table for p in present if p)
        new = np.array([table.get(int(p), 0) if p else 0 for p in present], np.uint32)
        result[t] = new[inverse.reshape(labels[t].shape)]
    if without_node:
        log.info("%s has %d masks that no node names; they are left out.", path, without_node)
    return result


def _require_geff() -> None:
    try:
        import geff  # noqa: F401
    except ImportError as error:
        raise InputError("GEFF files need the package geff: install it with `pip install geff`.") from error
