"""Close-ups: a small part of an image, enlarged and encoded at the moment somebody asks about an object in it.

An object of 15 pixels is two feature positions wide for a network with stride 8. A model whose encoder is cheap enough
looks at it again, enlarged.
"""

from __future__ import annotations

from micro_sam.embeddings.compute import network_image
from micro_sam.embeddings.embeddings import Embeddings
from micro_sam.models.predictor import ImageFeatures, Predictor
from micro_sam.models.sizes import Box


def can_look_closer(predictor: Predictor, embeddings: Embeddings) -> bool:
    """Whether the model takes close-ups, and the image is at hand and it is known how the network saw it."""
    has_image = embeddings.image is not None and embeddings.store.normalization is not None
    return has_image and predictor.model.close_up is not None


def close_up(predictor: Predictor, embeddings: Embeddings, i: int | None, box: Box) -> ImageFeatures:
    """The features of a part of a slice, enlarged; the same object as long as it is kept in memory.

    Parameters
    ----------
    predictor, embeddings
        See :func:`can_look_closer`.
    i
        Slice or frame; None for a 2D image.
    box
        (y0, x0, y1, x1), half-open, in pixels of the slice, within it.
    """
    key = (i, box, predictor.model_hash, predictor.precision, predictor.device)
    found = embeddings.recent(key)
    if found is not None:
        return found
    y0, x0, y1, x1 = box
    pixels = network_image(embeddings.image, i, (slice(y0, y1), slice(x0, x1)), embeddings.store)
    return embeddings.remember(key, predictor.encode_close_up(pixels))
