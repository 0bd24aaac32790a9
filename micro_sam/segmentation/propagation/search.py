"""Looking around for an object that moved farther than expected between two frames.

Nuclei in a crowd move by their own diameter between frames, in directions that no motion model foretells. When the
expected place does not show the object, clicks on rings around it give candidates; the one whose shape fits best is
taken, unless it is another object that stood there already in the frame before.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from micro_sam.segmentation.interpolation import centre_of
from micro_sam.segmentation.prompt_generators import innermost
from micro_sam.segmentation.prompted.objects import TileDecoder
from micro_sam.segmentation.values import ObjectMask

if TYPE_CHECKING:
    from micro_sam.embeddings.embeddings import Embeddings
    from micro_sam.models.predictor import Predictor

__all__ = ["is_taken", "likeness", "search_nearby"]

_RINGS = ((0.0, 1), (0.55, 6), (1.1, 10))  # radius in diameters of the object, number of clicks
_REACH = 1.4  # a candidate's centre may lie this many diameters from the expected place
_SAME = 0.5  # overlap above which two masks show the same object
_CHECKED = 4  # candidates that are looked up in the frame before


def likeness(a: ObjectMask, b: ObjectMask) -> float:
    """Overlap (IoU) of the ellipses of two masks when these are laid on each other, centre on centre, axis on axis.

    It compares size and elongation, whatever the direction: a metaphase plate that turns stays the same object.

    Returns
    -------
    float
        0 (or an empty mask) to 1 (the same second moments).
    """
    if a.is_empty or b.is_empty:
        return 0.0
    axes_a, axes_b = _axes(a), _axes(b)
    shared = np.minimum(axes_a, axes_b).prod()
    return float(shared / (axes_a.prod() + axes_b.prod() - shared))


def _axes(mask: ObjectMask) -> np.ndarray:
    """Half axes (minor, major) in pixels of the ellipse with the mask's area and the ratio of its second moments."""
    positions = np.argwhere(mask.mask)
    variance = np.atleast_2d(np.cov(positions.T, bias=True)) + np.eye(2) / 12  # a pixel has an extent of its own
    minor, major = np.sqrt(np.linalg.eigvalsh(variance))
    axes: np.ndarray = np.array([minor, major]) * np.sqrt(mask.area / (np.pi * minor * major))
    return axes


def search_nearby(
    predictor: Predictor,
    embeddings: Embeddings,
    i: int,
    mask: ObjectMask,
    shift: tuple[float, float],
    i_mask: int,
    occupied: np.ndarray | None = None,
) -> tuple[ObjectMask, float]:
    """Look in frame ``i`` around the expected place for the object that had ``mask`` in frame ``i_mask``.

    Parameters
    ----------
    predictor : Predictor
    embeddings : Embeddings
    i : int
        Frame to look in.
    mask : ObjectMask
        The object when it was last seen; not empty.
    shift : (dy, dx)
        Expected displacement in pixels.
    i_mask : int
        The frame in which it was last seen.
    occupied : (H, W) array of integers, optional
        Other objects of frame ``i`` that are known already; candidates that lie mostly on them are left out.

    Returns
    -------
    mask : ObjectMask
        The best candidate; empty if there is none.
    overlap : float
        Its :func:`likeness` to ``mask``.
    """
    diameter = 2 * np.sqrt(mask.area / np.pi)
    centre = centre_of(mask) + shift
    clicks = centre + diameter * _rings()
    inside = ((clicks >= 0) & (clicks <= np.array(embeddings.grid.shape) - 1)).all(1)
    candidates = _distinct(
        candidate
        for candidate in _answers(predictor, embeddings, i, clicks[inside])
        if not candidate.is_empty
        and not is_taken(candidate, occupied)
        and np.hypot(*(centre_of(candidate) - centre)) <= _REACH * diameter
    )
    ranked = sorted(((_fit(mask, centre, diameter, c), k) for k, c in enumerate(candidates)), reverse=True)
    for _, k in ranked[:_CHECKED]:
        candidate = candidates[k]
        if not _is_another_object(predictor, embeddings, i_mask, mask, candidate):
            return candidate, likeness(mask, candidate)
    return ObjectMask((0, 0, 0, 0), np.zeros((0, 0), bool)), 0.0


def is_taken(mask: ObjectMask, occupied: np.ndarray | None) -> bool:
    """Whether more than half of the mask lies on objects that are settled already (labels (H, W), or None)."""
    if occupied is None or mask.is_empty:
        return False
    return bool((occupied[mask.slices][mask.mask] != 0).mean() > 0.5)


def _rings() -> np.ndarray:
    angles = [(radius, 2 * np.pi * (k + 0.5 * (n == 10)) / n) for radius, n in _RINGS for k in range(n)]
    return np.array([(radius * np.sin(angle), radius * np.cos(angle)) for radius, angle in angles])


def _fit(mask: ObjectMask, centre: np.ndarray, diameter: float, candidate: ObjectMask) -> float:
    """How well a candidate continues the object: same shape, near the expected place, sure of itself."""
    distance = np.hypot(*(centre_of(candidate) - centre)) / diameter
    return likeness(mask, candidate) * float(np.exp(-0.5 * distance**2)) * max(candidate.score, 0.0)


def _answers(predictor: Predictor, embeddings: Embeddings, i: int, clicks: np.ndarray) -> list[ObjectMask]:
    """All answers of the model to single clicks (n, 2), grouped by the tile they lie in."""
    tiles: dict[int, list[np.ndarray]] = {}
    for click in clicks:
        tiles.setdefault(embeddings.grid.tile_at(*click).index, []).append(click)
    result = []
    for index, points in tiles.items():
        decoder = TileDecoder.of_tile(predictor, embeddings, i, index)
        local = (np.array(points) - decoder.origin)[:, None]
        decoded = predictor.decode(
            decoder.image, points=local, labels=np.ones(local.shape[:2], int), multimask_output=True
        )
        for logits, scores in zip(decoded.low_res_logits, decoded.scores, strict=True):
            result += [decoder.to_mask(one, float(score)) for one, score in zip(logits, scores, strict=True)]
    return result


def _distinct(candidates: Iterable[ObjectMask]) -> list[ObjectMask]:
    """One of each group of masks that are nearly the same."""
    kept: list[ObjectMask] = []
    for candidate in candidates:
        if all(candidate.iou(other) < 0.9 for other in kept):
            kept.append(candidate)
    return kept


def _is_another_object(
    predictor: Predictor, embeddings: Embeddings, i_mask: int, mask: ObjectMask, candidate: ObjectMask
) -> bool:
    """Whether something that is not our object stood at the candidate's place in the frame before."""
    click = np.array(innermost(candidate.mask), float) + candidate.box[:2]
    before = max(_answers(predictor, embeddings, i_mask, click[None]), key=candidate.iou)
    return before.iou(candidate) > _SAME and before.iou(mask) < 0.5 * _SAME
