"""GeoJSON as QuPath exports and imports it: one feature per object (https://qupath.readthedocs.io, RFC 7946).

Coordinates are x, y in pixels; pixel (0, 0) reaches from 0 to 1.
"""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from micro_sam.errors import InputError
from micro_sam.io.formats.outlines import Outline, draw, trace
from micro_sam.io.label_arrays import consecutive_ids
from micro_sam.io.lazy import reading

SUFFIXES = (".geojson", ".json")
LARGEST = 2**31  # bytes


def is_geojson(path: Path) -> bool:
    """Whether a file is JSON that may hold features."""
    with open(path, "rb") as file:
        head = file.read(4096).lstrip(b"\xef\xbb\xbf \r\n\t")
    return head[:1] in (b"{", b"[") and (path.suffix.lower() in SUFFIXES or b'"Feature' in head)


def read_geojson(path: Path, shape: tuple[int, ...] | None = None) -> tuple[np.ndarray, str]:
    """A label image with one object per feature, and a sentence on what was decided.

    Parameters
    ----------
    path
        A FeatureCollection, a list of features, or one feature.
    shape
        Shape of the image; None: as large as the objects need it.

    Raises
    ------
    InputError
        When it is no GeoJSON or holds no areas.
    """
    with reading(path, "GeoJSON", " In QuPath: File > Export objects as GeoJSON."):
        if path.stat().st_size > LARGEST:
            raise InputError(f"{path} is too large to be read.")
        found = json.loads(path.read_text(encoding="utf-8-sig"))
        features = _features(found, path)
        outlines, left, numbers = [], 0, _numbers(features)
        for feature, number in zip(features, numbers, strict=True):
            geometry = feature.get("geometry") or {}
            parts = _polygons(geometry)
            left += not parts
            plane = geometry.get("plane") or {}
            where = max(int(plane.get("z", 0)), int(plane.get("t", 0)))
            for rings in parts:
                outlines.append(Outline(number, [np.array(ring, float)[:, :2] for ring in rings], where or None))
        if not features and shape is None:
            raise InputError(
                f"{path} holds no objects, and does not say how large its image is. Open it with the image."
            )
        if features and not outlines:
            raise InputError(f"{path} holds no areas: lines and points are no objects.")
    labels, note = draw(outlines, shape, path)
    said = f"{left} objects of {path.name} are lines or points and are left out." if left else ""
    return labels, " ".join(part for part in (said, note) if part)


def geojson_bytes(labels: np.ndarray, about: dict[str, str] | None = None) -> bytes:
    """Objects of a label image (Y, X) or (Z, Y, X) as GeoJSON that QuPath imports; the same pixels come back.

    The number of an object is its measurement "label"; slices are QuPath's z. `about` stands
    at the beginning of the file.
    """
    features = []
    planes = labels[None] if labels.ndim == 2 else labels
    for z, plane in enumerate(planes):
        small, ids = consecutive_ids(plane)
        for number, region in zip(ids.tolist(), ndimage.find_objects(small), strict=True):
            offset = np.array([region[1].start, region[0].start])
            parts = [[_closed(ring + offset) for ring in part] for part in trace(plane[region] == number)]
            geometry: dict[str, Any] = {"type": "Polygon", "coordinates": parts[0]}
            if len(parts) > 1:
                geometry = {"type": "MultiPolygon", "coordinates": parts}
            if labels.ndim == 3:
                geometry["plane"] = {"c": -1, "z": z, "t": 0}
            properties = {"objectType": "detection", "name": str(number), "measurements": {"label": number}}
            identity = str(uuid.uuid5(uuid.NAMESPACE_OID, f"{z} {number}"))
            features.append({"type": "Feature", "id": identity, "geometry": geometry, "properties": properties})
    return json.dumps({"type": "FeatureCollection", **(about or {}), "features": features}).encode()


def _features(found: Any, path: Path) -> list[Any]:
    """The features of any kind of GeoJSON; a geometry by itself is one."""
    if isinstance(found, list):
        return found
    kind = found.get("type")
    if "features" in found:
        return list(found["features"])
    if kind == "Feature" or "geometry" in found:
        return [found]
    if "coordinates" in found or "geometries" in found:
        return [{"geometry": found}]
    coco = " It seems to be COCO." if "annotations" in found else ""
    raise InputError(
        f"{path} is JSON, but no GeoJSON: it has no features.{coco} Save the objects as a label image, or as GeoJSON."
    )


def _numbers(features: list[Any]) -> list[int]:
    """The labels that were written here, or 1, 2, ... for files of others."""
    own = []
    for feature in features:
        value = (feature.get("properties") or {}).get("measurements") or {}
        value = value.get("label") if isinstance(value, dict) else None
        own.append(int(value) if isinstance(value, (int, float)) and value > 0 and value == int(value) else None)
    return own if own and None not in own else list(range(1, len(features) + 1))  # type: ignore[return-value]


def _polygons(geometry: dict[str, Any]) -> list[Any]:
    kind = geometry.get("type")
    if kind == "Polygon":
        return [geometry["coordinates"]]
    if kind == "MultiPolygon":
        return list(geometry["coordinates"])
    if kind == "GeometryCollection":
        return [part for one in geometry.get("geometries", ()) for part in _polygons(one)]
    return []


def _closed(ring: np.ndarray) -> list[list[int]]:
    return [*ring.tolist(), ring[0].tolist()]
