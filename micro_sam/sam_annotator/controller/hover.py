"""The mask under the mouse: what a click there would give, shown while the mouse moves. Off until somebody wants it.

It is a guest: a thread of its own answers it, of many movements only the newest is asked, and it asks nothing while a
click is being answered or a job is running.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from napari import Viewer

from micro_sam.errors import InputError, NotComputedYet
from micro_sam.sam_annotator.runtime.jobs import WORK, Jobs
from micro_sam.sam_annotator.runtime.threads import LatestWins
from micro_sam.sam_annotator.state.window import WindowState
from micro_sam.sam_annotator.view.layers.overlays import MaskOverlay
from micro_sam.sam_annotator.view.layers.session_layers import SessionLayers
from micro_sam.session.session import Session


class Hover:
    """Shows the mask that a click under the mouse would give, while ``state.hover`` is set.

    Parameters
    ----------
    state
        Of the window.
    viewer, layers
        The mouse moves over them.
    jobs, is_answering
        What is more important: jobs, and whether a click is being answered.

    Attributes
    ----------
    shown
        How many masks it has shown.
    """

    def __init__(
        self,
        state: WindowState,
        viewer: Viewer,
        layers: SessionLayers,
        jobs: Jobs,
        is_answering: Callable[[], bool],
    ) -> None:
        self.shown = 0
        self._state, self._viewer, self._layers = state, viewer, layers
        self._jobs, self._is_answering = jobs, is_answering
        self._overlay: MaskOverlay | None = None
        self._number = 0  # of the newest question; answers to older ones than the last `hide` are not shown
        self._hidden = 0
        self._latest: LatestWins | None = None
        viewer.mouse_move_callbacks.append(self._moved)
        viewer.mouse_drag_callbacks.append(self._pressed)
        viewer.events.mouse_over_canvas.connect(self._left)
        jobs.changed.connect(self._hide_behind_jobs)
        state.events.hover.connect(self._switch)
        state.events.session.connect(self._follow)

    def _switch(self, on: bool) -> None:
        """Begin or end."""
        if self._state.closed:
            return
        if on and self._latest is None:
            self._latest = LatestWins("hover")
            self._latest.done.connect(self._show)
        self.hide()
        if self._state.session is not None:
            self._overlay = self._layers.show_hover(on)

    def _follow(self, session: Session) -> None:
        """Another session is open."""
        self.hide()
        session.events.labels_changed.connect(self._hide_after_actions)
        if self._state.hover:
            self._overlay = self._layers.show_hover(True)

    def hide(self) -> None:
        """Show nothing until the mouse moves again."""
        self._hidden = self._number
        if self._latest is not None:
            self._latest.forget()
        if self._overlay is not None:
            self._overlay.draw(None)

    def close(self) -> None:
        """End the thread, and hear no more of the mouse."""
        viewer = self._viewer
        viewer.mouse_move_callbacks.remove(self._moved)
        viewer.mouse_drag_callbacks.remove(self._pressed)
        viewer.events.mouse_over_canvas.disconnect(self._left)
        self._state.hover = False
        if self._latest is not None:
            self._latest.close()

    @property
    def busy(self) -> bool:
        """Whether a mask is on its way."""
        return self._latest is not None and self._latest.busy

    @property
    def may_ask(self) -> bool:
        """Whether nothing more important is going on."""
        if not self._state.hover or self._state.session is None or self._state.closed:
            return False
        busy = self._is_answering() or self._jobs.running(WORK) is not None
        return not busy and self._state.mouse == "point"

    def _moved(self, _viewer: Any, event: Any) -> None:
        if not self._state.hover:
            return
        session, latest = self._state.session, self._latest
        is_ready = session is not None and session.model.predictor is not None and session.model.embeddings is not None
        if session is None or latest is None or not is_ready or not self.may_ask:
            self.hide()
            return
        position = [float(v) for v in self._layers.raw.world_to_data(event.position)][: session.ndim]
        inside = all(-0.5 <= v <= n - 0.5 for v, n in zip(position, session.shape, strict=True))
        try:
            request = session.segment.plan_hover(position, self._state.z) if inside else None
        except (InputError, NotComputedYet):
            request = None
        if request is None:
            self.hide()
            return
        self._number += 1
        latest.ask((session, self._number), lambda: _answer(session, request))

    def _pressed(self, _viewer: Any, _event: Any) -> None:
        self.hide()

    def _left(self, _event: Any) -> None:
        if self._state.hover and not self._viewer.mouse_over_canvas:
            self.hide()

    def _hide_after_actions(self, _name: str, _region: tuple[slice, ...]) -> None:
        if self._state.hover:
            self.hide()

    def _hide_behind_jobs(self) -> None:
        if self._state.hover and self._jobs.running(WORK) is not None:
            self.hide()

    def _show(self, tag: tuple[Session, int], result: Any) -> None:
        session, number = tag
        if number <= self._hidden or not self._state.shows(session) or not self.may_ask or self._overlay is None:
            return
        masks = [mask for mask in result.masks if not mask.is_empty]
        self._overlay.draw(masks[0] if masks else None)
        self.shown += 1


def _answer(session: Session, request: Any) -> Any:
    from micro_sam.models.threads import leave_a_core  # torch is not there before the window

    leave_a_core()
    return session.segment.compute(request)
