"""Segment All Objects in every slice or frame: the work that automatic volumes and automatic tracks begin with."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from micro_sam.errors import InputError
from micro_sam.sam_annotator.controller.automatic import PARAMETERS, make_segmenter
from micro_sam.sam_annotator.runtime.jobs import Job, Progress

if TYPE_CHECKING:
    from micro_sam.sam_annotator.controller.annotator import Annotator


@dataclass(frozen=True)
class SliceWork:
    """What is to be done: the method and thresholds of Segment All Objects, on all slices of some features."""

    predictor: Any
    embeddings: Any
    method: str
    values: Mapping[str, Any]

    @classmethod
    def of(cls, annotator: Annotator, place: str) -> SliceWork:
        """The work as the menus say now; `place` is what the person calls a slice.

        Raises
        ------
        InputError
            When there is no image, or slices are still being embedded.
        """
        session = annotator.session
        if session is None:
            raise InputError("There is no image yet. Drop a file onto the window, or open one with the menu above.")
        embeddings, automatic = session.model.embeddings, annotator.automatic
        if embeddings is None or not embeddings.is_complete():
            annotator.preparation.needed()
            annotator.engine.want_all()
            raise InputError(f"Not all {place}s are embedded yet. Wait for them, or segment the {place} in view alone.")
        values = {parameter.name: automatic.values[parameter.name] for parameter in PARAMETERS[automatic.method]}
        return cls(session.model.predictor, embeddings, automatic.method, values)

    def run(self, job: Job, name: str) -> Generator[Progress, None, np.ndarray]:
        """Segment one slice after the other; returns labels (Z, H, W) uint32 that differ in all slices."""
        from micro_sam.segmentation.automatic.states import iter_initialize_kept

        n = self.embeddings.n_slices
        labels, last = np.zeros(self.embeddings.shape, np.uint32), 0
        for z in range(n):
            progress = Progress(f"{name}: {z + 1} of {n}", z, n)
            yield progress
            segmenter = make_segmenter(self.predictor, self.embeddings, self.method)
            for _ in iter_initialize_kept(segmenter, self.embeddings, z):
                job.report(progress)
            found = segmenter.generate(**self.values)
            labels[z] = np.where(found > 0, found + last, 0)
            last += int(found.max(initial=0))
        return labels
