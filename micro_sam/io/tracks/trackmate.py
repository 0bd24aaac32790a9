"""TrackMate XML: spots and links, as TrackMate in Fiji reads and writes them.

Tinevez et al. 2017, TrackMate: an open and extensible platform for single-particle tracking, Methods 115, 80-90. Every
mask is a spot with its centre and a radius of equal area, in µm and seconds where the tracks know their sizes, else in
pixels and frames. Our track ids are kept as spot feature ``LABEL``
and the masks beside the file, since the format has place for neither.
"""

from __future__ import annotations

import logging
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import scipy  # its parts are loaded when they are used

from micro_sam.errors import InputError
from micro_sam.io.results import mark
from micro_sam.io.tracks.beside import labels_beside, save_with_labels, with_labels_beside
from micro_sam.io.tracks.frames import check_plane, frames_of_times
from micro_sam.io.tracks.graph import LARGEST_TRACK, NO_TRACK, rows_from_graph, spots_and_links
from micro_sam.io.tracks.trackmate_settings import add_settings
from micro_sam.io.tracks.tracks import Tracks
from micro_sam.io.units import size_of

log = logging.getLogger(__name__)

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
    scale = tracks.scale or (1.0, 1.0, 1.0)
    # free text in TrackMate; these words are known to the readers of GEFF, too
    units = ("micrometer", "second") if tracks.scale else ("pixel", "frame")
    root = ET.Element("TrackMate", version="7.11.1")
    ET.SubElement(root, "Log").text = "Exported for TrackMate."  # without our mark: Fiji keeps the text when it saves
    model = ET.SubElement(root, "Model", spatialunits=units[0], timeunits=units[1])
    _declare_features(model)
    _add_spots(model, spots, _radii(tracks, spots), scale)
    _add_tracks(model, spots, links)
    n_frames, *plane = (int(spots[:, 1].max(initial=0)) + 1, 1, 1) if tracks.labels is None else tracks.labels.shape
    add_settings(root, labels_beside(path).name if tracks.labels is not None else "", (n_frames, *plane), scale)
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
        If it is no TrackMate file, a spot has two mothers, or spots lie in several planes.
    """
    path = Path(path)
    root = _parsed(path)
    model = root.find("Model")
    if root.tag != "TrackMate" or model is None:
        raise InputError(f"{path} is no TrackMate file: it has no <TrackMate> with a <Model>.")
    spots = {_whole(path, spot, "ID"): spot for spot in model.iter("Spot")}
    edges = [(_whole(path, e, "SPOT_SOURCE_ID"), _whole(path, e, "SPOT_TARGET_ID")) for e in _visible_edges(model)]
    unknown = [i for edge in edges for i in edge if i not in spots]
    if unknown:
        raise InputError(f"{path} links the spot {unknown[0]}, which it does not have.")
    in_tracks = {i for edge in edges for i in edge}
    declared = model.find("FeatureDeclarations/SpotFeatures/Feature[@feature='LABEL']")
    has_labels = declared is not None and declared.get("name") == _SPOT_FEATURES["LABEL"][0]
    # TrackMate keeps detections that belong to no track; ours are tracks of a single frame, and are labelled.
    used = [
        i
        for i, spot in sorted(spots.items())
        if i in in_tracks or (has_labels and spot.get("LABEL") is not None and spot.get("VISIBILITY") != "0")
    ]
    index = {i: k for k, i in enumerate(used)}
    (step, *pixel), scale = _sizes(root, model)
    frames = _frames(path, model, [spots[i] for i in used], step)
    check_plane([_number(path, spots[i], "POSITION_Z", 0.0) for i in used], str(path))
    links = [(index[a], index[b]) for a, b in edges]
    labels = [_whole(path, spots[i], "LABEL", NO_TRACK) for i in used] if has_labels else None
    try:
        rows, ids = rows_from_graph(frames, links, labels, used)
    except InputError:
        if labels is None:
            raise
        log.info("The spots or links of %s were changed after it was saved here; its tracks are numbered anew.", path)
        rows, ids = rows_from_graph(frames, links, None, used)
    centres = [
        (_number(path, spots[i], "POSITION_Y") / pixel[0], _number(path, spots[i], "POSITION_X") / pixel[1])
        for i in used
    ]
    positions = np.column_stack([ids, frames, np.reshape(centres, (-1, 2))]).astype(float)
    positions = positions[np.lexsort((positions[:, 1], positions[:, 0]))]
    return with_labels_beside(path, rows, positions, scale)


def _parsed(path: Path) -> ET.Element:
    if b"<!DOCTYPE" in path.read_bytes():  # entities could be expanded to any size
        raise InputError(f"{path} has a document type (DOCTYPE), which is refused. Save it without.")
    try:
        return ET.parse(path).getroot()
    except (ET.ParseError, ValueError, LookupError) as error:  # the latter two: an encoding that nobody knows
        raise InputError(f"{path} is no readable XML file: {error}.") from error


def _number(path: Path, element: ET.Element, key: str, default: float | None = None) -> float:
    text = element.get(key)
    if text is None and default is not None:
        return default
    try:
        value = float(text)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        value = np.nan
    if not np.isfinite(value):
        raise InputError(f"{path} has a {element.tag} whose {key} is {text!r}, which is no number.")
    return value


def _whole(path: Path, element: ET.Element, key: str, default: int | None = None) -> int:
    value = _number(path, element, key, default)
    if value != round(value) or abs(value) > LARGEST_TRACK:  # TrackMate's own ids have 32 bits with a sign
        raise InputError(f"{path} has a {element.tag} whose {key} is {value:g}; ids are whole numbers.")
    return int(value)


def _frames(path: Path, model: ET.Element, spots: list[ET.Element], step: float) -> np.ndarray:
    """Frame of each spot: as it says, as the group it stands in, or by its time."""
    group = {id(spot): part.get("frame") for part in model.iter("SpotsInFrame") for spot in part}
    for spot in spots:
        frame = group.get(id(spot))
        if spot.get("FRAME") is None and frame is not None:
            spot.set("FRAME", frame)
    if all(spot.get("FRAME") is not None for spot in spots):
        return frames_of_times([_number(path, spot, "FRAME") for spot in spots], str(path))
    return frames_of_times([_number(path, spot, "POSITION_T") for spot in spots], str(path), unit="s", step=step)


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


def _add_spots(model: ET.Element, spots: np.ndarray, radii: np.ndarray, scale: tuple[float, float, float]) -> None:
    dt, dy, dx = scale
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
                POSITION_T=repr(float(t * dt)),
                POSITION_X=repr(float(x * dx)),
                POSITION_Y=repr(float(y * dy)),
                POSITION_Z="0.0",
                FRAME=str(t),
                RADIUS=repr(float(radii[k] * (dy * dx) ** 0.5)),
                VISIBILITY="1",
                LABEL=str(int(track)),
            )


def _add_tracks(model: ET.Element, spots: np.ndarray, links: np.ndarray) -> None:
    """TrackMate's tracks are the connected parts of the graph."""
    all_tracks = ET.SubElement(model, "AllTracks")
    filtered = ET.SubElement(model, "FilteredTracks")
    if not len(links):
        return
    graph = scipy.sparse.coo_array((np.ones(len(links)), links.T), shape=(len(spots), len(spots)))
    _, part = scipy.sparse.csgraph.connected_components(graph, directed=False)
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


def _sizes(root: ET.Element, model: ET.Element) -> tuple[list[float], tuple[float, float, float] | None]:
    """Size of a frame, of a pixel's height and width in the file's units, and in seconds and µm if the file says so."""
    image, sizes = root.find("Settings/ImageData"), []
    for key in ("timeinterval", "pixelheight", "pixelwidth"):
        try:
            size = float((image.get(key) if image is not None else None) or 1)
        except ValueError:
            size = 1.0
        sizes.append(size if 0 < size < np.inf else 1.0)
    units = (model.get("timeunits"), model.get("spatialunits"), model.get("spatialunits"))
    known = [size_of(letter, size, unit) for letter, size, unit in zip("TYX", sizes, units, strict=True)]
    return sizes, None if None in known else (known[0], known[1], known[2])  # type: ignore[return-value]
