"""One window: its state, its actions, and the parts that do them, put together for a tool."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace
from typing import Any

import napari
from napari import Viewer

from micro_sam.errors import AxesError, ChoiceError
from micro_sam.sam_annotator.actions import Actions, bind
from micro_sam.sam_annotator.controller.action_table import rows_of
from micro_sam.sam_annotator.controller.automatic import Automatic
from micro_sam.sam_annotator.controller.embedding.engine import Engine
from micro_sam.sam_annotator.controller.embedding.loading import Start
from micro_sam.sam_annotator.controller.embedding.looking import Looking
from micro_sam.sam_annotator.controller.embedding.preparation import Preparation
from micro_sam.sam_annotator.controller.files.opening import Continuing, Drops, Opening, take_dropped
from micro_sam.sam_annotator.controller.files.recording import Recording
from micro_sam.sam_annotator.controller.files.saving import Saving
from micro_sam.sam_annotator.controller.files.saving_tracks import TrackSaving
from micro_sam.sam_annotator.controller.files.series import Series, SeriesOpening
from micro_sam.sam_annotator.controller.files.unsaved import Autosave, CloseGuard, Leaving, ends_in_order
from micro_sam.sam_annotator.controller.hover import Hover
from micro_sam.sam_annotator.controller.objects.commits import CommitActions
from micro_sam.sam_annotator.controller.objects.editing import ObjectActions
from micro_sam.sam_annotator.controller.objects.reviewing import Reviewing
from micro_sam.sam_annotator.controller.objects.similar import SimilarObjects
from micro_sam.sam_annotator.controller.objects.table import ObjectTable
from micro_sam.sam_annotator.controller.pictures import EmbeddingPicture, Overview
from micro_sam.sam_annotator.controller.preview import Preview
from micro_sam.sam_annotator.controller.prompts import PromptActions, RegionActions
from micro_sam.sam_annotator.controller.stacks.propagation import Propagation
from micro_sam.sam_annotator.controller.stacks.sections import Sections
from micro_sam.sam_annotator.controller.stacks.slices import StackActions
from micro_sam.sam_annotator.controller.stacks.tracks import LineageActions, TrackActions
from micro_sam.sam_annotator.controller.stacks.volume import VolumeWork
from micro_sam.sam_annotator.controller.training import Training
from micro_sam.sam_annotator.runtime.garbage import garbage_timer
from micro_sam.sam_annotator.runtime.jobs import MAPS, WORK, Jobs
from micro_sam.sam_annotator.state.images import OpenImage
from micro_sam.sam_annotator.state.settings import Settings
from micro_sam.sam_annotator.state.status import Status
from micro_sam.sam_annotator.state.tool import Tool
from micro_sam.sam_annotator.state.window import WindowState
from micro_sam.sam_annotator.view.dialogs import Dialogs
from micro_sam.sam_annotator.view.dock import Dock, Panels
from micro_sam.sam_annotator.view.frame import kept_with
from micro_sam.sam_annotator.view.keys import Keys
from micro_sam.sam_annotator.view.layers.mouse import Mouse
from micro_sam.sam_annotator.view.layers.session_layers import SessionLayers
from micro_sam.sam_annotator.view.layers.track_layers import TrackLayers
from micro_sam.sam_annotator.view.sight import Sight
from micro_sam.session.first_answers import FirstAnswers

TOOLS = "tools"  # the windows of a viewer, in the order in which they were opened


class Window:
    """One tool in one viewer, for scripts and tests. Its parts know each other by name, and none of them knows it.

    Parameters
    ----------
    viewer
        The viewer it works in; may hold layers of the user.
    tool
        What kind of window it is.
    settings
        Model, device, embedding path, tiles.
    is_docked
        Whether the dock is put beside the image; otherwise somebody else does it.
    is_alone
        Whether the viewer shows nothing else: its title names the image, and the first image that comes is taken.
    first
        Answers prompts of the image that comes first until the model is ready.

    Attributes
    ----------
    state, actions
        What is shown, and what can be done.
    layers, dock, table, keys
        What the user sees and presses beside the image.
    jobs, engine, preview, hover, automatic, propagation, volume, saving, recording, review, training
        The parts; each does one thing. `propagation` is None in 2D, `volume` in all tools but 3D.
    series_opening
        Begins a series of images.
    """

    def __init__(
        self,
        viewer: Viewer,
        tool: Tool,
        settings: Settings,
        *,
        is_docked: bool = True,
        is_alone: bool = False,
        first: FirstAnswers | None = None,
    ) -> None:
        tool = tool.beside(layer.name for layer in viewer.layers)
        self._garbage = garbage_timer()
        self._garbage.hold()
        self.viewer = viewer
        self.state = state = WindowState(tool, settings, options=tool.options)
        self.actions = Actions(self._report, state.status.acted)
        self.jobs = Jobs(state.status.report)
        start = Start(waits=first is not None)
        self.engine = Engine(self.jobs, start)
        self.layers = TrackLayers(viewer, state) if tool.work == "tracks" else SessionLayers(viewer, state)
        self._mouse, self._sight = Mouse(viewer, self.layers, state), Sight(viewer, self.layers, state)
        self.preview = Preview(state)
        self._looking = Looking(state, viewer, self._sight, self.engine, self.preview, self.jobs)
        self._preparation = Preparation(state, self.engine, self.jobs, self.preview, self._looking, start, first)
        self.automatic = Automatic(state, self.jobs, self.engine, self._preparation, self._looking)
        self.hover = Hover(state, viewer, self.layers, self.jobs, lambda: self.preview.busy or self.automatic.busy)
        self._make_propagation()
        self._make_files(is_alone)
        self._similar = SimilarObjects(state, self.jobs, self._sight, self.automatic)
        self._region = RegionActions(state, viewer, self.layers, self._mouse)
        self.table = ObjectTable(
            state, self.actions, self.jobs, viewer=viewer, layers=self.layers, saving=self.saving, dialogs=self._dialogs
        )
        self.review = Reviewing(state, self.actions, self.table, self._passed_divisions)
        self.training = Training(state, self.jobs, self.engine, self.saving, self._preparation)
        self._picture = EmbeddingPicture(state, self.layers, self.jobs, self.engine)
        self._make_actions()
        self.keys = Keys(viewer, self.actions, lambda: self.layers.all)
        self._wire_layers()
        divisions = None if self._tracks is None else self._tracks.divisions
        panels = Panels(
            state,
            self.actions,
            layers=self.layers,
            jobs=self.jobs,
            engine=self.engine,
            automatic=self.automatic,
            recording=self.recording,
            preparation=self._preparation,
            review=self.review,
            training=self.training,
            similar=self._similar,
            volume=None if self.volume is None else self.volume.automatic,
            divisions=divisions,
        )
        shown = (self.layers, self.jobs, self.engine, self.saving, divisions)
        self.dock = Dock(state, self.actions, viewer, panels, *shown)
        if is_docked:
            viewer.window.add_dock_widget(self.dock, name=tool.title, area="right")
        self._guard = CloseGuard(viewer, state, self.saving, self._leaving, self._close)
        self._drops = Drops(viewer, state, self.actions, is_alone)
        kept_with(viewer, TOOLS).append(self)

    # ------------------------------------------------------------------ putting it together

    def _make_propagation(self) -> None:
        tool, state = self.state.tool, self.state
        self.propagation: Propagation | None = None
        self.volume: VolumeWork | None = None
        if tool.work:
            self.propagation = Propagation(
                "Segmenting the volume" if tool.work == "volume" else "Tracking",
                state,
                self.layers,
                self.jobs,
                self.engine,
                self.preview,
                self._preparation,
                self._looking,
            )
        if tool.work == "volume" and self.propagation is not None:
            sections = Sections(state, self.viewer, self.layers, self._sight, self.preview.edited)
            parts = (self.preview, self.automatic, self.propagation, sections)
            self.volume = VolumeWork(state, self.jobs, self.engine, *parts)

    def _make_files(self, is_alone: bool) -> None:
        """What opens and saves."""
        state, viewer = self.state, self.viewer
        self._dialogs = Dialogs(viewer)
        self._overview = Overview(self.layers, self.jobs, self.engine, self.preview)
        self.recording = Recording(state, self.jobs)
        kind = TrackSaving if state.tool.work == "tracks" else Saving
        self.saving = kind(state, self.jobs, self._dialogs, self.recording)
        self._autosave = Autosave(state, self.jobs, self.saving)
        self._leaving = Leaving(state, self.actions, self.saving, self._dialogs)
        self._opening = Opening(
            state,
            self.jobs,
            viewer=viewer,
            layers=self.layers,
            mouse=self._mouse,
            sight=self._sight,
            overview=self._overview,
            recording=self.recording,
            preparation=self._preparation,
            garbage=self._garbage,
            leaving=self._leaving,
            dialogs=self._dialogs,
            is_alone=is_alone,
        )
        self._continuing = Continuing(state, self.jobs, self._opening, self._overview, self.recording, self.saving)
        parts: dict[str, Any] = {
            "engine": self.engine,
            "saving": self.saving,
            "opening": self._opening,
            "continuing": self._continuing,
        }
        asking: dict[str, Any] = {"recording": self.recording, "leaving": self._leaving}
        self.series_opening = SeriesOpening(
            state,
            self.actions,
            partial(Series, state, viewer, **parts, **asking),
            lambda: self.dock.add_series(),
            dialogs=self._dialogs,
            **asking,
        )

    def _make_actions(self) -> None:
        state, tool = self.state, self.state.tool
        objects = ObjectActions(state, self._mouse, self._sight, self.saving, self._dialogs)
        self._commits = CommitActions(
            state,
            self.jobs,
            self._mouse,
            self.preview,
            self.engine,
            lambda: int(self.automatic.values["min_size"]),
            self.volume.then if self.volume is not None else lambda do: False,
        )
        stacks, lineage = None, None
        self._tracks: TrackActions | None = None
        if tool.ndim == 3:
            after = self.volume.after_correction if self.volume is not None else lambda: tool.after_correction
            stacks = StackActions(state, self._mouse, self._sight, objects.select_one, after)
        if tool.work == "tracks" and self.propagation is not None:
            self._tracks = TrackActions(
                state,
                self.jobs,
                layers=self.layers,
                mouse=self._mouse,
                sight=self._sight,
                preview=self.preview,
                propagation=self.propagation,
                automatic=self.automatic,
            )
            lineage = LineageActions(state, self._sight, objects.selected)
        handlers = SimpleNamespace(
            prompts=PromptActions(state, self.layers, self._mouse, self.preview, self._preparation),
            commits=self._commits,
            objects=objects,
            opening=self._opening,
            take_dropped=lambda layer: take_dropped(self.viewer, state, self._opening, layer),
            preparation=self._preparation,
            engine=self.engine,
            automatic=self.automatic,
            region=self._region,
            saving=self.saving,
            table=self.table,
            review=self.review,
            training=self.training,
            continuing=self._continuing,
            series_opening=self.series_opening,
            recording=self.recording,
            cancel=self._cancel,
            similar=self._similar,
            stacks=stacks,
            volume=self.volume,
            tracks=self._tracks,
            lineage=lineage,
        )
        self.actions.add(bind(rows_of(tool), handlers, tool, self.saving.formats))

    def _wire_layers(self) -> None:
        layers, status = self.layers, self.state.status
        layers.edited.connect(self.preview.edited)
        layers.clicked.connect(self.actions.select_one)
        layers.refused.connect(lambda text: status.say(text, "warning"))
        layers.recreated.connect(self._recreated)

    # ------------------------------------------------------------------ for scripts and tests

    @property
    def session(self) -> Any:
        """The session of the image that is open; None before."""
        return self.state.session

    @property
    def series(self) -> Series | None:
        """Goes through a series of images; None without one."""
        return self.series_opening.series

    @property
    def status(self) -> Status:
        """The sentence for the user."""
        return self.state.status

    def open(self, image: OpenImage | None, committed: Any = None, *, may_continue: bool = False) -> None:
        """Show an image; without one, say how to get one.

        Parameters
        ----------
        image, committed
            Checked; see :meth:`.Opening.open`.
        may_continue
            Whether the session that was asked for goes on, if there is one.

        Raises
        ------
        InputError
            When the result does not fit.
        CacheError
            When the session cannot go on.
        """
        self.state.status.acted()
        if image is None:
            return self._drops.welcome(self.dock.ask_for_image)
        continued = self._continuing.earlier(image) if may_continue and committed is None else None
        if continued is not None:
            self._continuing.show(image, continued)
        else:
            self._opening.open(image, committed)

    def run(self) -> None:
        """Run the event loop until the window is closed."""
        self.dock.welcome()
        with ends_in_order(self.viewer, self.state, self._leaving):
            napari.run()

    def end(self) -> bool:
        """Leave the viewer, which stays open: the layers stay, too, the keys are napari's again.

        Returns
        -------
        bool
            False when the user goes on working instead, because of unsaved work.
        """
        if self.state.closed or not self._leaving.may_leave():
            return False
        self.state.selected = ()
        self._guard.forget()
        self._close()
        self.keys.close()
        for part in (self.table.remove, self._drops.close, self.dock.end):
            part()
        return True

    # ------------------------------------------------------------------ inside

    def _close(self) -> None:
        """End all threads and follow nothing any more; the window is closing."""
        if self.state.closed:
            return
        self.state.closed = True
        self.layers.close()
        first = (self._mouse, self._sight, self._looking, self.hover, self._region, self._commits, self.preview)
        for part in (*first, self._similar, self.volume):
            if part is not None:
                part.close()
        for last in (self.automatic, self.training, self.table, self._autosave, self.jobs):
            last.close()
        self._preparation.close()
        self.recording.close()
        self._garbage.release()
        kept_with(self.viewer, TOOLS).remove(self)
        # psygnal keeps the slots of an object outside of it: what they use would stay in memory, and the object with it
        self.state.events.disconnect()

    def _report(self, error: Exception) -> None:
        """Something went wrong in an action."""
        if isinstance(error, (AxesError, ChoiceError)) and error.path is not None:
            self.state.question = error
        self.state.status.report(error)

    def _passed_divisions(self) -> dict[int, int]:
        return {} if self._tracks is None else self._tracks.divisions.passed()

    def _cancel(self) -> None:
        """Stop the job that the progress bar shows, and what only waits for its first slice.

        An embedding that goes on below a job is not stopped.
        """
        if self.propagation is not None:
            self.propagation.forget()
        running = self.jobs.running()
        if running is None:
            return
        if running.lane == WORK:
            self.jobs.cancel(WORK)
            self.state.status.say("Cancelled. What was finished before stays.")
        elif self.volume is not None and running.lane == MAPS:
            self.volume.maps.cancel()
        else:
            self._preparation.cancel()

    def _recreated(self, names: tuple[str, ...]) -> None:
        listed = ", ".join(names)
        made = f"The layers {listed} are needed" if len(names) > 1 else f"The layer {listed} is needed"
        again = f"{'were' if len(names) > 1 else 'was'} made again"
        text = f"{made} by this tool and {again}; nothing is lost. To hide a layer, use the eye beside its name."
        self.state.status.say(text, "warning")
