"""GEFF, the graph exchange file format (https://live-image-tracking-tools.github.io/geff), a zarr group.

Nodes are the masks (one per track and frame) with the properties ``t``, ``y``, ``x`` (pixels) and ``track_id``; edges
point forward in time. The masks themselves are kept inside the group as array ``labels``, which the metadata name as
related object, so that the file is complete when it is copied. Needs the package ``geff``.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from micro_sam.errors import InputError
from micro_sam.io.labels import load_labels, small_ids, write_zarr_array
from micro_sam.io.results import KEY, mark, write_result
from micro_sam.io.tracks.graph import rows_from_graph, spots_and_links
from micro_sam.io.tracks.tracks import Tracks, tracks_from_labels

_LABELS = "labels"
_TRACK = "track_id"


def is_geff(path: Path) -> bool:
    """Whether the path is a zarr group with the metadata of GEFF."""
    if not path.is_dir():
        return False
    return any((path / name).is_file() and '"geff"' in (path / name).read_text() for name in (".zattrs", "zarr.json"))


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
    }
    # The format's tracklets are as long as they can be: a mother with a single daughter would be one with her.
    n_daughters = np.bincount([row.parent for row in tracks.rows if row.parent] or [0])
    is_maximal = not (n_daughters[1:] == 1).any()
    has_masks = tracks.labels is not None
    metadata = GeffMetadata(
        directed=True,
        axes=[
            Axis(name="t", type="time", unit="frame"),
            Axis(name="y", type="space", unit="pixel"),
            Axis(name="x", type="space", unit="pixel"),
        ],
        node_props_metadata={},
        edge_props_metadata={},
        track_node_props={"tracklet": _TRACK} if is_maximal else None,
        related_objects=[RelatedObject(type="labels", path=_LABELS, node_prop=_TRACK)] if has_masks else None,
    )

    with write_result(path, "tracks", replace_unmarked=replace_unmarked) as (place,):
        write_arrays(
            str(place),
            np.arange(len(spots), dtype=np.uint64),
            {name: {"values": values, "missing": None} for name, values in properties.items()},
            links.astype(np.uint64),
            {},
            metadata,
            zarr_format=2,
        )
        zarr.open_group(str(place), mode="r+").attrs[KEY] = mark("tracks")
        if has_masks:
            write_zarr_array(place / _LABELS, small_ids(tracks.labels), kind="tracks")
    return path


def load_geff(path: str | Path) -> Tracks:
    """Read a GEFF of this program or another.

    Masks come from the related object of type ``labels``; without it the tracks have positions only. Tracks are the
    property that the metadata call tracklet, else ``track_id``, else they end where the graph branches.

    Raises
    ------
    InputError
        If it is not valid, a node has two mothers, or the package ``geff`` is not installed.
    """
    _require_geff()
    from geff.core_io import read_to_memory

    path = Path(path)
    try:
        graph = read_to_memory(str(path))
    except Exception as error:  # its errors have many types; each means that the file cannot be used
        raise InputError(f"{path} is not a valid GEFF: {error}") from error
    metadata, properties = graph["metadata"], {k: v["values"] for k, v in graph["node_props"].items()}
    time, y, x = _axes(path, metadata, properties)
    tracklet = (metadata.track_node_props or {}).get("tracklet", _TRACK)
    index = {int(node): k for k, node in enumerate(graph["node_ids"])}
    links = [(index[int(a)], index[int(b)]) for a, b in graph["edge_ids"]]
    rows, ids = rows_from_graph(time, links, properties.get(tracklet))
    positions = np.stack([ids, time, y, x], 1).astype(float)
    positions = positions[np.lexsort((positions[:, 1], positions[:, 0]))]
    related = [other for other in metadata.related_objects or () if other.type == "labels"]
    if not related or not (path / related[0].path).exists():
        return Tracks(tuple(rows), None, positions)
    labels = load_labels(str((path / related[0].path).resolve()))
    named = related[0].node_prop or related[0].label_prop or _TRACK
    if named != tracklet and named in properties:
        labels = _relabel(labels, time, properties[named], ids)
    return tracks_from_labels(labels, rows=rows)


def _axes(path: Path, metadata, properties: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    axes = metadata.axes or ()
    time = [axis.name for axis in axes if axis.type == "time"] or [
        name for name in ("t", "frame") if name in properties
    ]
    space = [axis.name for axis in axes if axis.type == "space"] or ["y", "x"]
    if not time or len(space) != 2 or any(name not in properties for name in (*time, *space)):
        raise InputError(
            f"{path} cannot be used: tracks of 2D images over time need one time axis and two axes of space, but it "
            f"has {', '.join(axis.name for axis in axes) or 'none'}."
        )
    return properties[time[0]].astype(int), properties[space[0]], properties[space[1]]


def _relabel(labels: np.ndarray, time: np.ndarray, segments: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Masks that are numbered per frame, numbered by their tracks instead."""
    result = np.zeros(labels.shape, np.uint32)
    for t in range(len(labels)):
        table = {int(segment): int(i) for segment, i in zip(segments[time == t], ids[time == t], strict=True)}
        present, inverse = np.unique(labels[t], return_inverse=True)
        result[t] = np.array([table.get(int(p), 0) for p in present], np.uint32)[inverse.reshape(labels[t].shape)]
    return result


def _require_geff() -> None:
    try:
        import geff  # noqa: F401
    except ImportError as error:
        raise InputError("GEFF files need the package geff: install it with `pip install geff`.") from error
