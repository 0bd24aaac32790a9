"""The region of interest as a layer, which is there only while there is a region or one is being drawn."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from napari import Viewer
from napari.layers import Shapes
from psygnal import Signal
from qtpy.QtCore import QTimer

from micro_sam.errors import InputError
from micro_sam.sam_annotator.state.images import origin
from micro_sam.sam_annotator.state.window import WindowState
from micro_sam.sam_annotator.view.layers.prompt_layers import READ_BACK_ON
from micro_sam.sam_annotator.view.layers.session_layers import SessionLayers
from micro_sam.segmentation.region_of_interest import RegionOfInterest
from micro_sam.session.session import Session

COLOUR = "#f032e6"
WIDTH = 1 / 300  # of the image, so that it looks the same in small and large ones
KINDS = {"rectangle": "add_rectangle", "polygon": "add_polygon"}

RegionKind = Literal["rectangle", "polygon"]


class RegionLayer:
    """Session <-> layer. In a stack it lies over every slice.

    Parameters
    ----------
    viewer, layers, state
        Of the window.

    Signals
    -------
    drawn
        A region was drawn, and the session knows it.
    """

    drawn = Signal()

    def __init__(self, viewer: Viewer, layers: SessionLayers, state: WindowState) -> None:
        self._viewer, self._layers, self._state = viewer, layers, state
        self.layer: Shapes | None = None
        self._session: Session | None = None
        self._painting = False
        state.events.session.connect(self._follow)
        viewer.layers.events.removed.connect(self._removed)

    def draw(self, kind: RegionKind) -> None:
        """Let the mouse draw a region."""
        layer = self._there()
        self._viewer.layers.selection.active = layer
        layer.mode = KINDS[kind]

    @property
    def is_selected(self) -> bool:
        """Whether the mouse works on this layer."""
        return self.layer is not None and self._viewer.layers.selection.active is self.layer

    def show(self) -> None:
        """Show the region of the session; without one, take the layer away."""
        region = None if self._session is None else self._session.automatic.region
        if self._state.closed:
            return
        if region is None:
            self._take_away()
            return
        active = self._viewer.layers.selection.active
        layer, corners = self._there(), np.array(region.corners)
        if len(layer.data) != 1 or layer.data[0].shape != corners.shape or not np.allclose(layer.data[0], corners):
            self._painting = True
            try:
                layer.selected_data = set(range(len(layer.data)))
                layer.remove_selected()
                layer.add(corners, shape_type="polygon")
                layer.selected_data = set()
            finally:
                self._painting = False
        if active is not None and active in self._viewer.layers:
            self._viewer.layers.selection.active = active

    def close(self) -> None:
        """Follow the session no more; the layer stays."""
        self._viewer.layers.events.removed.disconnect(self._removed)
        if self.layer is not None:
            self.layer.events.data.disconnect(self._heard)
        if self._session is not None:
            self._session.events.region_changed.disconnect(self.show)

    # ------------------------------------------------------------------ inside

    def _follow(self, session: Session) -> None:
        if self._session is not None:
            self._session.events.region_changed.disconnect(self.show)
        self._session = session
        session.events.region_changed.connect(self.show)
        self._take_away()  # the next image may have another place
        self.show()

    def _there(self) -> Shapes:
        """The layer, made if it is not there."""
        if self.layer is not None:
            return self.layer
        image, session = self._layers.image, self._state.needed()
        self.layer = layer = Shapes(
            name=self._state.tool.names.region,
            ndim=2,
            scale=None if image.scale is None else tuple(image.scale)[-2:],
            edge_color=COLOUR,
            face_color="transparent",
            edge_width=WIDTH * max(session.shape[-2:]),
        )
        (image.placement or origin(session.ndim)).apply(layer)
        self._viewer.layers.insert(self._viewer.layers.index(self._layers.shapes.layer), layer)
        layer.events.data.connect(self._heard)
        return layer

    def _take_away(self) -> None:
        layer, self.layer = self.layer, None
        if layer is not None and layer in self._viewer.layers:
            layer.events.data.disconnect(self._heard)
            was_active = self._viewer.layers.selection.active is layer
            self._viewer.layers.remove(layer)
            if was_active:
                self._viewer.layers.selection.active = self._layers.points.layer

    def _removed(self, event: Any) -> None:
        """The user has deleted the layer: that clears the region."""
        if event.value is self.layer and self.layer is not None and not self._state.closed:
            self.layer = None
            QTimer.singleShot(0, lambda: self._set(None))  # napari finishes with the removal first

    def _heard(self, event: Any) -> None:
        if not self._painting and getattr(event, "action", "changed") in READ_BACK_ON:
            QTimer.singleShot(0, self._read)  # when napari has done all that follows an edit

    def _read(self) -> None:
        if self.layer is None or self._state.closed:
            return
        if not len(self.layer.data):
            self._set(None)
            return
        try:
            if self.layer.shape_type[-1] not in KINDS:
                raise InputError("A region is a rectangle or a polygon. Draw one of these.")
            region = RegionOfInterest(tuple((float(y), float(x)) for y, x in self.layer.data[-1]))
        except InputError as error:
            self._state.status.report(error)
        else:
            self._set(region)
        self.show()  # one region, as the session has it
        self.drawn.emit()

    def _set(self, region: RegionOfInterest | None) -> None:
        if self._session is None or self._state.closed:
            return
        try:
            self._session.automatic.set_region(region)
        except InputError as error:
            self._state.status.report(error)
