"""Embeddings that a run may ask for before they are there: it waits for the tile instead of failing."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from micro_sam.embeddings.embeddings import Embeddings
from micro_sam.errors import NotComputedYet

if TYPE_CHECKING:
    import torch

    from micro_sam.embeddings.store import Item
    from micro_sam.models.predictor import ImageFeatures

PAUSE = 0.03  # seconds between two looks into the store


class WaitingEmbeddings(Embeddings):
    """The same embeddings, for a run in the background that may reach slices which are still being computed.

    Parameters
    ----------
    embeddings
        Where the features are, or will be.
    wait
        Called with the tile again and again while it is missing. It raises what ends the waiting: cancelled, or
        nobody computes it.
    """

    def __init__(self, embeddings: Embeddings, wait: Callable[[Item], None]) -> None:
        super().__init__(embeddings.store)
        self._embeddings = embeddings
        self._wait = wait

    def load(self, i: int | None = None, tile: int = 0, device: str | torch.device | None = None) -> ImageFeatures:
        """As :meth:`Embeddings.load`, but a missing slice is an error only when `wait` gives up."""
        while True:
            try:
                return self._embeddings.load(i, tile, device)
            except NotComputedYet:
                self._wait((i, tile))
                time.sleep(PAUSE)
