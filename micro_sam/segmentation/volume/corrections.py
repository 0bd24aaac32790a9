"""What each prompt changes of an object: a click joins or splits, an exact slice spreads, an empty one ends it.

A click joins or splits off the region in whose middle it lies, or moves the surface where it is nearer to that. Slices
that are exact (painted) spread through the field of signed distances (``field.py``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from micro_sam.segmentation.values import ObjectMask
from micro_sam.segmentation.volume.field import impose, plane_of, rounded
from micro_sam.segmentation.volume.regions import FOREGROUND, depth_inside
from micro_sam.segmentation.volume.start import first_region
from micro_sam.segmentation.volume.values import VolumePrompts
from micro_sam.segmentation.volume.view import WindowView

if TYPE_CHECKING:
    from micro_sam.segmentation.volume.maps import CoarseMaps, VolumeMaps, Window
    from micro_sam.segmentation.volume.regions import Regions

Places = Sequence[tuple[int, int, int]]

CENTRAL = 0.7  # how deep in a region a click lies, over how deep one can lie there, to be meant for the whole region
QUITE_CENTRAL, LARGE = 0.9, 2  # the same for regions that are more than so many times as large as the object
IN_SLICE = 0.5  # as CENTRAL, within the slice of the click
AGREES = 0.8  # overlap (IoU) of a decoded mask with the maps' object, from which it is believed
# How far a click that is not meant for a region moves the surface: in its distances to it, near and along the surface
# (of what is added, of what is cut off).
BALL, CUT, SHELL, REACH, REACH_CUT = 1.0, 1.2, 2.0, 6.0, 4.0
# What is added, or cut off, along the surface: as sure to be object as the click's place, or less sure.
AS_SURE, LESS_SURE = 0.95, 0.95
SMALLER = (CUT, 1.0, 0.7)  # cuts that are tried where the usual one would go through the object
# How many times as deep as the deepest positive click a negative one lies, from which both get their share of the
# object, and by how much at most its share is larger.
BULKY, MOST = 1.2, 1.5
AWAY = 1.5  # how far from a negative click, in its depths, something of the object must stay where no click says what
MEMBER, WITHIN = 0.3, 0.4  # size of what stays in a box over that of a region that goes, and how deep in it a click is
CAP, CAP_AREA = 2.0, 0.6  # of the last slices of an object: thickness over the click's depth, area over the largest
IN_SLICES = (1, 2)  # axes along which the user sees where the volume ends
RIM, RIM_WIDTH = 0.5, 1.5  # of a rim that a negative click leaves: depth over what it was, reach over the click's depth


class Corrections(WindowView):
    """An object in the making: its mask in a window of the maps, and what each prompt changes of it.

    Attributes
    ----------
    mask : (z, y, x) bool
    """

    def __init__(
        self,
        maps: VolumeMaps | CoarseMaps,
        window: Window,
        regions: Regions,
        threshold: float,
        prompts: VolumePrompts,
        closer: tuple[int, ObjectMask] | None = None,
    ) -> None:
        super().__init__(maps, window, regions, threshold, prompts)
        self.mask = first_region(self, prompts, closer)
        self._removed = np.zeros(self.shape, bool)  # by negative clicks
        self.in_box = bool(prompts.boxes) or prompts.box is not None
        self._ends: set[int] = set()  # slices of which a negative click leaves nothing
        self.there = {p[0] for p in self.positive} | {z - window[0].start for z in (*prompts.boxes, *prompts.masks)}

    def depth_in(self, k: int) -> float:
        """How deep the deepest voxel of the object lies within its outline in a slice; 0 where it is not."""
        return float(depth_inside(self.mask[k], self.spacing[1:]).max(initial=0))

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
        free = ((labels == 0) | np.isin(labels, own)) & ~self._removed
        faint = foreground > AS_SURE * min(float(foreground[place]), FOREGROUND)
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
        region, apart = self._member(place, kept) if self.in_box else None, None
        if region is None:
            kept = kept or self._rest(place)
            region = self._meant(place, self.mask, kept)
            apart = self.regions.apart(place, kept, self.mask)  # as large as can be
            if apart is not None and self._is_central(place, apart, CENTRAL):
                region = apart if region is None else region | apart
        cuts = self._cuts(place, kept, apart)
        # a speck that is smaller than the ball which lies around the click within the object is not meant
        if region is not None and (self.in_box or region.sum() >= cuts[1].sum()):
            cuts = [region]
        before, k = self.mask, place[0]
        self.mask = self._without(cuts, kept)
        if k not in self.there and self._is_rim(before[k], place):
            self._ends.add(k)
            for other in np.flatnonzero((self.mask != before).any(axis=(1, 2))).tolist():
                self.mask[other] |= before[other] & ndimage.binary_fill_holes(self.mask[other])  # no hole in others
            for other in (k - 1, k + 1):  # and it ends nothing but this slice
                if 0 <= other < len(self.mask) and not self.mask[other].any():
                    self.mask[other] = before[other]
        elif len(cuts) > 1 and k not in self.there and self._is_cap(before, place, kept):
            self._ends.add(k)
        self._removed |= before & ~self.mask

    def _without(self, cuts: Sequence[np.ndarray], kept: Places) -> np.ndarray:
        """What the first cut leaves that takes little but itself: one that takes more has gone through the object."""
        largest = None
        for cut in cuts:
            uncut = self.mask & ~cut
            left = self.connected(uncut, kept)
            if np.count_nonzero(uncut & ~left) <= np.count_nonzero(cut):
                return left
            largest = left if largest is None else largest
        assert largest is not None  # there is always a cut
        return largest

    def _rest(self, place: tuple[int, int, int]) -> list[tuple[int, int, int]]:
        """Without a positive click: the deepest place away from a negative one, which is to stay."""
        inside = depth_inside(self.mask, self.spacing)
        inside[self.distance_to(place) <= AWAY * max(float(inside[place]), 1.0)] = 0
        if not inside.any():
            return []
        z, y, x = (int(v) for v in np.unravel_index(int(inside.argmax()), inside.shape))
        return [(z, y, x)]

    def _member(self, place: tuple[int, int, int], kept: Places) -> np.ndarray | None:
        """The one of several regions in a box that a negative click lies in; None when the rest would be too little."""
        total = int(self.mask.sum())
        coarsest_first: list[np.ndarray] = list(self.regions.around(place, self.mask))[::-1]
        for k, region in enumerate(coarsest_first):
            size = int(region.sum())
            if any(region[other] for other in kept) or total - size < MEMBER * size:
                continue
            if k:  # a finer one may be a part of an object, of which the surface is meant
                depth = depth_inside(region, self.spacing)
                if depth[place] < WITHIN * depth.max():
                    continue
            return region
        return None

    def _is_rim(self, before: np.ndarray, place: tuple[int, int, int]) -> bool:
        """Whether a negative click has left only a rim of what was in its slice (y, x) before."""
        k, deep = place[0], depth_inside(before, self.spacing[1:])
        beyond = self.mask[k] & (self.distance_to(place)[k] > RIM_WIDTH * deep[place[1:]])
        return not beyond.any() and self.depth_in(k) <= RIM * float(deep.max())

    def _is_cap(self, before: np.ndarray, place: tuple[int, int, int], kept: Places) -> bool:
        """Whether a negative click lies in the last few slices, which are smaller: its depth says how few."""
        k, areas = place[0], before.sum(axis=(1, 2))
        slices = np.flatnonzero(areas)
        if kept and all(other[0] < k for other in kept):
            beyond = slices[-1] - k + 1
        elif kept and all(other[0] > k for other in kept):
            beyond = k - slices[0] + 1
        else:
            return False
        gap = max(float(depth_inside(before, self.spacing)[place]), 1.0)
        thin = beyond == 1 or beyond * self.spacing[0] <= CAP * gap
        return bool(thin and areas[k] <= CAP_AREA * areas.max())

    def _cuts(self, place: tuple[int, int, int], kept: Places, apart: np.ndarray | None) -> list[np.ndarray]:
        """What lies between a negative click and the surface, the largest first; then balls around the click."""
        inside, around, foreground = (
            self.depth_of(self.mask, IN_SLICES),
            self.distance_to(place),
            self.regions.foreground,
        )
        gap = max(float(inside[place]), 1.0)
        faint = foreground < LESS_SURE * foreground[place]
        if apart is not None:  # what belongs to the click rather than to the object need not be less sure
            faint |= apart & (foreground <= foreground[place])
        free = np.ones_like(self.mask)
        for other in kept:
            free &= around < self.distance_to(other)
        region = free & ((around <= CUT * gap) | ((inside <= SHELL * gap) & faint & (around <= REACH_CUT * gap)))
        held = [(p, float(inside[p])) for p in kept if self.mask[p]]
        # what is wrong is bulkier than what is right: both get their share, by how deep they lie
        if held and BULKY * max(depth for _, depth in held) <= gap:
            share = np.minimum.reduce([self.distance_to(p) / max(depth, 1.0, gap / MOST) for p, depth in held])
            region |= around / gap < share
        return [self.mask & region] + [self.mask & free & (around <= part * gap) for part in SMALLER]

    def _meant(
        self, place: tuple[int, int, int], allowed: np.ndarray, keep_out: Places, large: float = np.inf
    ) -> np.ndarray | None:
        """The largest region that a click lies in the middle of; None when it lies at the side of all.

        For regions of more voxels than ``large`` it must lie quite in the middle.
        """
        found = None
        for region in self.regions.around(place, allowed):
            if any(region[other] for other in keep_out):
                break
            if self._is_central(place, region, CENTRAL if region.sum() <= large else QUITE_CENTRAL):
                found = region
        return found

    def _is_central(self, place: tuple[int, int, int], region: np.ndarray, share: float) -> bool:
        """Whether a click lies in the middle of a region, or of what the volume shows of it."""
        ends = ((0, 1, 2), ()) if any(map(any, self.reached(region))) else ((),)
        depths = (self.depth_of(region, axes) for axes in ends)
        if not any(depth[place] >= share * depth.max() for depth in depths):
            return False
        # of a sheet, every place half-way up is as deep as can be: the user sees where in the slice the click lies
        in_slice = depth_inside(region[place[0]], self.spacing[1:])
        return bool(in_slice[place[1:]] >= IN_SLICE * in_slice.max())

    def connected(self, mask: np.ndarray, places: Places) -> np.ndarray:
        """The connected parts of a mask that hold any of the places; the mask itself when none does."""
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
        there += list(prompts.boxes) + (
            [int((prompts.box[0] + prompts.box[3] - 1) // 2)] if prompts.box is not None else []
        )
        absent = [z for z, m in prompts.masks.items() if m.is_empty]
        for point in prompts.negative:
            k = int(round(point[0])) - first
            if 0 <= k < self.shape[0] and (k in self._ends or not self.mask[k].any()):
                absent.append(k + first)
        for z in absent:
            if not 0 <= z - first < self.shape[0] or z in there:
                continue
            self.mask[z - first] = False
            if all(other > z for other in there):
                self.mask[: z - first] = False
            elif all(other < z for other in there):
                self.mask[z - first :] = False
