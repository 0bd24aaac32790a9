"""Label images from masks, and small tools around label images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from scipy import ndimage
from skimage.measure import regionprops

from micro_sam.errors import InputError
from micro_sam.io.label_arrays import Cast, consecutive_ids, released
from micro_sam.models.sizes import Box
from micro_sam.segmentation.prompt_generators import innermost
from micro_sam.segmentation.rle import mask_from_rle
from micro_sam.segmentation.suppression import nms, suppress
from micro_sam.segmentation.values import ObjectMask

__all__ = [
    "apply_nms",
    "compute_iou",
    "get_centers_and_bounding_boxes",
    "mask_data_to_segmentation",
    "nms",
    "paint_objects",
    "segmentation_to_one_hot",
]


def paint_objects(
    objects: Sequence[ObjectMask],
    shape: tuple[int, int],
    min_object_size: int = 0,
    max_object_size: int | None = None,
    label_masks: bool = True,
    with_background: bool = False,
    merge_exclusively: bool = True,
) -> np.ndarray:
    """Objects to a label image; see :func:`mask_data_to_segmentation` for the parameters.

    Returns
    -------
    labels : (H, W) uint32, consecutive, 0 is background
    """
    labels = np.zeros(shape, "uint32")
    for value, mask in enumerate(sorted(objects, key=lambda one: one.area, reverse=True), 1):
        if mask.is_empty or mask.area < min_object_size or (max_object_size and mask.area > max_object_size):
            continue
        area = labels[mask.slices]
        area[mask.mask & (area == 0) if merge_exclusively else mask.mask] = value
    if with_background:
        sizes = label_sizes(labels)
        labels[labels == sizes.argmax()] = 0
    if label_masks:
        _number_parts(labels)
    sizes = label_sizes(labels)
    keep = sizes >= max(min_object_size, 1)
    keep[0] = False
    new = (np.cumsum(keep) * keep).astype("uint32")
    for rows in _some_rows(labels):
        rows[:] = new[rows]
    return labels


def label_sizes(labels: np.ndarray | Cast) -> np.ndarray:
    """Pixels of each label 0, 1, ... of an image."""
    largest = max((int(rows.max(initial=0)) for rows in _some_rows(labels)), default=0)
    sizes = np.zeros(largest + 1, "int64")
    for rows in _some_rows(labels):
        sizes += np.bincount(rows.ravel(), minlength=len(sizes))
    return sizes


def count_labels(labels: np.ndarray | Cast) -> int:
    """Number of objects of a label image or label volume; 0 is background."""
    return int((label_sizes(labels)[1:] > 0).sum())


def _some_rows(labels: np.ndarray | Cast) -> Iterator[np.ndarray]:
    """Views of an image, some rows at a time: numpy counts and indexes with 64-bit copies."""
    step = max(1, 2**22 // max(labels[:1].size, 1))
    for begin in range(0, len(labels), step):
        with released(labels):
            yield labels[begin : begin + step]


def _number_parts(labels: np.ndarray) -> None:
    """Gives all connected parts of every object but one a number of their own, in place; box by box, for the memory."""
    free = int(labels.max(initial=0)) + 1
    for value, box in enumerate(ndimage.find_objects(labels.view("int32")), 1):
        if box is None:
            continue
        area = labels[box]
        parts, count = ndimage.label(area == value)
        for part in range(2, count + 1):
            area[parts == part] = free
            free += 1


def mask_data_to_segmentation(
    masks: Sequence[dict[str, Any]],
    shape: tuple[int, int] | None = None,
    min_object_size: int = 0,
    max_object_size: int | None = None,
    label_masks: bool = True,
    with_background: bool = False,
    merge_exclusively: bool = True,
) -> np.ndarray:
    """Masks, as the automatic mask generator returns them, to a label image.

    Parameters
    ----------
    masks : sequence of dict
        With the key ``segmentation``: a bool array or a run-length encoded mask.
    shape : (H, W), optional
        Needed only when there may be no mask.
    min_object_size, max_object_size : int
        Pixels; smaller and larger objects are left out.
    label_masks : bool
        Give every connected part its own label.
    with_background : bool
        The image has background: when the largest area is an object, and not what no mask covers, it is removed.
    merge_exclusively : bool
        Larger objects keep the pixels that they share with smaller ones. False: smaller ones do.

    Returns
    -------
    labels : (H, W) uint32
    """
    shape = shape or (_full_mask(masks[0]).shape if masks else None)
    if shape is None:
        raise InputError("There is no mask, so the size of the label image is not known: give its shape.")
    objects = [ObjectMask.from_array(_full_mask(one)) for one in masks]
    return paint_objects(
        objects, shape, min_object_size, max_object_size, label_masks, with_background, merge_exclusively
    )


def apply_nms(
    predictions: Sequence[dict[str, Any]],
    min_size: int = 0,
    shape: tuple[int, int] | None = None,
    perform_box_nms: bool = False,
    nms_thresh: float = 0.9,
    max_size: int | None = None,
    intersection_over_min: bool = False,
) -> np.ndarray:
    """Remove duplicates among masks, and paint the others; the better ones keep shared pixels.

    Parameters
    ----------
    predictions : sequence of dict
        With the keys ``segmentation`` and ``predicted_iou``. A mask of a tile also has ``bbox``, its box x y w h in the
        tile, and ``global_bbox``, the same box in the image.
    min_size, max_size : int
        Pixels.
    shape : (H, W), optional
        None: just large enough for all masks.
    perform_box_nms : bool
        Compare bounding boxes instead of masks: faster, but neighbours may suppress one another.
    nms_thresh : float
        Overlap above which the mask with the lower score is removed.
    intersection_over_min : bool
        The overlap of masks is measured relative to the smaller one, so that parts of objects are removed too.

    Returns
    -------
    labels : (H, W) uint32
    """
    placed = [(_full_mask(one), _place(one), float(one.get("predicted_iou", 1))) for one in predictions]
    if shape is None:
        if not placed:
            raise InputError("There is no mask, so the size of the label image is not known: give its shape.")
        ends = [np.add(mask.shape, place) for mask, place, _ in placed]
        height, width = np.max(ends, axis=0).tolist()
        shape = (height, width)
    objects = [ObjectMask.from_array(mask, score, offset=place) for mask, place, score in placed]
    objects = [one for one in objects if one.area >= max(min_size, 1) and not (max_size and one.area > max_size)]
    if perform_box_nms:
        kept = nms(np.array([o.box for o in objects]), np.array([o.score for o in objects]), nms_thresh)
        objects = [objects[k] for k in kept]
    else:
        objects = suppress(objects, nms_thresh, intersection_over_min)
    return paint_by_score(objects, shape)


def paint_by_score(objects: Sequence[ObjectMask], shape: tuple[int, int]) -> np.ndarray:
    """Labels (H, W) uint32 of objects in the order of their scores; the earlier one keeps shared pixels."""
    labels = np.zeros(shape, "uint32")
    for value, one in reversed(list(enumerate(objects, 1))):
        one.paint(labels, value)
    return labels


def segmentation_to_one_hot(segmentation: np.ndarray, segmentation_ids: np.ndarray | None = None) -> torch.Tensor:
    """One mask per object.

    Parameters
    ----------
    segmentation : (H, W) integer
    segmentation_ids : (n,), optional
        The objects; all when not given.

    Returns
    -------
    masks : (n, 1, H, W) float32
    """
    segmentation = np.asarray(segmentation)
    ids = np.unique(segmentation)[np.unique(segmentation) != 0] if segmentation_ids is None else segmentation_ids
    masks = segmentation[None] == np.asarray(ids).reshape(-1, 1, 1)
    return torch.from_numpy(masks[:, None].astype("float32"))


def compute_iou(mask1: np.ndarray, mask2: np.ndarray) -> float:
    """Intersection over union of two masks of one shape, (H, W) or (1, H, W); any non-zero value is object.

    0 when both are empty.
    """
    a, b = np.asarray(mask1) != 0, np.asarray(mask2) != 0
    if a.shape[-2:] == b.shape[-2:] and a.size == b.size:
        b = b.reshape(a.shape)
    if a.shape != b.shape:
        raise InputError(f"The masks have different shapes: {a.shape} and {b.shape}.")
    union = int((a | b).sum())
    return int((a & b).sum()) / union if union else 0.0


def get_centers_and_bounding_boxes(
    segmentation: np.ndarray, mode: str = "v"
) -> tuple[dict[int, tuple[float, float]], dict[int, tuple[int, int, int, int]]]:
    """Centre and bounding box of each object.

    Parameters
    ----------
    segmentation : (H, W) integer
    mode : "v" or "p"
        "v": the innermost pixel, which lies inside the object whatever its shape. "p": the centroid.

    Returns
    -------
    centers : dict of label -> (y, x)
    boxes : dict of label -> (y0, x0, y1, x1), half-open
    """
    if mode not in ("v", "p"):
        raise InputError(f'The mode is "v" (innermost pixel) or "p" (centroid), not {mode!r}.')
    small, ids = consecutive_ids(np.asarray(segmentation))
    objects = dict(zip(ids.tolist(), regionprops(small), strict=True))
    boxes = {i: _four(one.bbox) for i, one in objects.items()}
    if mode == "p":
        return {i: (float(one.centroid[0]), float(one.centroid[1])) for i, one in objects.items()}, boxes
    centers = {}
    for i, one in objects.items():
        y, x = innermost(one.image)
        centers[i] = (float(y + one.bbox[0]), float(x + one.bbox[1]))
    return centers, boxes


def _four(box: Sequence[int]) -> Box:
    y0, x0, y1, x1 = (int(v) for v in box)
    return y0, x0, y1, x1


def _full_mask(prediction: dict[str, Any]) -> np.ndarray:
    mask = prediction["segmentation"]
    return mask_from_rle(mask) if isinstance(mask, dict) else np.asarray(mask)


def _place(prediction: dict[str, Any]) -> tuple[int, int]:
    """Where (y, x) in the image the mask of a prediction begins; masks of a tile have their box in both frames."""
    if "global_bbox" not in prediction:
        return 0, 0
    x, y = np.subtract(prediction["global_bbox"][:2], prediction["bbox"][:2])
    return int(y), int(x)
