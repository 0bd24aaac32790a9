"""The embeddings as a colour image over the image: what the network sees."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import numpy as np

from micro_sam.sam_annotator.runtime.jobs import Job, Progress

if TYPE_CHECKING:
    from micro_sam.sam_annotator.controller.annotator import Annotator

LANE = "view"


def show_embeddings(annotator: Annotator) -> None:
    """Compute the first principal components of the features in the background, and show them as a layer."""
    session, embeddings = annotator.session, annotator.engine.embeddings
    if embeddings is None or annotator.jobs.running(LANE) is not None:
        return

    def steps(job: Job) -> Generator[Any, None, tuple[np.ndarray, tuple[float, ...]]]:
        yield Progress("Showing the embeddings")
        from micro_sam.embeddings.pictures import project_embeddings_for_visualization

        return project_embeddings_for_visualization(embeddings)

    def show(result: tuple[np.ndarray, tuple[float, ...]]) -> None:
        if annotator.session is session:
            annotator.layers.show_embeddings(*result)

    annotator.jobs.start("Showing the embeddings", steps, lane=LANE, on_done=show)
