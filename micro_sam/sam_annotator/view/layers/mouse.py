"""Which tool the mouse has: a layer that is selected, and the mode it is in."""

from __future__ import annotations

from typing import Any, Literal

from napari import Viewer
from napari.layers import Layer

from micro_sam.sam_annotator.state.window import WindowState
from micro_sam.sam_annotator.view.layers.session_layers import SessionLayers

MouseTool = Literal["point", "box", "polygon", "ellipse", "paint", "erase", "pick", "move"]
SHAPE_MODES: dict[str, str] = {"box": "add_rectangle", "polygon": "add_polygon", "ellipse": "add_ellipse"}


class Mouse:
    """Gives the mouse its tool, and tells the state which one it has, also when the user chose it in napari's controls.

    Parameters
    ----------
    viewer, layers
        What is selected.
    state
        Its `mouse` is kept up to date.
    """

    def __init__(self, viewer: Viewer, layers: SessionLayers, state: WindowState) -> None:
        self._viewer, self._layers, self._state = viewer, layers, state
        self._tool: MouseTool = "point"
        self._in_slices: MouseTool = "point"
        viewer.dims.events.ndisplay.connect(self._dimensions_changed)
        viewer.layers.selection.events.active.connect(self._changed)
        layers.mode_changed.connect(self._changed)
        layers.recreated.connect(lambda _names: self.use(self._tool))

    @property
    def given(self) -> MouseTool:
        """The tool that was given last; napari's own controls may have taken it away since."""
        return self._tool

    def use(self, tool: MouseTool) -> None:
        """Give the mouse a tool: select the layer it works on, in the mode it needs.

        In the 3D view a click has no depth: objects are selected there, and other tools lead back to the slices.
        """
        if tool != "pick" and self._viewer.dims.ndisplay == 3:
            self._in_slices, self._viewer.dims.ndisplay = tool, 2
            return
        self._tool, layers = tool, self._layers
        if tool == "point":
            self._activate(layers.points.layer, "add")
        elif tool in SHAPE_MODES:
            self._activate(layers.shapes.layer, SHAPE_MODES[tool])
        elif tool in ("paint", "erase"):
            self._activate(layers.labels["current"].layer, tool)
        elif tool == "pick":
            self._activate(layers.labels["committed"].layer, "pan_zoom")
        else:
            self._activate(layers.points.layer, "select")

    def use_prompts(self) -> None:
        """After a commit or clear the next click must place a prompt, whatever was selected before; in the 3D view the
        next one in the slices."""
        in_3d = self._viewer.dims.ndisplay == 3
        tool = self._in_slices if in_3d else self._tool
        tool = tool if tool == "point" or tool in SHAPE_MODES else "point"
        if in_3d:
            self._in_slices = tool
        else:
            self.use(tool)

    def close(self) -> None:
        """Hear no more of the viewer."""
        self._viewer.dims.events.ndisplay.disconnect(self._dimensions_changed)
        self._viewer.layers.selection.events.active.disconnect(self._changed)

    def _dimensions_changed(self, _event: Any = None) -> None:
        if self._state.closed or self._layers.points is None:
            return
        if self._viewer.dims.ndisplay == 3:
            self._in_slices = self._tool
            self.use("pick")
        else:
            self.use(self._in_slices)

    def _activate(self, layer: Layer, mode: str) -> None:
        self._viewer.layers.selection.active = layer
        if not layer.visible:  # napari draws the layer anew even when it was visible all the time
            layer.visible = True
        layer.mode = mode
        self._changed()

    def _changed(self, _event: Any = None) -> None:
        if not self._state.closed:
            self._state.mouse = self._in_hand()

    def _in_hand(self) -> str | None:
        """The tool that the mouse really has, seen from the layer that is selected; None for napari's own tools."""
        layers, active = self._layers, self._viewer.layers.selection.active
        if layers.points is None or active is None:
            return None
        mode = str(getattr(active, "mode", ""))
        if active is layers.points.layer:
            return {"add": "point", "select": "move"}.get(mode)
        if active is layers.shapes.layer:
            return {mode: tool for tool, mode in SHAPE_MODES.items()}.get(mode)
        if active is layers.labels["current"].layer:
            return mode if mode in ("paint", "erase") else None
        return "pick" if active is layers.labels["committed"].layer and self._tool == "pick" else None
