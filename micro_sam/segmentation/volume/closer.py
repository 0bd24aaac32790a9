"""What the model's mask of the clicked slice says where it was looked at closer than the maps are.

In large slices the maps see the image coarsely: small objects run into what is around them. The mask decoder sees the
pixels of a small object (close-ups). There its mask says how sure the maps must be to be the object, and what the
object is in the clicked slice (docs/decisions/where_the_maps_see_coarsely.md).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from scipy import ndimage

from micro_sam.segmentation.values import ObjectMask
from micro_sam.segmentation.volume.field import signed_plane
from micro_sam.segmentation.volume.regions import FOREGROUND, REACH, SMOOTH_FOREGROUND

if TYPE_CHECKING:
    from micro_sam.segmentation.volume.maps import VolumeMaps, Window
    from micro_sam.segmentation.volume.values import VolumePrompts

COARSE = 2.0  # pixels of the image per voxel of the maps, along y and x, from which on they see coarsely
THRESHOLDS = (FOREGROUND, 0.5, 0.6, 0.7, 0.8, 0.9)  # of the foreground that may be the object's

ALIKE = 0.1  # overlaps (IoU) that differ by less are alike, and the lowest of their thresholds counts


def closer_look(maps: VolumeMaps, prompts: VolumePrompts) -> tuple[int, ObjectMask] | None:
    """The slice of the first click and the model's mask there; None where the maps, or other prompts, say more."""
    if prompts.boxes or prompts.box is not None or not len(prompts.positive):
        return None
    if any(not mask.is_empty for mask in prompts.masks.values()):
        return None
    z = int(round(prompts.positive[0][0]))
    mask = prompts.decoded.get(z)
    if mask is None or mask.is_empty or z in prompts.masks or min(maps.geometry.pixel[1:]) < COARSE:
        return None
    return z, mask


def fitting_threshold(maps: VolumeMaps, window: Window, z: int, mask: ObjectMask) -> float:
    """Of the foreground, the one at which what is object in a slice is most like a mask, near to it."""
    signed = signed_plane(mask, maps.geometry.pixel, window)
    inside = signed > 0
    if not inside.any():
        return FOREGROUND
    foreground = maps.read((slice(z, z + 1), *window[1:]))[0][0]
    foreground = ndimage.gaussian_filter(foreground, SMOOTH_FOREGROUND[1:], truncate=REACH)[signed > -signed.max()]
    inside = inside[signed > -signed.max()]
    fits = [((foreground > t) & inside).sum() / max(((foreground > t) | inside).sum(), 1) for t in THRESHOLDS]
    return next(t for t, fit in zip(THRESHOLDS, fits, strict=True) if fit >= max(fits) - ALIKE)
