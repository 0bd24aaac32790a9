"""The slices of a stack, each segmented on its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from micro_sam.io.label_arrays import LARGEST_RESULT, new_labels, release
from micro_sam.segmentation.automatic.segmenter import Segmenter

if TYPE_CHECKING:
    from micro_sam.embeddings.embeddings import Embeddings


def segment_slices(
    segmenter: Segmenter, embeddings: Embeddings, verbose: bool = False, **generate_kwargs: Any
) -> np.ndarray:
    """Segment every slice on its own; labels (Z, H, W) uint32, different in all slices."""
    labels = new_labels(embeddings.shape, largest=LARGEST_RESULT)
    last = 0
    for z in tqdm(range(embeddings.n_slices or 0), desc="Segment slices", disable=not verbose):
        segmenter.initialize(None, embeddings, i=z)
        one = segmenter.generate(**generate_kwargs)
        labels[z] = np.where(one > 0, one + last, 0)
        last = max(last, int(labels[z].max()))
        release(labels)
    return labels
