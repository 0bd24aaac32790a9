"""Divisions that were found while tracks were followed: each is offered, and the user says what it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from psygnal import Signal

from micro_sam.errors import InputError
from micro_sam.sam_annotator.controller.propagation import Propagation
from micro_sam.sam_annotator.state.window import WindowState
from micro_sam.sam_annotator.view.sight import Sight
from micro_sam.segmentation.values import ObjectMask
from micro_sam.session.prompts import PromptSet
from micro_sam.session.propagation.shared import PropagationStep
from micro_sam.session.session import Session

if TYPE_CHECKING:
    from micro_sam.segmentation.propagation.tracking import Division


@dataclass(frozen=True, eq=False)
class FoundDivision:
    """A track seems to divide.

    Attributes
    ----------
    track_id
        The mother, a current track.
    t
        Frame in which there are two.
    division
        What was found there.
    """

    track_id: int
    t: int
    division: Division

    @property
    def daughters(self) -> Sequence[ObjectMask]:
        """In frame `t`."""
        return self.division.daughters


class Divisions:
    """Offers the divisions that a propagation has stopped at, one after the other.

    Parameters
    ----------
    state, sight
        Of the window.
    propagation
        Stops at divisions.
    track
        Follows the current tracks again.

    Signals
    -------
    changed
        Another division is offered, or none.
    """

    changed = Signal()

    def __init__(self, state: WindowState, sight: Sight, propagation: Propagation, track: Callable[[], object]) -> None:
        self._state, self._sight, self._track = state, sight, track
        self._found: list[FoundDivision] = []
        propagation.stepped.connect(self._stepped)
        propagation.ended.connect(self._ended)
        state.events.session.connect(self._follow)

    @property
    def offer(self) -> FoundDivision | None:
        """The division that is offered; None when there is none, or its track is there no more."""
        session = self._state.session
        if session is None or not self._found:
            return None
        first = self._found[0]
        return first if first.track_id in session.labels.current_in(first.t - 1) else None

    def divide(self) -> None:
        """Mark the division as it was found, and follow mother and daughters."""
        session, offer = self._state.needed(), self._needed()
        mother = session.labels.current_in(offer.t - 1)[offer.track_id]
        places = [(offer.t, *_middle(mask)) for mask in offer.daughters]
        session.prompts.divide(offer.track_id, (offer.t - 1, *_middle(mother)), places)
        self._track()

    def go_on(self) -> None:
        """It is one object: say so with a point on it, and follow it farther."""
        session, offer = self._state.needed(), self._needed()
        whole = offer.division.whole
        mask = max(offer.daughters, key=lambda one: one.area) if whole.is_empty else whole
        session.prompts.add_point((offer.t, *_middle(mask)), True, offer.track_id, "track")
        self._track()

    # ------------------------------------------------------------------ inside

    def _needed(self) -> FoundDivision:
        offer = self.offer
        if offer is None:
            raise InputError("No division was found. Follow a track with V; a division is marked with D and a click.")
        return offer

    def _stepped(self, step: PropagationStep) -> None:
        if step.division is not None:
            self._found.append(FoundDivision(step.label, step.z, step.division))

    def _ended(self) -> None:
        if (offer := self.offer) is not None:
            self._sight.go_to_slice(offer.t)
        self.changed.emit()

    def _follow(self, session: Session) -> None:
        self._forget()
        session.events.prompts_changed.connect(self._forget)
        session.events.history_changed.connect(self._tell)

    def _tell(self) -> None:
        if self._found:
            self.changed.emit()  # an undo may have taken the track away

    def _forget(self, _prompts: PromptSet | None = None) -> None:
        """What was found belongs to the prompts as they were."""
        if self._found:
            self._found = []
            self.changed.emit()


def _middle(mask: ObjectMask) -> tuple[float, float]:
    """The innermost pixel (y, x)."""
    from micro_sam.segmentation.prompt_generators import innermost  # not before the window is seen: it takes scipy

    y, x = innermost(mask.mask)
    return float(y + mask.box[0]), float(x + mask.box[1])
