"""TrackMate XML: spots and links, as TrackMate in Fiji reads and writes them.

Tinevez et al. 2017, TrackMate: an open and extensible platform for single-particle tracking, Methods 115, 80-90. Every
mask is a spot with its centre and a radius of equal area, in pixels. Our track ids are kept as spot feature ``LABEL``
and the masks beside the file, since the format has place for neither.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from micro_sam.errors import InputError
from micro_sam.io.results import mark
from micro_sam.io.tracks.beside import labels_beside, save_with_labels, with_labels_beside
from micro_sam.io.tracks.graph import rows_from_graph, spots_and_links
from micro_sam.io.tracks.tracks import Tracks

# name: (long name, short name, dimension, is integer)
_SPOT_FEATURES = {
    "QUALITY": ("Quality", "Quality", "QUALITY", False),
    "POSITION_X": ("X", "X", "POSITION", False),
    "POSITION_Y": ("Y", "Y", "POSITION", False),
    "POSITION_Z": ("Z", "Z", "POSITION", False),
    "POSITION_T": ("T", "T", "TIME", False),
    "FRAME": ("Frame", "Frame", "NONE", True),
    "RADIUS": ("Radius", "R", "LENGTH", False),
    "VISIBILITY": ("Visibility", "Visibility", "NONE", True),
    "LABEL": ("Label of the track in the masks", "Label", "NONE", True),
}
_EDGE_FEATURES = {
    "SPOT_SOURCE_ID": ("Source spot ID", "Source ID", "NONE", True),
    "SPOT_TARGET_ID": ("Target spot ID", "Target ID", "NONE", True),
}
_TRACK_FEATURES = {
    "TRACK_INDEX": ("Track index", "Index", "NONE", True),
    "TRACK_ID": ("Track ID", "ID", "NONE", True),
    "NUMBER_SPOTS": ("Number of spots in track", "N spots", "NONE", True),
}


def save_trackmate(path: str | Path, tracks: Tracks, *, replace_unmarked: bool = False) -> Path:
    """Write the XML file, and the masks beside it as ``NAME_labels.tif``; both change together.

    `replace_unmarked`: see :func:`~micro_sam.io.tracks.save_tracks`.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    path = Path(path)
    spots, links = spots_and_links(tracks)
    root = ET.Element("TrackMate", version="7.11.1")
    model = ET.SubElement(root, "Model", spatialunits="pixel", timeunits="frame")
    _declare_features(model)
    _add_spots(model, spots, _radii(tracks, spots))
    _add_tracks(model, spots, links)
    n_frames, *plane = (int(spots[:, 1].max(initial=0)) + 1, 0, 0) if tracks.labels is None else tracks.labels.shape
    settings = ET.SubElement(root, "Settings")
    ET.SubElement(
        settings,
        "ImageData",
        filename=labels_beside(path).name if tracks.labels is not None else "",
        folder="",
        width=str(plane[1]),
        height=str(plane[0]),
        nslices="1",
        nframes=str(n_frames),
        pixelwidth="1.0",
        pixelheight="1.0",
        voxeldepth="1.0",
        timeinterval="1.0",
    )
    ET.indent(root)
    declaration, body = ET.tostring(root, "UTF-8", xml_declaration=True).split(b"\n", 1)
    content = b"\n".join((declaration, f"<!-- {mark('tracks')} -->".encode(), body))
    return save_with_labels(path, content, tracks, replace_unmarked)


def load_trackmate(path: str | Path) -> Tracks:
    """Read spots and links; without masks beside the file the tracks have positions only.

    Tracks of TrackMate are whole lineages; here they are cut at divisions.

    Raises
    ------
    InputError
        If it is no TrackMate file, or a spot has two mothers.
    """
    path = Path(path)
    try:
        root = ET.parse(path).getroot()
    except ET.ParseError as error:
        raise InputError(f"{path} is no readable XML file: {error}.") from error
    model = root.find("Model")
    if root.tag != "TrackMate" or model is None:
        raise InputError(f"{path} is no TrackMate file: it has no <TrackMate> with a <Model>.")
    spots = {int(spot.get("ID")): spot for spot in model.iter("Spot")}
    edges = [(int(e.get("SPOT_SOURCE_ID")), int(e.get("SPOT_TARGET_ID"))) for e in _visible_edges(model)]
    unknown = [i for edge in edges for i in edge if i not in spots]
    if unknown:
        raise InputError(f"{path} links the spot {unknown[0]}, which it does not have.")
    in_tracks = {i for edge in edges for i in edge}
    has_labels = all(spot.get("LABEL") is not None for spot in spots.values())
    # TrackMate keeps detections that belong to no track; ours are tracks of a single frame, and are labelled.
    used = [i for i in sorted(spots) if has_labels or i in in_tracks]
    index = {i: k for k, i in enumerate(used)}
    pixel = _pixel_size(root)
    frames = [int(float(spots[i].get("FRAME"))) for i in used]
    labels = [int(float(spots[i].get("LABEL"))) for i in used] if has_labels else None
    rows, ids = rows_from_graph(frames, [(index[a], index[b]) for a, b in edges], labels)
    centres = [
        (float(spots[i].get("POSITION_Y")) / pixel[0], float(spots[i].get("POSITION_X")) / pixel[1]) for i in used
    ]
    positions = np.column_stack([ids, frames, np.reshape(centres, (-1, 2))]).astype(float)
    positions = positions[np.lexsort((positions[:, 1], positions[:, 0]))]
    return with_labels_beside(path, rows, positions)


