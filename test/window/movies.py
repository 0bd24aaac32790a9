"""A small movie whose truth is known, and how the tests of the tracking tool move in it."""

from __future__ import annotations

import functools

import numpy as np

from micro_sam.sample_data.synthetic import dividing_cells

from . import driver

N_FRAMES = 9
MOTHER, DAUGHTERS, OTHER = 1, (5, 6), 2
LAST = 3
"""Last frame of the mother."""


@functools.cache
def small_movie() -> tuple[np.ndarray, np.ndarray]:
    """Nine frames of a generated movie, (9, 128, 128) uint8, and the labels of its nuclei; one divides."""
    movie, labels, rows = dividing_cells((20, 128, 128), n_cells=4, n_divisions=1, seed=2)
    assert {row.track_id: row.parent for row in rows if row.parent} == dict.fromkeys(DAUGHTERS, MOTHER)
    assert next(row.end for row in rows if row.track_id == MOTHER) == LAST
    return movie[:N_FRAMES], labels[:N_FRAMES]


def place_of(label: int, t: int) -> tuple[int, int, int]:
    """A position (t, y, x) in the middle of a nucleus."""
    y, x = np.median(np.argwhere(small_movie()[1][t] == label), axis=0).astype(int)
    return t, int(y), int(x)


def box_of(label: int, t: int) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """Two corners (t, y, x) of a box around a nucleus."""
    where = np.argwhere(small_movie()[1][t] == label)
    (y0, x0), (y1, x1) = where.min(axis=0) - 2, where.max(axis=0) + 2
    return (t, int(y0), int(x0)), (t, int(y1), int(x1))


def overlap(mask: np.ndarray, label: int, t: int) -> float:
    """Intersection over union of a mask (H, W) with a nucleus of the truth."""
    truth = small_movie()[1][t] == label
    return float((mask & truth).sum() / (mask | truth).sum())


def frames_of(labels: np.ndarray, label: int) -> list[int]:
    """Frames in which a label is."""
    return [t for t, plane in enumerate(labels) if (plane == label).any()]


def go_to(tool, t: int) -> None:
    """Show a frame."""
    tool.actions.go_to_slice(t)
    driver.process(0.1)


def menu(tool):
    """The tracking menu."""
    return tool.dock.panels.extra[0]


def press(tool, widget, point=None) -> None:
    """Click on a widget of the dock, wherever it is scrolled to."""
    for _ in range(2):  # a menu that has just been unfolded moves the others
        tool.dock.scroll.ensureWidgetVisible(widget)
        driver.process(0.15)
    driver.press(widget, point)


def divide(tool) -> None:
    """Click a nucleus, its division and both daughters, with mouse and keys. Nothing is tracked yet."""
    go_to(tool, 0)
    driver.click(tool, place_of(MOTHER, 0))
    go_to(tool, LAST)
    driver.key(tool.viewer, "d")
    driver.click(tool, place_of(MOTHER, LAST))
    go_to(tool, LAST + 1)
    driver.click(tool, place_of(DAUGHTERS[0], LAST + 1))
    driver.key(tool.viewer, "e")
    driver.click(tool, place_of(DAUGHTERS[1], LAST + 1))
    driver.wait_idle(tool)


def start_again(tool) -> None:
    """Put a tracking tool back to its beginning, with the movie, the model and the embeddings it has."""
    driver.wait_idle(tool)
    tool.state.live, tool.state.preserve = True, "pixels"
    menu(tool).backward.value = False
    session = tool.session
    session.prompts.clear()
    session.objects.load(np.zeros_like(session.committed))
    session.automatic.show(np.zeros_like(session.auto))
    tool.saving.path, tool.saving.was_saved, tool.saving.unsaved = None, False, False
    session.history.clear()
    tool.actions.set_source("current")
    tool.actions.use_tool("point")
    tool.actions.go_to_slice(0)
    tool.layers.fit()  # a review or a table goes to objects
    driver.activate(tool.viewer)  # windows of other tools may lie above
