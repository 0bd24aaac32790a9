"""One object of a volume from prompts in any slices, by a look at the maps: no network is asked.

``segment_volume_object`` is a pure function of maps and prompts. The object is the region under the first prompt
(``start.py``); every further prompt corrects it (``corrections.py``), in a window that grows until it holds the object.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from micro_sam.segmentation.automatic.outlines import bilinear
from micro_sam.segmentation.values import ObjectMask
from micro_sam.segmentation.volume.closer import closer_look, fitting_threshold
from micro_sam.segmentation.volume.corrections import Corrections
from micro_sam.segmentation.volume.maps import VolumeMaps, Window
from micro_sam.segmentation.volume.regions import FOREGROUND, Regions, bounds, largest_part, places_in
from micro_sam.segmentation.volume.values import VolumeObject, VolumePrompts

if TYPE_CHECKING:
    from micro_sam.segmentation.volume.maps import CoarseMaps

__all__ = ["segment_volume_object", "segment_volume_objects"]

FAINT = 0.08  # foreground at a click below which the maps show nothing there
SHARE = 0.6  # of the foreground at a click, above which voxels belong to a faint object
START, GROWTH, STEP = 16, 0.35, 8  # margin of the first window, its growth as share of its side, and its raster
MOST_VOXELS = 8_000_000  # of a window
FINE_VOXELS = 300_000  # of a window, above which rows and columns are taken together, at most MOST_TOGETHER
MOST_TOGETHER = 4
Ensure = Callable[[Window], None]


def segment_volume_object(maps: VolumeMaps, prompts: VolumePrompts, ensure: Ensure | None = None) -> VolumeObject:
    """Segment one object.

    Parameters
    ----------
    maps : VolumeMaps
        Complete, or known around the prompts; what is not known yet counts as background.
    prompts : VolumePrompts
    ensure : callable, optional
        Called with a window (in the grid of the maps) before it is read, to compute what is missing of it.

    Returns
    -------
    VolumeObject
        Empty, with a hint, when the maps show nothing at the prompts.

    Raises
    ------
    InputError
        See :meth:`VolumePrompts.check`.
    """
    prompts.check(maps.shape)
    work = _find(maps, prompts, ensure)
    for place, label in work.clicks:  # in the order in which they were made: each corrects what the ones before gave
        if label:
            work.join(place)
        else:
            work.split(place)
    work.impose(prompts)
    work.end(prompts)
    return _finished(work, prompts)


def segment_volume_objects(
    maps: VolumeMaps, prompts: Sequence[VolumePrompts], ensure: Ensure | None = None
) -> list[VolumeObject]:
    """Several objects at once: no voxel belongs to two; the first click of each is a negative one for the others."""
    found: list[VolumeObject] = []
    for k, own in enumerate(prompts):
        others = [other.positive[0] for j, other in enumerate(prompts) if j != k and len(other.positive)]
        points = np.concatenate([own.points, np.reshape(others, (-1, 3))])
        labels = np.concatenate([own.labels, np.zeros(len(others), "int64")])
        both = VolumePrompts(points, labels, own.boxes, own.box, own.masks, own.decoded)
        one = segment_volume_object(maps, both, ensure)
        for other in found:
            _without(one, other)
        found.append(one)
    return found


def _without(one: VolumeObject, other: VolumeObject) -> None:
    low, high = np.maximum(one.box[:3], other.box[:3]), np.minimum(one.box[3:], other.box[3:])
    if (high > low).all():
        mine, theirs = (
            tuple(slice(a - o, b - o) for a, b, o in zip(low, high, x.box[:3], strict=True)) for x in (one, other)
        )
        one.mask[mine] &= ~other.mask[theirs]


def _finished(work: Corrections, prompts: VolumePrompts) -> VolumeObject:
    """The object in voxels of the volume."""
    anchors = list(work.positive)
    for z, drawn in prompts.masks.items():
        if not drawn.is_empty:
            anchors += places_in(work.mask, z - work.window[0].start)
    work.mask = work.connected(work.mask, anchors) if anchors else largest_part(work.mask)
    painted = {z: mask for z, mask in prompts.masks.items() if not mask.is_empty}
    inside = bounds(work.mask, 1)
    if inside is None and not painted:
        return VolumeObject.empty(
            "The maps show no object at the prompts. Click nearer to its middle, draw a box, or paint a slice."
        )
    low, high = _frame(work, inside, painted)
    mask = np.zeros(tuple(high - low), bool)
    if inside is not None:
        _paint(work, inside, mask, low)
    certainty = np.zeros(len(mask), "float32")
    for k in range(len(mask)):
        plane = k + low[0] - work.window[0].start
        if 0 <= plane < work.shape[0] and work.mask[plane].any():
            certainty[k] = work.regions.foreground[plane][work.mask[plane]].mean()
    for z, one in prompts.masks.items():
        if low[0] <= z < high[0]:
            mask[z - low[0]] = False
            if not one.is_empty:
                y0, x0, y1, x1 = one.box
                mask[z - low[0], y0 - low[1] : y1 - low[1], x0 - low[2] : x1 - low[2]] = one.mask
            certainty[z - low[0]] = 1
    box = bounds(mask)
    if box is None:
        return VolumeObject.empty("Nothing is left of the object: remove a negative point.")
    start = low + [s.start for s in box]
    end = low + [s.stop for s in box]
    (z0, y0, x0), (z1, y1, x1) = start.tolist(), end.tolist()
    return VolumeObject((z0, y0, x0, z1, y1, x1), mask[box].copy(), certainty[box[0]].copy())


def _find(maps: VolumeMaps, prompts: VolumePrompts, ensure: Ensure | None) -> Corrections:
    """The object under the first prompts, in a window that holds it wholly."""
    geometry = maps.geometry
    low, high = _extent(maps, prompts)
    margin = START / np.array(geometry.spacing) * geometry.spacing[1]
    low, high = low - margin, high + margin + 1
    closer = closer_look(maps, prompts)
    while True:
        window = _snapped(low, high, geometry.work)
        if ensure is not None:
            ensure(window)
        threshold = _threshold(maps, prompts, window) if closer is None else fitting_threshold(maps, window, *closer)
        side = np.array([s.stop - s.start for s in window])
        factor = int(np.clip(np.ceil(np.sqrt(side.prod() / FINE_VOXELS)), 1, MOST_TOGETHER))
        view, inside = (
            maps.coarser(factor),
            (
                window[0],
                _taken_together(window[1], factor),
                _taken_together(window[2], factor),
            ),
        )
        key = ("regions", factor, *((s.start, s.stop) for s in inside), threshold)
        regions = maps.derived(key, partial(_regions, view, inside, threshold, factor))
        work = Corrections(view, inside, regions, threshold, prompts, closer)
        touched = _touched(work.mask, inside, view.geometry.work)
        if not any(touched) or side.prod() * (1 + GROWTH) > MOST_VOXELS * factor**2:
            return work
        grow = np.maximum(GROWTH * side, STEP)
        low = np.array([s.start - g * t for s, g, t in zip(window, grow, touched[:3], strict=True)])
        high = np.array([s.stop + g * t for s, g, t in zip(window, grow, touched[3:], strict=True)])


def _regions(view: VolumeMaps | CoarseMaps, window: Window, threshold: float, factor: int) -> Regions:
    foreground, depth = view.read(window)
    return Regions(foreground, depth, threshold, view.geometry.spacing, factor)


def _taken_together(rows: slice, factor: int) -> slice:
    return slice(rows.start // factor, -(-rows.stop // factor))


def _extent(maps: VolumeMaps, prompts: VolumePrompts) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest voxel of the maps at which the prompts say that the object is."""
    corners = [*prompts.positive]
    corners += [(z, *corner) for z, box in prompts.boxes.items() for corner in (box[:2], np.subtract(box[2:], 1))]
    if prompts.box is not None:
        corners += [prompts.box[:3], np.subtract(prompts.box[3:], 1)]
    for z, mask in (*prompts.masks.items(), *prompts.decoded.items()):
        if not mask.is_empty:
            corners += [(z, *mask.box[:2]), (z, *np.subtract(mask.box[2:], 1))]
    places = np.array([maps.geometry.to_work(corner) for corner in corners])
    return places.min(0), places.max(0)


