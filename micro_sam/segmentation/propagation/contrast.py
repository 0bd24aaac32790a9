"""Whether an object still stands out where propagation finds it.

A model that is asked for an object at a place draws one there, with nearly the outline that it was shown, whether the
object still is in that slice or not. Its brightness beside that of its surroundings tells when it has ended
(docs/decisions/where_propagation_ends.md).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import bioimage_cpp as bic
import numpy as np

if TYPE_CHECKING:
    from micro_sam.embeddings.embeddings import Embeddings
    from micro_sam.segmentation.values import ObjectMask

GAP, WIDTH = 1.0, 0.15  # pixels between an object and its surroundings; their width over the root of its area
LEAST = 0.5  # standard deviations by which an object must stand out where it is known, to be judged elsewhere
SHARE = 0.2  # of its contrast where it is known, below which it is not there any more
LARGEST = 256  # pixels along a side, above which only every n-th row and column is looked at


class Contrast:
    """The contrast of an object in a slice where it is known, beside which other slices are judged.

    Parameters
    ----------
    embeddings : Embeddings
        With their image, or nothing is ever judged to be gone.
    z : int
        The slice.
    mask : ObjectMask
        The object there; not empty.
    """

    def __init__(self, embeddings: Embeddings, z: int, mask: ObjectMask) -> None:
        self._embeddings = embeddings
        self._known = 0.0
        if embeddings.image is not None:
            contrast, deviation = self._measure(z, mask)
            if abs(contrast) > LEAST * deviation:
                self._known = contrast

    def is_lost(self, z: int, mask: ObjectMask) -> bool:
        """Whether the object stands out so little in another slice that it is not there."""
        if not self._known:
            return False
        return self._measure(z, mask)[0] / self._known < SHARE

    def _measure(self, z: int, mask: ObjectMask) -> tuple[float, float]:
        """Mean of the object less that of its surroundings, and the standard deviation within both."""
        width = max(2.0, WIDTH * float(np.sqrt(mask.area)))
        margin = int(np.ceil(GAP + width)) + 1
        (y0, x0, y1, x1), (height, width_of_slice) = mask.box, self._embeddings.grid.shape
        rows = slice(max(y0 - margin, 0), min(y1 + margin, height))
        columns = slice(max(x0 - margin, 0), min(x1 + margin, width_of_slice))
        step = max(1, -(-max(rows.stop - rows.start, columns.stop - columns.start) // LARGEST))
        inside = np.zeros((rows.stop - rows.start, columns.stop - columns.start), bool)
        inside[y0 - rows.start : y1 - rows.start, x0 - columns.start : x1 - columns.start] = mask.mask
        inside = inside[::step, ::step]
        pixels = np.asarray(self._embeddings.image[z, rows, columns])[::step, ::step].astype("float32")
        if pixels.ndim == 3:  # colours
            pixels = pixels.mean(-1)
        if inside.all() or not inside.any():
            return 0.0, 0.0
        away = step * np.asarray(bic.distance.distance_transform(~inside))
        around = (away > GAP) & (away <= GAP + width)
        if not around.any():
            return 0.0, 0.0
        own, other = pixels[inside], pixels[around]
        return float(own.mean() - other.mean()), float(np.sqrt((own.var() + other.var()) / 2))