def _declare_features(model: ET.Element) -> None:
    declarations = ET.SubElement(model, "FeatureDeclarations")
    for kind, features in (("Spot", _SPOT_FEATURES), ("Edge", _EDGE_FEATURES), ("Track", _TRACK_FEATURES)):
        group = ET.SubElement(declarations, f"{kind}Features")
        for feature, (name, short, dimension, is_int) in features.items():
            ET.SubElement(
                group,
                "Feature",
                feature=feature,
                name=name,
                shortname=short,
                dimension=dimension,
                isint=str(is_int).lower(),
            )


def _add_spots(model: ET.Element, spots: np.ndarray, radii: np.ndarray) -> None:
    everything = ET.SubElement(model, "AllSpots", nspots=str(len(spots)))
    for t in np.unique(spots[:, 1]).astype(int):
        frame = ET.SubElement(everything, "SpotsInFrame", frame=str(t))
        for k in np.flatnonzero(spots[:, 1] == t):
            track, _, y, x = spots[k]
            ET.SubElement(
                frame,
                "Spot",
                ID=str(k),
                name=f"ID{k}",
                QUALITY="1.0",
                POSITION_T=f"{t}.0",
                POSITION_X=repr(float(x)),
                POSITION_Y=repr(float(y)),
                POSITION_Z="0.0",
                FRAME=str(t),
                RADIUS=repr(float(radii[k])),
                VISIBILITY="1",
                LABEL=str(int(track)),
            )


def _add_tracks(model: ET.Element, spots: np.ndarray, links: np.ndarray) -> None:
    """TrackMate's tracks are the connected parts of the graph."""
    all_tracks = ET.SubElement(model, "AllTracks")
    filtered = ET.SubElement(model, "FilteredTracks")
    if not len(links):
        return
    graph = coo_array((np.ones(len(links)), links.T), shape=(len(spots), len(spots)))
    _, part = connected_components(graph, directed=False)
    sizes = np.bincount(part)
    links = links[np.argsort(part[links[:, 0]], kind="stable")]
    cuts = np.flatnonzero(np.diff(part[links[:, 0]])) + 1
    for number, inside in enumerate(np.split(links, cuts)):
        track = ET.SubElement(
            all_tracks,
            "Track",
            name=f"Track_{number}",
            TRACK_ID=str(number),
            TRACK_INDEX=str(number),
            NUMBER_SPOTS=str(sizes[part[inside[0, 0]]]),
        )
        for a, b in inside:
            ET.SubElement(track, "Edge", SPOT_SOURCE_ID=str(a), SPOT_TARGET_ID=str(b))
        ET.SubElement(filtered, "TrackID", TRACK_ID=str(number))


def _radii(tracks: Tracks, spots: np.ndarray) -> np.ndarray:
    """Radius in pixels of the disc with the area of the mask; 1 where there are no masks."""
    if tracks.labels is None:
        return np.ones(len(spots))
    radii = np.ones(len(spots))
    for t, labels in enumerate(tracks.labels):
        ids, areas = np.unique(labels, return_counts=True)
        here = spots[:, 1] == t
        radii[here] = np.sqrt(areas[np.searchsorted(ids, spots[here, 0])] / np.pi)
    return radii


def _visible_edges(model: ET.Element) -> Iterator[ET.Element]:
    """Edges of the tracks that TrackMate's user has not filtered out."""
    filtered = model.find("FilteredTracks")
    visible = None if filtered is None else {track.get("TRACK_ID") for track in filtered}
    for track in model.iter("Track"):
        if visible is None or track.get("TRACK_ID") in visible:
            yield from track.iter("Edge")


def _pixel_size(root: ET.Element) -> tuple[float, float]:
    """Height and width of a pixel in the file's units; positions divided by them are pixels."""
    image = root.find("Settings/ImageData")
    sizes = [float((image.get(key) if image is not None else None) or 1) for key in ("pixelheight", "pixelwidth")]
    return (sizes[0] if sizes[0] > 0 else 1.0), (sizes[1] if sizes[1] > 0 else 1.0)
