"""A coarse picture of an image on disc, so that nobody reads all of it to draw it.

napari draws a plane as a whole unless it has several resolutions. Many large files have one only: their overview is
made in the background, block by block, and appears while it grows; close up, the window reads what it shows.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from micro_sam.sam_annotator.runtime.jobs import Job
from micro_sam.sam_annotator.state.images import OpenImage
from micro_sam.sam_annotator.view.layers.large_labels import STEP, is_large_plane, steps

if TYPE_CHECKING:
    from micro_sam.sam_annotator.controller.annotator import Annotator

LANE = "overview"
BLOCK = 1024
"""Pixels along each side that are read at once; a multiple of STEP."""
PAUSE = 0.02  # seconds


class Overview:
    """Gives large images of a window their resolutions."""

    def __init__(self, annotator: Annotator) -> None:
        self._annotator = annotator
        self._waiting: tuple[OpenImage, np.ndarray] | None = None
        self._is_held = False
        annotator.preview.waiting_changed.connect(self._hold)

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
        jobs = self._annotator.jobs
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
        preview = self._annotator.preview
        self._is_held = preview.waits or preview.busy

    def _gives_way(self) -> bool:
        """Whether reading waits; asked in the thread of the job."""
        return self._is_held and self._annotator.engine.busy

    def _show(self, image: OpenImage) -> None:
        layers = self._annotator.layers
        if layers is None or layers.image is not image:
            return
        raw = layers.raw
        if hasattr(raw, "_reset_thumbnail_level_data"):
            raw._reset_thumbnail_level_data()  # napari keeps the coarsest resolution as it was
        if raw.data_level > 0:
            raw.refresh(extent=False, highlight=False)


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
