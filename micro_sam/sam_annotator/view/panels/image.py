"""What is annotated: a file, a layer of the viewer, or a sample; its channels and axes; the images of a series."""

from __future__ import annotations

from magicgui.widgets import ComboBox
from napari.layers import Image
from qtpy.QtGui import QColor
from qtpy.QtWidgets import QLabel, QListWidget, QListWidgetItem, QWidget

from micro_sam.errors import AxesError, ChoiceError
from micro_sam.sam_annotator.actions import Actions
from micro_sam.sam_annotator.state.series import Progress, SeriesState
from micro_sam.sam_annotator.state.window import WindowState
from micro_sam.sam_annotator.view.layers.session_layers import SessionLayers
from micro_sam.sam_annotator.view.panels.parts import FoldedMenu, action_button, button, column, menu_layout, row

COLOURS = "colours"
EASIEST = "coins"
"""The sample to begin with: large, clear objects."""
PROGRESS_MARKS: dict[Progress, str] = {"open": "●", "done": "✓", "empty": "–", "left out": "✗", "to do": "○"}
PROGRESS_COLOURS: dict[Progress, str] = {"left out": "#ff5b52", "done": "#3ecf6b"}
HEIGHT = 150


class ImagePanel(QWidget):
    """Open a file, take a layer that is in the viewer, or a sample."""

    def __init__(self, state: WindowState, actions: Actions, layers: SessionLayers) -> None:
        from micro_sam.sample_data import sample_names

        super().__init__()
        self._state, self._actions, self._layers = state, actions, layers
        self.file = action_button(actions, "open_file")
        self.folder = action_button(actions, "open_folder")
        self.layer = ComboBox(choices=[], label="layer", tooltip="An image that is in the viewer.")
        self.use_layer = button(actions["open_layer"].caption, actions["open_layer"].tip, self._open_layer)
        self.sample = ComboBox(choices=[], label="sample", tooltip="Images that need no download.")
        self.use_sample = button("Open sample", "Annotate a sample image.", self._open_sample)
        layout = menu_layout(self, 3)
        self.channel = ComboBox(
            choices=[], label=actions["choose_channel"].caption, tooltip=actions["choose_channel"].tip
        )
        self.channel.changed.connect(self._choose_channel)
        self._form = column(self.channel, labels=True)
        self.axes = ComboBox(choices=[], label="axes", tooltip="What the axes of the file are: it does not say.")
        self.open_as = button("Open as this", "Open the file with these axes.", self._open_as)
        self._axes_form = column(self.axes, self.open_as)
        self.one_of = ComboBox(choices=[], label="image", tooltip="Which of the images in the file is shown.")
        self.one_of.changed.connect(self._choose_image)
        self._one_of_form = column(self.one_of, labels=True)
        opening = (
            row(self.file, self.folder),
            self._axes_form,
            row(self.sample, self.use_sample),
            row(self.layer, self.use_layer),
        )
        for widget in (*opening, self._one_of_form, self._form):
            layout.addWidget(widget.native)
        names = sample_names(state.tool.name, offline=True)
        self.sample.choices = sorted(names, key=lambda name: name != EASIEST)
        state.events.question.connect(self._ask)
        state.events.image.connect(self._show_image)
        state.events.series.connect(self._show_series)
        layers.present_changed.connect(self._show_layers)
        self._ask(state.question)
        self._show_image()
        self._show_layers()
        self._show_series()

    # ------------------------------------------------------------------ tool -> panel

    def _show_layers(self) -> None:
        layers = self._layers.others(Image)
        self.layer.choices = [(layer.name, layer) for layer in layers]
        for widget in (self.layer, self.use_layer):
            widget.visible = bool(layers)

    def _show_series(self) -> None:
        """One folder per window; tracks of a movie are no label image, as the results of a series are."""
        self.folder.visible = self._state.series is None and self._state.tool.work != "tracks"

    def _show_image(self) -> None:
        self._show_channels()
        self._show_choices()

    def _show_channels(self) -> None:
        image = self._state.image
        several = image is not None and image.n_channels > 1 and image.source is not None
        self._form.visible = several
        if image is None or not several:
            return
        with self.channel.changed.blocked():
            colours = [("colours", COLOURS)] if image.n_channels == 3 else []
            numbers = [(f"channel {k}", k) for k in range(image.n_channels)]
            self.channel.choices = [*colours, *numbers, ("mix of all", "mix")]
            shown = image.channel if image.channel is not None else COLOURS if image.rgb else "mix"
            self.channel.value = shown

    def _show_choices(self) -> None:
        """The images of the file, where there are several."""
        image = self._state.image
        source = None if image is None else image.source
        several = source is not None and len(source.choices) > 1 and image is not None and image.path is not None
        self._one_of_form.visible = several
        if source is None or not several:
            return
        with self.one_of.changed.blocked():
            self.one_of.choices = [(f"{key} {words}".strip(), key) for key, words in source.choices.items()]
            if source.key in source.choices:
                self.one_of.value = source.key

    def _ask(self, question: AxesError | ChoiceError | None) -> None:
        """Offer what the axes of a file could be, or which of its images is meant, and to open it so."""
        self._axes_form.visible = question is not None
        if question is None:
            return
        if isinstance(question, ChoiceError):
            self.axes.label = "image"
            self.axes.choices = [(f"{key} {words}".strip(), key) for key, words in question.choices.items()]
        else:
            self.axes.label = "axes"
            self.axes.choices = [(f"{words} ({axes})", axes) for axes, words in question.readings.items()]

    # ------------------------------------------------------------------ user -> tool

    def _choose_image(self, key: str | None) -> None:
        image = self._state.image
        if key is not None and image is not None and image.source is not None and key != image.source.key:
            self._actions.open_path(image.path, key=key)
            self._show_choices()  # as it was, if the user did not want to leave

    def _choose_channel(self, channel: int | str | None) -> None:
        if channel is not None:  # an empty menu
            self._actions.choose_channel(channel)

    def _open_as(self) -> None:
        question = self._state.question
        if isinstance(question, ChoiceError):
            self._actions.open_path(question.path, key=self.axes.value)
        elif question is not None:
            self._actions.open_path(question.path, self.axes.value)

    def _open_layer(self) -> None:
        if self.layer.value is not None:
            self._actions.open_layer(self.layer.value)

    def _open_sample(self) -> None:
        if self.sample.value is not None:
            self._actions.open_path(f"sample:{self.sample.value}")


