"""Tracks from a segmentation that is there already: of another program, or of this one frame by frame."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import numpy as np

from micro_sam.errors import InputError
from micro_sam.sam_annotator.jobs import Job, Progress
from micro_sam.session.values import count

if TYPE_CHECKING:
    from micro_sam.sam_annotator.annotator_tracking import AnnotatorTracking

NAME = "Linking objects"


class Linking:
    """Links the objects of a label series in the background and shows the tracks in the automatic layer.

    Parameters
    ----------
    annotator
        The tool.
    """

    def __init__(self, annotator: AnnotatorTracking) -> None:
        self._annotator = annotator

    def start(self, labels: np.ndarray) -> None:
        """Link a label series.

        Parameters
        ----------
        labels
            (T, H, W) integers: one object per label and frame; labels need not agree between frames.

        Raises
        ------
        InputError
            When it does not fit the movie, or holds no object.
        """
        session = self._annotator.session
        labels = np.asarray(labels)
        if labels.shape != session.shape:
            raise InputError(
                f"The segmentation has the shape {labels.shape}, but the movie has {session.shape}. Only a "
                "segmentation of the whole movie can be tracked."
            )
        occupied = [t for t in range(len(labels)) if labels[t].any()]
        if len(occupied) < 2:
            raise InputError(
                "The segmentation has objects in fewer than two frames, so there is nothing to link. Segment all "
                "frames first, or choose the label layer that holds the segmentation."
            )
        labels = labels.copy()  # the person may go on painting meanwhile
        self._annotator.jobs.start(
            NAME, lambda job: _steps(job, labels), on_done=lambda result: self._show(session, *result)
        )
        self._annotator.status.say("Linking the objects of all frames. You can go on meanwhile.")

    def _show(self, session: Any, labels: np.ndarray, parents: dict[int, int]) -> None:
        annotator = self._annotator
        if session is not annotator.session:
            return
        lineage: dict[int, list[int]] = {}
        for daughter, mother in sorted(parents.items()):
            lineage.setdefault(mother, []).append(daughter)
        session.set_auto(labels, lineage=lineage, method="linking")
        annotator.set_source("auto")
        annotator.status.say(
            f"{count(int(labels.max()), 'track')} with {count(len(lineage), 'division')} in {annotator.names.auto}. "
            "Commit them with C, or go on with single objects.",
            "good",
        )


def _steps(_job: Job, labels: np.ndarray) -> Generator[Any, None, tuple[np.ndarray, dict[int, int]]]:
    from micro_sam.segmentation.frame_linking import FrameObjects, link_frames

    frames = []
    for t, plane in enumerate(labels):
        frames.append(FrameObjects.of(plane))
        yield Progress(NAME, t, len(labels) + 1)
    linked = link_frames(frames)
    yield Progress(NAME, len(labels), len(labels) + 1)
    tracks = np.zeros(labels.shape, np.uint32)
    for t, track_of in enumerate(linked.track_of):
        ids, inverse = np.unique(labels[t], return_inverse=True)
        names = np.array([track_of.get(int(i), 0) for i in ids], np.uint32)
        tracks[t] = names[inverse.reshape(labels[t].shape)]
    return tracks, dict(linked.parents)
