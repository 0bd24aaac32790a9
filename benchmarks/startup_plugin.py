"""What startup.py starts: a napari that is open, with PyTorch imported, into which the plugin's 2D tool is docked.

Prints JSON: processor seconds of the window's thread until the tool is seen (its first painting), and until its image
is opened and its layers are there. The argument is the image, a .npy file; without one napari is empty.
"""

import json
import sys
import time

import napari
import numpy as np
from qtpy.QtCore import QEvent, QObject
from qtpy.QtWidgets import QApplication

SETTLE = 1.0  # seconds in which napari finishes with its own start


def process(seconds: float) -> None:
    """Let the window live."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        QApplication.processEvents()
        time.sleep(0.005)


class FirstPaint(QObject):
    """When a widget is painted for the first time."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: float | None = None

    def eventFilter(self, widget: QObject | None, event: QEvent | None) -> bool:
        """See Qt."""
        if self.seen is None and event is not None and event.type() == QEvent.Type.Paint:
            self.seen = time.thread_time()
        return False


def main() -> None:
    """Open napari, dock the tool, print."""
    viewer = napari.Viewer()
    if len(sys.argv) > 1:
        viewer.add_image(np.load(sys.argv[1]))
    process(SETTLE)
    import torch  # noqa: F401 -- as a plugin of a napari in which it was used before

    process(SETTLE)
    began = time.thread_time()
    _, widget = viewer.window.add_plugin_dock_widget("micro_sam", "2D annotator")
    first = FirstPaint()
    widget.annotator.dock.installEventFilter(first)
    while first.seen is None or (len(sys.argv) > 1 and widget.annotator.session is None):
        process(0.01)
    opened = time.thread_time()
    print(json.dumps({"seen": first.seen - began, "opened": opened - began}), flush=True)
    viewer.close()


if __name__ == "__main__":
    main()