class SeriesPanel(QWidget):
    """Counter, ``Previous`` and ``Next``, and the list of all images; a click on one goes there."""

    def __init__(self, state: WindowState, actions: Actions) -> None:
        super().__init__()
        self._shown: SeriesState | None = None
        self.counter = QLabel()
        self.counter.setWordWrap(True)
        self.previous = action_button(actions, "previous_image")
        self.next = action_button(actions, "next_image")
        self.list = QListWidget()
        self.list.setToolTip(actions["go_to_image"].tip)
        self.list.setMaximumHeight(HEIGHT)
        self.list.setUniformItemSizes(True)
        self.list.itemClicked.connect(lambda item: actions.go_to_image(self.list.row(item)))
        layout = menu_layout(self)
        layout.addWidget(self.counter)
        layout.addWidget(row(self.previous, self.next).native)
        layout.addWidget(FoldedMenu("All images", self.list))
        state.events.series.connect(self._show)

    def _show(self, series: SeriesState) -> None:
        total = len(series.entries)
        left_out = f", {len(series.left_out)} left out" if series.left_out else ""
        self.counter.setText(
            f"Image {series.index + 1} of {total}: {series.entry.name} ({series.n_done} with a result{left_out})"
        )
        self.previous.enabled = series.index > 0
        self._show_list(series)

    def _show_list(self, series: SeriesState) -> None:
        before, self._shown = self._shown, series
        changed = set(range(len(series.entries)))
        if before is not None and len(before.entries) == len(series.entries):
            changed = {before.index, series.index, *before.left_out, *series.left_out}
        else:
            self.list.clear()
            self.list.addItems([entry.name for entry in series.entries])
        for index in changed:
            item = self.list.item(index) if index >= 0 else None
            if item is not None:
                self._show_row(item, series, index)
        self.list.setCurrentRow(series.index)

    def _show_row(self, item: QListWidgetItem, series: SeriesState, index: int) -> None:
        progress = series.progress(index)
        why = series.left_out.get(index, "")
        item.setText(f"{PROGRESS_MARKS[progress]} {series.entries[index].name}: {progress}")
        item.setToolTip(why)
        item.setForeground(QColor(PROGRESS_COLOURS.get(progress, "#d0d4dc")))
