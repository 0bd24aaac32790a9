"""One object from points, a box or a mask: the functions that scripts call.

They return arrays of the size of the image, and what the window shows for the same prompts: small objects are looked at
closer (``close_ups.segment_object``) where the embeddings know their image.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from micro_sam.embeddings.close_ups import can_look_closer
from micro_sam.embeddings.embeddings import Embeddings, as_embeddings
from micro_sam.embeddings.tiles import TileGrid
from micro_sam.errors import InputError
from micro_sam.models.predictor import ImageFeatures
from micro_sam.segmentation.prompted.close_ups import segment_object
from micro_sam.segmentation.prompted.lowres import logits_from_mask
from micro_sam.segmentation.prompted.objects import ObjectPrompt, TileDecoder, home_tile, segment_in_tiles
from micro_sam.segmentation.prompted.projection import Projection, prompt_from_mask
from micro_sam.segmentation.prompted.segment import clicked_parts
from micro_sam.segmentation.prompted.splitting import check_box, check_points
from micro_sam.segmentation.values import ObjectMask, Prompts

if TYPE_CHECKING:
    from micro_sam.models.predictor import Predictor

__all__ = ["segment_from_box", "segment_from_box_and_points", "segment_from_mask", "segment_from_points"]

Result = np.ndarray | tuple[np.ndarray, np.ndarray, np.ndarray]


def segment_from_points(
    predictor: Predictor,
    points: np.ndarray,
    labels: np.ndarray,
    image_embeddings: Mapping[str, Any] | None = None,
    i: int | None = None,
    multimask_output: bool = False,
    return_all: bool = False,
    use_best_multimask: bool | None = None,
    close_ups: bool = True,
) -> Result:
    """Segment one object from clicks.

    Parameters
    ----------
    predictor : Predictor
    points : array of shape (n, 2)
        (y, x) in pixels of the image, anywhere in it, also when it is tiled.
    labels : array of shape (n,)
        1 for positive, 0 for negative points.
    image_embeddings : mapping, optional
        Embeddings of the image, tiled or not. None: the image that is set in the predictor.
    i : int, optional
        Slice, for 3D embeddings.
    multimask_output : bool
        Return all three answers of the model. On a tiled image these are what one tile sees.
    return_all : bool
        Return scores and logits too.
    use_best_multimask : bool, optional
        Choose the best of three answers. None: for a single positive point, where part and whole are both right.
    close_ups : bool
        Look closer at an object that is small in the features, as the window does. That needs a model that can
        (nano_lm) and embeddings that know their image (those of ``precompute_image_embeddings`` do, others get it by
        ``as_embeddings(embeddings, image)``). Without the image small objects lose: the mean IoU of a click is 0.73
        instead of 0.76.

    Returns
    -------
    mask : (1, H, W) or (3, H, W), bool
    scores : (1,) or (3,), float32
        Predicted IoU; with ``return_all``.
    logits : (1, 4g, 4g) or (3, 4g, 4g), float32
        Low-resolution logits of the tile (g: grid of the features, 64 for SAM); with ``return_all``. Where a close-up
        was taken they are drawn from the mask.

    Raises
    ------
    InputError
        For a point outside the image, or when no point is positive.
    """
    embeddings, i = _embeddings(predictor, image_embeddings, i)
    prompt = _point_prompt(points, labels, embeddings.grid.shape)
    if len(prompt.positive) == 0:
        raise InputError("No point is positive: place a positive point on the object.")
    return _segment(
        predictor, embeddings, i, prompt, multimask_output, return_all, use_best_multimask, close_ups=close_ups
    )


def segment_from_box(
    predictor: Predictor,
    box: np.ndarray,
    image_embeddings: Mapping[str, Any] | None = None,
    i: int | None = None,
    multimask_output: bool = False,
    return_all: bool = False,
    box_extension: float = 0.0,
    close_ups: bool = True,
) -> Result:
    """Segment the object in a box.

    Parameters
    ----------
    box : array of shape (4,)
        (y0, x0, y1, x1) in pixels; corners in any order; parts outside the image are cut off.
    box_extension : float
        Growth of the box on every side: 1 or more are pixels, less than 1 is a fraction of the box.

    Notes
    -----
    Other parameters, returned values and errors are those of :func:`segment_from_points`; a box without area, or
    outside the image, is an InputError.
    """
    embeddings, i = _embeddings(predictor, image_embeddings, i)
    prompt = ObjectPrompt(box=check_box(box, embeddings.grid.shape, box_extension))
    return _segment(predictor, embeddings, i, prompt, multimask_output, return_all, close_ups=close_ups)


def segment_from_box_and_points(
    predictor: Predictor,
    box: np.ndarray,
    points: np.ndarray,
    labels: np.ndarray,
    image_embeddings: Mapping[str, Any] | None = None,
    i: int | None = None,
    multimask_output: bool = False,
    return_all: bool = False,
    close_ups: bool = True,
) -> Result:
    """Segment the object in a box, with points that correct it; positive, negative or both.

    Parameters, returned values and errors are those of :func:`segment_from_points` and :func:`segment_from_box`.
    """
    embeddings, i = _embeddings(predictor, image_embeddings, i)
    clicks = _point_prompt(points, labels, embeddings.grid.shape)
    prompt = ObjectPrompt(clicks.points, clicks.labels, box=check_box(box, embeddings.grid.shape))
    return _segment(predictor, embeddings, i, prompt, multimask_output, return_all, close_ups=close_ups)


def segment_from_mask(
    predictor: Predictor,
    mask: np.ndarray,
    image_embeddings: Mapping[str, Any] | None = None,
    i: int | None = None,
    use_box: bool = True,
    use_mask: bool = True,
    use_points: bool = False,
    original_size: tuple[int, int] | None = None,
    multimask_output: bool = False,
    return_all: bool = False,
    return_logits: bool = False,
    box_extension: float = 0.0,
    box: np.ndarray | None = None,
    points: np.ndarray | None = None,
    labels: np.ndarray | None = None,
    use_single_point: bool = False,
    close_ups: bool = True,
) -> Result:
    """Segment an object from a mask, for example from its mask in the slice before.

    Parameters
    ----------
    mask : array of shape (H, W)
        Of the size of the image; every non-zero value is the object. An empty mask gives an empty result (score 0),
        unless a box or points are given too.
    use_box, use_mask, use_points : bool
        Which prompts are derived from the mask: its bounding box, the mask itself, points inside and around it.
    original_size : (H, W), optional
        Not needed; when given it must be the shape of the mask.
    return_logits : bool
        Return logits (float32) at the resolution of the image instead of the mask. On a tiled image outside of the
        tile that was asked: -32.
    box_extension : float
        See :func:`segment_from_box`; applies to the box derived from the mask.
    box, points, labels : arrays, optional
        Used instead of those derived from the mask.
    use_single_point : bool
        With ``use_points``: only the innermost point of the mask.

    Notes
    -----
    Other parameters, returned values and errors are those of :func:`segment_from_points`.
    """
    embeddings, i = _embeddings(predictor, image_embeddings, i)
    shape = embeddings.grid.shape
    mask = np.asarray(mask)
    if mask.ndim == 3 and mask.shape[0] == 1:
        mask = mask[0]
    if mask.shape != tuple(shape) or (original_size is not None and tuple(original_size) != tuple(shape)):
        raise InputError(
            f"The mask has the shape {mask.shape}, but the embeddings belong to an image of the shape {tuple(shape)}."
        )
    if box is None and points is None and not (use_box or use_mask or use_points):
        raise InputError("Nothing to prompt with: use at least one of use_box, use_mask and use_points.")
    known = ObjectMask.from_array(mask)
    if known.is_empty and box is None and points is None:
        return _empty_result(predictor, shape, 3 if multimask_output else 1, return_all, return_logits)

    if known.is_empty:
        prompt = ObjectPrompt()
    else:
        derived = Projection(use_box and box is None, use_mask, use_points and points is None, use_single_point)
        prompt = prompt_from_mask(known, derived, shape, box_extension)
    if points is not None:
        clicks = _point_prompt(points, labels, shape)
        prompt = replace(prompt, points=clicks.points, labels=clicks.labels)
    if box is not None:
        prompt = replace(prompt, box=check_box(box, shape))
    if return_logits:
        return _logits(predictor, embeddings, i, prompt, multimask_output, return_all)
    return _segment(predictor, embeddings, i, prompt, multimask_output, return_all, close_ups=close_ups)


def _embeddings(
    predictor: Predictor, image_embeddings: Mapping[str, Any] | None, i: int | None
) -> tuple[Embeddings, int | None]:
    """The embeddings to ask, and the slice of them: those that are given, or what is set in the predictor."""
    if image_embeddings is not None:
        return as_embeddings(image_embeddings), i
    if predictor.features is None:
        raise InputError("Give image_embeddings, or set an image in the predictor first (set_precomputed, set_image).")
    if predictor.source is not None:  # they may know their image, which the features alone do not
        source: tuple[Embeddings, int | None] = predictor.source
        return source
    assert predictor.input_size is not None and predictor.original_size is not None  # set with the features
    image = ImageFeatures(predictor.features, predictor.input_size, predictor.original_size)
    # what this needs of embeddings; they have no store
    return cast(
        "Embeddings",
        SimpleNamespace(grid=TileGrid(image.original_size), load=lambda i=None, tile=0, device=None: image),
    ), i


def _point_prompt(points: np.ndarray, labels: np.ndarray | None, shape: tuple[int, int]) -> ObjectPrompt:
    if labels is None:
        raise InputError("Points need labels: 1 for positive, 0 for negative points.")
    checked = Prompts(points=points, labels=labels)
    return ObjectPrompt(check_points(checked.points, shape), checked.labels)


def _segment(
    predictor: Predictor,
    embeddings: Embeddings,
    i: int | None,
    prompt: ObjectPrompt,
    multimask_output: bool,
    return_all: bool,
    best_of_three: bool | None = None,
    close_ups: bool = True,
) -> Result:
    shape = embeddings.grid.shape
    if multimask_output and not best_of_three:
        index = home_tile(embeddings.grid, prompt)
        found = TileDecoder.of_tile(predictor, embeddings, i, index).masks(prompt, multimask=True)
    else:
        closer = close_ups and isinstance(embeddings, Embeddings)
        segment = segment_object if closer else segment_in_tiles
        found = [segment(predictor, embeddings, i, prompt, multimask=best_of_three)]
        if closer and can_look_closer(predictor, embeddings):
            found = [_in_tile(predictor, embeddings, i, prompt, clicked_parts(found[0], prompt.positive), return_all)]
    masks = np.stack([one.full(shape) for one in found])
    if not return_all:
        return masks
    return masks, np.array([one.score for one in found], "float32"), np.stack([np.asarray(one.logits) for one in found])


def _in_tile(
    predictor: Predictor,
    embeddings: Embeddings,
    i: int | None,
    prompt: ObjectPrompt,
    found: ObjectMask,
    with_logits: bool,
) -> ObjectMask:
    """An answer with logits in the frame of a tile: those of a close-up mean nothing to ``predict``."""
    if not with_logits or not isinstance(found.tile, tuple):
        return found
    tile = embeddings.grid[home_tile(embeddings.grid, prompt)]
    image, model = embeddings.load(i, tile.index, device=predictor.device), predictor.model
    return replace(found, logits=logits_from_mask(found, image, tile.origin, 4 * model.grid_size, model.image_size))


def _logits(
    predictor: Predictor,
    embeddings: Embeddings,
    i: int | None,
    prompt: ObjectPrompt,
    multimask_output: bool,
    return_all: bool,
) -> Result:
    decoder = TileDecoder.of_tile(predictor, embeddings, i, home_tile(embeddings.grid, prompt))
    logits, scores = decoder.decode(prompt, multimask_output)
    full = np.full((len(logits), *embeddings.grid.shape), -32, "float32")
    full[:, decoder.rows, decoder.columns] = predictor.upscale(logits, decoder.image).cpu().numpy()
    return (full, scores.cpu().numpy(), logits.cpu().numpy()) if return_all else full


def _empty_result(
    predictor: Predictor, shape: tuple[int, int], n: int, return_all: bool, return_logits: bool
) -> Result:
    masks = np.full((n, *shape), -32, "float32") if return_logits else np.zeros((n, *shape), bool)
    if not return_all:
        return masks
    side = 4 * predictor.model.grid_size
    return masks, np.zeros(n, "float32"), np.full((n, side, side), -32, "float32")
