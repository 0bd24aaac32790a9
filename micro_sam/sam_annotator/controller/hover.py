"""The mask under the mouse: what a click there would give, shown while the mouse moves. Off until somebody wants it.

It is a guest: a thread of its own answers it, of many movements only the newest is asked, and it asks nothing while a
click is being answered or a run is going.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from micro_sam.errors import InputError, NotComputedYet
from micro_sam.sam_annotator.runtime.jobs import WORK
from micro_sam.sam_annotator.runtime.latest import LatestWins
from micro_sam.session.session import Session

if TYPE_CHECKING:
    from micro_sam.sam_annotator.controller.annotator import Annotator
    from micro_sam.sam_annotator.view.layers.label_layers import LabelLayer

Region = tuple[slice, slice]


class Hover:
    """Shows the mask that a click under the mouse would give.

    Parameters
    ----------
    annotator
        Whose window it is.

    Attributes
    ----------
    on
        Whether it is wanted.
    shown
        How many masks it has shown.
    """

    def __init__(self, annotator: Annotator) -> None:
        self.on = False
        self.shown = 0
        self._annotator = annotator
        self._session: Session | None = None
        self._layer: LabelLayer | None = None
        self._region: Region | None = None
        self._number = 0  # of the newest question; answers to older ones than the last `hide` are not shown
        self._hidden = 0
        self._latest: LatestWins | None = None
        annotator.viewer.mouse_move_callbacks.append(self._moved)
        annotator.viewer.mouse_drag_callbacks.append(self._pressed)
        annotator.viewer.events.mouse_over_canvas.connect(self._left)
        annotator.jobs.changed.connect(self._hide_behind_runs)

    def switch(self, on: bool) -> None:
        """Begin or end."""
        self.on = on
        if on and self._latest is None:
            self._latest = LatestWins("hover")
            self._latest.done.connect(self._show)
        self.hide()
        if self._session is not None:
            self._layer = self._annotator.layers.show_hover(on)

    def follow(self, session: Session) -> None:
        """Work for this session from now on."""
        self._session = session
        self._region = None
        self.hide()
        session.events.labels_changed.connect(self._hide_after_acts)
        if self.on:
            self._layer = self._annotator.layers.show_hover(True)

    def hide(self) -> None:
        """Show nothing until the mouse moves again."""
        self._hidden = self._number
        if self._latest is not None:
            self._latest.forget()
        self._draw(None, None)

    def close(self) -> None:
        """End the thread."""
        self.on = False
        self._session = self._layer = None
        if self._latest is not None:
            self._latest.close()

    @property
    def busy(self) -> bool:
        """Whether a mask is on its way."""
        return self._latest is not None and self._latest.busy

    @property
    def may_ask(self) -> bool:
        """Whether nothing more important is going on."""
        annotator = self._annotator
        if not self.on or self._session is None or self._session is not annotator.session:
            return False
        busy = annotator.preview.busy or annotator.automatic.busy or annotator.jobs.running(WORK) is not None
        return not busy and annotator.layers.tool_in_hand() == "point"

    def _moved(self, _viewer: Any, event: Any) -> None:
        if not self.on:
            return
        session = self._session
        if not self.may_ask or session.model.predictor is None or session.model.embeddings is None:
            self.hide()
            return
        position = [float(v) for v in self._annotator.layers.raw.world_to_data(event.position)][: session.ndim]
        inside = all(-0.5 <= v <= n - 0.5 for v, n in zip(position, session.shape, strict=True))
        try:
            request = session.segment.plan_hover(position, self._annotator.z) if inside else None
        except (InputError, NotComputedYet):
            request = None
        if request is None:
            self.hide()
            return
        self._number += 1
        self._latest.ask((session, self._number), lambda: _answer(session, request))

    def _pressed(self, _viewer: Any, _event: Any) -> None:
        self.hide()

    def _left(self, _event: Any) -> None:
        if self.on and not self._annotator.viewer.mouse_over_canvas:
            self.hide()

    def _hide_after_acts(self, _name: str, _region: tuple) -> None:
        if self.on:
            self.hide()

    def _hide_behind_runs(self) -> None:
        if self.on and self._annotator.jobs.running(WORK) is not None:
            self.hide()

    def _show(self, tag: tuple, result: Any) -> None:
        session, number = tag
        if number <= self._hidden or session is not self._session or not self.may_ask:
            return
        masks = [mask for mask in result.masks if not mask.is_empty]
        mask = masks[0] if masks else None
        self._draw(*((None, None) if mask is None else (mask.box, mask.mask)))
        self.shown += 1

    def _draw(self, box: tuple[int, int, int, int] | None, mask: np.ndarray | None) -> None:
        """Replace what is shown; only the part of the layer that changes is sent to the screen."""
        layer = self._layer
        if layer is None or layer.layer not in self._annotator.viewer.layers:
            return
        regions = [] if self._region is None else [self._region]
        if self._region is not None:
            layer.layer.data[self._region] = 0
        self._region = None
        if box is not None:
            self._region = (slice(box[0], box[2]), slice(box[1], box[3]))
            layer.layer.data[self._region] = mask
            regions.append(self._region)
        if regions:
            both = zip(*regions, strict=True)  # the rows of all regions, then their columns
            layer.repaint(tuple(slice(min(p.start for p in axis), max(p.stop for p in axis)) for axis in both))


def _answer(session: Session, request: Any) -> Any:
    from micro_sam.models.threads import leave_a_core  # torch is not there before the window

    leave_a_core()
    return session.segment.run(request)
