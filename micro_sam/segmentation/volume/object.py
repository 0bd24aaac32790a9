"""One object of a volume from prompts in any slices, by a look at the maps: no network is asked.

``segment_volume_object`` is a pure function of maps and prompts. The object is the region under the first prompt; every
further click joins to it or splits off the region in whose middle it lies, or moves the surface where it is nearer to
that. Slices that are exact (painted) spread through the field of signed distances (``field.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy import ndimage

from micro_sam.segmentation.dense import bilinear
from micro_sam.segmentation.volume.field import impose, plane_of, rounded
from micro_sam.segmentation.volume.maps import VolumeMaps, Window
from micro_sam.segmentation.volume.regions import Regions, bounds, depth_inside, largest_part, places_in
from micro_sam.segmentation.volume.start import first_region
from micro_sam.segmentation.volume.values import VolumeObject, VolumePrompts

__all__ = ["segment_volume_object", "segment_volume_objects"]

FOREGROUND = 0.4
FAINT = 0.08  # foreground at a click below which the maps show nothing there
SHARE = 0.6  # of the foreground at a click, above which voxels belong to a faint object
START, GROWTH, STEP = 16, 0.35, 8  # margin of the first window, its growth as share of its side, and its raster
MOST_VOXELS = 8_000_000  # of a window
FINE_VOXELS = 300_000  # of a window, above which rows and columns are taken together, at most MOST_TOGETHER
MOST_TOGETHER = 4
CENTRAL = 0.7  # how deep in a region a click lies, over how deep one can lie there, to be meant for the whole region
QUITE_CENTRAL, LARGE = 0.9, 2  # the same for regions that are more than so many times as large as the object
AGREES = 0.8  # overlap (IoU) of a decoded mask with the maps' object, from which it is believed
# How far a click that is not meant for a region moves the surface: in its distances to it, near and along the surface.
BALL, CUT, SHELL, REACH = 1.0, 1.2, 2.0, 4.0
SMALLER = (1.0, 0.7)  # cuts that are tried where the usual one would go through the object
# How many times as deep as the deepest positive click a negative one lies, from which both get their share of the
# object, and by how much at most its share is larger.
BULKY, MOST = 1.2, 1.5
RIM, RIM_WIDTH = 0.5, 1.5  # of a rim that a negative click leaves: depth over what it was, reach over the click's depth

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
    return work.finish(prompts)


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


class _Work:
    """An object in the making, in a window of the maps."""

    def __init__(self, maps: VolumeMaps, window: Window, regions: Regions, threshold: float, prompts) -> None:
        self.maps, self.window, self.regions, self.threshold = maps, window, regions, threshold
        self.spacing = maps.geometry.spacing
        self.origin = np.array([s.start for s in window])
        self.shape = regions.hilltops.shape
        places = [self.place(point) for point in prompts.points]
        self.positive = [p for p, label in zip(places, prompts.labels, strict=True) if label and self.holds(p)]
        self.clicks = [(p, label) for p, label in zip(places, prompts.labels, strict=True) if self.holds(p)]
        self.mask = first_region(self, prompts)
        self.removed = np.zeros(self.shape, bool)  # by negative clicks
        self.ends: set[int] = set()  # slices of which a negative click leaves nothing
        self.there = {p[0] for p in self.positive} | {z - window[0].start for z in (*prompts.boxes, *prompts.masks)}

    def place(self, point: Sequence[float]) -> tuple[int, int, int]:
        """The voxel of the window at a point (z, y, x) of the volume."""
        found = np.rint(self.maps.geometry.to_work(point)).astype(int)
        found = np.clip(found, 0, np.array(self.maps.geometry.work) - 1) - self.origin
        return int(found[0]), int(found[1]), int(found[2])

    def holds(self, place: tuple[int, int, int]) -> bool:
        return all(0 <= p < n for p, n in zip(place, self.shape, strict=True))

    def distance_to(self, place: tuple[int, int, int]) -> np.ndarray:
        axes = np.ogrid[tuple(slice(0, n) for n in self.shape)]
        return np.sqrt(sum(((a - p) * s) ** 2 for a, p, s in zip(axes, place, self.spacing, strict=True)))

    def depth_in(self, k: int) -> float:
        """How deep the deepest voxel of the object lies within its outline in a slice; 0 where it is not."""
        return float(depth_inside(self.mask[k], self.spacing[1:]).max(initial=0))

    def before(self, place: tuple[int, int, int], label: int) -> list[tuple[int, int, int]]:
        """The places of the clicks with a label that were made before the one at a place."""
        index = next(k for k, (other, _) in enumerate(self.clicks) if other == place)
        return [other for other, its in self.clicks[:index] if its == label]

    def join(self, place: tuple[int, int, int]) -> None:
        """A positive click: the region it is in the middle of, or what lies between it and the object."""
        if self.mask[place] or not self.mask.any():
            return
        unwanted = self.before(place, 0)
        region = self._meant(place, ~self.mask, unwanted, LARGE * int(self.mask.sum()))
        if region is not None:
            self.mask = self.mask | region
            return
        outside = depth_inside(~self.mask, self.spacing)
        gap, around, foreground = max(float(outside[place]), 1.0), self.distance_to(place), self.regions.foreground
        labels = self.regions.labels()
        size = np.bincount(labels.ravel())
        own = np.flatnonzero(2 * np.bincount(labels[self.mask], minlength=len(size)) > size)
        free = ((labels == 0) | np.isin(labels, own)) & ~self.removed
        faint = foreground > 0.95 * min(float(foreground[place]), FOREGROUND)
        # no farther than the region that the click lies in lets it
        there = labels == labels[place]
        depth = float(depth_inside(there & ~self.mask, self.spacing)[place]) if labels[place] else gap
        added = ((around <= BALL * min(gap, 2 * depth)) & there) | (
            (outside <= SHELL * gap) & faint & free & (around <= REACH * gap)
        )
        for other in unwanted:
            added &= around < self.distance_to(other)
        self.mask = self.mask | added

    def split(self, place: tuple[int, int, int]) -> None:
        """A negative click: the region it is in the middle of goes, or what lies between it and the surface."""
        if not self.mask[place]:
            return
        kept = self.before(place, 1)
        region = self._meant(place, self.mask, kept)
        cuts = [region] if region is not None else self._cuts(place, kept)
        left = [self._connected(self.mask & ~cut, kept) for cut in cuts]
        # A cut that takes more with it than itself has gone through the object: a smaller one will do.
        taken = [int((self.mask & ~cut & ~rest).sum()) <= int(cut.sum()) for cut, rest in zip(cuts, left, strict=True)]
        before, k = self.mask, place[0]
        self.mask = left[taken.index(True) if any(taken) else 0]
        deep = depth_inside(before[k], self.spacing[1:])
        beyond = self.mask[k] & (self.distance_to(place)[k] > RIM_WIDTH * deep[place[1:]])
        if k not in self.there and not beyond.any() and self.depth_in(k) <= RIM * deep.max():
            self.ends.add(k)
            for other in np.flatnonzero((self.mask != before).any(axis=(1, 2))):
                self.mask[other] |= before[other] & ndimage.binary_fill_holes(self.mask[other])  # no hole in others
            for other in (k - 1, k + 1):  # and it ends nothing but this slice
                if 0 <= other < len(self.mask) and not self.mask[other].any():
                    self.mask[other] = before[other]
        self.removed |= before & ~self.mask

    def _cuts(self, place: tuple[int, int, int], kept) -> list[np.ndarray]:
        """What lies between a negative click and the surface, the largest first."""
        inside, around, foreground = (
            depth_inside(self.mask, self.spacing),
            self.distance_to(place),
            self.regions.foreground,
        )
        gap = max(float(inside[place]), 1.0)
        faint = foreground < 1.05 * foreground[place]
        free = np.ones_like(self.mask)
        for other in kept:
            free &= around < self.distance_to(other)
        region = free & ((around <= CUT * gap) | ((inside <= SHELL * gap) & faint & (around <= REACH * gap)))
        held = [(p, float(inside[p])) for p in kept if self.mask[p]]
        # what is wrong is bulkier than what is right: both get their share, by how deep they lie
        if held and BULKY * max(depth for _, depth in held) <= gap:
            share = np.minimum.reduce([self.distance_to(p) / max(depth, 1.0, gap / MOST) for p, depth in held])
            region |= around / gap < share
        return [self.mask & region] + [self.mask & free & (around <= part * gap) for part in SMALLER]

    def _meant(self, place, allowed: np.ndarray, keep_out, large: float = np.inf) -> np.ndarray | None:
        """The largest region that a click lies in the middle of; None when it lies at the side of all.

        For regions of more voxels than ``large`` it must lie quite in the middle.
        """
        found = None
        for region in self.regions.around(place, allowed):
            if any(region[other] for other in keep_out):
                break
            depth = depth_inside(region, self.spacing)
            if depth[place] >= (CENTRAL if region.sum() <= large else QUITE_CENTRAL) * depth.max():
                found = region
        return found

    def _connected(self, mask: np.ndarray, places) -> np.ndarray:
        parts, n = ndimage.label(mask)
        wanted = {int(parts[p]) for p in places if self.holds(p)} - {0}
        return mask if n <= 1 or not wanted else np.isin(parts, list(wanted))

    def impose(self, prompts: VolumePrompts) -> None:
        """Painted slices, and decoded ones that agree with the maps, spread to their neighbours."""
        exact = {
            z - self.window[0].start: plane_of(mask, self) for z, mask in prompts.masks.items() if not mask.is_empty
        }
        decoded = {}
        for z, mask in prompts.decoded.items():
            k = z - self.window[0].start
            if z in prompts.masks or mask.is_empty or not 0 <= k < self.shape[0]:
                continue
            plane = plane_of(mask, self)
            both, either = (plane > 0) & self.mask[k], (plane > 0) | self.mask[k]
            if not self.mask.any() or both.sum() >= AGREES * either.sum():
                decoded[k] = plane
        if not self.mask.any() and (exact or decoded):
            self.mask = rounded(exact or decoded, self.shape, self.spacing)
        if decoded:
            self.mask = impose(self.mask, decoded, self.spacing, fade=1)
        if exact:
            self.mask = impose(self.mask, exact, self.spacing)

    def end(self, prompts: VolumePrompts) -> None:
        """The object ends at slices that a click or an empty mask says are without it; nothing beyond is kept."""
        first = self.window[0].start
        there = [int(round(p[0])) for p in prompts.positive] + [z for z, m in prompts.masks.items() if not m.is_empty]
        there += list(prompts.boxes) + ([(prompts.box[0] + prompts.box[3] - 1) // 2] if prompts.box is not None else [])
        absent = [z for z, m in prompts.masks.items() if m.is_empty]
        for point in prompts.negative:
            k = int(round(point[0])) - first
            if 0 <= k < self.shape[0] and (k in self.ends or not self.mask[k].any()):
                absent.append(k + first)
        for z in absent:
            if not 0 <= z - first < self.shape[0] or z in there:
                continue
            self.mask[z - first] = False
            if all(other > z for other in there):
                self.mask[: z - first] = False
            elif all(other < z for other in there):
                self.mask[z - first :] = False

    def finish(self, prompts: VolumePrompts) -> VolumeObject:
        """The object in voxels of the volume."""
        anchors = list(self.positive)
        for z, mask in prompts.masks.items():
            if not mask.is_empty:
                anchors += places_in(self.mask, z - self.window[0].start)
        self.mask = self._connected(self.mask, anchors) if anchors else largest_part(self.mask)
        painted = {z: mask for z, mask in prompts.masks.items() if not mask.is_empty}
        inside = bounds(self.mask, 1)
        if inside is None and not painted:
            return VolumeObject.empty(
                "The maps show no object at the prompts. Click nearer to its middle, draw a box, or paint a slice."
            )
        low, high = _frame(self, inside, painted)
        mask = np.zeros(tuple(high - low), bool)
        if inside is not None:
            _paint(self, inside, mask, low)
        certainty = np.zeros(len(mask), "float32")
        for k in range(len(mask)):
            plane = k + low[0] - self.window[0].start
            if 0 <= plane < self.shape[0] and self.mask[plane].any():
                certainty[k] = self.regions.foreground[plane][self.mask[plane]].mean()
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
        return VolumeObject(tuple(int(v) for v in (*start, *end)), mask[box].copy(), certainty[box[0]].copy())


def _find(maps: VolumeMaps, prompts: VolumePrompts, ensure: Ensure | None) -> _Work:
    """The object under the first prompts, in a window that holds it wholly."""
    geometry = maps.geometry
    low, high = _extent(maps, prompts)
    margin = START / np.array(geometry.spacing) * geometry.spacing[1]
    low, high = low - margin, high + margin + 1
    while True:
        window = _snapped(low, high, geometry.work)
        if ensure is not None:
            ensure(window)
        threshold = _threshold(maps, prompts, window)
        side = np.array([s.stop - s.start for s in window])
        factor = int(np.clip(np.ceil(np.sqrt(side.prod() / FINE_VOXELS)), 1, MOST_TOGETHER))
        view, inside = maps.coarser(factor), (window[0], *(_taken_together(s, factor) for s in window[1:]))
        key = ("regions", factor, *((s.start, s.stop) for s in inside), threshold)
        regions = maps.derived(
            key, lambda v=view, w=inside, t=threshold, f=factor: Regions(*v.read(w), t, v.geometry.spacing, f)
        )
        work = _Work(view, inside, regions, threshold, prompts)
        touched = _touched(work.mask, inside, view.geometry.work)
        if not any(touched) or side.prod() * (1 + GROWTH) > MOST_VOXELS * factor**2:
            return work
        grow = np.maximum(GROWTH * side, STEP)
        low = np.array([s.start - g * t for s, g, t in zip(window, grow, touched[:3], strict=True)])
        high = np.array([s.stop + g * t for s, g, t in zip(window, grow, touched[3:], strict=True)])


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
    near = tuple(slice(max(a - 1, s.start), min(a + 2, s.stop)) for a, s in zip(at, window, strict=True))
    value = float(maps.read(near)[0].mean())
    return FOREGROUND if value < FAINT else min(FOREGROUND, round(SHARE * value, 2))


def _frame(work: _Work, inside, painted) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest voxel (half-open) of the volume that the object may have."""
    low, high = np.array(work.maps.shape), np.zeros(3, int)
    if inside is not None:
        pixel = work.maps.geometry.pixel
        low = np.floor((work.origin + [s.start for s in inside]) * pixel).astype(int)
        high = np.minimum(np.ceil((work.origin + [s.stop for s in inside]) * pixel).astype(int), work.maps.shape)
    for z, mask in painted.items():
        low, high = np.minimum(low, (z, *mask.box[:2])), np.maximum(high, (z + 1, *mask.box[2:]))
    return low, high


def _paint(work: _Work, inside: tuple[slice, ...], mask: np.ndarray, low: np.ndarray) -> None:
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
