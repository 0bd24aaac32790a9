"""Whether an object that is followed has become two.

The model's maps of the frame show all objects around it; they are linked with those of the frame before by the linker
of automatic tracking. What automatic tracking calls a division is one here, too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from micro_sam.segmentation.automatic.dense import objects_of
from micro_sam.segmentation.automatic.dense_maps import DenseMaps, tile_maps
from micro_sam.segmentation.interpolation import centre_of
from micro_sam.segmentation.propagation.frame_linking import FrameObjects, link_frames
from micro_sam.segmentation.propagation.tracking import Daughters
from micro_sam.segmentation.values import ObjectMask

if TYPE_CHECKING:
    from micro_sam.embeddings.embeddings import Embeddings
    from micro_sam.models.predictor import Predictor

__all__ = ["find_division"]

_AROUND = 2.5
"""Diameters of the object beyond it that are looked at: daughters move less, and neighbours are seen whole."""

_SAME = 0.55
"""Overlap (IoU) of a mask and an object of the maps that are the same; one of two daughters that touch has 0.5."""


def find_division(predictor: Predictor, embeddings: Embeddings, t: int, mother: ObjectMask) -> Daughters | None:
    """Look whether the object of the frame before has become two in this one.

    The frame after is not asked: daughters that touch are one again in its maps. On 30 frames of H2B nuclei two of
    three divisions are found (at the third the track stops for want of overlap), and one more among 18 nuclei.

    Parameters
    ----------
    predictor : Predictor
    embeddings : Embeddings
        Features of the movie; those of frames ``t - 1`` and ``t`` must be there.
    t : int
        Frame, not the first.
    mother : ObjectMask
        The object in frame ``t - 1``; not empty.

    Returns
    -------
    daughters : two ObjectMask, or None
        Where they are in frame ``t``; None when it goes on as one, and where the model has no maps of objects.
    """
    if predictor.model.dense_kind is None:
        return None
    diameter = 2 * np.sqrt(mother.area / np.pi)
    area = _Area(predictor, embeddings, centre_of(mother), mother.box, _AROUND * diameter)
    before, now = area.objects(t - 1), area.objects(t)
    label = area.label_under(before, mother)
    if not label:
        return None
    linked = link_frames([FrameObjects.of(labels) for labels in (before, now)])
    daughters = {i for i, parent in linked.parents.items() if parent == linked.track_of[0][label]}
    found = [k for k, i in linked.track_of[1].items() if i in daughters]
    if len(found) != 2:
        return None
    first, second = (area.mask(now, k) for k in found)
    return None if first.is_empty or second.is_empty else (first, second)


class _Area:
    """The surroundings of an object in the maps of its tile."""

    def __init__(
        self,
        predictor: Predictor,
        embeddings: Embeddings,
        centre: np.ndarray,
        box: tuple[int, int, int, int],
        margin: float,
    ) -> None:
        self._predictor, self._embeddings = predictor, embeddings
        tile = embeddings.grid.tile_at(*centre)
        self._tile = tile
        low = np.maximum(np.array(box[:2]) - margin - tile.origin, 0)
        high = np.minimum(np.array(box[2:]) + margin - tile.origin, tile.shape)
        self._low, self._high = low, np.maximum(high, low + 1)
        self._scale = np.ones(2)
        self._start = np.zeros(2, int)

    def objects(self, t: int) -> np.ndarray:
        """Labels of all objects, at the resolution of the maps."""
        model = self._predictor.model
        features = self._embeddings.load(t, self._tile.index, self._predictor.device)
        maps = tile_maps(self._predictor, features)
        size = np.array(maps.shape[1:])
        self._scale = size / self._tile.shape
        self._start = np.floor(self._low * self._scale).astype(int)
        stop = np.minimum(np.ceil(self._high * self._scale).astype(int), size)
        part = maps[:, self._start[0] : stop[0], self._start[1] : stop[1]].cpu().numpy().astype("float16")
        assert model.dense_kind is not None
        return objects_of(DenseMaps(part, model.dense_kind, (part.shape[1], part.shape[2])))

    def label_under(self, labels: np.ndarray, mask: ObjectMask) -> int:
        """The object that a mask shows; 0 when there is none, or the maps show it in pieces or as one with others."""
        pixels = np.argwhere(mask.mask) + mask.box[:2]
        places = ((pixels + 0.5 - self._tile.origin) * self._scale).astype(int) - self._start
        inside = ((places >= 0) & (places < labels.shape)).all(1)
        counts = np.bincount(labels[tuple(places[inside].T)], minlength=2)
        label = int(counts[1:].argmax()) + 1
        shared = int(counts[label])
        union = len(pixels) + np.count_nonzero(labels == label) / self._scale.prod() - shared
        return label if shared / union > _SAME else 0

    def mask(self, labels: np.ndarray, label: int) -> ObjectMask:
        """An object in pixels of the image."""
        height, width = self._embeddings.grid.shape
        origin = np.array(self._tile.origin)
        low = np.floor(self._low + origin).astype(int)
        high = np.minimum(np.ceil(self._high + origin).astype(int), (height, width))
        rows, columns = (np.arange(a, b) for a, b in zip(low, high, strict=True))
        y, x = (
            np.clip(((places + 0.5 - o) * scale).astype(int) - start, 0, n - 1)
            for places, o, scale, start, n in zip(
                (rows, columns), origin, self._scale, self._start, labels.shape, strict=True
            )
        )
        return ObjectMask.from_array(labels[np.ix_(y, x)] == label, offset=(int(low[0]), int(low[1])))
