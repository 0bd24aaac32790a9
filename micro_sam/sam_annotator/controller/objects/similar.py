"""Objects like the selected ones, among what Segment All finds: proposed, and accepted one by one or all."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import numpy as np
from psygnal import Signal
from qtpy.QtCore import QTimer

from micro_sam.errors import InputError
from micro_sam.sam_annotator.controller.automatic import DEBOUNCE_MS, Automatic
from micro_sam.sam_annotator.runtime.jobs import Job, Jobs, Progress
from micro_sam.sam_annotator.runtime.timers import once
from micro_sam.sam_annotator.state.window import WindowState
from micro_sam.sam_annotator.view.sight import Sight
from micro_sam.session.session import Session
from micro_sam.session.values import count, listing

NAME = "Looking for similar objects"
THRESHOLD = 0.5


@dataclass(frozen=True, eq=False)
class Candidates:
    """What Segment All has found, with the similarity of each label to the examples."""

    session: Session
    labels: np.ndarray
    similarity: np.ndarray
    examples: tuple[int, ...]


class SimilarObjects:
    """Proposes objects like the selected ones in the automatic layer.

    Parameters
    ----------
    state, jobs, sight
        Of the window.
    automatic
        Finds the candidates, unless they are shown already.

    Attributes
    ----------
    threshold
        Similarity, 0 to 1, from which on an object is proposed.

    Signals
    -------
    found
        Whether there are candidates, so that the threshold acts.
    """

    found = Signal(bool)

    def __init__(self, state: WindowState, jobs: Jobs, sight: Sight, automatic: Automatic) -> None:
        self._state, self._jobs, self._sight, self._automatic = state, jobs, sight, automatic
        self.threshold = THRESHOLD
        self._candidates: Candidates | None = None
        self._examples: tuple[int, ...] = ()
        self._shows = False
        self._timer = once(self._show, DEBOUNCE_MS)
        state.events.session.connect(self._follow)

    @property
    def has_found(self) -> bool:
        """Whether there are candidates, so that the threshold acts."""
        return self._candidates is not None

    # ------------------------------------------------------------------ actions

    def start(self) -> None:
        """Propose objects like the selected ones.

        Raises
        ------
        InputError
            When none is selected, or another job is running.
        """
        session = self._state.needed()
        if not self._state.selected:
            raise InputError("Select one or more committed objects first: then others like them are proposed.")
        self._examples = self._state.selected
        if session.automatic.exists:
            self._begin()
        else:
            self._automatic.segment()  # goes on when it is shown

    def set_threshold(self, value: float) -> None:
        """Change how similar objects must be; proposals follow at once."""
        self.threshold = value
        if self._candidates is not None:
            self._timer.start()

    def accept(self) -> None:
        """Commit the proposed object under the mouse; the others stay proposed.

        Raises
        ------
        InputError
            When there is none.
        """
        session, label = self._state.needed(), self._sight.proposal_under_mouse()
        if not label:
            raise InputError("There is no proposed object under the mouse. C commits all that are proposed.")
        session.objects.commit("auto", self._state.preserve, int(self._automatic.values["min_size"]), only=[label])

    def close(self) -> None:
        """Do nothing more."""
        self._timer.stop()

    # ------------------------------------------------------------------ inside

    def _follow(self, session: Session) -> None:
        session.events.labels_changed.connect(self._labels_changed)
        self._examples = ()
        self._forget()

    def _forget(self) -> None:
        self._timer.stop()
        self._candidates = None
        self.found.emit(False)

    def _labels_changed(self, name: str, _region: Any) -> None:
        """Segment All has shown other objects: these are the candidates now, if somebody waits for them."""
        session = self._state.session
        last = None if session is None else session.history.last
        if name != "auto" or self._shows or last is None or last.kind != "auto":
            return
        if self._candidates is not None:
            self._forget()
        if self._examples:
            QTimer.singleShot(0, self._begin)

    def _begin(self) -> None:
        session, examples = self._state.session, self._examples
        if session is None or not examples or self._state.closed or not session.automatic.exists:
            return
        self._examples = ()
        embeddings, wanted = session.model.embeddings, [i for i in examples if i in session.objects]
        try:
            if embeddings is None:
                raise InputError("The embeddings are not ready yet. Wait for them, then try again.")
            known = None if self._candidates is None else self._candidates.labels  # also those not proposed now
            self._jobs.start(
                NAME,
                lambda job: _steps(job, embeddings, session, known, wanted),
                on_done=lambda found: self._done(Candidates(session, *found, tuple(wanted))),
            )
        except InputError as error:
            self._state.status.report(error)

    def _done(self, candidates: Candidates) -> None:
        if self._state.shows(candidates.session):
            self._candidates = candidates
            self.found.emit(True)
            self._show()

    def _show(self) -> None:
        """Propose those above the threshold that are not committed."""
        found = self._candidates
        if found is None or not self._state.shows(found.session):
            return
        session, labels = found.session, found.labels
        n = len(found.similarity)
        pixels = np.bincount(labels.ravel(), minlength=n)
        covered = np.bincount(labels[session.committed > 0], minlength=n)
        proposed = (found.similarity >= self.threshold) & (2 * covered <= pixels) & (pixels > 0)
        proposed[0] = False
        self._shows = True
        try:
            details: dict[str, Any] = {
                "method": "similar",
                "examples": list(found.examples),
                "threshold": float(self.threshold),
            }
            session.automatic.show(np.where(proposed[labels], labels, 0), **details)
        except InputError as error:
            self._state.status.report(error)
        finally:
            self._shows = False
        number, status = int(proposed.sum()), self._state.status
        if number:
            self._state.source = self._state.source if session.has_current else "auto"
            like = listing(found.examples)
            status.say(
                f"{count(number, 'object')} like {like}. A commits the one under the mouse, C all of them.", "good"
            )
        else:
            status.say("No object is so similar. Lower the similarity.")


def _steps(
    job: Job, embeddings: Any, session: Session, known: np.ndarray | None, wanted: list[int]
) -> Generator[Any, None, tuple[np.ndarray, np.ndarray]]:
    """The candidates, and the similarity of each label; in the thread of the job, which may read whole volumes."""
    from micro_sam.segmentation.similar import object_features, similarity

    yield Progress(NAME)
    labels = session.auto.copy() if known is None else known
    examples = object_features(embeddings, np.where(np.isin(session.committed, wanted), session.committed, 0))
    yield Progress(NAME)
    candidates = object_features(embeddings, labels)
    similar = np.zeros(int(labels.max(initial=0)) + 1, "float32")
    similar[candidates.ids] = similarity(examples, candidates)
    return labels, similar