def _snapped(low: np.ndarray, high: np.ndarray, size: Sequence[int]) -> Window:
    """A window on a raster, so that prompts near each other share what is derived from it."""
    found = []
    for a, b, n in zip(low, high, size, strict=True):
        start = int(max(0, np.floor(a / STEP) * STEP))
        found.append(slice(min(start, n - 1), int(min(n, max(np.ceil(b / STEP) * STEP, start + 1)))))
    return found[0], found[1], found[2]


def _touched(mask: np.ndarray, window: Window, size: Sequence[int]) -> tuple[bool, ...]:
    """At which sides (three low, three high) a mask reaches the end of a window that could be larger."""
    low = [bool(mask.take(0, axis).any()) and window[axis].start > 0 for axis in range(3)]
    high = [bool(mask.take(-1, axis).any()) and window[axis].stop < size[axis] for axis in range(3)]
    return (*low, *high)


def _threshold(maps: VolumeMaps, prompts: VolumePrompts, window: Window) -> float:
    """Of the foreground: lower where the click itself lies in faint foreground."""
    if not len(prompts.positive):
        return FOREGROUND
    at = np.clip(np.rint(maps.geometry.to_work(prompts.positive[0])).astype(int), 0, np.array(maps.geometry.work) - 1)
    z, y, x = (slice(max(a - 1, s.start), min(a + 2, s.stop)) for a, s in zip(at, window, strict=True))
    value = float(maps.read((z, y, x))[0].mean())
    return FOREGROUND if value < FAINT else min(FOREGROUND, round(SHARE * value, 2))


