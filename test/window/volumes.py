"""A small volume whose truth is known, and how the tests of the 3D tool move in it."""

from __future__ import annotations

import functools

import numpy as np

from micro_sam.sam_annotator.state.options import VolumeOptions
from micro_sam.sample_data import open_sample

from . import driver

SLICES = slice(8, 22)
FIRST, OTHER = 13, 18
"""Two nuclei that are round and lie apart from others."""


@functools.cache
def small_volume() -> tuple[np.ndarray, np.ndarray]:
    """Fourteen slices of the sample volume, (14, 160, 160) uint8, and the labels of its nuclei."""
    sample = open_sample("nuclei_volume")
    return sample.image[SLICES], sample.labels[SLICES]


def middle_of(label: int) -> tuple[int, int, int]:
    """A position (z, y, x) inside an object, in its middle slice."""
    z = int(np.median(np.argwhere(small_volume()[1] == label)[:, 0]))
    return place_in(label, z)


def place_in(label: int, z: int) -> tuple[int, int, int]:
    """A position (z, y, x) inside an object, in a slice."""
    y, x = np.median(np.argwhere(small_volume()[1][z] == label), axis=0).astype(int)
    return z, int(y), int(x)


def box_in(label: int, z: int) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """Two corners (z, y, x) of a box around an object, in a slice."""
    where = np.argwhere(small_volume()[1][z] == label)
    (y0, x0), (y1, x1) = where.min(axis=0) - 2, where.max(axis=0) + 2
    return (z, int(y0), int(x0)), (z, int(y1), int(x1))


def overlap(mask: np.ndarray, label: int) -> float:
    """Intersection over union of a mask with an object of the truth."""
    truth = small_volume()[1] == label
    return float((mask & truth).sum() / (mask | truth).sum())


def slices_of(tool, label: int = 1) -> list[int]:
    """Slices in which the current object is."""
    return [z for z, plane in enumerate(tool.session.current) if (plane == label).any()]


def go_to(tool, z: int) -> None:
    """Show a slice."""
    tool.actions.go_to_slice(z)
    driver.process(0.1)


def point_at(tool, position: tuple[int, int, int]) -> None:
    """Move the mouse over a position."""
    from qtpy.QtTest import QTest

    canvas = driver.canvas(tool.viewer)
    point = driver.canvas_point(tool.viewer, tool.layers.points.layer, position)
    if driver.REAL:
        driver._move_to(canvas, point)
    else:
        QTest.mouseMove(canvas, point)
    driver.process(0.1)


def menu(tool):
    """The volume menu."""
    return tool.dock.panels.extra[0]


def start_again(tool) -> None:
    """Put a 3D tool back to its beginning, with the volume, the model and the embeddings it has."""
    driver.wait_idle(tool)
    tool.state.live, tool.state.batched, tool.state.preserve = True, False, "pixels"
    tool.state.source = "current"
    for name, value in VolumeOptions(iou_threshold=0.5):
        menu(tool).form.widgets[name].value = value
    tool.session.prompts.clear()
    tool.session.objects.load(np.zeros_like(tool.session.committed))
    tool.session.automatic.set_region(None)
    tool.session.automatic.show(np.zeros_like(tool.session.auto))
    tool.saving.path, tool.saving.was_saved, tool.saving.unsaved = None, False, False
    tool.session.history.clear()
    tool.actions.use_tool("point")
    tool.actions.go_to_slice(tool.session.shape[0] // 2)
    tool.layers.fit()  # a review or a table goes to objects
    driver.canvas(tool.viewer).setFocus()
    driver.process(0.1)
