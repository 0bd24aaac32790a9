"""How a preparation (model and embeddings) that has ended early is told, and how it goes on.

It ends early when the user cancels it or when it fails. From then on nothing is being computed, so the window must not
promise anything: it says so, offers to start again, and takes the next prompt for the wish to start again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from psygnal import Signal
from qtpy.QtCore import QTimer

from micro_sam.errors import ModelError

if TYPE_CHECKING:
    from micro_sam.sam_annotator.controller.annotator import Annotator
    from micro_sam.sam_annotator.state.offers import ModelOffer
    from micro_sam.session.session import Session

HOW = "Press 'Start again', or click an object: prompts are kept and segmented then."
NO_MEMORY = (
    "There is not enough memory to prepare the image. Close other programs or choose a smaller model in the menu of "
    "the model, then press 'Start again'. Your prompts and objects are still here."
)


class Preparation:
    """Knows whether the preparation of a window has ended early, and starts it again.

    Attributes
    ----------
    stopped
        Why nothing is being prepared although something is missing, as a sentence; empty while all goes its way.

    Signals
    -------
    changed
        The sentence is another one.
    """

    changed = Signal(str)

    def __init__(self, annotator: Annotator) -> None:
        self.stopped = ""
        self._annotator = annotator
        self._download = False
        self._offer: ModelOffer | None = None
        self._session: Session | None = None
        engine = annotator.engine
        engine.stopped.connect(self._cancelled)
        engine.failed.connect(self._failed)
        annotator.offer_changed.connect(self._offered)
        annotator.preview.waiting_changed.connect(self._mend)
        annotator.jobs.changed.connect(self._mend)

    def follow(self, session: Session) -> None:
        """Work for this session from now on."""
        if self._session is not None:
            self._session.events.prompts_changed.disconnect(self._prompts_changed)
        self._session = session
        session.events.prompts_changed.connect(self._prompts_changed)

    def begin(self, download: bool) -> None:
        """A preparation begins, with the weights fetched if they are missing or not."""
        self._download = download
        self._tell("")

    def cancel(self) -> None:
        """Stop the preparation; it ends after the step it is in."""
        engine = self._annotator.engine
        engine.cancel()
        if engine.busy:
            self._annotator.status.say("Stopping as soon as the step at work is done.")

    def start_again(self) -> None:
        """Do again what was cancelled or has failed."""
        self._annotator.prepare(download=self._download)

    def needed(self) -> None:
        """Something waits for model or embeddings: start again if nobody is at work on them."""
        annotator = self._annotator
        if annotator.engine.at_work:
            return
        if self.stopped or annotator.engine.busy:  # busy: the step in which it was cancelled has not ended yet
            annotator.prepare()
            annotator.status.say("The preparation starts again. Your prompts are kept and segmented when it is ready.")
        elif self._offer is not None:
            annotator.status.say("Your prompts are kept. Choose below which model segments them.", "warning")

    def _mend(self) -> None:
        """Compute again what a question or a run has found damaged in the cache."""
        annotator = self._annotator
        embeddings = annotator.engine.embeddings
        if embeddings is None or not embeddings.store.found_damage or annotator.closed:
            return
        if not (self.stopped or annotator.engine.busy):
            annotator.prepare()
            annotator.status.say("A part of the embeddings is damaged and computed again. Your prompts are kept.")

    def _prompts_changed(self, _prompts: object) -> None:
        QTimer.singleShot(0, self._prompts_wait)  # the preview hears of it first

    def _prompts_wait(self) -> None:
        annotator = self._annotator
        if annotator.closed or not annotator.preview.waits:
            return
        prompts = annotator.session.prompts.drawn
        if any(prompts.in_slice(z).has_positive for z in prompts.slices):
            self.needed()

    def _offered(self, offer: ModelOffer | None) -> None:
        self._offer = offer

    def _cancelled(self) -> None:
        session = self._annotator.session
        if session is None or session.model.predictor is None or session.model.embeddings is None:
            what = "no model is loaded" if self._annotator.engine.predictor is None else "the image is not embedded"
            text = f"Cancelled: {what}, so nothing can be segmented."
        elif session.model.embeddings is self._annotator.engine.embeddings:
            text = "Cancelled: what is embedded already can be segmented, the rest is not computed."
        else:
            text = f"Cancelled: {session.model.predictor.model_name} stays in use."
        self._annotator.status.say(f"{text} {HOW}", "warning")
        self._tell(text)

    def _failed(self, error: Exception) -> None:
        if isinstance(error, MemoryError):
            error = ModelError(NO_MEMORY)
        self._annotator.status.report(error)
        self._tell("The preparation has failed, so nothing is being computed.")

    def _tell(self, text: str) -> None:
        self.stopped = text
        self.changed.emit(text)
