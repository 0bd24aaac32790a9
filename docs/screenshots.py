"""Makes the pictures of the documentation: opens each tool on a sample, does the first steps, and saves the window.

    python docs/screenshots.py [NAME ...]

Without names all pictures are made, in ``docs/images``. On a machine without a screen:

    xvfb-run -a -s "-screen 0 1600x1000x24 -r" python docs/screenshots.py
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import imageio.v3 as imageio
import numpy as np
from PIL import Image
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QScrollArea

from micro_sam.sam_annotator import (
    annotator_2d,
    annotator_3d,
    annotator_tracking,
    get_annotator,
    image_folder_annotator,
)
from micro_sam.sam_annotator.view.camera import camera_of
from micro_sam.sample_data import open_sample

IMAGES = Path(__file__).parent / "images"
WINDOW = (1600, 1000)
"""Width and height of the window in pixels."""
WIDTH = 1120
"""Width of a picture in pixels."""
LARGEST = 190_000
"""Bytes of a picture; it gets as many colours as fit."""
EMBEDDINGS = Path(tempfile.mkdtemp(prefix="micro_sam_screenshots_"))  # a cache of earlier weights would be refused
"""Kept from run to run."""


def wait(condition: Callable[[], bool] | float, timeout: float = 1200.0) -> None:
    """Let the window live for some seconds, or until something is the case."""
    seconds = timeout if callable(condition) else condition
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        QApplication.processEvents()
        if callable(condition) and condition():
            return
        time.sleep(0.01)
    if callable(condition):
        raise TimeoutError(f"Still not ready after {timeout:.0f} s.")


class Window:
    """A tool in a window of the right size, with mouse and keys."""

    def __init__(self, open_tool: Callable[..., object], *arguments: object, **options: object) -> None:
        self.viewer = open_tool(*arguments, model_type="nano_lm", return_viewer=True, **options)
        self.tool = get_annotator(self.viewer)
        window = self.viewer.window._qt_window
        window.setGeometry(0, 0, *WINDOW)
        window.activateWindow()
        wait(lambda: self.tool.session is not None and self.tool.session.model.embeddings is not None)
        self.idle()

    @property
    def canvas(self):
        """The Qt widget that shows the image."""
        return self.viewer.window._qt_viewer.canvas.native

    def idle(self) -> None:
        """Until nothing is computed."""
        tool = self.tool
        parts = [part for part in (tool.engine, tool.preview, tool.automatic, getattr(tool, "whole", None)) if part]
        wait(0.3)
        wait(lambda: tool.jobs.running() is None and not any(part.busy for part in parts))
        wait(0.3)

    def place(self, position: tuple[int, ...]) -> QPoint:
        """Where a pixel of the image is on the canvas; in a stack the slice is shown."""
        if len(position) == 3:
            self.tool.actions.go_to_slice(position[0])
            wait(0.1)
        node = self.viewer.window._qt_viewer.canvas.layer_to_visual[self.viewer.layers["prompts"]].node
        transform = node.transforms.get_transform("visual", "canvas")
        displayed = list(self.viewer.dims.displayed)
        x, y = transform.map(np.array([position[axis] for axis in displayed][::-1], float))[:2]
        return QPoint(round(float(x)), round(float(y)))

    def click(self, *position: int) -> None:
        """Click at (y, x), or (z, y, x)."""
        point = self.place(position)
        QTest.mouseMove(self.canvas, point)
        wait(0.1)
        QTest.mouseClick(self.canvas, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, point)
        self.idle()

    def drag(self, start: tuple[int, ...], stop: tuple[int, ...]) -> None:
        """Drag from one pixel to another."""
        a, b = self.place(start), self.place(stop)
        left, none = Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
        QTest.mousePress(self.canvas, left, none, a)
        for step in range(1, 9):
            QTest.mouseMove(self.canvas, a + (b - a) * (step / 8))
            wait(0.03)
        QTest.mouseRelease(self.canvas, left, none, b)
        self.idle()

    def key(self, letter: str) -> None:
        """Press a key."""
        self.canvas.setFocus()
        QTest.keyClick(self.canvas, letter)
        self.idle()

    def show_panel(self, widget) -> None:
        """Scroll the dock to a widget."""
        parent = widget.parentWidget()
        while parent is not None and not isinstance(parent, QScrollArea):
            parent = parent.parentWidget()
        if parent is not None:
            parent.ensureWidgetVisible(widget)
        wait(0.2)

    def save(self, name: str) -> None:
        """Save the window as a small png."""
        wait(0.5)
        picture = Image.fromarray(self.viewer.screenshot(canvas_only=False, flash=False)[..., :3])
        picture = picture.resize((WIDTH, round(WIDTH * picture.height / picture.width)), Image.Resampling.LANCZOS)
        IMAGES.mkdir(exist_ok=True)
        path = IMAGES / f"{name}.png"
        for colours in (256, 192, 128, 96, 64):
            few = picture.quantize(colours, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
            few.save(path, optimize=True)
            if path.stat().st_size < LARGEST:
                break
        print(f"{path}  {path.stat().st_size // 1000} kB")

    def close(self) -> None:
        """Close without being asked."""
        self.tool.saving.unsaved = False
        self.viewer.close()
        wait(0.3)


def middle(labels: np.ndarray, label: int, index: int | None = None) -> tuple[int, ...]:
    """A pixel in the middle of an object of the ground truth, in its middle slice or in slice `index`."""
    where = np.argwhere(labels == label)
    if index is None:
        index = int(np.median(where[:, 0]))
    y, x = np.median(where[where[:, 0] == index][:, 1:], axis=0)
    return index, int(y), int(x)


def start_2d() -> None:
    """The window that ``micro_sam.annotator_2d -i sample:coins -m nano_lm`` opens, and the first object."""
    window = Window(annotator_2d, "sample:coins")
    for place in ((47, 163), (120, 54), (122, 111)):
        window.click(*place)
        window.key("c")
    window.click(50, 50)
    window.save("2d_click")
    window.key("c")
    window.tool.actions.segment_all()
    window.idle()
    window.save("2d_all")
    window.tool.actions.draw_region_box()
    window.drag((84, 70), (222, 250))
    wait(0.5)
    window.tool.actions.segment_all()
    window.idle()
    window.save("2d_region")
    window.close()


def nuclei() -> None:
    """All nuclei of one slice."""
    window = Window(annotator_2d, open_sample("nuclei_volume").image[15])
    window.tool.actions.segment_all()
    window.idle()
    window.save("2d_nuclei")
    window.close()


def volume() -> None:
    """A click in one slice gives the whole nucleus."""
    labels = open_sample("nuclei_volume").labels
    assert labels is not None
    sizes = np.bincount(labels.ravel())[1:]
    largest = [int(label) + 1 for label in np.argsort(-sizes)[:4]]
    window = Window(annotator_3d, "sample:nuclei_volume", embedding_path=EMBEDDINGS / "volume.zarr")
    for label in largest[1:]:
        window.click(*middle(labels, label))
        window.key("v")
        window.key("c")
    window.click(*middle(labels, largest[0]))
    window.key("v")
    window.save("3d_object")
    get_annotator(window.viewer).actions.show_sections(True)
    wait(2)
    window.save("3d_sections")
    get_annotator(window.viewer).actions.show_sections(False)
    window.key("c")
    window.viewer.dims.ndisplay = 3
    window.viewer.layers["committed_objects"].visible = True
    camera_of(window.viewer).angles = (10, 25, 60)
    window.save("3d_view")
    window.close()


def tracking() -> None:
    """A nucleus, its division and its daughters."""
    sample = open_sample("dividing_cells")
    labels, rows = sample.labels, sample.tracks
    assert labels is not None
    mother = next(row for row in rows if any(other.parent == row.track_id for other in rows))
    daughters = [row for row in rows if row.parent == mother.track_id]
    window = Window(annotator_tracking, "sample:dividing_cells", embedding_path=EMBEDDINGS / "movie.zarr")
    window.click(*middle(labels, mother.track_id, mother.start))
    window.key("d")
    window.click(*middle(labels, mother.track_id, mother.end))
    window.click(*middle(labels, daughters[0].track_id, daughters[0].start))
    window.key("e")
    window.click(*middle(labels, daughters[1].track_id, daughters[1].start))
    window.save("tracking_division")
    window.key("v")
    window.save("tracking_tracks")
    window.key("c")
    window.save("tracking_committed")
    window.close()


def series() -> None:
    """A folder of images, one after the other."""
    with tempfile.TemporaryDirectory() as folder:
        images, objects = Path(folder) / "images", Path(folder) / "objects"
        images.mkdir()
        for name in ("coins", "cell"):
            imageio.imwrite(images / f"{name}.png", open_sample(name).image)
        window = Window(image_folder_annotator, str(images), str(objects))
        window.tool.actions.segment_all()
        window.idle()
        window.key("c")
        window.save("series")
        window.close()


def objects() -> None:
    """The table of objects, classes, a review, and objects like the selected ones."""
    window = Window(annotator_2d, "sample:coins")
    window.tool.actions.segment_all()
    window.idle()
    window.key("c")
    session, actions = window.tool.session, window.tool.actions
    by_size = sorted(session.objects, key=lambda i: session.objects[i].area)
    for number, name, ids in ((1, "large", by_size[len(by_size) // 2 :]), (2, "small", by_size[: len(by_size) // 2])):
        actions.select(ids)
        actions.set_class(number)
        actions.define_class(number, name=name)
    actions.set_by_class(True)
    actions.select([])
    actions.toggle_table()
    window.idle()
    wait(1)
    window.save("2d_table")
    actions.toggle_table()
    window.key("w")
    window.save("2d_review")
    window.close()
    window = Window(annotator_2d, "sample:coins")
    for place in ((50, 50), (47, 163)):
        window.click(*place)
        window.key("c")
    window.tool.actions.select(list(window.tool.session.objects))
    window.tool.actions.find_similar()
    window.idle()
    wait(1)
    window.save("2d_similar")
    window.close()


def welcome() -> None:
    """The empty window."""
    viewer = annotator_2d(return_viewer=True, model_type="nano_lm")
    window = object.__new__(Window)
    window.viewer, window.tool = viewer, get_annotator(viewer)
    viewer.window._qt_window.setGeometry(0, 0, *WINDOW)
    wait(1.0)
    window.save("welcome")
    viewer.close()


PICTURES = (start_2d, nuclei, volume, tracking, series, objects, welcome)


def main() -> None:
    """Make the pictures whose function is named, or all."""
    EMBEDDINGS.mkdir(exist_ok=True)
    os.environ["MICROSAM_CACHEDIR"] = str(EMBEDDINGS / "cache")  # objects that are not saved are kept there
    names = sys.argv[1:] or [make.__name__ for make in PICTURES]
    for make in PICTURES:
        if make.__name__ in names:
            make()


if __name__ == "__main__":
    main()
