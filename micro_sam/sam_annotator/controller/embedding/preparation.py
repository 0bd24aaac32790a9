"""Model and embeddings as the settings say: how a preparation begins, ends early, and goes on.

It ends early when the user cancels it or when it fails. From then on nothing is being computed, so the window must not
promise anything: it says so, offers to start again, and takes the next prompt for the wish to start again.
"""

from __future__ import annotations

from typing import Any

from psygnal import Signal
from qtpy.QtCore import QTimer

from micro_sam.errors import InputError, ModelError
from micro_sam.sam_annotator.controller.embedding.engine import Engine
from micro_sam.sam_annotator.controller.embedding.loading import Start
from micro_sam.sam_annotator.controller.embedding.looking import Looking
from micro_sam.sam_annotator.controller.preview import Preview
from micro_sam.sam_annotator.runtime.jobs import WORK, Jobs
from micro_sam.sam_annotator.state.images import OpenImage
from micro_sam.sam_annotator.state.settings import ModelOffer, Settings, no_model
from micro_sam.sam_annotator.state.status import duration
from micro_sam.sam_annotator.state.window import WindowState
from micro_sam.session.first_answers import FirstAnswers
from micro_sam.session.session import Session

MATTER = "preparation"
"""What its sentences are about: news of it take the place of its warnings."""
HOW = "Press 'Start again', or click an object: prompts are kept and segmented then."
PAUSE_MS = 600  # in which a user who clicks at once is answered, before PyTorch is imported
NO_MEMORY = (
    "There is not enough memory to prepare the image. Close other programs or choose a smaller model in the menu of "
    "the model, then press 'Start again'. Your prompts and objects are still here."
)


