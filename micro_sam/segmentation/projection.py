"""A mask in one slice becomes the prompts of the next.

The step that volumes and tracks share: derive prompts from where the object was, decode them on the features of the
neighbouring slice or frame, and choose the answer that is most like what the object looked like.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage

from micro_sam.embeddings.tiles import Tile
from micro_sam.errors import InputError
from micro_sam.segmentation.interpolation import shifted
from micro_sam.segmentation.values import ObjectMask

__all__ = ["PROJECTION_MODES", "Projection", "project_mask", "resolve_projection"]

PROJECTION_MODES = ("box", "mask", "points", "points_and_mask", "single_point")


@dataclass(frozen=True)
class Projection:
    """Which prompts are derived from a mask."""

    use_box: bool = False
    use_mask: bool = False
    use_points: bool = False
    use_single_point: bool = False


_MODES = {
    "box": Projection(use_box=True),
    "mask": Projection(use_box=True, use_mask=True),
    "points": Projection(use_points=True),
    "points_and_mask": Projection(use_points=True, use_mask=True),
    "single_point": Projection(use_points=True, use_single_point=True),
}
_DEFAULT = "mask"


def resolve_projection(projection: str | Mapping[str, bool] | Projection) -> Projection:
    """The prompts behind the name of a projection mode.

    Parameters
    ----------
    projection : str or mapping
        One of :data:`PROJECTION_MODES`, ``"default"``, or a mapping with the keys ``use_box``, ``use_mask``,
        ``use_points`` and ``use_single_point``.

    Raises
    ------
    InputError
        If there is no such mode, or the mapping asks for no prompt at all.
    """
    if isinstance(projection, Projection):
        return projection
    if isinstance(projection, Mapping):
        unknown = set(projection) - set(Projection.__dataclass_fields__)
        if unknown or not any(projection.values()):
            raise InputError(
                "A projection given as a mapping needs at least one true value among use_box, use_mask, use_points and "
                f"use_single_point; got {dict(projection)}."
            )
        chosen = {key: bool(value) for key, value in projection.items()}
        return Projection(
            **(chosen | {"use_points": chosen.get("use_points") or chosen.get("use_single_point", False)})
        )
    name = _DEFAULT if projection == "default" else projection
    if name not in _MODES:
        raise InputError(f'The projection is "default" or one of {", ".join(PROJECTION_MODES)}, not {projection!r}.')
    return _MODES[name]


def project_mask(
    predictor,
    embeddings,
    i: int,
    mask: ObjectMask,
    projection: Projection,
    shift: tuple[float, float] = (0.0, 0.0),
    box_extension: float = 0.0,
) -> tuple[ObjectMask, float]:
    """Find in slice ``i`` the object that had ``mask`` in a neighbouring slice.

    Parameters
    ----------
    predictor : Predictor
    embeddings : Embeddings
    i : int
        Slice or frame to segment.
    mask : ObjectMask
        The object in the neighbouring slice; not empty.
    projection : Projection
    shift : (dy, dx)
        Expected displacement in pixels.
    box_extension : float
        Pixels (>= 1) or fraction of the box (< 1) by which the box prompt grows on every side.

    Returns
    -------
    mask : ObjectMask
        Empty if the model finds nothing, or the object is expected outside the image.
    overlap : float
        Intersection over union with the shifted ``mask``.
    """
    shape = embeddings.grid.shape
    expected = shifted(mask, shift, shape)
    if expected.is_empty:
        return expected, 0.0
    tile = _tile_for(embeddings.grid, expected.box)
    image = embeddings.load(i, tile.index, device=predictor.device)
    origin = np.array(tile.origin)

    prompts: dict[str, np.ndarray | torch.Tensor] = {}
    if projection.use_points:
        points, labels = prompt_points(expected, tile, single=projection.use_single_point)
        prompts["points"], prompts["labels"] = (points - origin)[None], labels[None]
    if projection.use_box:
        prompts["boxes"] = (prompt_box(expected, box_extension, shape) - np.tile(origin, 2))[None]
    if projection.use_mask:
        prompts["mask_input"] = mask_logits(mask, shift, tile, image, predictor.model)[None, None]
    # A click alone is ambiguous (part or whole); the object's last outline tells which answer is meant.
    multimask = not projection.use_box and not projection.use_mask
    decoded = predictor.decode(image, multimask_output=multimask, **prompts)
    candidates = [
        mask_from_logits(predictor, logits, image, tile, float(score))
        for logits, score in zip(decoded.low_res_logits[0], decoded.scores[0], strict=True)
    ]
    overlaps = [candidate.iou(expected) for candidate in candidates]
    best = int(np.argmax(overlaps))
    return candidates[best], overlaps[best]


def prompt_box(mask: ObjectMask, extension: float, shape: tuple[int, int]) -> np.ndarray:
    """Box prompt (y0, x0, y1, x1) around a mask, cut at the border of the slice."""
    y0, x0, y1, x1 = mask.box
    grow = (extension, extension) if extension >= 1 else (extension * (y1 - y0), extension * (x1 - x0))
    low, high = np.array([y0, x0]) - grow, np.array([y1, x1]) + grow
    return np.concatenate([np.maximum(low, 0), np.minimum(high, shape)])


def prompt_points(mask: ObjectMask, tile: Tile, single: bool) -> tuple[np.ndarray, np.ndarray]:
    """A positive point at the pixel farthest from the outline and, unless ``single``, negative points around the mask.

    Returns
    -------
    points : (N, 2) float64, (y, x) in pixels of the slice
    labels : (N,) int64, 1 or 0
    """
    padded = np.pad(mask.mask, 1)
    inner = np.unravel_index(np.argmax(ndimage.distance_transform_edt(padded)), padded.shape)
    y0, x0, y1, x1 = mask.box
    positive = np.array([[inner[0] - 1 + y0, inner[1] - 1 + x0]], float)
    if single:
        return positive, np.ones(1, int)
    margin = 0.25 * max(y1 - y0, x1 - x0) + 2
    corners = np.array([(y, x) for y in (y0 - margin, y1 - 1 + margin) for x in (x0 - margin, x1 - 1 + margin)])
    (rows, columns) = tile.outer
    inside = (corners >= (rows.start, columns.start)) & (corners <= (rows.stop - 1, columns.stop - 1))
    negative = corners[inside.all(1)]
    return np.concatenate([positive, negative]), np.array([1] + [0] * len(negative))


def mask_logits(mask: ObjectMask, shift: tuple[float, float], tile: Tile, image, model) -> torch.Tensor:
    """The mask as low-resolution logits (4g, 4g), the model's own prompt format.

    The answer that the model gave in the slice before is used as it is, moved by whole low-resolution pixels, when it
    belongs to the same tile: nothing is lost by resizing. Otherwise the mask is drawn at low resolution.
    """
    side = 4 * model.grid_size
    scale = np.array(image.input_size) / np.array(image.original_size) * side / model.image_size
    if mask.logits is not None and mask.tile == tile.index:
        dy, dx = (int(s) for s in np.rint(np.array(shift) * scale))
        return _translated(torch.as_tensor(mask.logits, dtype=torch.float32, device=image.features.device), dy, dx)
    local = shifted(mask, np.array(shift) - tile.origin, tile.shape).full(tile.shape)
    small = tuple(max(1, int(round(s))) for s in np.array(tile.shape) * scale)
    drawn = torch.nn.functional.interpolate(
        torch.as_tensor(local, dtype=torch.float32, device=image.features.device)[None, None],
        small,
        mode="bilinear",
        antialias=True,
    )
    logits = torch.full((side, side), -_CERTAIN, device=image.features.device)
    logits[: small[0], : small[1]] = (2 * drawn[0, 0] - 1) * _CERTAIN
    return logits


_CERTAIN = 8.0  # logit of a pixel that is surely inside: the order of what the models themselves answer


def _translated(logits: torch.Tensor, dy: int, dx: int) -> torch.Tensor:
    if dy == dx == 0:
        return logits
    h, w = logits.shape
    result = torch.full_like(logits, -_CERTAIN)
    to = (slice(max(0, dy), min(h, h + dy)), slice(max(0, dx), min(w, w + dx)))
    source = (slice(max(0, -dy), min(h, h - dy)), slice(max(0, -dx), min(w, w - dx)))
    result[to] = logits[source]
    return result


def mask_from_logits(predictor, logits: torch.Tensor, image, tile: Tile, score: float) -> ObjectMask:
    """Low-resolution logits (4g, 4g) as mask at the image's resolution, computed only where the object is."""
    model = predictor.model
    side = 4 * model.grid_size
    scale = np.array(image.input_size) / np.array(image.original_size) * side / model.image_size
    # The outline lies less than one low-resolution pixel outside the positive ones (bilinear interpolation).
    rows, columns = torch.nonzero(logits > 0, as_tuple=True)
    keep = logits.detach().cpu().numpy()
    if len(rows) == 0:
        return ObjectMask((0, 0, 0, 0), np.zeros((0, 0), bool), score, keep, tile.index)
    low = np.array([int(rows.min()), int(columns.min())])
    high = np.array([int(rows.max()), int(columns.max())])
    y0, x0 = np.maximum(np.floor((low - 1) / scale).astype(int) - 1, 0)
    y1, x1 = np.minimum(np.ceil((high + 2) / scale).astype(int) + 1, tile.shape)
    if y1 <= y0 or x1 <= x0:
        return ObjectMask((0, 0, 0, 0), np.zeros((0, 0), bool), score, keep, tile.index)
    full = predictor.upscale(logits[None], image, box=(int(y0), int(x0), int(y1), int(x1)))[0]
    offset = (int(y0) + tile.origin[0], int(x0) + tile.origin[1])
    return ObjectMask.from_array((full > 0).cpu().numpy(), score, keep, tile.index, offset)


def _tile_for(grid, box: tuple[int, int, int, int]) -> Tile:
    """The tile that sees the most around the box: the one whose inner area holds its centre."""
    y0, x0, y1, x1 = box
    return grid.tile_at((y0 + y1 - 1) / 2, (x0 + x1 - 1) / 2)
