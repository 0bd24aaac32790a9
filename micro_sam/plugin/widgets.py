"""The tools of the Plugins menu. napari gives each of them the viewer, behind a proxy that hides what is private."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from magicgui.types import FileDialogMode
from magicgui.widgets import CheckBox, Container, FileEdit, PushButton
from qtpy.QtGui import QPaintEvent
from qtpy.QtWidgets import QLabel, QVBoxLayout, QWidget

from micro_sam.errors import InputError, MicroSamError
from micro_sam.plugin.settings import first_settings, whole
from micro_sam.sam_annotator.image_series_annotator import image_folder_annotator
from micro_sam.sam_annotator.launch import ToolWidget, get_annotator
from micro_sam.sam_annotator.runtime.timers import once
from micro_sam.sam_annotator.tools import IMAGE, TRACKING, VOLUME
from micro_sam.sam_annotator.view.panels.training import TrainingPanel

UNSEEN_MS = 300  # after which a tool opens its image that nothing was painted of: behind another tab


class PluginTool(ToolWidget):
    """A tool of the Plugins menu; it begins with the settings of this viewer, and opens its image once it is seen."""

    def __init__(self, napari_viewer: Any) -> None:
        viewer = whole(napari_viewer)
        super().__init__(viewer, **vars(first_settings(viewer)))
        # napari takes half a second for the layers of a tool: the tool is seen before
        self._opening = once(self._open_seen, UNSEEN_MS, parent=self)
        self._opening.start()
        if self.image is not None:
            self.annotator.status.say(f"{self.image.name} is being opened.")

    def paintEvent(self, event: QPaintEvent | None) -> None:
        """See Qt. What is painted can be seen: the image comes next."""
        super().paintEvent(event)
        if self._opening.isActive():
            self._opening.start(0)

    def _open_seen(self) -> None:
        try:
            self.open_image()
        except Exception as error:  # the timer that calls this has nobody to tell
            self.annotator.status.report(error)


class Tool2D(PluginTool):
    """Segment objects of the selected image."""

    kind = IMAGE


class Tool3D(PluginTool):
    """Segment objects of the selected volume."""

    kind = VOLUME


class ToolTracking(PluginTool):
    """Track objects of the selected movie."""

    kind = TRACKING


class SeriesStart(QWidget):
    """Annotate the images of a folder, one after the other, in this viewer."""

    def __init__(self, napari_viewer: Any) -> None:
        super().__init__()
        self._viewer = whole(napari_viewer)
        self.images = FileEdit(
            label="images", mode=FileDialogMode.EXISTING_DIRECTORY, tooltip="Folder with the images."
        )
        self.results = FileEdit(
            label="results",
            mode=FileDialogMode.EXISTING_DIRECTORY,
            tooltip="Folder for the results, one file per image.",
        )
        self.volumes = CheckBox(text="they are volumes")
        self.start = PushButton(text="Start")
        self.start.changed.connect(self._start)
        self.said = QLabel()
        self.said.setWordWrap(True)
        form = Container(widgets=[self.images, self.results, self.volumes, self.start])
        layout = QVBoxLayout(self)
        layout.addWidget(form.native)
        layout.addWidget(self.said)
        layout.addStretch(1)

    def _start(self) -> None:
        try:
            for field in (self.images, self.results):
                if not str(field.value).strip(". "):
                    raise InputError(f"Choose the folder of the {field.label} first.")
            settings = first_settings(self._viewer)
            image_folder_annotator(
                Path(str(self.images.value)),
                Path(str(self.results.value)),
                model_type=settings.model_type,
                checkpoint_path=settings.checkpoint_path,
                device=settings.device,
                tile_shape=settings.tile_shape,
                halo=settings.halo,
                is_volumetric=self.volumes.value,
                viewer=self._viewer,
                return_viewer=True,
            )
        except MicroSamError as error:
            self.said.setText(str(error))
        else:
            self.said.setText("The series is open. N saves and goes on.")
            self.start.enabled = False


class TrainingStart(QWidget):
    """Train a model on the objects that are committed in the tool of this viewer."""

    def __init__(self, napari_viewer: Any) -> None:
        super().__init__()
        self._viewer = whole(napari_viewer)
        layout = QVBoxLayout(self)
        try:
            tool = get_annotator(self._viewer)
            self.menu: TrainingPanel | None = TrainingPanel(tool.state, tool.actions, tool.training)
            layout.addWidget(self.menu)
        except InputError:
            self.menu = None
            text = QLabel("A training learns from committed objects: open a tool of micro_sam first, then this again.")
            text.setWordWrap(True)
            layout.addWidget(text)
        layout.addStretch(1)
