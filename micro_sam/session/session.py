"""The session: what the user has done with one image. No window is needed, and none is known here.

All actions (methods that change something) belong to one thread, usually the main one. Segmentation is split so that a
window never waits: ``session.segment.plan`` takes down the question, ``compute`` answers it in any thread and touches
nothing, ``apply`` shows the answer unless it has become stale meanwhile.

An action that cannot be done raises :class:`~micro_sam.errors.InputError` with a sentence for the user, and changes
nothing. Every action that changes something is one step of undo.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from micro_sam.errors import InputError
from micro_sam.session import queries
from micro_sam.session.actions.automatic import AutomaticActions
from micro_sam.session.actions.classes import ClassActions
from micro_sam.session.actions.labels import LabelActions
from micro_sam.session.actions.objects import ObjectActions
from micro_sam.session.actions.prompts import PromptActions
from micro_sam.session.actions.segment import SegmentActions
from micro_sam.session.actions.tracks import TrackActions
from micro_sam.session.history import History
from micro_sam.session.journal.keeper import Keeper
from micro_sam.session.journal.restoring import Restored
from micro_sam.session.journal.rows import Row
from micro_sam.session.model import Model
from micro_sam.session.propagation.movie import MoviePropagation
from micro_sam.session.propagation.shared import NoPropagation, Propagation
from micro_sam.session.propagation.volume import VolumePropagation
from micro_sam.session.rules import ImageRules, MovieRules, VolumeRules
from micro_sam.session.state import State
from micro_sam.session.steps import SessionEvents, Steps

__all__ = ["Session", "SessionEvents", "TrackingSession", "VolumeSession"]

HISTORY_BYTES = 512 * 1024**2
"""Memory bound of undo."""


class Session:
    """Prompts, the current object, committed objects and their history, for an image or a stack of slices.

    Parameters
    ----------
    shape
        (H, W) or (Z, H, W) of the image, without channels.
    rules
        What differs between images, volumes and movies.
    max_history_bytes
        Memory bound of undo; the oldest steps are forgotten first.

    Attributes
    ----------
    state
        All that is known. Read it; only actions change it.
    steps
        How actions become steps of undo.
    model
        Predictor and embeddings.
    prompts, segment, automatic, objects, classes, labels, tracks, propagation
        The actions, by what they are about.
    """

    def __init__(
        self, shape: Sequence[int], *, rules: ImageRules | None = None, max_history_bytes: int = HISTORY_BYTES
    ) -> None:
        shape = tuple(int(size) for size in shape)
        if len(shape) not in (2, 3) or min(shape) < 1:
            raise InputError(f"A session needs an image of shape (H, W) or (Z, H, W), but this one has {shape}.")
        rules = ImageRules() if rules is None else rules
        rules.check_shape(shape)
        self.shape = shape
        self.state = State.empty(shape)
        self.steps = Steps(self.state, rules, max_history_bytes)
        self.model = Model(shape, self.steps.make_stale)
        self.tracks = TrackActions(self.steps)
        self.prompts = PromptActions(self.steps, self.model, self.tracks)
        self.segment = SegmentActions(self.steps, self.model, self.prompts)
        self.automatic = AutomaticActions(self.steps, self.model)
        self.objects = ObjectActions(self.steps, self.model, self.prompts)
        self.labels = LabelActions(self.steps)
        self.classes = ClassActions(self.steps)
        self.propagation: Propagation = NoPropagation(self.steps, self.model, self.segment)

    # ------------------------------------------------------------------ what there is

    @property
    def rules(self) -> ImageRules:
        """What differs between images, volumes and movies."""
        return self.steps.rules

    @property
    def events(self) -> SessionEvents:
        """Signals."""
        return self.steps.events

    @property
    def ndim(self) -> int:
        """2 or 3."""
        return len(self.shape)

    @property
    def current(self) -> np.ndarray:
        """Labels 1..n of the current objects, uint32. Always the same array; only actions change it."""
        return self.state.layer("current")

    @property
    def committed(self) -> np.ndarray:
        """Committed objects, uint32. Always the same array."""
        return self.state.layer("committed")

    @property
    def auto(self) -> np.ndarray:
        """Automatic segmentation, uint32. Always the same array."""
        return self.state.layer("auto")

    @property
    def has_current(self) -> bool:
        """Whether any pixel of `current` is set. Looks at the touched slices only."""
        return queries.has_current(self.state)

    # ------------------------------------------------------------------ history and journal

    @property
    def history(self) -> History:
        """The steps that can be undone and redone."""
        return self.steps.history

    def undo(self) -> str | None:
        """Take the last step back; its name, or None when there is none."""
        return self.steps.undo()

    def redo(self) -> str | None:
        """Do the step again that was undone last; its name, or None when there is none."""
        return self.steps.redo()

    @property
    def keeper(self) -> Keeper:
        """Writes everything that is done into a journal, when it has one."""
        return self.steps.keeper

    def begin_here(self) -> None:
        """Let what is there now be the beginning, for instance a result that was loaded: it cannot be taken back."""
        self.steps.begin_here()

    def restore(self, rows: Sequence[Row], is_damaged: bool = False) -> Restored:
        """Do the actions of a journal again, in a session in which nothing was done; no network is asked.

        Parameters
        ----------
        rows
            All actions, in order.
        is_damaged
            Some are missing: what is there is done, and cannot be taken back.

        Raises
        ------
        CacheError
            When they are not of such a session.
        """
        result = self.steps.restore(rows, is_damaged)
        self.prompts.count_from(result.last_prompt_id)
        self.prompts.restore(result.next)
        self.tracks.restore(result.next)
        return result


class VolumeSession(Session):
    """Session on a stack of shape (Z, H, W)."""

    propagation: VolumePropagation

    def __init__(self, shape: Sequence[int], *, max_history_bytes: int = HISTORY_BYTES) -> None:
        super().__init__(shape, rules=VolumeRules(), max_history_bytes=max_history_bytes)
        self.propagation = VolumePropagation(self.steps, self.model, self.segment)


class TrackingSession(Session):
    """Session on a movie of shape (T, H, W): objects followed through time, divisions, and committed lineages.

    Frames are what slices are in a volume, and `current` holds one label per current track. Committed tracks and their
    lineage always agree with the committed labels.
    """

    propagation: MoviePropagation

    def __init__(self, shape: Sequence[int], *, max_history_bytes: int = HISTORY_BYTES) -> None:
        super().__init__(shape, rules=MovieRules(), max_history_bytes=max_history_bytes)
        self.propagation = MoviePropagation(self.steps, self.model, self.segment)
