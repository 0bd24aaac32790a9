"""What is needed before the first click: an image, and a model whose weights are here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from magicgui.widgets import CheckBox, ComboBox
from napari.layers import Image
from qtpy.QtWidgets import QFileDialog, QLabel, QVBoxLayout, QWidget

from micro_sam.errors import AxesError, ChoiceError
from micro_sam.sam_annotator.controller.loading import duration
from micro_sam.sam_annotator.state.offers import ModelOffer
from micro_sam.sam_annotator.view.panels.parts import button, column, row

if TYPE_CHECKING:
    from micro_sam.sam_annotator.controller.annotator import Annotator
    from micro_sam.session.journal.places import Summary


COLOURS = "colours"
EASIEST = "coins"
"""The sample to begin with: large, clear objects."""


class ImageMenu(QWidget):
    """Open a file, take a layer that is in the viewer, or a sample."""

    def __init__(self, annotator: Annotator) -> None:
        super().__init__()
        self._annotator = annotator
        self.file = button("Open image...", "Open an image file.", self._open_file)
        self.layer = ComboBox(choices=[], label="layer", tooltip="An image that is in the viewer.")
        self.use_layer = button("Use layer", "Annotate the chosen layer.", self._open_layer)
        self.sample = ComboBox(choices=[], label="sample", tooltip="Images that need no download.")
        self.use_sample = button("Open sample", "Annotate a sample image.", self._open_sample)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(3)
        self.channel = ComboBox(choices=[], label="channel", tooltip="Which channel is shown and segmented.")
        self.channel.changed.connect(self._choose_channel)
        self._form = column(self.channel, labels=True)
        self.axes = ComboBox(choices=[], label="axes", tooltip="What the axes of the file are: it does not say.")
        self.open_as = button("Open as this", "Open the file with these axes.", self._open_as)
        self._axes_form = column(self.axes, self.open_as)
        self._asked: AxesError | ChoiceError | None = None
        self.one_of = ComboBox(choices=[], label="image", tooltip="Which of the images in the file is shown.")
        self.one_of.changed.connect(self._choose_image)
        self._one_of_form = column(self.one_of, labels=True)
        opening = (self.file, self._axes_form, row(self.sample, self.use_sample), row(self.layer, self.use_layer))
        for widget in (*opening, self._one_of_form, self._form):
            layout.addWidget(widget.native)
        annotator.axes_asked.connect(self._ask_axes)
        annotator.session_changed.connect(lambda _session: self._ask_axes(None))
        self._ask_axes(None)
        self.sample.choices = sorted(annotator.samples(), key=lambda name: name != EASIEST)
        annotator.session_changed.connect(lambda _session: self._show_channels())
        annotator.session_changed.connect(lambda _session: self._show_images())
        self._show_channels()
        self._show_images()
        self._show_layers()
        annotator.viewer.layers.events.inserted.connect(lambda _event: self._show_layers())
        annotator.viewer.layers.events.removed.connect(lambda _event: self._show_layers())

    def _show_layers(self) -> None:
        own = set(self._annotator.layers.all) if self._annotator.layers is not None else set()
        layers = [layer for layer in self._annotator.viewer.layers if isinstance(layer, Image) and layer not in own]
        self.layer.choices = [(layer.name, layer) for layer in layers]
        for widget in (self.layer, self.use_layer):
            widget.visible = bool(layers)

    def _show_channels(self) -> None:
        image = self._annotator.image
        several = image is not None and image.n_channels > 1 and image.source is not None
        self._form.visible = several
        if not several:
            return
        with self.channel.changed.blocked():
            colours = [("colours", COLOURS)] if image.n_channels == 3 else []
            numbers = [(f"channel {k}", k) for k in range(image.n_channels)]
            self.channel.choices = [*colours, *numbers, ("mix of all", "mix")]
            shown = image.channel if image.channel is not None else COLOURS if image.rgb else "mix"
            self.channel.value = shown

    def _show_images(self) -> None:
        """The images of the file, where there are several."""
        image = self._annotator.image
        source = None if image is None else image.source
        several = source is not None and len(source.choices) > 1 and image.path is not None
        self._one_of_form.visible = several
        if several:
            with self.one_of.changed.blocked():
                self.one_of.choices = [(f"{key} {words}".strip(), key) for key, words in source.choices.items()]
                if source.key in source.choices:
                    self.one_of.value = source.key

    def _choose_image(self, key: str | None) -> None:
        image = self._annotator.image
        if key is not None and key != image.source.key:
            self._annotator.open_path(image.path, key=key)
            self._show_images()  # as it was, if the user did not want to leave

    def _choose_channel(self, channel: int | str | None) -> None:
        if channel is not None:  # an empty menu
            self._annotator.choose_channel(channel)

    def _open_file(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self._annotator.viewer.window._qt_window, "Open image")
        if path:
            self._annotator.open_path(path)

    def _ask_axes(self, question: AxesError | ChoiceError | None) -> None:
        """Offer what the axes of a file could be, or which of its images is meant, and to open it so."""
        self._axes_form.visible = question is not None
        self._asked = question
        if question is None:
            return
        if isinstance(question, ChoiceError):
            self.axes.label = "image"
            self.axes.choices = [(f"{key} {words}".strip(), key) for key, words in question.choices.items()]
        else:
            self.axes.label = "axes"
            self.axes.choices = [(f"{words} ({axes})", axes) for axes, words in question.readings.items()]

    def _open_as(self) -> None:
        if isinstance(self._asked, ChoiceError):
            self._annotator.open_path(self._asked.path, key=self.axes.value)
        elif self._asked is not None:
            self._annotator.open_path(self._asked.path, self.axes.value)

    def _open_layer(self) -> None:
        if self.layer.value is not None:
            self._annotator.open_layer(self.layer.value)

    def _open_sample(self) -> None:
        if self.sample.value is not None:
            self._annotator.open_path(f"sample:{self.sample.value}")


class OfferMenu(QWidget):
    """Shown when the weights of the wanted model are not on this machine."""

    def __init__(self, annotator: Annotator) -> None:
        super().__init__()
        self._annotator = annotator
        self._offer: ModelOffer | None = None
        self.text = QLabel()
        self.text.setWordWrap(True)
        self.instead = button("", "Go on with the model that comes with the program.", self._take, primary=True)
        self.download = button("", "Fetch the weights, then go on.", self._download)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(6, 6, 6, 6)
        for widget in (self.text, self.instead.native, self.download.native):
            layout.addWidget(widget)
        self.setObjectName("offer")
        annotator.offer_changed.connect(self._show)
        self._show(None)

    def _show(self, offer: ModelOffer | None) -> None:
        self._offer = offer
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

    def _take(self) -> None:
        settings = self._annotator.settings.changed(model_type=self._offer.instead, checkpoint_path=None)
        self._annotator.change_settings(settings)

    def _download(self) -> None:
        self._annotator.prepare(download=True)


class SessionOffer(QWidget):
    """Shown when there is an earlier session on the image; the window can be used without an answer."""

    def __init__(self, annotator: Annotator) -> None:
        super().__init__()
        recording = annotator.recording
        self.text = QLabel()
        self.text.setWordWrap(True)
        self.go_on = button("Continue", "Go on where it ended.", recording.continue_offered, primary=True)
        self.new = button("Start new", "Begin a new session; the earlier one is kept.", recording.start_new)
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


class EmbedAllMenu(QWidget):
    """Shown for large images, of which only what is wanted is embedded: how much there is, and a switch for all."""

    def __init__(self, annotator: Annotator) -> None:
        super().__init__()
        self._engine = annotator.engine
        self.switch = CheckBox(
            text="Embed all", tooltip="Off: what you click or look at, and what Segment All needs, is embedded."
        )
        self.switch.changed.connect(self._engine.want_all)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(6, 0, 6, 0)
        layout.addWidget(self.switch.native)
        self._engine.wants_changed.connect(self._show)
        self._engine.progressed.connect(self._show)
        self._engine.ready.connect(lambda *_: self._show())
        self._show()

    def _show(self) -> None:
        engine = self._engine
        self.setVisible(engine.on_demand and engine.there < engine.total)
        with self.switch.changed.blocked():
            self.switch.value = engine.wants_all
        self.switch.text = f"Embed all ({engine.there_text()} are there)"


class StartAgainMenu(QWidget):
    """Shown when the preparation was cancelled or has failed."""

    def __init__(self, annotator: Annotator) -> None:
        super().__init__()
        self.text = QLabel()
        self.text.setWordWrap(True)
        self.run = button(
            "Start again", "Load the model and compute the embeddings.", annotator.start_again, primary=True
        )
        layout = QVBoxLayout(self)
        layout.setContentsMargins(6, 6, 6, 6)
        for widget in (self.text, self.run.native):
            layout.addWidget(widget)
        annotator.preparation.changed.connect(self._show)
        self._show(annotator.preparation.stopped)

    def _show(self, stopped: str) -> None:
        self.setVisible(bool(stopped))
        self.text.setText(stopped)