def _frame(
    work: Corrections, inside: tuple[slice, ...] | None, painted: Mapping[int, ObjectMask]
) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest voxel (half-open) of the volume that the object may have."""
    low, high = np.array(work.maps.shape), np.zeros(3, int)
    if inside is not None:
        pixel = work.maps.geometry.pixel
        low = np.floor((work.origin + [s.start for s in inside]) * pixel).astype(int)
        high = np.minimum(np.ceil((work.origin + [s.stop for s in inside]) * pixel).astype(int), work.maps.shape)
    for z, mask in painted.items():
        low, high = np.minimum(low, (z, *mask.box[:2])), np.maximum(high, (z + 1, *mask.box[2:]))
    return low, high


def _paint(work: Corrections, inside: tuple[slice, ...], mask: np.ndarray, low: np.ndarray) -> None:
    """Bring the object from the grid of the maps to that of the volume, in place."""
    pixel = work.maps.geometry.pixel
    part = work.mask[inside]
    start = work.origin + [s.start for s in inside]
    first = start[0] - low[0]
    if (pixel == 1).all():
        begin = start - low
        mask[tuple(slice(b, b + n) for b, n in zip(begin, part.shape, strict=True))] = part
        return
    margin = work.regions.foreground[inside] - work.threshold
    soft = np.where(part, np.where(margin > 0, margin, 0.25), np.where(margin < 0, margin, -0.25)).astype("float32")
    rows, columns = ((np.arange(mask.shape[a]) + low[a] + 0.5) / pixel[a] - 0.5 - start[a] for a in (1, 2))
    for k in np.flatnonzero(part.any((1, 2))):
        mask[first + k] = bilinear(soft[k], rows, columns) > 0
