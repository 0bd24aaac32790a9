"""Pictures beside the image: a coarse one of an image on disc, and one of the embeddings.

The coarse one is there so that nobody reads all of a large image to draw it.
napari draws a plane as a whole unless it has several resolutions. Many large files have one only: their overview is
made in the background, block by block, and appears while it grows; close up, the window reads what it shows.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from dataclasses import replace
from typing import Any

import numpy as np

from micro_sam.sam_annotator.controller.embedding.engine import Engine
from micro_sam.sam_annotator.controller.preview import Preview
from micro_sam.sam_annotator.runtime.jobs import Job, Jobs, Progress
from micro_sam.sam_annotator.state.images import OpenImage
from micro_sam.sam_annotator.state.window import WindowState
from micro_sam.sam_annotator.view.layers.large_labels import STEP, draw_again, is_large_plane, steps
from micro_sam.sam_annotator.view.layers.session_layers import SessionLayers

LANE = "overview"
PICTURE_LANE = "view"
BLOCK = 1024
"""Pixels along each side that are read at once; a multiple of STEP."""
PAUSE = 0.02  # seconds


class Overview:
    """Gives large images of a window their resolutions."""

    def __init__(self, layers: SessionLayers, jobs: Jobs, engine: Engine, preview: Preview) -> None:
        self._layers, self._jobs, self._engine, self._preview = layers, jobs, engine, preview
        self._waiting: tuple[OpenImage, np.ndarray] | None = None
        self._is_held = False
        preview.waiting_changed.connect(self._hold)

    def of(self, image: OpenImage) -> OpenImage:
        """The image, with resolutions if it is a large plane without any. :meth:`begin` fills those of files."""
        self._waiting = None
        if len(image.shape) != 2 or not is_large_plane(image.shape) or image.levels or image.layer is not None:
            return image
        data, coarser = image.data, steps(image.shape)[1:]
        if isinstance(data, np.ndarray) and not isinstance(data, np.memmap):
            return replace(image, levels=tuple(data[::step, ::step] for step in coarser))
        shape = tuple(-(-size // STEP) for size in image.shape)
        first = np.zeros((*shape, *data.shape[2:]), data.dtype)
        image = replace(image, levels=tuple(first[:: step // STEP, :: step // STEP] for step in coarser))
        self._waiting = image, first
        return image

    def begin(self) -> None:
        """Read the image, if it needs it."""
        jobs = self._jobs
        jobs.cancel(LANE)
        if self._waiting is None or jobs.running(LANE) is not None:
            return  # what is still at work comes here at its end
        (image, first), self._waiting = self._waiting, None
        jobs.start(
            "Reading the image",
            lambda job: fill(job, image.data, first, self._gives_way),
            lane=LANE,
            on_item=lambda _: self._show(image),
            on_done=lambda _: self.begin(),
            on_cancel=self.begin,
        )

    def _hold(self) -> None:
        """Note whether a prompt waits for its mask: reading would take the processor from it."""
        preview = self._preview
        self._is_held = preview.waits or preview.busy

    def _gives_way(self) -> bool:
        """Whether reading waits; asked in the thread of the job."""
        return self._is_held and self._engine.busy

    def _show(self, image: OpenImage) -> None:
        if self._layers.image is image:
            draw_again(self._layers.raw)


def fill(
    job: Job, data: Any, first: np.ndarray, gives_way: Callable[[], bool] = lambda: False
) -> Generator[int, None, None]:
    """Fill the overview `first`, every STEP-th pixel of `data`, with means; yields after each row of blocks."""
    size = BLOCK // STEP
    for y in range(0, data.shape[0], BLOCK):
        for x in range(0, data.shape[1], BLOCK):
            while gives_way() and not job.cancelled:
                time.sleep(PAUSE)
            if job.cancelled:
                return
            part = np.asarray(data[y : y + BLOCK, x : x + BLOCK])
            first[y // STEP : y // STEP + size, x // STEP : x // STEP + size] = means(part)
        yield y


def means(block: np.ndarray) -> np.ndarray:
    """Means of squares of STEP pixels; those on the border may be smaller."""
    border = [(0, -size % STEP) for size in block.shape[:2]] + [(0, 0)] * (block.ndim - 2)
    whole = np.pad(block, border, mode="edge") if np.any(border) else block
    small = {"uint8": "uint16", "uint16": "uint32"}.get(block.dtype.name, "float32")  # ten times as fast as mean()
    rows = sum((whole[k::STEP] for k in range(1, STEP)), whole[::STEP].astype(small))
    total = sum((rows[:, k::STEP] for k in range(1, STEP)), rows[:, ::STEP])
    return (total / np.float32(STEP**2)).astype(block.dtype)


class EmbeddingPicture:
    """Shows the embeddings as a colour image over the image, where the settings say so: what the network sees."""

    def __init__(self, state: WindowState, layers: SessionLayers, jobs: Jobs, engine: Engine) -> None:
        self._state, self._layers, self._jobs, self._engine = state, layers, jobs, engine
        engine.ready.connect(self._ready)

    def _ready(self) -> None:
        embeddings, session = self._engine.embeddings, self._state.session
        is_wanted = self._state.settings.show_embeddings and self._engine.there == self._engine.total
        if not is_wanted or embeddings is None or self._jobs.running(PICTURE_LANE) is not None:
            return

        def steps(_job: Job) -> Generator[Any, None, tuple[np.ndarray, tuple[float, ...]]]:
            yield Progress("Showing the embeddings")
            from micro_sam.embeddings.pictures import project_embeddings_for_visualization

            return project_embeddings_for_visualization(embeddings)

        def show(result: tuple[np.ndarray, tuple[float, ...]]) -> None:
            if self._state.shows(session):
                self._layers.show_embeddings(*result)

        self._jobs.start("Showing the embeddings", steps, lane=PICTURE_LANE, on_done=show)
