"""What is in sight only when there is something to decide: a model, an earlier session, a preparation that stopped."""

from __future__ import annotations

from typing import Protocol

from magicgui.widgets import CheckBox
from psygnal import SignalInstance
from qtpy.QtWidgets import QLabel, QVBoxLayout, QWidget

from micro_sam.sam_annotator.actions import Actions
from micro_sam.sam_annotator.state.settings import ModelOffer
from micro_sam.sam_annotator.state.status import duration
from micro_sam.sam_annotator.state.window import WindowState
from micro_sam.sam_annotator.view.panels.parts import action_button, row
from micro_sam.session.journal.places import Summary


class ModelOfferPanel(QWidget):
    """Shown when the weights of the wanted model are not on this machine."""

    def __init__(self, state: WindowState, actions: Actions) -> None:
        super().__init__()
        self.text = QLabel()
        self.text.setWordWrap(True)
        self.instead = action_button(actions, "use_offered_model")
        self.download = action_button(actions, "download_model")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(6, 6, 6, 6)
        for widget in (self.text, self.instead.native, self.download.native):
            layout.addWidget(widget)
        self.setObjectName("offer")
        state.events.offer.connect(self._show)
        self._show(state.offer)

    def _show(self, offer: ModelOffer | None) -> None:
        self.setVisible(offer is not None)
        if offer is None:
            return
        lines = [f"<b>The weights of {offer.wanted} are not on this machine.</b>"]
        if offer.seconds:
            cost = f"{duration(offer.seconds)} here and {offer.memory:.1f} GB of memory"
            lines.append(
                f"With {offer.wanted} one image takes {cost}; with {offer.instead} {duration(offer.instead_seconds)}."
            )
        self.text.setText("<br>".join(lines))
        self.instead.text = f"Use {offer.instead}, which is here"
        size = f" ({offer.gigabytes:.1f} GB)" if offer.gigabytes else ""
        self.download.text = f"Download {offer.wanted}{size}"


class OfferState(Protocol):
    """What the panel of an earlier session reads."""

    offer: Summary | None

    @property
    def offer_changed(self) -> SignalInstance:
        """There is another session to go on with, or none any more."""


class SessionOfferPanel(QWidget):
    """Shown when there is an earlier session on the image; the window can be used without an answer."""

    def __init__(self, recording: OfferState, actions: Actions) -> None:
        super().__init__()
        self.text = QLabel()
        self.text.setWordWrap(True)
        self.go_on = action_button(actions, "continue_session")
        self.new = action_button(actions, "new_session")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(6, 6, 6, 6)
        layout.addWidget(self.text)
        layout.addWidget(row(self.go_on, self.new).native)
        self.setObjectName("session_offer")
        recording.offer_changed.connect(self._show)
        self._show(recording.offer)

    def _show(self, offer: Summary | None) -> None:
        self.setVisible(offer is not None)
        if offer is not None:
            self.text.setText(f"<b>{offer}.</b>")


class EmbeddingState(Protocol):
    """What the panel of large images reads."""

    there: int
    total: int
    on_demand: bool
    wants_all: bool

    @property
    def progressed(self) -> SignalInstance:
        """Another slice or tile is there."""

    @property
    def ready(self) -> SignalInstance:
        """All that is wanted is there."""

    @property
    def wants_changed(self) -> SignalInstance:
        """Another value of `on_demand` or `wants_all`."""

    def there_text(self) -> str:
        """How much is embedded."""


class EmbedAllPanel(QWidget):
    """Shown for large images, of which only what is wanted is embedded: how much there is, and a switch for all."""

    def __init__(self, engine: EmbeddingState, actions: Actions) -> None:
        super().__init__()
        self._engine, action = engine, actions["embed_all"]
        self._caption = action.caption
        self.switch = CheckBox(text=action.caption, tooltip=action.tip)
        self.switch.changed.connect(actions.embed_all)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(6, 0, 6, 0)
        layout.addWidget(self.switch.native)
        engine.wants_changed.connect(self._show)
        engine.progressed.connect(self._show)
        engine.ready.connect(lambda *_: self._show())
        self._show()

    def _show(self) -> None:
        engine = self._engine
        self.setVisible(engine.on_demand and engine.there < engine.total)
        with self.switch.changed.blocked():
            self.switch.value = engine.wants_all
        self.switch.text = f"{self._caption} ({engine.there_text()} are there)"


class PreparationState(Protocol):
    """What the panel of a stopped preparation reads."""

    stopped: str

    @property
    def changed(self) -> SignalInstance:
        """It has stopped, or goes on."""


class StartAgainPanel(QWidget):
    """Shown when the preparation was cancelled or has failed."""

    def __init__(self, preparation: PreparationState, actions: Actions) -> None:
        super().__init__()
        self.text = QLabel()
        self.text.setWordWrap(True)
        self.run = action_button(actions, "start_again")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(6, 6, 6, 6)
        for widget in (self.text, self.run.native):
            layout.addWidget(widget)
        preparation.changed.connect(self._show)
        self._show(preparation.stopped)

    def _show(self, stopped: str) -> None:
        self.setVisible(bool(stopped))
        self.text.setText(stopped)
