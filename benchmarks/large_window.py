"""A large image in a real window beside a small one: from the start of the process to the first mask, and a session.

    xvfb-run -a -s "-screen 0 1600x1000x24 -r" python benchmarks/large_window.py --sides 1000 20000 --runs 3 --story

Nothing is in a cache. Each start is a new process; sides take turns. The view goes to an object in the middle, which is
clicked as soon as the window is painted. ``--story``: in the largest image three corners are clicked and committed, one
object lies across tiles, one commit is undone and redone, all is saved, and a second start must find it.
``--stack``: in a stack an object at three quarters of its depth is clicked, committed, undone, redone and saved while
the other slices are embedded. Processor time says more than seconds on a machine that has other work. Images are those
of ``scale.py``.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from measuring import describe_machine

from micro_sam.sam_annotator.view.camera import camera_of

ROOT = Path(__file__).resolve().parents[1]
TIMEOUT = 240.0
NEAR = 40  # pixels around a click in which its mask is looked for
FROM_CORNER = 300


def main(arguments: list[str] | None = None) -> int:
    """Parse arguments, measure, print and write."""
    options = build_parser().parse_args(arguments)
    if options.child:
        return child(json.loads(options.child))
    from scale import SLICE, make_image

    report: dict = {**describe_machine("cpu"), "starts": {}}
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        images = {side: make_image(folder, (side, side), options.format) for side in options.sides}
        for _ in range(options.runs):
            for side, path in images.items():
                found = start(path, folder, {"what": "first mask"})
                report["starts"].setdefault(side, []).append(found)
                print(side, json.dumps(found), flush=True)
        print(table(report["starts"]))
        if options.story:
            side = max(images)
            order = {"what": "story", "result": str(folder / "objects.ome.zarr"), "pictures": options.pictures}
            report["story"] = [start(images[side], folder, order | {"again": again}) for again in (False, True)]
            print(json.dumps(report["story"], indent=1))
        if options.stack:
            path = make_image(folder, (options.stack, SLICE, SLICE), "tif")
            order = {"what": "stack", "result": str(folder / "volume.tif"), "pictures": options.pictures}
            report["stack"] = start(path, folder, order)
            print(json.dumps(report["stack"], indent=1))
    if options.output is not None:
        options.output.write_text(json.dumps(report, indent=1))
    return 0


def build_parser() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sides", type=int, nargs="+", default=[1000, 20000], help="pixels (1000 20000)")
    parser.add_argument("--format", choices=("tif", "zarr"), default="tif")
    parser.add_argument("--runs", type=int, default=1, help="starts of each (1)")
    parser.add_argument("--story", action="store_true", help="also work in the largest image, and start again")
    parser.add_argument("--stack", type=int, help="slices of a stack that is annotated, too")
    parser.add_argument("--pictures", help="folder for screenshots of the story")
    parser.add_argument("--folder", type=Path, help="where the images lie for the time; the temporary folder")
    parser.add_argument("--output", type=Path, help="JSON file for the figures")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    return parser


def start(image: Path, folder: Path, order: dict) -> dict:
    """A new process that opens the image."""
    data = folder / "data"
    data.mkdir(exist_ok=True)
    own = {**os.environ, "PYTHONPATH": str(ROOT), "MICROSAM_CACHEDIR": str(data), "LIBGL_ALWAYS_SOFTWARE": "1"}
    order = order | {"image": str(image), "began": time.time()}
    call = [sys.executable, str(Path(__file__).resolve()), "--child", json.dumps(order)]
    run = subprocess.run(call, cwd=folder, env=own, capture_output=True, text=True, timeout=TIMEOUT)
    if run.returncode:
        raise RuntimeError(run.stderr.strip()[-2000:] or f"exit code {run.returncode}")
    return json.loads(run.stdout.strip().splitlines()[-1])


def table(starts: dict[int, list[dict]]) -> str:
    """Medians, and the last side by the first."""
    sides = list(starts)
    lines = ["| | " + " | ".join(map(str, sides)) + " | ratio |", "|---|" + "---|" * (len(sides) + 1)]
    for moment in ("window", "click", "mask"):
        for what, unit in (("seconds", "s"), ("cpu", "CPU s"), ("MB", "MB")):
            values = [statistics.median(run[moment][what] for run in starts[side]) for side in sides]
            cells = " | ".join(f"{value:.2f}" for value in values)
            lines.append(f"| {moment}, {unit} | {cells} | {values[-1] / values[0]:.2f} |")
    return "\n".join(lines)


def child(order: dict) -> int:
    """What the new process does; prints its figures and ends without closing the window."""
    sys.path.insert(0, str(ROOT / "test" / "window"))
    work = Window(order)
    stories = {"first mask": work.first_mask, "story": work.story, "stack": work.stack}
    found = stories[order["what"]](order)
    print(json.dumps(found), flush=True)
    os._exit(0)


class Window:
    """The 2D tool on an image, or the 3D tool on a stack."""

    def __init__(self, order: dict) -> None:
        from napari.qt import get_qapp
        from qtpy.QtCore import QEvent, QObject
        from qtpy.QtWidgets import QMainWindow

        self.began, self.painted = order["began"], None

        class FirstPaint(QObject):
            """Notes when the main window is painted for the first time."""

            def eventFilter(watcher, watched, event):
                if self.painted is None and event.type() == QEvent.Type.Paint and isinstance(watched, QMainWindow):
                    self.painted = self.now()
                return False

        self.application, watcher = get_qapp(), FirstPaint()
        self.application.installEventFilter(watcher)
        from driver import wait_until

        from micro_sam.sam_annotator import annotator_2d, annotator_3d, get_annotator

        again, open_tool = order.get("again", False), annotator_3d if order["what"] == "stack" else annotator_2d
        self.viewer = open_tool(order["image"], model_type="nano_lm", device="cpu", resume=again, return_viewer=True)
        if not wait_until(lambda: self.painted is not None, TIMEOUT):
            raise SystemExit("The window was never painted.")
        self.application.removeEventFilter(watcher)
        self.tool = get_annotator(self.viewer)

    def now(self) -> dict:
        """Seconds since the start of the process, its processor time, and its memory at most."""
        lines = Path("/proc/self/status").read_text().splitlines()
        peak = int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024
        return {"seconds": time.time() - self.began, "cpu": time.process_time(), "MB": peak}

    def object_near(self, y: int, x: int) -> tuple[int, int]:
        """The innermost pixel of the most compact coin around a place."""
        return self.innermost(max(self.coins(y, x), key=lambda one: one.solidity))

    def object_across_tiles(self) -> tuple[int, int]:
        """The innermost pixel of a coin that lies in two tiles, near the middle of the image."""
        from driver import wait_until

        assert wait_until(lambda: self.tool.engine.embeddings is not None, TIMEOUT)
        grid = self.tool.engine.embeddings.grid
        y, x = (size // 2 for size in self.tool.session.shape)
        for column in range(8):
            border = grid.tile_at(y, x + column * grid.tile_shape[1]).inner[1].stop
            for coin in self.coins(y, border):
                left, right = coin.origin[1] + coin.bbox[1], coin.origin[1] + coin.bbox[3]
                if left + 8 < border < right - 8:
                    return self.innermost(coin)
        raise SystemExit("No coin lies across tiles.")

    def coins(self, y: int, x: int) -> list:
        """The coins around a place, as scikit-image describes regions, with the `origin` of their part of the image."""
        from scipy import ndimage
        from skimage.measure import label, regionprops
        from skimage.segmentation import clear_border

        top, left = max(0, y - 300), max(0, x - 300)
        data, z = self.tool.state.image.data, self.tool.state.z
        part = (
            data[top : top + 600, left : left + 600] if data.ndim == 2 else data[z, top : top + 600, left : left + 600]
        )
        part = np.asarray(part, "float32")
        part = ndimage.gaussian_filter(part, 2)
        found = regionprops(clear_border(label(part - ndimage.gaussian_filter(part, 40) > 15)))
        for one in found:
            one.origin = (top, left)
        return [one for one in found if 800 < one.area < 8000]

    def plane(self):
        """The image, or the slice in view."""
        data = self.tool.state.image.data
        return data if data.ndim == 2 else data[self.tool.state.z]

    @staticmethod
    def innermost(coin) -> tuple[int, int]:
        """The pixel of a region that lies farthest from its border."""
        from scipy import ndimage

        depth = ndimage.distance_transform_edt(np.pad(coin.image, 1))
        row, column = np.unravel_index(depth.argmax(), depth.shape)
        return coin.origin[0] + coin.bbox[0] + int(row) - 1, coin.origin[1] + coin.bbox[1] + int(column) - 1

    def look_and_click(self, place: tuple[int, int]) -> None:
        """Bring a place into the middle at full resolution, and click it."""
        from driver import canvas, canvas_point, process
        from qtpy.QtCore import Qt
        from qtpy.QtTest import QTest

        points = self.tool.layers.points.layer
        camera_of(self.viewer).zoom = 1.0
        camera_of(self.viewer).center = tuple(points.data_to_world(place))[-2:]
        process(0.05)  # the canvas is drawn
        spot = canvas_point(self.viewer, points, place)
        QTest.mouseMove(canvas(self.viewer), spot)
        QTest.mouseClick(canvas(self.viewer), Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, spot)

    def wait_for_mask(self, place: tuple[int, int]) -> None:
        """Until the current object has pixels around a place."""
        around = (*place[:-2], *(slice(max(p - NEAR, 0), p + NEAR) for p in place[-2:]))
        end = time.monotonic() + TIMEOUT
        while not np.any(self.tool.session.current[around]):
            if time.monotonic() > end:
                raise SystemExit("No mask came.")
            self.application.processEvents()
            time.sleep(0.02)

    def first_mask(self, order: dict) -> dict:
        """An object in the middle."""
        place = self.object_near(*(size // 2 for size in self.tool.state.image.shape))
        self.look_and_click(place)
        clicked = self.now()
        self.wait_for_mask(place)
        return {"window": self.painted, "click": clicked, "mask": self.now()}

    def story(self, order: dict) -> dict:
        """Pan, click in three corners and across tiles, commit, undo, redo, save; or, at the second start, find it."""
        from driver import process, screenshot, wait_until

        from micro_sam.io.images import open_source

        session, result = self.tool.session, Path(order["result"])
        note = result.with_name("places.json")

        def picture(name: str) -> None:
            if order.get("pictures"):
                process(0.5)  # drawn
                screenshot(Path(order["pictures"]) / f"{name}.png")

        if order["again"]:
            places = [tuple(place) for place in json.loads(note.read_text())]
            assert wait_until(lambda: len(self.tool.session.objects) == len(places), 60), "objects are missing"
            session = self.tool.session
            self.look_at(places[2])
            picture("again")
            found = [int(session.committed[place]) for place in places]
            saved = open_source(result, as_labels=True).data
            stored = [int(saved[tuple(slice(p, p + 1) for p in place)].max()) for place in places]
            return {"again": self.now(), "objects": found, "saved": stored}
        height, width = session.shape
        corners = [(y, x) for y in (FROM_CORNER, height - FROM_CORNER) for x in (FROM_CORNER, width - FROM_CORNER)]
        places, seconds = [], []
        self.pan()
        for number, corner in enumerate([*corners[1:], None]):
            place = self.object_across_tiles() if corner is None else self.object_near(*corner)
            before = time.process_time()
            self.look_and_click(place)
            self.wait_for_mask(place)
            seconds.append(round(time.process_time() - before, 2))
            picture(f"clicked_{number}")
            self.press("c", lambda: len(session.objects) == number + 1)  # noqa: B023
            places.append(place)
        self.press("ctrl+z", lambda: len(session.objects) == 3)
        self.press("ctrl+shift+z", lambda: len(session.objects) == 4)
        picture("committed")
        before = time.process_time(), time.time()
        self.tool.actions.save(result)
        held_up = round(time.time() - before[1], 3)
        assert wait_until(lambda: not self.tool.saving.unsaved, TIMEOUT)
        saving = [round(time.process_time() - before[0], 2), round(time.time() - before[1], 2)]
        note.write_text(json.dumps(places))
        return {
            "CPU and seconds of saving": saving,
            "seconds that it holds the window up": held_up,
            "CPU of each click": seconds,
            "tiles computed": self.tool.engine.computed,
            "saved": self.now(),
        }

    def stack(self, order: dict) -> dict:
        """An object at three quarters of the depth, while the other slices are embedded."""
        from driver import process, screenshot, wait_until

        session = self.tool.session
        z = 3 * session.shape[0] // 4
        self.tool.actions.go_to_slice(z)
        process(0.3)
        place = (z, *self.object_near(*(size // 2 for size in session.shape[1:])))
        before = time.process_time()
        self.look_and_click(place)
        self.wait_for_mask(place)
        mask, embedded = time.process_time() - before, self.tool.engine.computed
        if order.get("pictures"):
            process(0.5)
            screenshot(Path(order["pictures"]) / "stack.png")
        self.press("c", lambda: len(session.objects) == 1)
        self.press("ctrl+z", lambda: len(session.objects) == 0)
        self.press("ctrl+shift+z", lambda: len(session.objects) == 1)
        self.tool.actions.save(Path(order["result"]))
        assert wait_until(lambda: not self.tool.saving.unsaved, TIMEOUT)
        saved = {"slices embedded when saved": self.tool.engine.computed, "of": session.shape[0]}
        return {"slice": z, "CPU of the click": mask, "slices embedded with the mask": embedded, **saved, **self.now()}

    def look_at(self, place: tuple[int, int]) -> None:
        """Bring a place into the middle."""
        from driver import process

        camera_of(self.viewer).zoom = 1.0
        camera_of(self.viewer).center = tuple(self.tool.layers.raw.data_to_world(place))
        process(0.3)

    def pan(self) -> None:
        """Move the image by dragging it."""
        from driver import drag

        layer = self.tool.layers.points.layer
        mode, layer.mode = str(layer.mode), "pan_zoom"
        before = tuple(camera_of(self.viewer).center)
        middle = np.array(self.tool.session.shape) // 2
        drag(self.tool, tuple(middle), tuple(middle + np.array(self.tool.session.shape) // 10))
        assert tuple(camera_of(self.viewer).center) != before, "the image did not move"
        layer.mode = mode

    def press(self, key: str, done: Callable[[], bool]) -> None:
        """Press a key, and wait for what it does."""
        from driver import key as press
        from driver import wait_until

        press(self.viewer, key)
        assert wait_until(done, TIMEOUT), f"{key}: {self.tool.status.text}"


if __name__ == "__main__":
    sys.exit(main())
