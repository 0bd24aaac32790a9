"""The tracking annotator: objects followed through a movie, with their divisions."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import napari
import numpy as np

from micro_sam.errors import InputError
from micro_sam.io.tracks import Tracks, daughters, load_tracks
from micro_sam.sam_annotator.controller.acts import act
from micro_sam.sam_annotator.controller.annotator import Annotator
from micro_sam.sam_annotator.controller.corrections import CorrectionActs
from micro_sam.sam_annotator.controller.follow import FollowRun
from micro_sam.sam_annotator.controller.linking import Linking
from micro_sam.sam_annotator.controller.saving_tracks import TrackSaving
from micro_sam.sam_annotator.controller.session_run import SessionRun
from micro_sam.sam_annotator.controller.slices import SliceActs
from micro_sam.sam_annotator.controller.track_acts import LineageActs
from micro_sam.sam_annotator.launch import choose_session, one_image, start_tool
from micro_sam.sam_annotator.runtime.jobs import WORK
from micro_sam.sam_annotator.runtime.memory import take_memory
from micro_sam.sam_annotator.state.images import OpenImage, open_any
from micro_sam.sam_annotator.state.settings import Settings
from micro_sam.sam_annotator.view.keys import Key
from micro_sam.sam_annotator.view.layers import LayerNames
from micro_sam.sam_annotator.view.layers.track_layers import TrackLayers
from micro_sam.session.prompts import PromptState
from micro_sam.session.session import TrackingSession

if TYPE_CHECKING:
    from micro_sam.embeddings.store import Item


@dataclass(frozen=True)
class TrackingOptions:
    """How objects are followed; see :meth:`.MoviePropagation.plan`.

    Attributes
    ----------
    iou_threshold
        Overlap with the expected mask below which a track stops.
    projection
        How the mask of one frame prompts the next.
    motion_smoothing
        Between 0 and 1: how much the motion of the frames before counts.
    box_extension
        Pixels (>= 1) or fraction (< 1) by which box prompts grow.
    backward
        Whether tracks are also followed toward the first frame.
    """

    iou_threshold: float = 0.5
    projection: str = "default"
    motion_smoothing: float = 0.5
    box_extension: float = 0.0
    backward: bool = False


class AnnotatorTracking(LineageActs, SliceActs, CorrectionActs, Annotator):
    """Follows the objects of a movie.

    Attributes
    ----------
    tracking_options
        What the next run does.
    tracking
        The run that follows the tracks at work.
    follow
        Shows the frame that a run has reached.
    linking
        Makes tracks of a segmentation of every frame: of its own, or of one that is there already.
    """

    title = "micro_sam tracking"
    tool = "tracking"
    ndim = 3
    noun = "track"
    place = "frame"
    segments = "Frame"
    has_batches = False
    has_hover = False
    names = LayerNames(current="current_tracks", committed="committed_tracks", tracks="tracks")
    _then = "then press V: only what follows is done again"
    session: TrackingSession | None
    layers: TrackLayers | None

    def __init__(self, viewer: napari.Viewer, settings: Settings) -> None:
        self.tracking_options = TrackingOptions()
        super().__init__(viewer, settings)

    # ------------------------------------------------------------------ what the core asks

    @functools.cached_property
    def tracking(self) -> SessionRun:
        """The run that follows the tracks at work."""
        return SessionRun(
            self,
            "Tracking",
        )

    @functools.cached_property
    def follow(self) -> FollowRun:
        """Shows the frame that a run has reached."""
        return FollowRun(self, self.tracking)

    @functools.cached_property
    def linking(self) -> Linking:
        """Makes tracks of a segmentation of every frame."""
        return Linking(self)

    def make_session(self, shape: tuple[int, ...]) -> TrackingSession:
        """The session for a movie (T, H, W)."""
        check_frames(shape)
        session = TrackingSession(shape)
        take_memory([session.current, session.committed, session.auto])
        return session

    def make_layers(self, image: OpenImage, session: TrackingSession) -> TrackLayers:
        """The layers that show the session."""
        return TrackLayers(self.viewer, image, session, self.names, self.status.report)

    def make_saving(self) -> TrackSaving:
        """What writes tracks and their lineage."""
        return TrackSaving(self)

    def load_result(self, session: TrackingSession, result: Tracks | np.ndarray) -> None:
        """Put tracks, or a label series, into a new session."""
        if isinstance(result, Tracks):
            session.objects.load(result.labels, daughters(result.rows))
        else:
            session.objects.load(result)

    def open(
        self, image: OpenImage, committed: Tracks | np.ndarray | None = None, *, session: TrackingSession | None = None
    ) -> None:
        """Show a movie; see the core."""
        super().open(image, committed, session=session)
        self._corrects = False
        if self.viewer.dims.ndim == 3:
            self.viewer.dims.axis_labels = ("t", "y", "x")
        self.go_to_slice(0)

    def extra_keys(self) -> list[Key]:
        """Keys that 2D does not have."""
        return [
            Key(("v", "V"), "track the object(s)", self.track_objects),
            Key(("d",), "next prompt: track / division", self.toggle_state),
            Key(("e",), "next track (other daughter)", self.next_track),
            Key(("n",), "new track", self.new_track),
            Key(("o",), "correct the track under the mouse", self.reopen_under_mouse),
        ]

    def extra_menus(self) -> Sequence[Any]:
        """The tracking menu."""
        from micro_sam.sam_annotator.view.panels.tracking import TrackingMenu

        return [TrackingMenu(self)]

    def committed_menu(self) -> tuple[str, Any]:
        """The lineage and what can be done to it."""
        from micro_sam.sam_annotator.view.panels.lineage import LineageMenu

        return "Committed tracks and lineage", LineageMenu(self)

    def wanted(self) -> tuple[Item, ...]:
        """What a run waits for comes before what a preview waits for."""
        return (*self.tracking.wanted, *super().wanted())

    # ------------------------------------------------------------------ acts

    @act
    def track_objects(self) -> None:
        """Follow the tracks at work from their prompts through the movie."""
        self._needed()
        self.follow.begin(self.z)
        self.tracking.start(**asdict(self.tracking_options))
        if self.jobs.running(WORK) is not None:
            self.status.say("The track grows frame by frame. Cancel stops it and keeps what is there.")

    @act
    def cancel(self) -> None:
        """Stop what is running; a run that only waits for its first frame is forgotten."""
        self.tracking.forget()
        super().cancel()

    @act
    def set_track(self, track_id: int) -> None:
        """Choose the track of the points that the selection tool has chosen, else of the next prompts."""
        session = self._needed().session
        chosen = self.layers.points.chosen_ids
        if chosen:
            session.prompts.set_track(chosen, track_id=track_id)
            self.preview.edited(self.z)
            return
        session.tracks.set_active(track_id)
        track = session.tracks.current.get(track_id)
        if track is not None and not track.may_have(self.z):
            self.go_to_slice(track.begin if self.z < track.begin else track.last)

    @act
    def set_state(self, state: PromptState) -> None:
        """Choose whether the points that the selection tool has chosen, else the next prompt, mark a division."""
        session = self._needed().session
        chosen = self.layers.points.chosen_ids
        if chosen:
            session.prompts.set_track(chosen, state=state)
            self.preview.edited(self.z)
        elif state != session.tracks.next_state:
            session.tracks.set_next_state(state)
            active = session.tracks.active
            self.status.say(
                f"Click the object of track {active} (or draw a box) in its last frame before it divides."
                if state == "division"
                else "The next prompt belongs to the track and marks no division."
            )

    @act
    def toggle_state(self) -> None:
        """Division <-> track."""
        session = self._needed().session
        chosen = self.layers.points.chosen_ids
        state = session.prompts.drawn[chosen[0]].state if chosen else session.tracks.next_state
        self.set_state("track" if state == "division" else "division")

    @act
    def next_track(self) -> None:
        """Make the next track of the menu the active one: after a division, the other daughter."""
        session = self._needed().session
        ids = session.tracks.ids
        if len(ids) < 2:
            raise InputError("There is one track only. Press N to begin another one, or D to mark a division.")
        later = [i for i in ids if i > session.tracks.active]
        self.set_track(later[0] if later else ids[0])
        self.status.say(f"The next prompt belongs to track {session.tracks.active}.")

    @act
    def new_track(self) -> None:
        """Let the next prompt begin a new track."""
        self._needed().session.tracks.new()
        self.use_tool(self.layers.tool if self.layers.tool in ("point", "box", "polygon", "ellipse") else "point")

    @act
    def segment_and_track_all(self) -> None:
        """Find the objects of every frame and link them to tracks, without a click."""
        self._needed()
        self.linking.segment_and_link()

    @act
    def link_segmentation(self, layer: napari.layers.Labels | None = None) -> None:
        """Make tracks of a segmentation of every frame: a label layer, by default the automatic segmentation."""
        self._needed()
        own = layer is None or layer is self.layers.labels["auto"].layer
        self.linking.start(self.session.auto if own else layer.data)


def check_frames(shape: tuple[int, ...]) -> None:
    """Whether there is something to track.

    Raises
    ------
    InputError
        For a movie of one frame.
    """
    if shape[0] < 2:
        raise InputError(
            f"The tracking annotator needs several frames, but this movie has one: its shape is {shape}. Open it with "
            "annotator_2d, or give all frames of the movie."
        )


def check_tracks(result: Any, key: str | None, image: OpenImage | None) -> Tracks | None:
    """Tracks to go on with, checked against the movie.

    Raises
    ------
    InputError
        When they cannot be read, have no masks or do not fit, or there is no movie.
    """
    if result is None:
        return None
    if image is None:
        raise InputError("An earlier result needs the movie it belongs to. Give the movie as well.")
    tracks = load_tracks(result, key, image.shape)
    if tracks.labels is None:
        raise InputError(
            f"{result} holds positions only, and the masks that belong to them are not beside it. Give the folder or "
            "file that this program saved, with its masks, or a label series."
        )
    return tracks


def annotator_tracking(
    raw: np.ndarray | str | Path | napari.layers.Image | None = None,
    embedding_path: str | Path | None = None,
    show_embeddings: bool = False,
    tracking_result: np.ndarray | str | Path | None = None,
    model_type: str | None = "vit_h",
    tile_shape: tuple[int, int] | None = None,
    halo: tuple[int, int] | None = None,
    return_viewer: bool = False,
    viewer: napari.Viewer | None = None,
    precompute_amg_state: bool = False,
    checkpoint_path: str | Path | None = None,
    device: str | None = None,
    *,
    key: str | None = None,
    tracking_key: str | None = None,
    axes: str | None = None,
    image: np.ndarray | str | Path | napari.layers.Image | None = None,
    decoder_path: str | Path | None = None,
    prefer_decoder: bool = True,
    session: str | Path | None = None,
    resume: bool | str | None = None,
) -> napari.Viewer | None:
    """Track the objects of a movie interactively.

    Parameters
    ----------
    raw
        The movie: an array (T, H, W) or (T, H, W, 3), a path, ``"sample:NAME"``, or an image layer of `viewer`.
        None: the window opens empty and takes a dropped file, a layer, or a sample.
    embedding_path
        Zarr folder that keeps the embeddings for the next start; None: they are kept in memory.
    show_embeddings
        Whether the embeddings are shown as an image layer (their first principal components).
    tracking_result
        Tracks to go on with: a folder of the Cell Tracking Challenge, a GEFF, a TrackMate or napari file that was
        saved here, or a label series (array or path) in which each track keeps its label.
    model_type
        Name of the model in the registry; None: found in `checkpoint_path`.
    tile_shape, halo
        (y, x) in pixels, for large frames; None: chosen by itself.
    return_viewer
        Return the viewer at once instead of starting the event loop.
    viewer
        Dock the tool into this viewer instead of opening a window.
    precompute_amg_state
        Whether the automatic segmentation of the frame in view is prepared at the start.
    checkpoint_path
        Weights of one's own.
    device
        ``"cpu"``, ``"cuda:1"``, ``"mps"``, ...; None: the best there is.
    key, tracking_key
        Datasets inside container files.
    axes
        What the axes of `raw` are, where the file does not say or is wrong: one letter each, T time, Z slices, C
        channels, Y, X, for instance ``"CZYX"``.
    image
        Another name of `raw`.
    decoder_path
        A decoder for automatic segmentation in a file of its own.
    prefer_decoder
        Whether the automatic segmentation begins with the model's decoder, where it has one.
    session
        Folder of a session: where all that is done is kept, and what to go on with if it is there. None: beside the
        result once that is saved, before that in the program's own folder.
    resume
        True: go on with the last session on this image; ``"ask"``: offer that in the window; None: begin a new one and
        keep the old one. Results that are given count more.

    Returns
    -------
    viewer
        With `return_viewer`, else None when the window is closed.

    Raises
    ------
    InputError
        When the movie or the tracks cannot be used. No window is opened then.
    """
    settings = Settings(
        *(model_type, checkpoint_path, device, embedding_path, tile_shape, halo),
        *(precompute_amg_state, show_embeddings, decoder_path, prefer_decoder),
    )
    choice = choose_session(session, resume)
    settings.check()
    raw = one_image(raw, image)
    opened = None if raw is None else open_any(raw, "tracking", key, axes)
    if opened is not None:
        check_frames(opened.shape)
    tracks = check_tracks(tracking_result, tracking_key, opened)
    return start_tool(
        AnnotatorTracking,
        settings,
        opened,
        tracks,
        choice,
        earlier=tracking_result,
        viewer=viewer,
        return_viewer=return_viewer,
    )
