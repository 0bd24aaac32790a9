"""A tool as a widget, for a viewer that is open: it takes the image that is selected there."""

from __future__ import annotations

from typing import Any

from napari import Viewer
from napari.layers import Image
from qtpy.QtGui import QShowEvent
from qtpy.QtWidgets import QVBoxLayout, QWidget

from micro_sam.errors import InputError
from micro_sam.sam_annotator.controller.window import Window
from micro_sam.sam_annotator.state.images import from_layer
from micro_sam.sam_annotator.state.settings import Settings
from micro_sam.sam_annotator.state.tool import Tool


class ToolWidget(QWidget):
    """A tool in a viewer, not docked yet.

    Parameters
    ----------
    viewer : napari.Viewer
        The viewer that the tool works in.
    **settings
        Fields of ``Settings``: ``model_type``, ``checkpoint_path``, ``device``, ``embedding_path``, ...

    Attributes
    ----------
    annotator : Window
        The tool itself.
    """

    kind: Tool

    def __init__(self, viewer: Viewer, **settings: Any) -> None:
        super().__init__()
        checked = Settings(**settings)
        checked.check()
        images = [layer for layer in viewer.layers if isinstance(layer, Image)]
        self.annotator = Window(viewer, self.kind, checked, is_docked=False, is_alone=not images)
        self._end: Any = None
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.annotator.dock)
        active = viewer.layers.selection.active
        for layer in [active] if active in images else images[:1]:
            try:
                self.annotator.open(from_layer(layer, self.kind.name))
            except InputError as error:
                self.annotator.open(None)
                self.annotator.status.report(error)
            return
        self.annotator.open(None)

    def showEvent(self, event: QShowEvent) -> None:
        """See Qt. Once it is docked, the cross of the dock ends the tool, which asks for unsaved work first."""
        super().showEvent(event)
        dock: Any = self.parent()
        while dock is not None and not hasattr(dock, "destroyOnClose"):
            dock = dock.parent()
        if dock is not None and self._end is None:
            self._end, dock.destroyOnClose = dock.destroyOnClose, self.end
            self.annotator.dock.welcome()

    def end(self) -> None:
        """End the tool: its layers stay, its keys are napari's again."""
        if self.annotator.end() and self._end is not None:
            end, self._end = self._end, None
            end()
            self.deleteLater()  # napari keeps what was docked