class Preparation:
    """Prepares the image of a window, and knows whether that has ended early.

    Parameters
    ----------
    state
        Of the window; its session gets the model and the features.
    engine, jobs
        Do the work.
    preview
        What waits is asked when there is more.
    looking
        Tells the engine where to begin.
    start
        Of the engine: after the first answer, or a pause.
    first
        Answers prompts of the first image until the engine is ready.

    Attributes
    ----------
    stopped
        Why nothing is being prepared although something is missing, as a sentence; empty while all goes its way.

    Signals
    -------
    changed
        The sentence is another one.
    attached
        The session has another model or other features.
    """

    changed = Signal(str)
    attached = Signal()

    def __init__(
        self,
        state: WindowState,
        engine: Engine,
        jobs: Jobs,
        preview: Preview,
        looking: Looking,
        start: Start,
        first: FirstAnswers | None = None,
    ) -> None:
        self.stopped = ""
        self._state, self._engine, self._jobs = state, engine, jobs
        self._preview, self._looking = preview, looking
        self._download = False
        self._start, self._first = start, first
        self._was_early = False
        preview.answered.connect(self._answered)
        engine.attached.connect(self._attach)
        engine.progressed.connect(preview.retry)
        engine.ready.connect(self._ready)
        engine.offered.connect(self._offered)
        engine.stopped.connect(self._cancelled)
        engine.failed.connect(self._failed)
        preview.waiting_changed.connect(self._mend)
        jobs.changed.connect(self._mend)
        state.events.session.connect(self._follow)

    # ------------------------------------------------------------------ actions

    def prepare(self, download: bool = False) -> None:
        """(Re)load the model and the embeddings as the settings say. Prompts and objects stay as they are.

        Parameters
        ----------
        download
            Whether missing weights are fetched.
        """
        try:
            self._prepare(download)
        except Exception as error:  # it is called by events, too
            self._state.status.report(error)

    def _prepare(self, download: bool) -> None:
        state, image = self._state, self._state.image
        if image is None:
            return
        state.offer = None
        self._download = download
        self._tell("")
        self._begin_first(image)
        self._looking.tell()
        self._engine.prepare(image, state.tool.ndim, state.settings, download=download)
        note = f"{image.note} " if image.note else ""
        text = f"{note}Getting ready. You can click objects already: they are segmented as soon as possible."
        state.status.say(text, about=MATTER)

    def download(self) -> None:
        """Fetch the weights of the wanted model, then prepare."""
        self.prepare(download=True)

    def use_offered(self) -> None:
        """Go on with the model that comes with the program."""
        offer = self._state.offer
        if offer is not None:
            self.change_settings(self._state.settings.changed(model_type=offer.instead, checkpoint_path=None))

    def change_settings(self, settings: Settings, download: bool = False) -> None:
        """Use other settings from now on.

        Raises
        ------
        InputError
            When a job needs the present ones.
        """
        self.check_free()
        self._state.settings = settings.changed(offered=None)  # the user has said which model it is
        self.prepare(download)

    def check_free(self) -> None:
        """Raise InputError when a job needs model and image as they are."""
        running = self._jobs.running(WORK)
        if running is not None:
            raise InputError(f"'{running.name}' is still running. Wait until it is done, or cancel it first.")

    def cancel(self) -> None:
        """Stop the preparation; it ends after the step it is in."""
        self._engine.cancel()
        if self._engine.busy:
            self._state.status.say("Stopping as soon as the present step is done.")

    def start_again(self) -> None:
        """Do again what was cancelled or has failed."""
        self._state.needed()
        self.prepare(download=self._download)

    def needed(self) -> None:
        """Something waits for model or embeddings: start again if nothing is being prepared."""
        status = self._state.status
        self._start.now()
        if self._engine.active:
            return
        if self.stopped or self._engine.busy:  # busy: the step in which it was cancelled has not ended yet
            self.prepare()
            text = "The preparation starts again. Your prompts are kept and segmented when it is ready."
            status.say(text, about=MATTER)
        elif self._state.offer is not None:
            status.say("Your prompts are kept. Choose below which model segments them.", "warning", MATTER)

    def close(self) -> None:
        """The window is closed: nothing begins any more, and nobody answers."""
        self._start.never()
        if self._first is not None:
            self._first.close()
        if self._state.session is not None:
            self._state.session.model.attach_first(None)

    # ------------------------------------------------------------------ from the engine

    def _attach(self, predictor: Any, embeddings: Any) -> None:
        if self._state.session is not None:
            self._state.session.model.attach(predictor, embeddings)
            self.attached.emit()
            self._preview.attached()

    def _ready(self, seconds: float, cached: bool) -> None:
        state, engine = self._state, self._engine
        session = state.needed()
        is_working = engine.on_demand and self._jobs.running(WORK) is not None
        was_early, self._was_early = self._was_early, False  # what was said of the object stays
        if self._preview.waits or self._preview.busy or is_working or was_early or session.model.embeddings is None:
            return
        embedding = "embedding from the cache" if cached else f"embedding computed in {duration(seconds)}"
        is_smoothed = getattr(session.model.embeddings.store.normalization, "smoothing", 0)
        noise = " The image is noisy, so the model sees it smoothed a little." if is_smoothed else ""
        if engine.on_demand:
            more = "" if engine.there == engine.total else ", the others when you click or look there"
            embedding = f"{engine.there_text()} are embedded{more}"
        name = engine.predictor.model_name if engine.predictor is not None else str(state.settings.model_type)
        offered = state.settings.offered
        more = f" {offered}, larger and slower: menu 'Model and embeddings'." if offered else ""
        text = f"{name} is ready, {embedding}.{noise} Click an object to segment it.{more}"
        state.status.say(text, "good", MATTER)

    def _offered(self, offer: ModelOffer) -> None:
        text = f"The weights of {offer.wanted} are not on this machine. Choose below how to go on."
        self._state.status.say(text, "warning", MATTER)
        self._state.offer = offer

    def _cancelled(self) -> None:
        session, engine = self._state.session, self._engine
        if session is None or session.model.predictor is None or session.model.embeddings is None:
            what = "no model is loaded" if engine.predictor is None else "the image is not embedded"
            text = f"Cancelled: {what}, so nothing can be segmented."
        elif session.model.embeddings is engine.embeddings:
            text = "Cancelled: what is embedded already can be segmented, the rest is not computed."
        else:
            text = f"Cancelled: {session.model.predictor.model_name} stays in use."
        self._state.status.say(f"{text} {HOW}", "warning", MATTER)
        self._tell(text)

    def _failed(self, error: Exception) -> None:
        is_model = isinstance(error, ModelError)
        if isinstance(error, MemoryError):
            error = ModelError(NO_MEMORY)
        self._state.status.report(error, MATTER)
        self._tell("The preparation has failed, so nothing is being computed.")
        if is_model:
            self._state.offer = no_model(self._state.settings)

    # ------------------------------------------------------------------ inside

    def _begin_first(self, image: OpenImage) -> None:
        """What has been begun for this image answers; at any later preparation the settings are others."""
        first, self._first = self._first, None
        self._state.needed().model.attach_first(None)
        if first is None:
            return
        if first.order.pixels is image.pixels:
            self._state.needed().model.attach_first(first)
        else:  # a session goes on in another channel
            first.close()
        # counted from when the window hears of the user
        QTimer.singleShot(0, lambda: QTimer.singleShot(PAUSE_MS, self._start.now))

    def _answered(self) -> None:
        """A prompt was answered; the first one has been waited for."""
        self._was_early = self._was_early or self._engine.embeddings is None
        self._start.now()

    def _follow(self, session: Session, before: Session | None) -> None:
        if before is not None:
            before.model.attach_first(None)
            before.events.prompts_changed.disconnect(self._prompts_changed)
        session.events.prompts_changed.connect(self._prompts_changed)

    def _mend(self) -> None:
        """Compute again what a question or a job has found damaged in the cache."""
        embeddings = self._engine.embeddings
        if embeddings is None or not embeddings.store.found_damage or self._state.closed:
            return
        if not (self.stopped or self._engine.busy):
            self.prepare()
            text = "A part of the embeddings is damaged and computed again. Your prompts are kept."
            self._state.status.say(text, about=MATTER)

    def _prompts_changed(self, _prompts: object) -> None:
        QTimer.singleShot(0, self._prompts_wait)  # the preview hears of it first

    def _prompts_wait(self) -> None:
        session = self._state.session
        if self._state.closed or session is None or not self._preview.waits:
            return
        prompts = session.prompts.drawn
        if any(prompts.in_slice(z).has_positive for z in prompts.slices):
            self.needed()

    def _tell(self, text: str) -> None:
        if text and self._state.session is not None:
            self._state.session.model.attach_first(None)
        self.stopped = text
        self.changed.emit(text)
