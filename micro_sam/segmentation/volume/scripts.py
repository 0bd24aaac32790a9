"""Whole objects of a volume for scripts: the same result as in the window, in one call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from micro_sam.embeddings.embeddings import Embeddings, as_embeddings
from micro_sam.errors import InputError
from micro_sam.segmentation.prompted.segment import segment_objects
from micro_sam.segmentation.propagation.volume import iter_propagate_volume
from micro_sam.segmentation.values import ObjectMask, Prompts
from micro_sam.segmentation.volume.compute import iter_volume_maps
from micro_sam.segmentation.volume.maps import VolumeMaps, open_volume_maps
from micro_sam.segmentation.volume.object import segment_volume_object
from micro_sam.segmentation.volume.values import VolumePrompts, as_numbers

if TYPE_CHECKING:
    from micro_sam.models.predictor import Predictor
    from micro_sam.segmentation.volume.maps import Window

__all__ = ["Method", "decoded_slices", "maps_of", "segment_object_in_volume"]

Method = Literal["auto", "maps", "propagation"]
IOU_THRESHOLD = 0.8  # of propagation, as in the window


def segment_object_in_volume(
    predictor: Predictor,
    image_embeddings: Mapping[str, Any],
    points: np.ndarray | None = None,
    labels: np.ndarray | None = None,
    boxes: Mapping[int, Sequence[float]] | Sequence[float] | None = None,
    masks: Mapping[int, np.ndarray] | None = None,
    scale: Sequence[float] | None = None,
    method: Method = "auto",
    volume: Any = None,
    return_all: bool = False,
) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
    """Segment one object of a volume from prompts in any of its slices.

    Parameters
    ----------
    predictor : Predictor
    image_embeddings : Embeddings, or a mapping of their layout
        Of the whole volume. Those that :func:`precompute_image_embeddings` returns know their image.
    points : array (n, 3), optional
        Clicks (z, y, x) in voxels, in the order of their importance: the first positive one says which object is
        meant, each further one corrects.
    labels : array (n,), optional
        1 positive, 0 negative; None: all positive.
    boxes : mapping or sequence, optional
        Slice -> (y0, x0, y1, x1); or one box (z0, y0, x0, z1, y1, x1) around the whole object. Half-open.
    masks : mapping, optional
        Slice -> (Y, X) array; every non-zero value is the object, which is kept exactly so in this slice. An empty one
        says that the object ends before this slice.
    scale : (z, y, x), optional
        Size of a voxel in any unit. Where it allows it, the volume is looked at along y and x too, which is much
        better for round objects. None: that of maps kept beside the embeddings, else slices along z only.
    method : "auto" | "maps" | "propagation"
        By the dense maps of all slices (computed around the object when first needed, and kept with the embeddings), or
        from slice to slice. "auto": maps where the model has a dense head.
    volume : array (Z, Y, X[, C]), optional
        The image, for embeddings that do not know theirs. Without it: slices along z only, no close-ups.
    return_all : bool
        Return the certainty of each slice too.

    Returns
    -------
    mask : (Z, Y, X) bool
        Empty when nothing is found.
    certainty : (Z,) float32
        With ``return_all``: from 0 to 1, 0 outside the object; 1 in slices given as masks.

    Raises
    ------
    InputError
        For prompts outside the volume, without any that says where the object is, or a model without a dense head
        with ``method="maps"``.
    NotComputedYet
        When slices that are needed are not embedded yet.
    CacheError
        When the embeddings come from another model.
    """
    embeddings = as_embeddings(image_embeddings)
    if embeddings.n_slices is None:
        raise InputError("These embeddings belong to a 2D image; a volume has slices.")
    if method not in ("auto", "maps", "propagation"):
        raise InputError(f'The method is "auto", "maps" or "propagation", not {method!r}.')
    if volume is not None and tuple(volume.shape[:3]) != tuple(embeddings.shape):
        raise InputError(
            f"The volume has the shape {tuple(volume.shape)}, the embeddings are of one of {tuple(embeddings.shape)}."
        )
    prompts = _prompts(points, labels, boxes, masks, embeddings.shape)
    if volume is not None and embeddings.image is None:
        embeddings.image = volume
    if method == "propagation" or (method == "auto" and getattr(predictor.model, "dense_kind", None) is None):
        mask, certainty = _propagated(predictor, embeddings, prompts)
    else:
        maps = maps_of(predictor, embeddings, scale)
        prompts = replace(prompts, decoded=decoded_slices(predictor, embeddings, prompts))
        found = segment_volume_object(
            maps, prompts, ensure=lambda window: _complete(predictor, embeddings, maps, window)
        )
        mask, certainty = found.full(embeddings.shape), np.zeros(embeddings.shape[0], "float32")
        certainty[found.box[0] : found.box[3]] = found.certainty
    return (mask, certainty) if return_all else mask


def maps_of(predictor: Predictor, embeddings: Embeddings, scale: Sequence[float] | None = None) -> VolumeMaps:
    """The maps of a volume, the same object as long as the embeddings live; see :func:`open_volume_maps`."""
    if scale is not None:
        scale = tuple(as_numbers(scale, "The scale is the size of a voxel: three numbers (z, y, x)").ravel().tolist())
    key = ("volume maps", predictor.model_hash, scale, embeddings.image is not None)
    if key not in embeddings.derived:
        embeddings.derived[key] = open_volume_maps(predictor, embeddings, scale)
    maps: VolumeMaps = embeddings.derived[key]
    return maps


def _complete(predictor: Predictor, embeddings: Embeddings, maps: VolumeMaps, window: Window) -> None:
    for _ in iter_volume_maps(predictor, embeddings, maps, window=window):
        pass


def _prompts(
    points: np.ndarray | None,
    labels: np.ndarray | None,
    boxes: Mapping[int, Sequence[float]] | Sequence[float] | None,
    masks: Mapping[int, np.ndarray] | None,
    shape: Sequence[int],
) -> VolumePrompts:
    slices: dict[int, tuple[float, ...]] = {}
    whole: tuple[float, ...] | None = None
    if isinstance(boxes, Mapping):
        for key, box in boxes.items():
            slices[_slice(key)] = _box(box, 4, f"The box in slice {key} must be four finite numbers (y0, x0, y1, x1)")
    elif boxes is not None:
        form = "Boxes are a mapping slice -> (y0, x0, y1, x1), or one box (z0, y0, x0, z1, y1, x1) of finite numbers"
        whole = _box(boxes, 6, form)
    if masks is not None and not isinstance(masks, Mapping):
        raise InputError(f"Masks are a mapping slice -> (Y, X) array, not {type(masks).__name__}.")
    painted = {}
    for key, mask in (masks or {}).items():
        values = np.asarray(mask)
        if values.shape != tuple(shape[1:]):
            raise InputError(f"The mask of slice {key} has the shape {values.shape}, but the slices have {shape[1:]}.")
        if values.dtype.kind not in "biuf" or not np.isfinite(values).all():
            raise InputError(f"The mask of slice {key} has values that are not finite numbers; 0 is background.")
        painted[_slice(key)] = ObjectMask.from_array(values)
    none: Any = None  # is taken as no points, and as positive ones
    prompts = VolumePrompts(
        none if points is None else points, none if labels is None else labels, slices, whole, painted
    )
    prompts.check(shape)
    # what of a box lies outside of the volume says nothing
    inside = {z: (*np.maximum(box[:2], 0), *np.minimum(box[2:], shape[1:])) for z, box in slices.items()}
    if whole is not None:
        whole = (*np.maximum(whole[:3], 0), *np.minimum(whole[3:], shape))
    return replace(prompts, boxes=inside, box=whole)


def _slice(key: Any) -> int:
    if isinstance(key, (int, np.integer)) or (isinstance(key, (float, np.floating)) and float(key).is_integer()):
        return int(key)
    raise InputError(f"Boxes and masks are given by the number of their slice, a whole number from 0, not {key!r}.")


def _box(box: Any, n: int, form: str) -> tuple[float, ...]:
    """The numbers of a box, of which the corners may come in any order."""
    values = as_numbers(box, form).ravel()
    if len(values) != n or not np.isfinite(values).all():
        raise InputError(f"{form}; got {values.tolist()}.")
    half = n // 2
    return (*np.minimum(values[:half], values[half:]).tolist(), *np.maximum(values[:half], values[half:]).tolist())


def _propagated(predictor: Predictor, embeddings: Embeddings, prompts: VolumePrompts) -> tuple[np.ndarray, np.ndarray]:
    """The object handed from slice to slice, starting from what each prompted slice gives."""
    known = decoded_slices(predictor, embeddings, prompts) | dict(prompts.masks)
    stops = {int(round(p[0])) for p in prompts.negative} - set(known) | {
        z for z, m in prompts.masks.items() if m.is_empty
    }
    mask, certainty = np.zeros(embeddings.shape, bool), np.zeros(embeddings.shape[0], "float32")
    known = {z: one for z, one in known.items() if not one.is_empty}
    if not known:
        return mask, certainty
    limits = None
    if prompts.box is not None:
        limits = (max(0, int(prompts.box[0])), min(embeddings.shape[0], int(np.ceil(prompts.box[3]))) - 1)
    for step in iter_propagate_volume(
        predictor, embeddings, known, stops=sorted(stops), iou_threshold=IOU_THRESHOLD, z_range=limits
    ):
        if step.mask is not None:
            step.mask.paint(mask[step.z], True)
            certainty[step.z] = 1.0 if step.z in prompts.masks else np.clip(step.score, 0, 1)
    return mask, certainty


def decoded_slices(predictor: Predictor, embeddings: Embeddings, prompts: VolumePrompts) -> dict[int, ObjectMask]:
    """What the model gives for the prompts of each slice that is not painted and has a positive point or a box.

    A box around the whole object counts in its middle slice, when it is the only prompt that says where the object is.
    """
    boxes = dict(prompts.boxes)
    at = np.rint(prompts.points[:, 0]).astype(int)
    slices = {*boxes, *at[prompts.labels == 1].tolist(), *(z for z, mask in prompts.masks.items() if not mask.is_empty)}
    if prompts.box is not None and not slices:
        middle = int((prompts.box[0] + prompts.box[3] - 1) // 2)
        boxes[middle] = (*prompts.box[1:3], *prompts.box[4:])
        slices.add(middle)
    found = {}
    for z in sorted(slices - set(prompts.masks)):
        here = at == z
        one = Prompts(
            prompts.points[here, 1:], prompts.labels[here], np.array([boxes[z]] if z in boxes else np.zeros((0, 4)))
        )
        found[z] = segment_objects(predictor, one, embeddings, z)[0]
    return found
