"""Many prompts at once, with the arguments of micro-sam 1.x: x before y, one object per prompt."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from micro_sam.embeddings.compute import precompute_image_embeddings
from micro_sam.embeddings.embeddings import as_embeddings
from micro_sam.errors import InputError
from micro_sam.segmentation.labels import apply_nms, mask_data_to_segmentation
from micro_sam.segmentation.prompted.lowres import stability_score
from micro_sam.segmentation.prompted.objects import ObjectPrompt, segment_in_tiles

if TYPE_CHECKING:
    from micro_sam.models.predictor import ImageFeatures, Predictor

__all__ = ["batched_inference", "batched_tiled_inference"]

OFFSET = 1.0  # of the stability score


def batched_inference(
    predictor: Predictor,
    image: np.ndarray | None,
    batch_size: int,
    boxes: np.ndarray | None = None,
    points: np.ndarray | None = None,
    point_labels: np.ndarray | None = None,
    multimasking: bool = False,
    embedding_path: str | os.PathLike[str] | None = None,
    return_instance_segmentation: bool = True,
    segmentation_ids: Sequence[int] | None = None,
    reduce_multimasking: bool = True,
    logits_masks: np.ndarray | torch.Tensor | None = None,
    verbose_embeddings: bool = True,
    mask_threshold: float | None = None,
    return_highres_logits: bool = False,
    i: int | None = None,
) -> list[dict[str, Any]] | np.ndarray:
    """Segment one object for each prompt.

    Parameters
    ----------
    predictor : Predictor
    image : (H, W[, C]), optional
        None: the image that is set in the predictor.
    batch_size : int
        Prompts per pass of the decoder.
    boxes : (n, 4), optional
        x0, y0, x1, y1 in pixels.
    points : (n, k, 2), optional
        x, y in pixels.
    point_labels : (n, k), optional
        1 positive, 0 negative.
    multimasking : bool
        Three masks per prompt instead of one.
    embedding_path : path, optional
        Cache of the embeddings of ``image``.
    return_instance_segmentation : bool
        A label image instead of the masks.
    segmentation_ids : sequence of int, optional
        The labels of the objects.
    reduce_multimasking : bool
        Of three masks keep the one with the highest predicted IoU.
    logits_masks : (n, 1, 4g, 4g), optional
        Low-resolution logits as mask prompts.
    verbose_embeddings : bool
        Show a progress bar.
    mask_threshold : float, optional
        Of the logits; None: that of the model (0). "auto" is not supported.
    return_highres_logits : bool
        Logits of the size of the image instead of low-resolution ones.
    i : int, optional
        Slice, when ``image`` is a stack.

    Returns
    -------
    labels : (H, W) uint32
        Larger objects keep the pixels that they share with smaller ones.
    masks : list of dict
        One per prompt (and mask): segmentation (H, W) bool tensor, area, bbox x y w h, predicted_iou, stability_score,
        seg_id, logits.

    Raises
    ------
    InputError
        When there are no prompts, or they do not belong together.
    """
    threshold = _check(predictor, mask_threshold, multimasking, reduce_multimasking, return_instance_segmentation)
    count = _count(boxes, points, point_labels, logits_masks, segmentation_ids)
    features = _features(predictor, image, embedding_path, verbose_embeddings, i)
    records = []
    for begin in range(0, count, max(int(batch_size), 1)):
        part = slice(begin, begin + max(int(batch_size), 1))
        decoded = predictor.decode(
            features,
            points=None if points is None else np.asarray(points)[part][..., ::-1],
            labels=None if point_labels is None else np.asarray(point_labels)[part],
            boxes=None if boxes is None else _yx(np.asarray(boxes)[part]),
            mask_input=None if logits_masks is None else logits_masks[part],
            multimask_output=multimasking,
        )
        for number, (logits, scores) in enumerate(zip(decoded.low_res_logits, decoded.scores, strict=True), begin):
            selected = [int(scores.argmax())] if multimasking and reduce_multimasking else range(len(scores))
            name = number + 1 if segmentation_ids is None else int(segmentation_ids[number])
            for k in selected:
                full = predictor.upscale(logits[k : k + 1], features)
                kept = full if return_highres_logits else logits[k : k + 1]
                records.append(_record(full[0], threshold, float(scores[k]), name, kept))
    if not return_instance_segmentation:
        return records
    return _labels(records, features.original_size, segmentation_ids)


def batched_tiled_inference(
    predictor: Predictor,
    image: np.ndarray | None,
    batch_size: int,
    image_embeddings: Mapping[str, Any] | None = None,
    boxes: np.ndarray | None = None,
    points: np.ndarray | None = None,
    point_labels: np.ndarray | None = None,
    multimasking: bool = False,
    embedding_path: str | os.PathLike[str] | None = None,
    return_instance_segmentation: bool = True,
    reduce_multimasking: bool = True,
    logits_masks: np.ndarray | torch.Tensor | None = None,
    verbose_embeddings: bool = True,
    mask_threshold: float | None = None,
    tile_shape: tuple[int, int] | None = None,
    halo: tuple[int, int] | None = None,
    optimize_memory: bool = False,
    i: int | None = None,
    **nms_kwargs: Any,
) -> list[dict[str, Any]] | np.ndarray:
    """The same for tiled embeddings; an object that crosses tiles is complete.

    Parameters
    ----------
    image_embeddings : Embeddings or mapping, optional
        None: they are computed, with ``tile_shape`` and ``halo``.
    batch_size, optimize_memory
        Taken for scripts.
    **nms_kwargs
        For ``util.apply_nms``, which makes the label image.

    Notes
    -----
    The others are those of :func:`batched_inference`; ``logits_masks`` and a threshold are not supported.
    """
    if logits_masks is not None or mask_threshold not in (None, 0):
        raise InputError("Mask prompts and thresholds belong to one tile: use batched_inference on its embeddings.")
    _check(predictor, None, multimasking, reduce_multimasking, True)
    count = _count(boxes, points, point_labels, None, None)
    if image_embeddings is None:
        image_embeddings = precompute_image_embeddings(
            predictor,
            image,
            _path(embedding_path),
            ndim=2,
            tile_shape=tile_shape,
            halo=halo,
            verbose=verbose_embeddings,
        )
    embeddings = as_embeddings(image_embeddings)
    records = []
    for k in range(count):
        prompt = ObjectPrompt(
            np.zeros((0, 2)) if points is None else np.asarray(points, float)[k][..., ::-1],
            np.zeros(0, "int64") if point_labels is None else np.asarray(point_labels)[k],
            box=None if boxes is None else _yx(np.asarray(boxes, float)[k : k + 1])[0],
        )
        found = segment_in_tiles(predictor, embeddings, i, prompt, multimask=multimasking)
        y0, x0, y1, x1 = found.box
        box = [x0, y0, x1 - x0, y1 - y0]
        mask = found.full(embeddings.grid.shape)
        record = {"segmentation": mask, "area": found.area, "bbox": box, "predicted_iou": found.score, "seg_id": k + 1}
        records.append(record)
    if return_instance_segmentation:
        return apply_nms(records, shape=embeddings.grid.shape, **nms_kwargs)
    return records


def _check(
    predictor: Predictor, mask_threshold: Any, multimasking: bool, reduce_multimasking: bool, as_labels: bool
) -> float:
    if isinstance(mask_threshold, str):
        raise InputError(f"The mask threshold is a number, not {mask_threshold!r}; leave it out for that of the model.")
    if multimasking and not reduce_multimasking and as_labels:
        raise InputError(
            "Three masks of one prompt make no label image: use reduce_multimasking=True, or "
            "return_instance_segmentation=False."
        )
    return predictor.model.mask_threshold if mask_threshold is None else float(mask_threshold)


def _count(boxes: Any, points: Any, point_labels: Any, masks: Any, ids: Any) -> int:
    if (points is None) != (point_labels is None):
        raise InputError("Point prompts need coordinates and labels, one label for each point.")
    counts = {len(one) for one in (boxes, points, point_labels, masks, ids) if one is not None}
    if boxes is None and points is None and masks is None:
        raise InputError("There is no prompt: give boxes, points or masks.")
    if len(counts) != 1:
        raise InputError(f"Boxes, points, masks and ids must be of the same number of prompts, not {sorted(counts)}.")
    return counts.pop()


def _features(
    predictor: Predictor,
    image: np.ndarray | None,
    embedding_path: str | os.PathLike[str] | None,
    verbose: bool,
    i: int | None,
) -> ImageFeatures:
    if image is None:
        from micro_sam.models.predictor import features_of

        return features_of(predictor)
    ndim = 2 if i is None else 3
    embeddings = precompute_image_embeddings(predictor, image, _path(embedding_path), ndim=ndim, verbose=verbose)
    return embeddings.load(i, 0, device=predictor.device)


def _path(path: str | os.PathLike[str] | None) -> Path | None:
    return None if path is None else Path(path)


def _record(logits: torch.Tensor, threshold: float, score: float, name: int, kept: torch.Tensor) -> dict[str, Any]:
    mask = logits > threshold
    rows, columns = (torch.nonzero(mask.any(axis)).flatten() for axis in (1, 0))
    box = [0, 0, 0, 0]
    if len(rows):
        y0, x0 = int(rows[0]), int(columns[0])
        box = [x0, y0, int(columns[-1]) + 1 - x0, int(rows[-1]) + 1 - y0]
    return {
        "segmentation": mask.cpu(),
        "area": int(mask.sum()),
        "bbox": box,
        "predicted_iou": score,
        "stability_score": float(stability_score(logits - threshold, OFFSET)),
        "seg_id": name,
        "logits": kept.cpu(),
    }


def _labels(records: list[dict[str, Any]], shape: tuple[int, int], ids: Sequence[int] | None) -> np.ndarray:
    if ids is None:
        return mask_data_to_segmentation(records, (shape[0], shape[1]))
    labels = np.zeros(shape, "uint32")
    for record in sorted(records, key=lambda one: one["area"]):
        labels[record["segmentation"].numpy()] = record["seg_id"]
    return labels


def _yx(boxes: np.ndarray) -> np.ndarray:
    """Boxes (n, 4), x before y, as y before x."""
    return boxes.reshape(-1, 2, 2)[..., ::-1].reshape(-1, 4)
