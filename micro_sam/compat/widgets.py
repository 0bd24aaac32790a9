"""The tools as widgets: to dock into a viewer that is open, as scripts of micro-sam 1.x and napari do."""

from __future__ import annotations

from typing import Any

from napari import Viewer
from napari.layers import Image
from qtpy.QtWidgets import QVBoxLayout, QWidget

from micro_sam.errors import InputError
from micro_sam.sam_annotator.annotator import Annotator
from micro_sam.sam_annotator.annotator_2d import Annotator2D
from micro_sam.sam_annotator.annotator_3d import Annotator3D
from micro_sam.sam_annotator.annotator_tracking import AnnotatorTracking as TrackingTool
from micro_sam.sam_annotator.images import from_layer
from micro_sam.sam_annotator.settings import Settings

__all__ = ["Annotator2d", "Annotator3d", "AnnotatorTracking"]


class _ToolWidget(QWidget):
    """A tool in a viewer, not docked yet.

    Parameters
    ----------
    viewer : napari.Viewer
        The viewer that the tool works in.
    reset_state : bool
        Taken for scripts: every viewer has a state of its own here.
    **settings
        Fields of ``Settings``: ``model_type``, ``checkpoint_path``, ``device``, ``embedding_path``, ...

    Attributes
    ----------
    annotator : Annotator
        The tool itself.
    """

    kind: type[Annotator]

    def __init__(self, viewer: Viewer, reset_state: bool = True, **settings: Any) -> None:
        super().__init__()
        chosen = Settings(**settings)
        chosen.check()
        tool = self.kind
        undocked = type(tool.__name__, (tool,), {"_make_dock": _make_dock})
        self.annotator = undocked(viewer, chosen)
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


def _make_dock(annotator: Annotator) -> QWidget:
    from micro_sam.sam_annotator.widgets.dock import Dock

    return Dock(annotator)


class Annotator2d(_ToolWidget):
    """The 2D tool as a widget: ``viewer.window.add_dock_widget(Annotator2d(viewer))``."""

    kind = Annotator2D


class Annotator3d(_ToolWidget):
    """The 3D tool as a widget."""

    kind = Annotator3D


class AnnotatorTracking(_ToolWidget):
    """The tracking tool as a widget."""

    kind = TrackingTool
