"""Where the user looks, told to the thread that computes embeddings: as a value, since it must not ask napari."""

from __future__ import annotations

from typing import Protocol

from napari import Viewer

from micro_sam.embeddings.order import FloatBox, Focus
from micro_sam.embeddings.store import Item
from micro_sam.sam_annotator.controller.embedding.engine import Engine
from micro_sam.sam_annotator.controller.preview import Preview
from micro_sam.sam_annotator.runtime.jobs import Jobs
from micro_sam.sam_annotator.runtime.timers import once
from micro_sam.sam_annotator.state.window import WindowState
from micro_sam.sam_annotator.view.camera import camera_of
from micro_sam.sam_annotator.view.sight import Sight
from micro_sam.session.prompts import PointPrompt, PromptSet
from micro_sam.session.session import Session

PAUSE_MS = 30  # the camera moves with every step of the mouse


class Waiting(Protocol):
    """Something that waits for tiles."""

    @property
    def wanted(self) -> tuple[Item, ...]:
        """The tiles, the most urgent first."""


class Looking:
    """Tells the engine of a window about prompts, view, slice, and what waits for its tiles.

    Parameters
    ----------
    state
        Of the window.
    viewer, sight
        Where the user looks.
    engine
        Is told.
    preview, jobs
        May wait for other tiles when they change.
    """

    def __init__(
        self, state: WindowState, viewer: Viewer, sight: Sight, engine: Engine, preview: Preview, jobs: Jobs
    ) -> None:
        self._state, self._sight, self._engine = state, sight, engine
        self._waiting: list[Waiting] = [preview]
        self._timer = once(self.tell, PAUSE_MS)
        self._events = (camera_of(viewer).events.center, camera_of(viewer).events.zoom, viewer.dims.events.current_step)
        for event in self._events:
            event.connect(self._soon)
        state.events.session.connect(self._follow)
        preview.waiting_changed.connect(self.tell)
        jobs.changed.connect(self.tell)  # one of them may wait for another tile now

    def serve_first(self, waiting: Waiting) -> None:
        """What it waits for comes before what others wait for."""
        self._waiting.insert(0, waiting)

    def serve_last(self, waiting: Waiting) -> None:
        """What it waits for comes after what others wait for, and before the rest."""
        self._waiting.append(waiting)

    def tell(self) -> None:
        """Tell the engine now."""
        state, session = self._state, self._state.session
        if session is None or state.closed:
            return
        self._engine.focus = Focus(
            index=state.tool.index(state.z),
            wanted=tuple(item for waiting in self._waiting for item in waiting.wanted),
            prompts=_boxes(session.prompts.drawn.in_slice(state.z)),
            view=self._sight.box(),
        )

    def close(self) -> None:
        """Hear no more of the viewer."""
        self._timer.stop()
        for event in self._events:
            event.disconnect(self._soon)

    def _follow(self, session: Session) -> None:
        session.events.prompts_changed.connect(self._prompts_changed)

    def _soon(self, _event: object = None) -> None:
        if not self._timer.isActive():
            self._timer.start()

    def _prompts_changed(self, _prompts: PromptSet) -> None:
        self.tell()


def _boxes(prompts: PromptSet) -> tuple[FloatBox, ...]:
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
