"""Objects that are given by their outlines, drawn as a label image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from micro_sam.errors import InputError

LARGEST_SIDE = 200_000  # pixels, where only the outlines tell how large the image is


@dataclass(frozen=True)
class Outline:
    """A part of an object in one plane.

    Attributes
    ----------
    label
        Number of the object.
    rings
        Closed lines (n, 2) of x, y; pixel (0, 0) reaches from 0 to 1. What lies in two of them is a hole.
    plane
        Slice or frame from 0; None: the only one, or all of them are meant to lie in a 2D image.
    """

    label: int
    rings: Sequence[np.ndarray]
    plane: int | None = None


def draw(outlines: Sequence[Outline], shape: tuple[int, ...] | None, path: Path) -> tuple[np.ndarray, str]:
    """A label image (Y, X) or (Z, Y, X), uint32, and a sentence on what was decided.

    A pixel belongs to an object when its centre is inside. Where objects overlap, it belongs to the smaller one.

    Parameters
    ----------
    outlines
        All objects.
    shape
        Shape of the image; None: as large as the outlines need it.
    path
        For messages.

    Raises
    ------
    InputError
        When they lie in slices that the image does not have.
    """
    planes = [one.plane for one in outlines if one.plane is not None]
    if shape is None:
        points = np.concatenate([ring for one in outlines for ring in one.rings] or [np.zeros((1, 2))])
        width, height = (max(1, int(np.ceil(v))) for v in points.max(axis=0))
        if max(width, height) > LARGEST_SIDE:
            raise InputError(f"{path} has outlines at {width} x {height} pixels. Open it together with its image.")
        shape = (height, width) if not planes or max(planes) == 0 else (max(planes) + 1, height, width)
    if len(shape) > 2 and planes and max(planes) >= shape[0]:
        raise InputError(
            f"{path} has objects in slice {max(planes) + 1}, but the image has {shape[0]} slices: it belongs to "
            "another image."
        )
    labels = np.zeros(shape, np.uint32)
    size = {one: 0.0 for one in range(len(outlines))}
    for number, one in enumerate(outlines):
        size[number] = abs(sum(_area(ring) for ring in one.rings))
    overlapping, outside = set(), 0
    for number in sorted(size, key=lambda k: -size[k]):
        one = outlines[number]
        inside = _inside(one.rings, shape[-2:])
        if inside is None:
            outside += 1
            continue
        region, mask = inside
        index = region if len(shape) == 2 else (one.plane or 0, *region)
        window = labels[index]
        below = window[mask & (window > 0) & (window != one.label)]
        if below.size:
            overlapping.update({one.label, *np.unique(below).tolist()})
        window[mask] = one.label
    notes = []
    if overlapping:
        notes.append(
            f"{len(overlapping)} objects of {path.name} overlap; their shared pixels belong to the smaller of them."
        )
    if outside:
        notes.append(f"{outside} objects of {path.name} lie outside the image or hold no pixel, and are left out.")
    return labels, " ".join(notes)


def trace(mask: np.ndarray) -> list[list[np.ndarray]]:
    """Outlines of a mask along the edges of its pixels: for each part the outer ring and its holes, as x, y.

    `draw` gives the same pixels back.
    """
    padded = np.pad(mask.astype(bool), 1)
    steps: dict[tuple[int, int], list[tuple[int, int]]] = {}
    above, below = padded[:-1], padded[1:]
    for y, x in np.argwhere(below & ~above).tolist():  # upper edges run to the right, the object lies to the right hand
        steps.setdefault((x, y + 1), []).append((x + 1, y + 1))
    for y, x in np.argwhere(above & ~below).tolist():
        steps.setdefault((x + 1, y + 1), []).append((x, y + 1))
    left, right = padded[:, :-1], padded[:, 1:]
    for y, x in np.argwhere(left & ~right).tolist():
        steps.setdefault((x + 1, y), []).append((x + 1, y + 1))
    for y, x in np.argwhere(right & ~left).tolist():
        steps.setdefault((x + 1, y + 1), []).append((x + 1, y))
    rings = []
    while steps:
        start = next(iter(steps))
        ring, here, came = [start], start, (0, 0)
        while True:
            options = steps[here]
            if len(options) > 1:  # two corners touch: turn to the right, so that the parts stay apart
                options.sort(key=lambda to: _turn(came, (to[0] - here[0], to[1] - here[1])))
            there = options.pop(0)
            if not options:
                del steps[here]
            came, here = (there[0] - here[0], there[1] - here[1]), there
            if here == start:
                break
            ring.append(here)
        rings.append(_without_straight(np.array(ring) - 1))
    outer = [ring for ring in rings if _area(ring) > 0]
    holes = [ring for ring in rings if _area(ring) <= 0]
    parts = [[ring] for ring in outer]
    for hole in holes:
        x, y = hole[0] + np.sign(hole[1] - hole[0]) * 0.5 + 0.25 * _inward(hole)
        owner = min(
            (k for k, ring in enumerate(outer) if _contains(ring, x, y)), key=lambda k: abs(_area(outer[k])), default=0
        )
        parts[owner].append(hole)
    return parts


def _turn(came: tuple[int, int], goes: tuple[int, int]) -> int:
    """-1 for a turn to the right (y runs downward), 1 to the left."""
    return -(came[0] * goes[1] - came[1] * goes[0])


def _inward(hole: np.ndarray) -> np.ndarray:
    """Direction from the first edge of a hole into the object around it, which lies to the right hand."""
    dx, dy = np.sign(hole[1] - hole[0])
    return np.array([-dy, dx], float)


def _without_straight(ring: np.ndarray) -> np.ndarray:
    before, after = np.roll(ring, 1, 0), np.roll(ring, -1, 0)
    corner = (before != after).all(axis=1)
    kept = ring[corner]
    return kept if len(kept) >= 4 else ring


def _area(ring: np.ndarray) -> float:
    x, y = np.asarray(ring, float).T
    return float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum() / 2)


def _contains(ring: np.ndarray, x: float, y: float) -> bool:
    (x0, y0), (x1, y1) = ring.T, np.roll(ring, -1, 0).T
    crosses = (y0 > y) != (y1 > y)
    with np.errstate(divide="ignore", invalid="ignore"):
        at = x0 + (y - y0) * (x1 - x0) / (y1 - y0)
    return bool((crosses & (x < at)).sum() % 2)


def _inside(rings: Sequence[np.ndarray], shape: tuple[int, ...]) -> tuple[tuple[slice, slice], np.ndarray] | None:
    """The part of the image around the rings, and which of its pixels have their centre inside."""
    points = np.concatenate([np.asarray(ring, float) for ring in rings if len(ring) > 2] or [np.empty((0, 2))])
    if not len(points) or not np.isfinite(points).all():
        return None
    x0, y0 = np.maximum(np.floor(points.min(axis=0)), 0).astype(int)
    x1, y1 = np.minimum(np.ceil(points.max(axis=0)), (shape[1], shape[0])).astype(int)
    if x1 <= x0 or y1 <= y0:
        return None
    centres = np.arange(y0, y1) + 0.5
    mask = np.zeros((y1 - y0, x1 - x0), bool)
    columns = np.arange(x0, x1) + 0.5
    crossings: list[list[float]] = [[] for _ in centres]
    for ring in rings:
        start = np.asarray(ring, float)
        for (xa, ya), (xb, yb) in zip(start, np.roll(start, -1, 0), strict=True):
            if ya == yb:
                continue
            low, high = min(ya, yb), max(ya, yb)
            first, last = np.searchsorted(centres, [low, high], side="left")  # half open: low <= centre < high
            rows = np.arange(first, last)
            for row, at in zip(rows, xa + (centres[rows] - ya) * (xb - xa) / (yb - ya), strict=True):
                crossings[row].append(at)
    for row, found in enumerate(crossings):
        found.sort()
        for begin, end in zip(found[::2], found[1::2], strict=False):
            first, last = np.searchsorted(columns, [begin, end], side="left")
            mask[row, first:last] = True
    return ((slice(y0, y1), slice(x0, x1)), mask) if mask.any() else None
