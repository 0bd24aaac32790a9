"""The settings with which tools work, or the next one begins."""

from __future__ import annotations

from typing import Any

from napari import Viewer
from psygnal import Signal
from qtpy.QtGui import QEnterEvent
from qtpy.QtWidgets import QLabel, QVBoxLayout, QWidget

from micro_sam.sam_annotator.actions import Action, Actions
from micro_sam.sam_annotator.controller.window import TOOLS, Window
from micro_sam.sam_annotator.state.settings import Settings
from micro_sam.sam_annotator.state.window import WindowState
from micro_sam.sam_annotator.tools import IMAGE
from micro_sam.sam_annotator.view.frame import kept_with
from micro_sam.sam_annotator.view.panels.model import ModelPanel

MODEL = "nano_lm"
"""Works at once, without a download; the menu *Model and embeddings* has the others."""
NO_TOOL = (
    "No tool of micro_sam is open. Open one with Plugins > micro_sam > 2D, 3D or Tracking annotator: it begins with "
    "these settings."
)


def whole(viewer: Any) -> Viewer:
    """The viewer behind napari's proxy."""
    return getattr(viewer, "__wrapped__", viewer)


def first_settings(viewer: Viewer) -> Settings:
    """What a tool of the Plugins menu begins with; a cache is for one image, so the next tool begins without it."""
    state = _next_tool(viewer)
    settings = state.settings
    state.settings = settings.changed(embedding_path=None)
    return settings


def _next_tool(viewer: Viewer) -> WindowState:
    kept: list[WindowState] = kept_with(viewer, "next_tool")
    if not kept:
        kept.append(WindowState(IMAGE, Settings(MODEL)))
    return kept[0]


def _tool_in(viewer: Viewer) -> Window | None:
    """The tool whose layer is selected, else the last one: the one that keys go to."""
    tools: list[Window] = [tool for tool in kept_with(viewer, TOOLS) if not tool.state.closed]
    active = viewer.layers.selection.active
    mine = [tool for tool in tools if any(layer is active for layer in tool.layers.all)]
    return next(reversed(mine or tools), None)


def _name_of(tool: Window) -> str:
    """What the user knows a tool by; of two tools of a kind, the layers have different names."""
    return f"{tool.state.tool.title}, the tool with the layer {tool.state.tool.names.prompts}."


class _NoModel:
    predictor = None
    attached = Signal(object)


class SettingsMenu(QWidget):
    """Model, device, embeddings and tiles: of the tool whose layer is selected, or of the next one in this viewer."""

    def __init__(self, napari_viewer: Any) -> None:
        super().__init__()
        self._viewer = whole(napari_viewer)
        self.menu: ModelPanel | None = None
        self._menus: dict[Window | None, ModelPanel] = {}
        self._no_model = _NoModel()
        self.said = QLabel()
        self.said.setWordWrap(True)
        self._panels = QVBoxLayout()
        layout = QVBoxLayout(self)
        layout.addWidget(self.said)
        layout.addLayout(self._panels)
        layout.addStretch(1)
        self._show_selected()
        # the layer of a tool that opens is selected, too
        self._viewer.layers.selection.events.active.connect(self._show_selected)

    def enterEvent(self, event: QEnterEvent | None) -> None:
        """See Qt. A tool without an image has no layers that tell of it."""
        super().enterEvent(event)
        self._show_selected()

    def _show_selected(self, _event: object = None) -> None:
        for closed in [tool for tool in self._menus if tool is not None and tool.state.closed]:
            self._menus.pop(closed).deleteLater()
        tool = _tool_in(self._viewer)
        if tool not in self._menus:
            self._menus[tool] = self._of_next_tool() if tool is None else self._of(tool)
            self._panels.addWidget(self._menus[tool])
        if self.menu is self._menus[tool]:
            return
        self.menu = self._menus[tool]
        for menu in self._menus.values():
            menu.setVisible(menu is self.menu)
        self._say(NO_TOOL if tool is None else _name_of(tool))

    def _say(self, text: str) -> None:
        self.said.setText(text)

    def _of(self, tool: Window) -> ModelPanel:
        tool.state.events.closed.connect(self._show_selected)
        return ModelPanel(tool.state, tool.actions, tool.engine)

    def _of_next_tool(self) -> ModelPanel:
        state = _next_tool(self._viewer)
        actions = Actions(lambda error: self._say(str(error)))
        tip = "Let the next tool of the Plugins menu begin with these settings."
        actions.add([Action("change_settings", self._keep, "Apply", tip)])
        state.status.changed.connect(self._say)
        return ModelPanel(state, actions, self._no_model)

    def _keep(self, settings: Settings) -> None:
        _next_tool(self._viewer).settings = settings
        self._say("The next tool of the Plugins menu begins with these settings.")
