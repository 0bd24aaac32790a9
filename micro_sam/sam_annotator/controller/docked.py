"""A tool as a widget, for a viewer that is open: it takes the image that is selected there."""

from __future__ import annotations

from typing import Any

from napari import Viewer
from napari.layers import Image
from qtpy.QtGui import QShowEvent
from qtpy.QtWidgets import QVBoxLayout, QWidget

from micro_sam.errors import InputError
from micro_sam.sam_annotator.controller.annotator import Annotator
from micro_sam.sam_annotator.controller.closing import may_leave
from micro_sam.sam_annotator.state.images import from_layer
from micro_sam.sam_annotator.state.settings import Settings


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
    annotator : Annotator
        The tool itself.
    """

    kind: type[Annotator]

    def __init__(self, viewer: Viewer, **settings: Any) -> None:
        super().__init__()
        checked = Settings(**settings)
        checked.check()
        tool = self.kind
        undocked = type(tool.__name__, (tool,), {"_make_dock": _make_dock})
        self.annotator = undocked(viewer, checked)
        self._end: Any = None
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.annotator.dock)
        images = [layer for layer in viewer.layers if isinstance(layer, Image)]
        active = viewer.layers.selection.active
        self.annotator.takes_dropped_images = not images
        for layer in [active] if active in images else images[:1]:
            try:
                self.annotator.open(from_layer(layer, tool.tool))
            except InputError as error:
                self.annotator.welcome()
                self.annotator.status.report(error)
            return
        self.annotator.welcome()

    def showEvent(self, event: QShowEvent) -> None:
        """See Qt. Once it is docked, the cross of the dock ends the tool, which asks for unsaved work first."""
        super().showEvent(event)
        dock: Any = self.parent()
        while dock is not None and not hasattr(dock, "destroyOnClose"):
            dock = dock.parent()
        if dock is not None and self._end is None:
            self._end, dock.destroyOnClose = dock.destroyOnClose, self.end

    def end(self) -> None:
        """End the tool: its layers stay, its keys are napari's again."""
        annotator = self.annotator
        if annotator.closed or not may_leave(annotator):
            return
        annotator.end()
        if self._end is not None:
            self._end()


def _make_dock(annotator: Annotator) -> QWidget:
    from micro_sam.sam_annotator.view.dock import Dock

    return Dock(annotator)
