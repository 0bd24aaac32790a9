"""Model, device and embedding settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from magicgui.types import FileDialogMode
from magicgui.widgets import ComboBox, Container, FileEdit, LineEdit
from psygnal import SignalInstance
from qtpy.QtWidgets import QLabel, QWidget

from micro_sam.errors import InputError
from micro_sam.sam_annotator.actions import Actions
from micro_sam.sam_annotator.state.settings import Settings
from micro_sam.sam_annotator.state.window import WindowState
from micro_sam.sam_annotator.view.panels.parts import button, menu_layout

FROM_FILE = "as in the file"


class PredictorState(Protocol):
    """What the panel reads of the model in use."""

    predictor: Any

    @property
    def attached(self) -> SignalInstance:
        """Another model is in use."""


class ModelPanel(QWidget):
    """What :class:`~micro_sam.sam_annotator.state.settings.Settings` holds; nothing happens before ``Apply``."""

    def __init__(self, state: WindowState, actions: Actions, engine: PredictorState) -> None:
        super().__init__()
        self._state, self._actions, self._engine = state, actions, engine
        self.in_use = QLabel()
        self.in_use.setWordWrap(True)
        names = model_names()
        self.model = ComboBox(choices=names, label="model", tooltip="nano_lm comes with the program.")
        self.checkpoint: Any = FileEdit(
            label="own weights",
            mode=FileDialogMode.EXISTING_FILE,
            nullable=True,
            tooltip="A checkpoint of this model; leave empty for its own.",
        )
        self.device = ComboBox(choices=["auto", "cpu", "cuda", "mps"], label="device", tooltip="Where the model runs.")
        self.precision = ComboBox(
            choices=["auto", "fp32", "bf16"],
            label="precision",
            tooltip="bf16 embeds images about 1.5 times as fast here; masks differ by a pixel here and there.",
            visible=False,  # until a model tells that this machine gains by it
        )
        self.embeddings: Any = FileEdit(
            label="embeddings",
            mode=FileDialogMode.OPTIONAL_FILE,
            nullable=True,
            tooltip="A folder (.zarr) that keeps the embeddings for the next start; empty: they are kept in memory.",
        )
        self.tiles = LineEdit(label="tile shape", tooltip="Y X in pixels, for large images. Empty: no tiles.")
        self.halo = LineEdit(label="halo", tooltip="Y X in pixels that tiles overlap on each side.")
        self.form = Container(
            widgets=[self.model, self.checkpoint, self.device, self.precision, self.embeddings, self.tiles, self.halo],
            labels=True,
        )
        self.form.margins = (0, 0, 0, 0)
        action = actions["change_settings"]
        self.apply = button(action.caption, action.tip, self._apply)
        layout = menu_layout(self)
        layout.addWidget(self.in_use)
        layout.addWidget(self.form.native)
        layout.addWidget(self.apply.native)
        state.events.settings.connect(self._show)
        engine.attached.connect(lambda *_: self._show_in_use())
        self._show(state.settings)

    def _show(self, settings: Settings) -> None:
        name = settings.model_type or FROM_FILE
        if name not in self.model.choices:
            self.model.choices = (*self.model.choices, name)
        self.model.value = name
        self.checkpoint.value = settings.checkpoint_path
        if settings.device and settings.device not in self.device.choices:
            self.device.choices = (*self.device.choices, settings.device)
        self.device.value = settings.device or "auto"
        self.precision.value = settings.precision
        self.embeddings.value = settings.embedding_path
        self.tiles.value = _pair_text(settings.tile_shape)
        self.halo.value = _pair_text(settings.halo)
        self._show_in_use()

    def _show_in_use(self) -> None:
        predictor = self._engine.predictor
        if predictor is None:
            self.in_use.setText("No model is loaded yet.")
            return
        self.precision.visible = _gains_by_bf16(predictor)
        weights = self._state.settings.checkpoint_path
        own = f" with the weights {Path(weights).name}" if weights else ""
        text = f"In use: {predictor.model_name}{own} on {predictor.device}"
        offered = self._state.settings.offered
        self.in_use.setText(f"{text}. {offered} is larger and slower." if offered else text)

    def _apply(self) -> None:
        try:
            settings = self._state.settings.changed(
                model_type=None if self.model.value == FROM_FILE else self.model.value,
                checkpoint_path=_path(self.checkpoint.value),
                device=None if self.device.value == "auto" else self.device.value,
                precision=self.precision.value,
                embedding_path=_path(self.embeddings.value),
                tile_shape=_pair(self.tiles.value, "tile shape"),
                halo=_pair(self.halo.value, "halo"),
            )
            settings.check()
        except InputError as error:
            self._state.status.report(error)
            return
        self._actions.change_settings(settings)


def _gains_by_bf16(predictor: Any) -> bool:
    from micro_sam.models.device import has_bf16

    return predictor.device.type == "cpu" and has_bf16()


def model_names() -> list[str]:
    """All names, those that can be used at once first."""
    from micro_sam.models.registry import get_model_names

    return list(get_model_names())


def _path(value: Path | str | None) -> str | None:
    return None if value is None or str(value) in ("", ".") else str(value)


def _pair(text: str, what: str) -> tuple[int, int] | None:
    words = text.replace(",", " ").split()
    if not words:
        return None
    if len(words) != 2 or not all(word.isdigit() for word in words):
        raise InputError(f"The {what} is two whole numbers, for example: 512 512")
    return int(words[0]), int(words[1])


def _pair_text(pair: tuple[int, int] | None) -> str:
    return "" if pair is None else f"{pair[0]} {pair[1]}"
