"""What the user can do with tracks: those of the prompts, and committed ones with their lineage."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from micro_sam.errors import InputError
from micro_sam.sam_annotator.controller.automatic import Automatic
from micro_sam.sam_annotator.controller.divisions import Divisions
from micro_sam.sam_annotator.controller.linking import Linking
from micro_sam.sam_annotator.controller.preview import Preview
from micro_sam.sam_annotator.controller.propagation import FollowingView, Propagation
from micro_sam.sam_annotator.runtime.jobs import WORK, Jobs
from micro_sam.sam_annotator.state.window import WindowState
from micro_sam.sam_annotator.view.layers.mouse import Mouse
from micro_sam.sam_annotator.view.layers.session_layers import SessionLayers
from micro_sam.sam_annotator.view.sight import Sight
from micro_sam.session.prompts import PromptState


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
        self._linking = Linking(state, jobs, automatic)
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

    def segment_and_track_all(self) -> None:
        """Find the objects of every frame and link them to tracks, without a click."""
        self._state.needed()
        self._linking.segment_and_link()

    def link_segmentation(self, layer: Any = None) -> None:
        """Make tracks of a segmentation of every frame: a label layer, by default the automatic segmentation."""
        session = self._state.needed()
        own = layer is None or layer is self._layers.labels["auto"].layer
        self._linking.start(session.auto if own else layer.data)


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
