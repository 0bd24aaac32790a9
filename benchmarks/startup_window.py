"""One start of the 2D annotator in a real window, until the first mask: ours or micro-sam 1.8, whichever is installed.

Called by ``startup.py``, in a new process for every start, with the Python of the program that is measured:

    PYTHON startup_window.py JSON

The argument holds the image (.npy), the model (null: napari's window with the image, nothing more), a checkpoint or
null, the key that segments after a click or null, the time at which the process was started, and where to click
(y, x; without it in the middle). The last line on stdout is JSON: seconds from there to the first paint of the window,
to the click and to the first mask, with the processor time and the memory until then, those of processes that it has
started included. Only the function ``annotator_2d`` and the names of two layers are used, which both programs have.
"""

import json
import os
import re
import sys
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "test" / "window"))  # clicks as in the tests of the window

TIMEOUT = 3600.0
NEAR = 20  # pixels between the click and where it was meant, at most; a mask is looked for so far around it


def peak_memory() -> float | None:
    """GB that this process and its own held at most; None where unknown. ru_maxrss would begin with the parent's."""
    try:
        texts = [(folder / "status").read_text() for folder in [Path("/proc/self"), *processes()]]
    except OSError:
        return None
    return sum(int(re.findall(r"VmHWM:\s*(\d+)", text)[0]) for text in texts) / 2**20


def processor_time() -> float:
    """Seconds of this process and of those that it has started."""
    ticks = [sum(map(int, (folder / "stat").read_text().rpartition(")")[2].split()[11:13])) for folder in processes()]
    return time.process_time() + sum(ticks) / os.sysconf("SC_CLK_TCK")


def processes() -> list[Path]:
    """Folders in /proc of the processes that this one has started and that have not ended (Linux)."""
    lists = [path.read_text() for path in Path("/proc/self/task").glob("*/children")]
    return [Path("/proc") / number for text in lists for number in text.split()]


def main(order: dict) -> dict:
    """Open the window, click, wait for the mask."""
    image = np.load(order["image"])
    import napari

    if order["model"] is not None:
        from micro_sam.sam_annotator import annotator_2d
    from driver import canvas, canvas_point, process, wait_until
    from napari.qt import get_qapp
    from qtpy.QtCore import QEvent, QObject, Qt
    from qtpy.QtTest import QTest
    from qtpy.QtWidgets import QMainWindow

    def now() -> dict:
        return {"seconds": time.time() - order["began"], "cpu": processor_time(), "GB": peak_memory()}

    class FirstPaint(QObject):
        """Notes when the main window is painted for the first time, wherever in the program that happens."""

        seen = None

        def eventFilter(self, watched, event):
            if self.seen is None and event.type() == QEvent.Type.Paint and isinstance(watched, QMainWindow):
                self.seen = now()
            return False

    application, paint = get_qapp(), FirstPaint()
    application.installEventFilter(paint)
    if order["model"] is None:
        viewer = napari.Viewer()
        viewer.add_image(image)
    else:
        settings = {} if order["checkpoint"] is None else {"checkpoint_path": order["checkpoint"]}
        viewer = annotator_2d(image, model_type=order["model"], device="cpu", return_viewer=True, **settings)
    if not wait_until(lambda: paint.seen is not None, TIMEOUT):
        raise SystemExit("The window was never painted.")
    application.removeEventFilter(paint)
    if order["model"] is None:
        return {"window": paint.seen}

    points = next(layer for layer in viewer.layers if isinstance(layer, napari.layers.Points))
    in_hand = viewer.layers.selection.active is points and str(points.mode) == "add"
    if not in_hand:  # a user would choose the layer and its mode
        viewer.layers.selection.active = points
        points.mode = "add"
    position = order.get("position") or [n // 2 for n in image.shape[:2]]
    if order.get("position") is not None:
        process(1.0)  # until the canvas has its size: beside the middle, a place on it depends on that
    place = canvas_point(viewer, points, position)
    QTest.mouseMove(canvas(viewer), place)
    QTest.mouseClick(canvas(viewer), Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, place)
    clicked = now()
    if len(points.data) != 1 or np.abs(points.data[0] - position).max() > NEAR:
        raise SystemExit(f"The click made {len(points.data)} points, {points.data.tolist()} instead of {position}.")
    if order["key"] is not None:  # where a click alone segments nothing
        QTest.keyClick(canvas(viewer), order["key"])
    around = tuple(slice(max(p - NEAR, 0), p + NEAR) for p in position)  # all of a large image would take its time
    end = time.monotonic() + TIMEOUT
    while not np.any(viewer.layers["current_object"].data[around]):
        if time.monotonic() > end:
            raise SystemExit("No mask came.")
        application.processEvents()
        time.sleep(0.02)  # looking all the time would cost more than the click
    return {"window": paint.seen, "click": clicked, "mask": now(), "point tool in hand": in_hand}


if __name__ == "__main__":
    measured = main(json.loads(sys.argv[1]))
    print(json.dumps({"version": version("micro_sam"), "napari": version("napari"), **measured}), flush=True)
    os._exit(0)  # closing the window is not measured, and may ask something
