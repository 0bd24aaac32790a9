"""What the user can do with prompts, and with the region that Segment All looks at: draw, change, segment."""

from __future__ import annotations

from typing import Any

from napari import Viewer

from micro_sam.sam_annotator.controller.embedding.preparation import Preparation
from micro_sam.sam_annotator.controller.preview import Preview
from micro_sam.sam_annotator.state.window import WindowState
from micro_sam.sam_annotator.view.layers.mouse import Mouse, MouseTool
from micro_sam.sam_annotator.view.layers.region_layer import RegionKind, RegionLayer
from micro_sam.sam_annotator.view.layers.session_layers import SessionLayers

HOW_TO_DRAW = {
    "rectangle": "Drag a rectangle around the part that Segment All looks at.",
    "polygon": "Click the corners of the part that Segment All looks at; double-click or press Enter to close it.",
}


class PromptActions:
    """Actions on the prompts of one window.

    Parameters
    ----------
    state, layers, mouse
        What is drawn, and with which tool.
    preview, preparation
        Answer it, as soon as that can be done.
    """

    def __init__(
        self, state: WindowState, layers: SessionLayers, mouse: Mouse, preview: Preview, preparation: Preparation
    ) -> None:
        self._state, self._layers, self._mouse = state, layers, mouse
        self._preview, self._preparation = preview, preparation

    def use_tool(self, tool: MouseTool) -> None:
        """Give the mouse a tool: point, box, polygon, ellipse, paint, erase, pick or move."""
        self._state.needed()
        self._mouse.use(tool)

    def toggle_keys(self) -> None:
        """Show the list of keys, or hide it."""
        self._state.keys_shown = not self._state.keys_shown

    def toggle_polarity(self) -> None:
        """Positive <-> negative: the points that were selected with the selection tool, else the next point."""
        session = self._state.needed()
        selected = self._layers.points.selected_ids
        if selected:
            first: Any = session.prompts.drawn[selected[0]]  # a point
            session.prompts.set_polarity(selected, not first.positive)
            self._preview.edited()
        else:
            self.set_polarity(not session.prompts.next_positive)

    def set_polarity(self, positive: bool) -> None:
        """Make the next point positive or negative."""
        session = self._state.needed()
        if positive == session.prompts.next_positive:
            return
        session.prompts.set_next_polarity(positive)
        if self._mouse.given not in ("point", "move"):
            self._mouse.use("point")
        self._state.status.say(
            "The next click is positive: it belongs to the object."
            if positive
            else "The next click is negative: it does not belong to the object."
        )

    def set_hover(self, on: bool) -> None:
        """Show, while the mouse moves, the mask that a click there would give."""
        self._state.hover = on

    def toggle_hover(self) -> None:
        """Mask under the mouse on / off."""
        self._state.hover = not self._state.hover

    def set_live(self, on: bool) -> None:
        """Whether every click is segmented at once."""
        self._state.live = on

    def set_batched(self, on: bool) -> None:
        """Whether each positive point is an object of its own."""
        self._state.batched = on
        self._preview.edited()

    def segment(self) -> None:
        """Segment the prompts (of the slice in view)."""
        self._layers.read_prompts()
        self._preview.segment()
        if self._preview.waits:
            self._preparation.needed()


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
        self._state.status.say(HOW_TO_DRAW[kind])

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
