"""Where the user is at work, told to the thread that computes embeddings: as a value, since it must not ask napari."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QTimer

from micro_sam.embeddings.order import Box, Focus
from micro_sam.session.prompts import PointPrompt, PromptSet
from micro_sam.session.session import Session

if TYPE_CHECKING:
    from micro_sam.sam_annotator.controller.annotator import Annotator

PAUSE_MS = 30  # the camera moves with every step of the mouse


class Looking:
    """Tells the engine of a window about prompts, view, slice, and what waits for its tiles.

    Parameters
    ----------
    annotator
        Whose window it is.
    """

    def __init__(self, annotator: Annotator) -> None:
        self._annotator = annotator
        self._session: Session | None = None
        self._timer = QTimer()
        self._timer.setSingleShot(True)
        self._timer.setInterval(PAUSE_MS)
        self._timer.timeout.connect(self.tell)
        viewer = annotator.viewer
        self._events = (viewer.camera.events.center, viewer.camera.events.zoom, viewer.dims.events.current_step)
        for event in self._events:
            event.connect(self._soon)
        annotator.preview.waiting_changed.connect(self.tell)
        annotator.jobs.changed.connect(self.tell)  # a run may wait for another tile now

    def follow(self, session: Session) -> None:
        """Work for this session from now on."""
        self._session = session
        session.events.prompts_changed.connect(self._prompts_changed)

    def tell(self) -> None:
        """Tell the engine now."""
        annotator, session = self._annotator, self._session
        if session is None or session is not annotator.session or annotator.layers is None or annotator.closed:
            return
        z = annotator.z
        annotator.engine.focus = Focus(
            index=z if session.ndim == 3 else None,
            wanted=annotator.wanted(),
            prompts=_boxes(session.prompts.drawn.in_slice(z)),
            view=self._view(),
        )

    def close(self) -> None:
        """Hear no more of the viewer."""
        self._timer.stop()
        for event in self._events:
            event.disconnect(self._soon)

    def _soon(self, _event: object = None) -> None:
        if not self._timer.isActive():
            self._timer.start()

    def _prompts_changed(self, _prompts: PromptSet) -> None:
        self.tell()

    def _view(self) -> Box | None:
        """The part of the slice on the screen, as napari drew it last."""
        layer, dims = self._annotator.layers.raw, self._annotator.viewer.dims
        if not layer.visible or tuple(sorted(dims.displayed)) != (dims.ndim - 2, dims.ndim - 1):
            return None
        corners = layer.corner_pixels
        if layer.multiscale:  # they count the pixels of the resolution that is shown
            corners = (corners * layer.downsample_factors[layer.data_level]).astype(int)
        (y0, x0), (y1, x1) = corners[:, -2:].tolist()
        return (y0, x0, y1, x1) if y1 > y0 and x1 > x0 else None


def _boxes(prompts: PromptSet) -> tuple[Box, ...]:
    """Where the prompts of a slice ask for objects, the newest first."""
    asking = [p for p in prompts if not isinstance(p, PointPrompt) or p.positive]
    boxes = []
    for prompt in sorted(asking, key=lambda prompt: prompt.id or 0, reverse=True):
        if isinstance(prompt, PointPrompt):
            y, x = prompt.position[-2:]
            boxes.append((y, x, y, x))
        else:
            boxes.append((*prompt.corners.min(axis=0).tolist(), *prompt.corners.max(axis=0).tolist()))
    return tuple(boxes)
