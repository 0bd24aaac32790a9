"""Drives a real window: mouse, keys, waiting, screenshots.

Mouse and keys are real X events through xdotool where it is installed, and Qt events to the canvas elsewhere.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Callable

import numpy as np
from qtpy.QtCore import QEvent, QObject, QPoint, QPointF, Qt, QTimer
from qtpy.QtGui import QCursor, QWheelEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QScrollArea

REAL = shutil.which("xdotool") is not None and bool(os.environ.get("DISPLAY"))
KEYS = {
    "ctrl+z": (Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier),
    "ctrl+shift+z": (Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier | Qt.KeyboardModifier.ShiftModifier),
    "shift+d": (Qt.Key.Key_D, Qt.KeyboardModifier.ShiftModifier),
    "shift+c": (Qt.Key.Key_C, Qt.KeyboardModifier.ShiftModifier),
    "ctrl+y": (Qt.Key.Key_Y, Qt.KeyboardModifier.ControlModifier),
    "ctrl+g": (Qt.Key.Key_G, Qt.KeyboardModifier.ControlModifier),
    "ctrl+r": (Qt.Key.Key_R, Qt.KeyboardModifier.ControlModifier),
}


def process(seconds: float = 0.1) -> None:
    """Let the window live for a while."""
    end = time.monotonic() + seconds
    while True:
        QApplication.processEvents()
        if time.monotonic() >= end:
            return
        time.sleep(0.004)


def wait_until(condition: Callable[[], bool], timeout: float = 180.0) -> bool:
    """Let the window live until something is the case; False when it takes too long, even on a busy machine."""
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        process(0.02)
        if condition():
            return True
    return False


def wait_idle(tool, timeout: float = 180.0) -> None:
    """Until nothing runs in the background of a tool."""

    def idle() -> bool:
        if tool.volume is not None and tool.volume.whole.busy:
            return False
        return tool.jobs.running() is None and not tool.preview.busy and not tool.automatic.busy

    assert wait_until(idle, timeout), f"still running after {timeout} s: {tool.status.text}"
    process(0.05)


def dock_tool(viewer, entry: str = "2D annotator"):
    """Open a tool of the Plugins menu with an image that is there; returns its dock and widget."""
    dock, widget = viewer.window.add_plugin_dock_widget("micro_sam", entry)
    assert wait_until(lambda: widget.annotator.session is not None), widget.annotator.status.text
    return dock, widget


@contextlib.contextmanager
def window_manager():
    """Start openbox when no window manager is there (a bare xvfb)."""
    manager = None
    if REAL and shutil.which("openbox") and os.environ.get("MICRO_SAM_TEST_WM", "1") == "1":
        manager = subprocess.Popen(["openbox"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(0.5)  # if another one is there, it ends by itself
    try:
        yield
    finally:
        if manager is not None and manager.poll() is None:
            manager.terminate()
            manager.wait(5)


def place(viewer) -> None:
    """Give the window a size, and the keyboard."""
    window = viewer.window._qt_window
    window.showNormal()
    window.setGeometry(0, 24, 1200, 760)
    activate(viewer)


def activate(viewer) -> None:
    """Give a window the keyboard, as a click on its title would."""
    window = viewer.window._qt_window
    window.show()
    window.raise_()
    window.activateWindow()
    canvas(viewer).setFocus()
    wait_until(lambda: window.isActiveWindow(), 2)
    process(0.2)


def canvas(viewer):
    """The Qt widget that shows the image."""
    return viewer.window._qt_viewer.canvas.native


def canvas_point(viewer, layer, position) -> QPoint:
    """Where a position (in pixels of a layer) is on the canvas."""
    displayed = list(viewer.dims.displayed)
    node = viewer.window._qt_viewer.canvas.layer_to_visual[layer].node
    transform = node.transforms.get_transform("visual", "canvas")
    x, y = transform.map(np.array([position[axis] for axis in displayed][::-1], dtype=float))[:2]
    return QPoint(round(float(x)), round(float(y)))


def click(tool, position, *, viewer=None) -> None:
    """Click into the image at a position (y, x) in its pixels."""
    viewer = viewer or tool.viewer
    point = canvas_point(viewer, tool.layers.points.layer, position)
    press(canvas(viewer), point)


def press(widget, point: QPoint | None = None) -> None:
    """Click on a widget, which is brought into sight where it scrolls."""
    _bring_into_sight(widget)
    point = point if point is not None else QPoint(widget.width() // 2, widget.height() // 2)
    if REAL:
        # a line of the status that comes or goes moves what lies below it, and the mouse would meet something else
        wait_until(lambda: _rests(widget), 10)
        _move_to(widget, point)
        for _ in range(5):
            if widget.mapFromGlobal(QCursor.pos()) == point:
                break
            _move_to(widget, point)
        with _heard(QEvent.Type.MouseButtonRelease):
            _xdo("mousedown", 1)
            process(0.05)
            _xdo("mouseup", 1)
    else:
        QTest.mouseMove(widget, point)
        process(0.03)
        modifier = Qt.KeyboardModifier.ControlModifier if _held else Qt.KeyboardModifier.NoModifier
        QTest.mouseClick(widget, Qt.MouseButton.LeftButton, modifier, point)
    process(0.15)


def _rests(widget, seconds: float = 0.1) -> bool:
    """Whether a widget stays where it is for a moment."""
    before = widget.mapToGlobal(QPoint(0, 0))
    process(seconds)
    return widget.mapToGlobal(QPoint(0, 0)) == before


@contextlib.contextmanager
def camera_kept(tool):
    """Afterwards the camera is where it was: what goes to an object moves it, and a shared window keeps that."""
    from micro_sam.sam_annotator.view.camera import camera_of

    camera = camera_of(tool.viewer)
    centre, zoom = tuple(camera.center), camera.zoom
    try:
        yield
    finally:
        camera.center, camera.zoom = centre, zoom
        process(0.1)


_held: list[str] = []


@contextlib.contextmanager
def ctrl_held():
    """Meanwhile the Ctrl key is down."""
    _held.append("ctrl")
    if REAL:
        _xdo("keydown", "ctrl")
    try:
        yield
    finally:
        _held.pop()
        if REAL:
            _xdo("keyup", "ctrl")
        process(0.1)


def write(widget, text: str) -> None:
    """Click into a field, type a text in place of what is there, and press Enter."""
    press(widget)
    if REAL:
        _xdo("key", "--clearmodifiers", "ctrl+a", "Delete")
        if text:
            _xdo("type", "--delay", "15", text)
        entered: list[bool] = []
        connection = widget.returnPressed.connect(lambda: entered.append(True))
        _xdo("key", "--clearmodifiers", "Return")
        wait_until(lambda: bool(entered), 5)
        widget.returnPressed.disconnect(connection)
    else:
        widget.selectAll()
        QTest.keyClick(widget, Qt.Key.Key_Delete)
        QTest.keyClicks(widget, text)
        QTest.keyClick(widget, Qt.Key.Key_Return)
    process(0.3)


def _bring_into_sight(widget) -> None:
    parent = widget.parentWidget()
    while parent is not None:
        if isinstance(parent, QScrollArea):
            parent.ensureWidgetVisible(widget)
            process(0.05)
        parent = parent.parentWidget()


def drag(tool, start, stop, steps: int = 6) -> None:
    """Drag with the left button, positions (y, x) in pixels of the image; no double click with a click just before."""
    process(QApplication.doubleClickInterval() / 1000)
    viewer, layer, widget = tool.viewer, tool.layers.points.layer, canvas(tool.viewer)
    a, b = canvas_point(viewer, layer, start), canvas_point(viewer, layer, stop)
    path = [a + (b - a) * (step / steps) for step in range(1, steps + 1)]
    if REAL:
        _move_to(widget, a)
        _xdo("mousedown", 1)
        process(0.05)
        for point in path:
            _move_to(widget, point)
        with _heard(QEvent.Type.MouseButtonRelease):
            _xdo("mouseup", 1)
    else:
        QTest.mousePress(widget, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, a)
        for point in path:
            QTest.mouseMove(widget, point)
            process(0.03)
        QTest.mouseRelease(widget, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, b)
    process(0.2)


def wheel(widget, steps: int = 1) -> None:
    """Turn the mouse wheel over the middle of a widget; down where `steps` are negative."""
    point = QPoint(widget.width() // 2, widget.height() // 2)
    for _ in range(abs(steps)):
        if REAL:
            _move_to(widget, point)
            with _heard(QEvent.Type.Wheel):
                _xdo("click", 4 if steps > 0 else 5)
        else:
            angle = QPoint(0, 120 if steps > 0 else -120)
            buttons, modifiers = Qt.MouseButton.NoButton, Qt.KeyboardModifier.NoModifier
            place, phase = QPointF(point), Qt.ScrollPhase.NoScrollPhase
            everywhere = QPointF(widget.mapToGlobal(point))
            turned = QWheelEvent(place, everywhere, QPoint(), angle, buttons, modifiers, phase, False)
            QApplication.sendEvent(widget, turned)
    process(0.1)


def key(viewer, name: str) -> None:
    """Press a key or combination: ``"s"``, ``"shift+c"``, ``"ctrl+z"``."""
    if REAL:
        if not viewer.window._qt_window.isActiveWindow():
            activate(viewer)
        with _heard(QEvent.Type.KeyRelease):
            _xdo("key", "--clearmodifiers", name)
    else:
        code, modifiers = KEYS.get(name, (getattr(Qt.Key, f"Key_{name.upper()}", None), Qt.KeyboardModifier.NoModifier))
        QTest.keyClick(QApplication.focusWidget() or canvas(viewer), code, modifiers)
    process(0.2)


def reset(tool, image) -> None:
    """Put a tool that is open back to its beginning, with the model it has."""
    wait_idle(tool)
    tool.state.live, tool.state.batched = True, False
    tool.state.preserve = "pixels"
    tool.open(image)
    assert wait_until(lambda: not tool.engine.busy and tool.session.model.embeddings is not None), tool.status.text
    wait_idle(tool)
    canvas(tool.viewer).setFocus()
    process(0.1)


def close(viewer) -> None:
    """Close a window, unless it is closed already, without being asked anything."""
    try:
        is_open = viewer.window._qt_window.isVisible()
    except (RuntimeError, AttributeError):  # Qt deleted it
        is_open = False
    if is_open:
        viewer.close()
    process(0.2)


class Dialogs:
    """Answers modal dialogs as the test said before; one that nobody expects is refused, and remembered.

    A dialog runs an event loop of its own inside the call that opened it, so a test cannot answer it afterwards, and
    one that nobody answers would hang the whole run.
    """

    def __init__(self) -> None:
        self.unexpected: list[str] = []
        self._answers: list[tuple[str, list | None]] = []
        self._timer = QTimer()
        self._timer.setInterval(100)
        self._timer.timeout.connect(self._look)
        self._timer.start()

    def stop(self) -> None:
        """Look at dialogs no more."""
        self._timer.stop()

    def expect(self, button_text: str, seen: list | None) -> None:
        """Press this button of the next dialog."""
        self._answers.append((button_text, seen))

    def _look(self) -> None:
        dialog = QApplication.activeModalWidget()
        if dialog is None or not dialog.isVisible() or self is not _dialogs[-1]:
            return
        text = dialog.text() if hasattr(dialog, "text") else dialog.windowTitle()
        button_text, seen = self._answers.pop(0) if self._answers else (None, self.unexpected)
        if seen is not None:
            seen.append(text)
        for button in dialog.buttons() if hasattr(dialog, "buttons") else []:
            if button.text().replace("&", "") == button_text:
                button.click()
                return
        dialog.reject()


_dialogs: list[Dialogs] = []


@contextlib.contextmanager
def dialogs_answered():
    """While a test runs, its dialogs are answered; those it did not expect are its error."""
    dialogs = Dialogs()
    _dialogs.append(dialogs)
    try:
        yield
    finally:
        dialogs.stop()
        _dialogs.remove(dialogs)
    assert not dialogs.unexpected, f"Dialogs that nobody answered: {dialogs.unexpected}"


def answer(button_text: str, seen: list | None = None) -> None:
    """Press a button of the next modal dialog; its text is appended to `seen`."""
    _dialogs[-1].expect(button_text, seen)


class Heartbeat:
    """Measures how long the window did not live: the longest pause between two beats of 20 ms.

    Time in which the window could have gone on, but other work had the processor, does not count (where the system
    tells it, as Linux does): a busy machine says nothing about the window.
    """

    def __init__(self) -> None:
        self.beats: list[tuple[float, float, float]] = []
        self._timer = QTimer()
        self._timer.setInterval(20)
        self._timer.timeout.connect(self._beat)

    def __enter__(self) -> Heartbeat:
        self.beats = []
        self._beat()
        self._timer.start()
        return self

    def __exit__(self, *_) -> None:
        self._timer.stop()
        self._beat()

    def _beat(self) -> None:
        self.beats.append((time.monotonic(), _seconds_without_processor(), time.thread_time()))

    @property
    def longest(self) -> float:
        """Seconds."""
        clock, waited, _ = np.diff(np.array(self.beats), axis=0).T
        return float((clock - waited).max())

    @property
    def busiest(self) -> float:
        """Seconds that the window's thread computed in one pause at most, without what it waited for others."""
        return float(np.diff([computed for _, _, computed in self.beats]).max())


