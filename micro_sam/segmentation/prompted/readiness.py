"""Which tiles prompts need, so that a question waits for them and for no others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from micro_sam.embeddings.embeddings import Embeddings
from micro_sam.errors import InputError
from micro_sam.segmentation.prompted.close_ups import needs_tiles
from micro_sam.segmentation.prompted.objects import first_tiles
from micro_sam.segmentation.prompted.splitting import split_prompts
from micro_sam.segmentation.values import ObjectMask, Prompts

if TYPE_CHECKING:
    from micro_sam.models.predictor import Predictor

__all__ = ["missing_tiles"]


def missing_tiles(
    predictor: Predictor,
    embeddings: Embeddings,
    i: int | None,
    prompts: Prompts,
    *,
    batched: bool = False,
    previous: Sequence[ObjectMask] | None = None,
) -> tuple[int, ...]:
    """The tiles that must be embedded before :func:`prompted.segment_objects` can answer; parameters as there.

    An object that begins with a close-up of the image needs none. The neighbours that an object may reach into are not
    among them: what it lacks there is in ``ObjectMask.cut_at`` of the answer.

    Returns
    -------
    tuple of int
        Tiles in which the newest prompts lie first; empty when the question can be answered now.

    Raises
    ------
    InputError
        For prompts that ask nothing, or that need a tile which was left out because it lies outside the mask.
    """
    missing: dict[int, None] = {}
    for prompt in reversed(split_prompts(prompts, embeddings.grid.shape, batched, previous)):
        tiles = [tile for tile in first_tiles(embeddings.grid, prompt) if not embeddings.is_complete(i, tile)]
        if tiles and needs_tiles(predictor, embeddings, prompt):
            missing.update(dict.fromkeys(tiles))
    if any(embeddings.is_skipped(i, tile) for tile in missing):
        raise InputError(
            "This part of the image was not embedded, because it lies outside the mask that the embeddings were "
            "computed with. Choose another embedding path to embed the whole image."
        )
    return tuple(missing)
