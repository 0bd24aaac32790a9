"""The region of interest: Segment All looks for objects inside it only."""

from __future__ import annotations

from napari import Viewer

from micro_sam.sam_annotator.state.window import WindowState
from micro_sam.sam_annotator.view.layers.mouse import Mouse
from micro_sam.sam_annotator.view.layers.region_layer import RegionKind, RegionLayer
from micro_sam.sam_annotator.view.layers.session_layers import SessionLayers

HOW = {
    "rectangle": "Drag a rectangle around the part that Segment All looks at.",
    "polygon": "Click the corners of the part that Segment All looks at; double-click or press Enter to close it.",
}


class RegionActions:
    """Draws and clears the region of one window.

    Parameters
    ----------
    state, viewer, layers
        Where it is drawn.
    mouse
        Gets back to prompts afterwards.
    """

    def __init__(self, state: WindowState, viewer: Viewer, layers: SessionLayers, mouse: Mouse) -> None:
        self._state, self._mouse = state, mouse
        self._layer = RegionLayer(viewer, layers, state)
        self._layer.drawn.connect(self._drawn)

    def draw(self, kind: RegionKind = "rectangle") -> None:
        """Let the mouse draw a region, in place of the one that is there."""
        self._state.needed()
        self._layer.draw(kind)
        self._state.status.say(HOW[kind])

    def clear(self) -> None:
        """Look at the whole image again."""
        session, was_drawing = self._state.needed(), self._layer.is_selected
        if session.automatic.region is None:
            self._layer.show()
            self._state.status.say("There is no region: Segment All looks at the whole image.")
        session.automatic.set_region(None)
        if was_drawing:
            self._mouse.use_prompts()

    def close(self) -> None:
        """Follow the session no more."""
        self._layer.close()

    def _drawn(self) -> None:
        if self._layer.is_selected:
            self._mouse.use_prompts()