def _seconds_without_processor() -> float:
    """How long this thread was ready to run but did not, in all; 0 where the system does not count it."""
    try:
        with open("/proc/thread-self/schedstat") as file:
            return int(file.read().split()[1]) / 1e9
    except OSError:
        return 0.0


def screenshot(path) -> None:
    """The whole screen as png, for people."""
    if shutil.which("import"):
        subprocess.run(["import", "-window", "root", str(path)], check=False)


def _move_to(widget, point: QPoint) -> None:
    place_on_screen, ratio = widget.mapToGlobal(point), widget.devicePixelRatioF()
    # Not with --sync: xdotool then waits 15 s for a movement when the mouse is there already.
    _xdo("mousemove", int(place_on_screen.x() * ratio), int(place_on_screen.y() * ratio))
    wait_until(lambda: QCursor.pos() == place_on_screen, 5)
    process(0.05)


class _Ear(QObject):
    """Counts the events of one kind that reach the program."""

    def __init__(self, kind: QEvent.Type) -> None:
        super().__init__()
        self.kind, self.count = kind, 0

    def eventFilter(self, _watched: QObject, event: QEvent) -> bool:
        if event.type() == self.kind:
            self.count += 1
        return False


@contextlib.contextmanager
def _heard(kind: QEvent.Type, timeout: float = 5.0):
    """Wait until a real event has come through the X server: on a busy machine that takes a while."""
    application, ear = QApplication.instance(), _Ear(kind)
    application.installEventFilter(ear)
    try:
        yield
        wait_until(lambda: ear.count > 0, timeout)
    finally:
        application.removeEventFilter(ear)


def _xdo(*args) -> None:
    subprocess.run(["xdotool", *map(str, args)], check=True, timeout=20)


def close_by_hand(viewer) -> None:
    """Close the window as its cross does: Qt marks the close event as spontaneous."""
    window = viewer.window._qt_window
    if REAL:
        activate(viewer)
        _xdo("key", "alt+F4")
    else:
        from qtpy.QtGui import QWindow

        handle: QWindow = window.windowHandle()
        handle.close()
    process(0.2)
