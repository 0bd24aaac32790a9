"""The records in which automatic masks are handed to scripts, and the cleaning of single masks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from micro_sam.segmentation.rle import compress_rle, rle_from_object
from micro_sam.segmentation.values import ObjectMask

if TYPE_CHECKING:
    from micro_sam.segmentation.automatic.candidates import Candidates

OUTPUT_MODES = ("instance_segmentation", "binary_mask", "rle", "coco_rle")


def mask_records(
    objects: Sequence[tuple[Candidates, int, ObjectMask]], shape: tuple[int, int], output_mode: str
) -> list[dict[str, Any]]:
    """Masks with the keys of ``segment_anything.SamAutomaticMaskGenerator``: boxes x y w h, points x y.

    Parameters
    ----------
    objects : list of (Candidates, index, ObjectMask)
    """
    records = []
    for raw, k, mask in objects:
        if output_mode == "binary_mask":
            segmentation: Any = mask.full(shape)
        else:
            segmentation = rle_from_object(mask, shape)
            segmentation = compress_rle(segmentation) if output_mode == "coco_rle" else segmentation
        y, x = raw.points[k]
        records.append(
            {
                "segmentation": segmentation,
                "area": mask.area,
                "bbox": _xywh(mask.box),
                "predicted_iou": raw.scores[k],
                "point_coords": [[x, y]],
                "stability_score": raw.exact_stability(k),
                "crop_box": _xywh(raw.frame.outer),
            }
        )
    return records


def remove_small_regions(mask: ObjectMask, min_area: int) -> tuple[ObjectMask, bool]:
    """Fill holes and remove islands of less than ``min_area`` pixels (8-connected); the largest island stays.

    Returns
    -------
    mask : ObjectMask
    changed : bool
    """
    pixels = np.pad(mask.mask, 1)
    holes, _ = ndimage.label(~pixels, np.ones((3, 3)))
    sizes = np.bincount(holes.ravel())
    sizes[[0, holes[0, 0]]] = min_area  # the object itself, and what surrounds it
    filled = pixels | (sizes < min_area)[holes]
    islands, n = ndimage.label(filled, np.ones((3, 3)))
    sizes = np.bincount(islands.ravel(), minlength=n + 1)
    sizes[0] = 0
    keep = sizes >= min_area
    keep[sizes.argmax()] = n > 0
    cleaned = filled & keep[islands]
    changed = bool((cleaned != pixels).any())
    if not changed:
        return mask, False
    y0, x0 = mask.box[:2]
    return ObjectMask.from_array(cleaned[1:-1, 1:-1], mask.score, mask.logits, mask.tile, (y0, x0)), True


def _xywh(box: Sequence[int]) -> list[int]:
    y0, x0, y1, x1 = (int(v) for v in box)
    return [x0, y0, x1 - x0, y1 - y0]
