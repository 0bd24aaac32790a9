"""The core of every tool: a viewer, a session, and what happens when the person does something.

A tool (2D, 3D, tracking) is a subclass that says which session it needs, what its layers are called, and which menus
and keys it adds. Nothing here is shared between two windows of one process.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from napari import Viewer
from napari.layers import Image, Layer
from psygnal import Signal
from qtpy.QtCore import QTimer

from micro_sam.errors import AxesError, ChoiceError, InputError, ModelError
from micro_sam.io.checks import Tool
from micro_sam.sam_annotator.controller.acts import Acts, act
from micro_sam.sam_annotator.controller.automatic import Automatic
from micro_sam.sam_annotator.controller.autosave import Autosave
from micro_sam.sam_annotator.controller.classes import load_classes_into
from micro_sam.sam_annotator.controller.closing import CloseGuard
from micro_sam.sam_annotator.controller.drops import Drops
from micro_sam.sam_annotator.controller.embedding_view import show_embeddings
from micro_sam.sam_annotator.controller.engine import Engine
from micro_sam.sam_annotator.controller.hover import Hover
from micro_sam.sam_annotator.controller.large_steps import LargeSteps
from micro_sam.sam_annotator.controller.loading import duration
from micro_sam.sam_annotator.controller.looking import Looking
from micro_sam.sam_annotator.controller.overview import Overview
from micro_sam.sam_annotator.controller.preparation import Preparation
from micro_sam.sam_annotator.controller.preview import Preview
from micro_sam.sam_annotator.controller.recording import Recording
from micro_sam.sam_annotator.controller.reviewing import Reviewing
from micro_sam.sam_annotator.controller.saving import Saving
from micro_sam.sam_annotator.controller.training import Training
from micro_sam.sam_annotator.runtime.garbage import garbage_timer
from micro_sam.sam_annotator.runtime.jobs import WORK, Jobs
from micro_sam.sam_annotator.state import images
from micro_sam.sam_annotator.state.offers import ModelOffer, no_model
from micro_sam.sam_annotator.state.settings import Settings
from micro_sam.sam_annotator.state.status import Status
from micro_sam.sam_annotator.view.keys import Key, Keys
from micro_sam.sam_annotator.view.layers import LayerNames, SessionLayers
from micro_sam.sam_annotator.view.tables.window_table import ObjectTable
from micro_sam.session.session import Session

if TYPE_CHECKING:
    from micro_sam.embeddings.store import Item
    from micro_sam.sam_annotator.controller.series import Series


class Annotator(Acts):
    """One tool in one viewer.

    Parameters
    ----------
    viewer
        The viewer it works in; may hold layers of the person.
    settings
        Model, device, embedding path, tiles.

    Attributes
    ----------
    session, layers
        None until an image is open.
    status, jobs, engine, preview, looking, automatic, saving, training
        The parts; each does one thing.
    series
        The series that the image is from, if any.

    Signals
    -------
    session_changed
        Another image is open.
    source_changed
        What the next commit takes: ``"current"`` or ``"auto"``.
    picked_changed
        Ids of the committed objects that are chosen.
    offer_changed
        :class:`ModelOffer`, or None when there is nothing to choose.
    axes_asked
        :class:`~micro_sam.errors.AxesError` or :class:`~micro_sam.errors.ChoiceError`: a file was not opened because
        nothing says what its axes are, or which of its images is meant.
    hover_changed
        Whether the mask under the mouse is shown.
    settings_changed, tool_changed
        What their names say.
    """

    title = "micro_sam 2D"
    tool: Tool = "2d"
    ndim = 2
    names = LayerNames()
    segments = "Object"
    """What the button for key S says that it segments."""
    noun = "object"
    """What is committed: object, or track."""
    has_batches = True
    """Whether each positive point can be an object of its own."""
    has_hover = True
    """Whether the mask under the mouse can be shown."""

    session_changed = Signal(object)
    source_changed = Signal(str)
    picked_changed = Signal(tuple)
    offer_changed = Signal(object)
    axes_asked = Signal(object)
    hover_changed = Signal(bool)
    settings_changed = Signal(Settings)
    tool_changed = Signal()

    def __init__(self, viewer: Viewer, settings: Settings) -> None:
        self.viewer = viewer
        self.settings = settings
        self._garbage = garbage_timer()
        self._garbage.hold()
        self._closed = False
        self.session: Session | None = None
        self.layers: SessionLayers | None = None
        self.image: images.OpenImage | None = None
        self.picked: tuple[int, ...] = ()
        self.source = "current"
        self.takes_dropped_images = False
        self.preserve = "pixels"
        self.status = Status()
        self.jobs = Jobs(self.status.report)
        self.engine = Engine(self.jobs)
        self.preview = Preview(self.status)
        self.looking = Looking(self)
        self.hover = Hover(self)
        self.automatic = Automatic(self)
        self.large_steps = LargeSteps(self)
        self.overview = Overview(self)
        self.saving = self.make_saving()
        self.recording = Recording(self)
        self.autosave = Autosave(self)
        self.series: Series | None = None
        self.training = Training(self)
        self.table = ObjectTable(self)
        self.review = Reviewing(self)
        self.engine.attached.connect(self._attach)
        self.engine.progressed.connect(self.preview.retry)
        self.engine.ready.connect(self._ready)
        self.engine.offered.connect(self._offer)
        self.preparation = Preparation(self)
        self.engine.failed.connect(self._preparation_failed)
        self.names = self.names.beside(layer.name for layer in viewer.layers)
        self.keys = Keys(viewer, self.key_list(), self._own_layers, self.set_class)
        self.dock = self._make_dock()
        self.close_guard = CloseGuard(self)
        self.drops = Drops(self)

    # ------------------------------------------------------------------ what a tool adds

    def make_session(self, shape: tuple[int, ...]) -> Session:
        """The session for an image of `shape` (without channels)."""
        return Session(shape)

    def make_layers(self, image: images.OpenImage, session: Session) -> SessionLayers:
        """The layers that show the session."""
        return SessionLayers(self.viewer, image, session, self.names, self.status.report)

    def make_saving(self) -> Saving:
        """What writes the committed objects."""
        return Saving(self)

    def load_result(self, session: Session, result: Any) -> None:
        """Put an earlier result into a new session. `result` is what the tool was opened with."""
        session.objects.load(result)

    def committed_menu(self) -> tuple[str, Any]:
        """Title and menu (Qt widget) for what is committed."""
        from micro_sam.sam_annotator.view.panels.objects import ObjectsMenu

        return "Committed objects", ObjectsMenu(self)

    def extra_keys(self) -> list[Key]:
        """Keys that a tool adds."""
        return []

    def extra_menus(self) -> Sequence[Any]:
        """Menus (Qt widgets with a ``title``) that a tool adds between the segmentation and the commit menu."""
        return []

    def key_list(self) -> list[Key]:
        """All keys of the tool."""
        return [
            Key(("s",), "segment the prompts", self.segment),
            Key(("c",), "commit", self.commit),
            Key(("t",), "next point positive / negative", self.toggle_polarity),
            Key(("Shift-C",), "clear prompts and object", self.clear),
            *([Key(("h",), "mask under the mouse on / off", self.toggle_hover)] if self.has_hover else []),
            Key(("Control-Z",), "undo", self.undo),
            Key(("Control-Shift-Z",), "redo", self.redo),
            Key(("Shift-T",), "table of objects on / off", self.toggle_table),
            Key(("w",), "review: the most doubtful object", self.review_next),
            Key(("Shift-1",), "class 1 for the object; to Shift-9", lambda: self.set_class(1)),
            *self.extra_keys(),
        ]

    def _make_dock(self):
        from micro_sam.sam_annotator.view.dock import Dock

        dock = Dock(self)
        self.viewer.window.add_dock_widget(dock, name=self.title, area="right")
        return dock

    # ------------------------------------------------------------------ images and models

    @property
    def z(self) -> int:
        """The slice in view; 0 in 2D."""
        if self.session is None or self.layers is None or self.session.ndim == 2:
            return 0
        position = self.layers.raw.world_to_data(self.viewer.dims.point)
        return int(np.clip(round(float(position[0])), 0, self.session.shape[0] - 1))

    def wanted(self) -> tuple[Item, ...]:
        """The tiles that something waits for, the most urgent first."""
        return self.preview.wanted

    def open(self, image: images.OpenImage, committed: Any = None, *, session: Session | None = None) -> None:
        """Show an image, ready for clicks, and start to prepare it.

        Parameters
        ----------
        image
            Checked already.
        committed
            Result to go on with: labels, or what :meth:`load_result` of the tool takes.
        session
            A session on this image that goes on; None: a new one.

        Raises
        ------
        InputError
            When `committed` does not fit.
        """
        continued = session is not None
        if session is None:
            session = self.make_session(image.shape)
            self.recording.begin(image, session)
            if committed is not None:
                self.load_result(session, committed)
                load_classes_into(session, image.earlier)
                session.begin_here()
        self.jobs.cancel(WORK)
        image = self.image = self.overview.of(image)
        self.session = session
        if self.layers is None:
            self.layers = self.make_layers(image, session)
            self.layers.edited.connect(self._prompts_edited)
            self.layers.recreated.connect(self._layers_recreated)
            self.layers.picked.connect(self.pick)
            self.layers.refused.connect(lambda text: self.status.say(text, "warning"))
            self.layers.tool_changed.connect(self.tool_changed.emit)
        else:
            self.layers.show(image, session)
        session.events.message.connect(self.status.say)
        session.events.labels_changed.connect(self._labels_changed)
        self.preview.follow(session)
        self.looking.follow(session)
        self.hover.follow(session)
        self.automatic.follow(session)
        self.saving.follow(session)
        self.recording.follow(image, session, committed is not None, continued)
        self.preparation.follow(session)
        self.table.follow()
        self.review.follow()
        self.set_source("current")
        self._set_picked(())
        if self.takes_dropped_images:
            self.viewer.title = f"{image.name} - {self.title}"
        self.session_changed.emit(session)
        self.use_tool("point")
        self._garbage.settle()
        self.overview.begin()
        self.prepare()

    def welcome(self) -> None:
        """There is no image yet: say how to get one."""
        self.status.say("Drop an image onto the window, or choose one below: a file, or a sample to try the tool.")
        self.viewer.layers.events.inserted.connect(self._image_dropped)

    def _image_dropped(self, event) -> None:
        """In an empty window the first image that comes is the one to annotate."""
        layer = event.value
        if self.session is None and self.takes_dropped_images and isinstance(layer, Image):
            QTimer.singleShot(0, lambda: self._take_dropped(layer))

    @act
    def _take_dropped(self, layer: Image) -> None:
        if self.session is not None or layer not in self.viewer.layers:
            return
        path = layer.source.path
        try:
            image = images.from_layer(layer, self.tool) if path is None else images.from_path(path, self.tool)
        except (AxesError, ChoiceError):
            self.viewer.layers.remove(layer)  # it comes back when the user has said what its axes are, or which image
            raise
        if image.layer is None:
            self.viewer.layers.remove(layer)
        self.open(image)

    @act
    def prepare(self, download: bool = False) -> None:
        """(Re)load the model and the embeddings as the settings say. Prompts and objects stay as they are."""
        if self.image is None:
            return
        self.offer_changed.emit(None)
        self.preparation.begin(download)
        self.looking.tell()
        self.engine.prepare(self.image, self.ndim, self.settings, download=download)
        note = f"{self.image.note} " if self.image.note else ""
        self.status.say(f"{note}Getting ready. You can click objects already: they are segmented as soon as possible.")

    @act
    def change_settings(self, settings: Settings, download: bool = False) -> None:
        """Use other settings from now on."""
        running = self.jobs.running(WORK)
        if running is not None:
            raise InputError(f"'{running.name}' is still running. Wait until it is done, or cancel it first.")
        self.use_settings(settings)
        self.prepare(download=download)

    def use_settings(self, settings: Settings) -> None:
        """Settings for the next preparation."""
        self.settings = settings
        self.settings_changed.emit(settings)

    def _attach(self, predictor: Any, embeddings: Any) -> None:
        if self.session is not None:
            self.session.model.attach(predictor, embeddings)
            self.automatic.reset()
            self.preview.attached()

    def _ready(self, seconds: float, cached: bool) -> None:
        is_whole = self.engine.there == self.engine.total
        if self.settings.show_embeddings and is_whole:
            show_embeddings(self)
        if self.settings.precompute_amg_state and is_whole:
            self.automatic.run(show=False)
        is_working = self.engine.on_demand and self.jobs.running(WORK) is not None
        if self.preview.waits or self.preview.busy or is_working:
            return
        embedding = "embedding from the cache" if cached else f"embedding computed in {duration(seconds)}"
        is_smoothed = getattr(self.session.model.embeddings.store.normalization, "smoothing", 0)
        noise = " The image is noisy, so the model sees it smoothed a little." if is_smoothed else ""
        if self.engine.on_demand:
            more = "" if is_whole else ", the others when you click or look there"
            embedding = f"{self.engine.there_text()} are embedded{more}"
        self.status.say(f"{self._model_name()} is ready, {embedding}.{noise} Click an object to segment it.", "good")

    def _model_name(self) -> str:
        predictor = self.engine.predictor
        return predictor.model_name if predictor is not None else str(self.settings.model_type)

    def _offer(self, offer: ModelOffer) -> None:
        self.status.say(f"The weights of {offer.wanted} are not on this machine. Choose below how to go on.", "warning")
        self.offer_changed.emit(offer)

    def _preparation_failed(self, error: Exception) -> None:
        if isinstance(error, ModelError):
            self.offer_changed.emit(no_model(self.settings))

    # ------------------------------------------------------------------ inside

    def close(self) -> None:
        """End all threads and follow nothing any more; the window is closing."""
        if self._closed:
            return
        self._closed = True
        if self.layers is not None:
            self.layers.close(remove=False)
        self.looking.close()
        self.hover.close()
        self.large_steps.close()
        self.preview.close()
        self.automatic.close()
        self.training.close()
        self.table.close()
        self.autosave.close()
        self.jobs.close()
        self.recording.close()
        self._garbage.release()

    def end(self) -> None:
        """Leave the viewer, which stays open: the layers stay, too, the keys are napari's again."""
        self._set_picked(())
        self.table.hide()
        self.close_guard.forget()
        self.close()
        self.keys.close()

    def _own_layers(self) -> list[Layer]:
        return self.layers.all if self.layers is not None else []

    @property
    def closed(self) -> bool:
        """Whether the window is closing, or closed."""
        return self._closed

    def _needed(self) -> Annotator:
        if self.session is None or self.layers is None:
            raise InputError("There is no image yet. Drop a file onto the window, or open one with the menu above.")
        return self

    def _prompts_edited(self) -> None:
        self.preview.edited(self.z)

    def _set_picked(self, ids: tuple[int, ...]) -> None:
        self.picked = ids
        self.picked_changed.emit(ids)

    def _go_on(self) -> None:
        """After a commit or clear the next click must place a point, whatever was selected before."""
        self.layers.use(self.layers.tool if self.layers.tool in ("point", "box", "polygon", "ellipse") else "point")

    def _labels_changed(self, name: str, _region: tuple) -> None:
        if name == "current" and self.session.has_current:
            self.set_source("current")
        if name == "committed" and any(i not in self.session.objects for i in self.picked):
            QTimer.singleShot(0, self._forget_gone)

    def _forget_gone(self) -> None:
        """Let selected objects go that are there no more."""
        alive = tuple(i for i in self.picked if self.session is not None and i in self.session.objects)
        if alive != self.picked:
            self._set_picked(alive)

    def _layers_recreated(self, names: tuple[str, ...]) -> None:
        self.status.say(
            f"The layer{'s' if len(names) > 1 else ''} {', '.join(names)} is needed by this tool and was made again; "
            "nothing is lost. To hide a layer, use the eye beside its name.",
            "warning",
        )
