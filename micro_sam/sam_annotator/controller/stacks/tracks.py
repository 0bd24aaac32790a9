"""What the user can do with tracks: those of the prompts, found divisions, committed ones with their lineage."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from psygnal import Signal

from micro_sam.errors import InputError
from micro_sam.sam_annotator.controller.automatic import Automatic
from micro_sam.sam_annotator.controller.preview import Preview
from micro_sam.sam_annotator.controller.stacks.automatic import Linking
from micro_sam.sam_annotator.controller.stacks.propagation import FollowingView, Propagation
from micro_sam.sam_annotator.runtime.jobs import WORK, Jobs
from micro_sam.sam_annotator.state.window import WindowState
from micro_sam.sam_annotator.view.layers.mouse import Mouse
from micro_sam.sam_annotator.view.layers.session_layers import SessionLayers
from micro_sam.sam_annotator.view.sight import Sight
from micro_sam.segmentation.values import ObjectMask
from micro_sam.session.prompts import PromptSet, PromptState
from micro_sam.session.propagation.shared import PropagationStep
from micro_sam.session.session import Session

if TYPE_CHECKING:
    from micro_sam.segmentation.propagation.tracking import Division


class TrackActions:
    """Actions on the tracks that are being made.

    Parameters
    ----------
    state, jobs
        Of the window.
    layers, mouse, sight
        Where prompts are selected and drawn.
    preview, propagation, automatic
        Answer prompts, follow tracks, and find the objects of all frames.

    Attributes
    ----------
    divisions
        Those that were found while tracks were followed.
    linking
        Makes tracks of the objects of all frames.
    """

    def __init__(
        self,
        state: WindowState,
        jobs: Jobs,
        *,
        layers: SessionLayers,
        mouse: Mouse,
        sight: Sight,
        preview: Preview,
        propagation: Propagation,
        automatic: Automatic,
    ) -> None:
        self._state, self._jobs = state, jobs
        self._layers, self._mouse, self._sight = layers, mouse, sight
        self._preview, self._propagation = preview, propagation
        self._view = FollowingView(state, sight, propagation)
        self.linking = Linking(state, jobs, automatic)
        self.divisions = Divisions(state, sight, propagation, self.track_objects)

    def track_objects(self) -> None:
        """Follow the current tracks from their prompts through the movie."""
        self._state.needed()
        self._view.begin(self._state.z)
        self._propagation.start(**dict(self._state.options or {}))
        if self._jobs.running(WORK) is not None:
            self._state.status.say("The track grows frame by frame. Cancel stops it and keeps what is there.")

    def set_follows(self, on: bool) -> None:
        """Whether the view follows a growing track."""
        self._view.on = on

    def set_track(self, track_id: int) -> None:
        """Say to which track the points belong that are selected with the selection tool, else the next prompts."""
        session = self._state.needed()
        selected = self._layers.points.selected_ids
        if selected:
            session.prompts.set_track(selected, track_id=track_id)
            self._preview.edited()
            return
        session.tracks.set_active(track_id)
        track = session.tracks.current.get(track_id)
        if track is not None and not track.may_have(self._state.z):
            last = track.begin if track.last is None else track.last
            self._sight.go_to_slice(track.begin if self._state.z < track.begin else last)

    def set_state(self, state: PromptState) -> None:
        """Say whether the points that are selected with the selection tool, else the next prompt, mark a division."""
        session = self._state.needed()
        selected = self._layers.points.selected_ids
        if selected:
            session.prompts.set_track(selected, state=state)
            self._preview.edited()
        elif state != session.tracks.next_state:
            session.tracks.set_next_state(state)
            active = session.tracks.active
            self._state.status.say(
                f"Click the object of track {active} (or draw a box) in its last frame before it divides."
                if state == "division"
                else "The next prompt belongs to the track and marks no division."
            )

    def toggle_state(self) -> None:
        """Division <-> track."""
        session = self._state.needed()
        selected = self._layers.points.selected_ids
        state = session.prompts.drawn[selected[0]].state if selected else session.tracks.next_state
        self.set_state("track" if state == "division" else "division")

    def next_track(self) -> None:
        """Make the next track of the menu the active one: after a division, the other daughter."""
        session = self._state.needed()
        ids = session.tracks.ids
        if len(ids) < 2:
            raise InputError("There is one track only. Press N to begin another one, or D to mark a division.")
        later = [i for i in ids if i > session.tracks.active]
        self.set_track(later[0] if later else ids[0])
        self._state.status.say(f"The next prompt belongs to track {session.tracks.active}.")

    def new_track(self) -> None:
        """Let the next prompt begin a new track."""
        self._state.needed().tracks.new()
        self._mouse.use_prompts()

    def link_segmentation(self, layer: Any = None) -> None:
        """Make tracks of a segmentation of every frame: a label layer, by default the automatic segmentation."""
        session = self._state.needed()
        own = layer is None or layer is self._layers.labels["auto"].layer
        self.linking.start(session.auto if own else layer.data)


class LineageActions:
    """Actions on committed tracks, beside what all committed objects know (delete, merge, re-open).

    Parameters
    ----------
    state, sight
        Of the window.
    selected
        Ids of the selected tracks; raises InputError when there are none.
    """

    def __init__(self, state: WindowState, sight: Sight, selected: Callable[[], tuple[int, ...]]) -> None:
        self._state, self._sight, self._selected = state, sight, selected

    def show_track(self, track_id: int, frame: int | None = None) -> None:
        """Select a committed track and go to one of its frames (None: stay where it is in view, else its first)."""
        track = self._state.needed().tracks.lineage.track(track_id)
        self._state.selected = (track_id,)
        if frame is not None or self._state.z not in track.frames:
            self._sight.go_to_slice(track.start if frame is None else frame)

    def split(self) -> None:
        """Cut the selected track before the frame in view."""
        session = self._state.needed()
        (track_id,) = self._exactly(1, "Choose one track, and go to the frame in which the later part begins.")
        new_id = session.tracks.split(track_id, self._state.z)
        self._state.selected = (track_id, new_id)

    def link(self) -> None:
        """Make the selected track that begins later a daughter of the other one."""
        session = self._state.needed()
        selected = self._exactly(2, "Choose two tracks: a mother and her daughter.")
        mother, daughter = sorted((session.tracks.lineage.track(i) for i in selected), key=lambda track: track.start)
        if mother.start == daughter.start:
            raise InputError(
                f"Tracks {mother.id} and {daughter.id} both begin in frame {mother.start}, so none is the mother of "
                "the other."
            )
        if daughter.start <= mother.end:
            session.tracks.divide(mother.id, daughter.id)
        else:
            session.tracks.relink(daughter.id, mother.id)

    def unlink(self) -> None:
        """Take the mother from the selected tracks."""
        session = self._state.needed()
        linked = [i for i in self._selected() if session.tracks.lineage.track(i).parent is not None]
        if not linked:
            raise InputError("The selected tracks have no mother.")
        for track_id in linked:
            session.tracks.relink(track_id, None)

    def _exactly(self, number: int, what: str) -> tuple[int, ...]:
        selected = self._selected()
        if len(selected) != number:
            raise InputError(what)
        return selected


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
        self._of_session: list[FoundDivision] = []
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

    def passed(self) -> dict[int, int]:
        """Committed tracks that cover both daughters of a division that was found: id -> frame."""
        objects = self._state.needed().objects
        found: dict[int, int] = {}
        for one in self._of_session:
            ids = {objects.at((one.t, *_middle(mask))) for mask in one.daughters}
            if len(ids) == 1 and (track_id := ids.pop()):
                found[track_id] = min(one.t, found.get(track_id, one.t))
        return found

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
            self._of_session.append(self._found[-1])

    def _ended(self) -> None:
        if (offer := self.offer) is not None:
            self._sight.go_to_slice(offer.t)
        self.changed.emit()

    def _follow(self, session: Session) -> None:
        self._forget()
        self._of_session = []
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
