"""The tools as widgets: to dock into a viewer that is open, as scripts of micro-sam 1.x do."""

from __future__ import annotations

from typing import Any

from napari import Viewer

from micro_sam.sam_annotator.launch import ToolWidget
from micro_sam.sam_annotator.tools import IMAGE, TRACKING, VOLUME

__all__ = ["Annotator2d", "Annotator3d", "AnnotatorTracking"]


class _ToolWidget(ToolWidget):
    """A tool in a viewer, not docked yet; it opens the selected image at once.

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
    annotator : Window
        The tool itself.
    """

    def __init__(self, viewer: Viewer, reset_state: bool = True, **settings: Any) -> None:
        super().__init__(viewer, **settings)
        self.open_image()


class Annotator2d(_ToolWidget):
    """The 2D tool as a widget: ``viewer.window.add_dock_widget(Annotator2d(viewer))``."""

    kind = IMAGE


class Annotator3d(_ToolWidget):
    """The 3D tool as a widget."""

    kind = VOLUME


class AnnotatorTracking(_ToolWidget):
    """The tracking tool as a widget."""

    kind = TRACKING
