"""The table of the objects in a label layer of any viewer, without a session."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from magicgui.widgets import CheckBox, ComboBox, Container, PushButton
from napari import Viewer
from napari.layers import Image, Labels, Layer
from psygnal import SignalGroupDescriptor
from qtpy.QtWidgets import QFileDialog, QLabel, QVBoxLayout, QWidget

from micro_sam.errors import InputError, MicroSamError
from micro_sam.io.tables import check_table_path, save_table
from micro_sam.measure import measure_objects
from micro_sam.sam_annotator.runtime.jobs import MEASURE, Job, Jobs
from micro_sam.sam_annotator.view.camera import camera_of
from micro_sam.sam_annotator.view.tables.panel import TableActions, TablePanel


@dataclass
class Selection:
    """Which objects are selected."""

    selected: tuple[int, ...] = ()

    events: ClassVar[SignalGroupDescriptor] = SignalGroupDescriptor()


class LayerTable(QWidget):
    """Measures the objects of a label layer in the background; rows jump to objects.

    Parameters
    ----------
    viewer
        Whose layers can be chosen.
    """

    def __init__(self, viewer: Viewer) -> None:
        super().__init__()
        self._viewer = viewer
        self._selection = Selection()
        self._table = pd.DataFrame({"id": []})
        self._jobs = Jobs(self._report)
        self.labels = ComboBox(choices=self._layers(Labels), label="labels")
        self.image = ComboBox(choices=self._layers(Image), label="image", nullable=True)
        self.movie = CheckBox(text="movie: a row per frame")
        self.measure = PushButton(text="Measure")
        self.measure.changed.connect(self._measure)
        self.said = QLabel()
        self.said.setWordWrap(True)
        actions = TableActions(
            select=self._choose,
            go_to=self._go_to,
            delete=self._nothing,
            merge=self._nothing,
            split=self._nothing,
            reopen=self._nothing,
            save=self._save,
            report=self._report,
        )
        self.panel = TablePanel(self._selection, actions)
        for button in (self.panel.reopen, self.panel.merge, self.panel.split, self.panel.delete):
            button.hide()
        form = Container(widgets=[self.labels, self.image, self.movie, self.measure])
        layout = QVBoxLayout(self)
        layout.addWidget(form.native)
        layout.addWidget(self.said)
        layout.addWidget(self.panel, 1)
        for event in (viewer.layers.events.inserted, viewer.layers.events.removed):
            event.connect(self._show_layers)
        self.destroyed.connect(self._forget)

    def _layers(self, kind: type[Layer]) -> list[tuple[str, Layer]]:
        return [(layer.name, layer) for layer in self._viewer.layers if isinstance(layer, kind)]

    def _show_layers(self, _event: object = None) -> None:
        self.labels.choices = self._layers(Labels)
        self.image.choices = self._layers(Image)

    def _forget(self) -> None:
        for event in (self._viewer.layers.events.inserted, self._viewer.layers.events.removed):
            event.disconnect(self._show_layers)

    def _measure(self) -> None:
        labels, image = self.labels.value, self.image.value
        if labels is None:
            self._report(InputError("There is no label layer in this viewer."))
            return
        if self._jobs.running(MEASURE) is not None:
            return
        data, pixels = _finest(labels), None if image is None else _finest(image)
        scale = tuple(labels.scale) if str(labels.units[-1]) in ("micrometer", "µm") else None

        def steps(_job: Job) -> Generator[Any, None, pd.DataFrame]:
            yield from ()
            return measure_objects(data, pixels, scale=scale, movie=bool(self.movie.value))

        self.said.setText("Measuring ...")
        self._jobs.start("Measure objects", steps, lane=MEASURE, on_done=self._show)

    def _show(self, table: pd.DataFrame) -> None:
        self._table = table
        self.said.setText("")
        self.panel.show_table(table)

    def _choose(self, ids: Sequence[int]) -> None:
        self._selection.selected = tuple(ids)
        if len(ids) == 1 and self.labels.value is not None:
            self.labels.value.selected_label = ids[0]

    def _go_to(self, object_id: int) -> None:
        layer, rows = self.labels.value, self._table[self._table["id"] == object_id]
        if layer is None or not len(rows):
            return
        row = rows.iloc[0]
        leading = [row["frame"] if "frame" in row else row["z"]] if layer.ndim == 3 else []
        world = layer.data_to_world((*leading, row["y"], row["x"]))
        if leading:
            self._viewer.dims.set_point(self._viewer.dims.ndim - layer.ndim, float(world[0]))
        camera_of(self._viewer).center = (*camera_of(self._viewer).center[:-2], *world[-2:])

    def _save(self) -> None:
        if not len(self._table):
            self._report(InputError("There is nothing to save. Press Measure first."))
            return
        name, _ = QFileDialog.getSaveFileName(self, "Save table", "objects.csv", "Table (*.csv);;Parquet (*.parquet)")
        if name:
            try:
                check_table_path(Path(name), replace_unmarked=True)  # the dialog has asked
                save_table(Path(name), self._table, replace_unmarked=True)
            except MicroSamError as error:
                self._report(error)

    def _nothing(self) -> None:
        """Labels of others are not changed here."""

    def _report(self, error: Exception) -> None:
        self.said.setText(str(error))


def _finest(layer: Labels | Image) -> Any:
    data = layer.data[0] if layer.multiscale else layer.data
    return np.asarray(data) if isinstance(data, (list, tuple)) else data
