"""The window around the image: as large as the screen, or as the user left it; napari's own panels are hidden."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import napari
from qtpy.QtCore import QEvent, QEventLoop, QObject, QSettings, Qt
from qtpy.QtWidgets import QApplication, QLabel, QWidget

from micro_sam.models.cache import get_cache_directory
from micro_sam.sam_annotator.runtime.garbage import no_collection

FILE = "window.ini"
GEOMETRY = "geometry"
CARD = "first_card_was_read"


def open_viewer(title: str) -> napari.Viewer:
    """A viewer in a window of our own: maximised the first time, later as large as it was when it was closed.

    Parameters
    ----------
    title
        Of the window.
    """
    _outlive_exceptions()
    with no_collection():  # it imports most of napari
        viewer = napari.Viewer(title=title, show=False)
    window = viewer.window._qt_window
    show_napari_panels(viewer, False)
    qt_viewer = viewer.window._qt_viewer  # napari's welcome names keys and menus of its own
    qt_viewer._show_welcome_screen = False
    qt_viewer._welcome_widget.set_welcome_visible(False)
    viewer.window.show()  # in the size of napari's last window
    geometry = _settings().value(GEOMETRY)
    if geometry is None or not window.restoreGeometry(geometry):
        window.showMaximized()
    window.installEventFilter(_Keeper(viewer))
    # the window is seen at once; tools and layers take another second
    QApplication.processEvents(QEventLoop.ProcessEventsFlag.ExcludeUserInputEvents)
    return viewer


def _outlive_exceptions() -> None:
    """Have an exception that a slot lets out printed: while Python's own hook is there, PyQt6 ends the process for it.

    napari's event loop has a hook of its own; a script that runs another one has none.
    """
    if sys.excepthook is sys.__excepthook__:
        sys.excepthook = lambda kind, error, trace: sys.__excepthook__(kind, error, trace)


def kept_with(viewer: napari.Viewer, name: str) -> list[Any]:
    """A list that lives as long as the window of a viewer; what is kept elsewhere would keep a closed window."""
    kept: list[Any] = viewer.window._qt_window.__dict__.setdefault(f"_micro_sam_{name}", [])
    return kept


def intercept(viewer: napari.Viewer, target: Any, name: str, handler: Callable[..., Any]) -> Callable[[], None]:
    """Have a handler called in place of a method of napari's window; several tools may do so, and end in any order.

    Parameters
    ----------
    viewer
        Whose window it is.
    target, name
        The object and its method.
    handler
        Called with what would have been called before it (the handler of an older tool, at last napari's method),
        then with the arguments.

    Returns
    -------
    callable
        Takes the handler away again.
    """
    handlers = kept_with(viewer, f"handlers_of_{name}")
    if not handlers:
        setattr(target, name, _Chain(getattr(target, name), handlers))
    handlers.append(handler)

    def end() -> None:
        handlers.remove(handler)
        if not handlers:
            setattr(target, name, getattr(target, name).original)

    return end


class _Chain:
    """Calls handlers, the newest first, and at last the original."""

    def __init__(self, original: Callable[..., Any], handlers: list[Callable[..., Any]]) -> None:
        self.original, self._handlers = original, handlers

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        call = self.original
        for handler in self._handlers:
            call = partial(handler, call)
        return call(*args, **kwargs)


def leave(watched: QObject, child: QObject | QWidget) -> None:
    """Let a child of napari's window or canvas go, which has watched it: it would live as long as its parent."""
    watched.removeEventFilter(child)
    if isinstance(child, QWidget):
        child.hide()
    child.setParent(None)
    child.deleteLater()


def napari_panels(viewer: napari.Viewer) -> list[QWidget]:
    """napari's layer controls and its list of layers."""
    qt_viewer = viewer.window._qt_viewer
    return [qt_viewer.dockLayerControls, qt_viewer.dockLayerList]


def show_napari_panels(viewer: napari.Viewer, shown: bool) -> None:
    """Show or hide napari's layer controls and its list of layers."""
    for panel in napari_panels(viewer):
        panel.setVisible(shown)


def keep_height_of_dock(viewer: napari.Viewer) -> None:
    """Let the panels on the right keep the whole height when something is docked below the image."""
    corner, area = Qt.Corner.BottomRightCorner, Qt.DockWidgetArea.RightDockWidgetArea
    viewer.window._qt_window.setCorner(corner, area)


def is_first_start() -> bool:
    """Whether nobody has read the card of the first start yet."""
    return not _settings().value(CARD, False, type=bool)


def card_was_read() -> None:
    """Show the card of the first start never again."""
    _settings().setValue(CARD, True)


def _settings() -> QSettings:
    return QSettings(str(get_cache_directory() / FILE), QSettings.Format.IniFormat)


class EmptyHint(QLabel):
    """How to get an image, in the canvas of a window of our own, as long as there is no layer.

    Parameters
    ----------
    viewer
        Has no layers.
    """

    def __init__(self, viewer: napari.Viewer) -> None:
        self._canvas = viewer.window._qt_viewer.canvas.native
        super().__init__("Drop an image here,\nor select one on the right.", self._canvas)
        self._inserted = viewer.layers.events.inserted
        self.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.setStyleSheet("background: transparent; color: #9aa4b1; font-size: 18px;")
        self.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        self.setGeometry(self._canvas.rect())
        self._canvas.installEventFilter(self)
        self._inserted.connect(self.end)
        self.show()

    def end(self, _event: Any = None) -> None:
        """There is a layer."""
        self._inserted.disconnect(self.end)
        leave(self._canvas, self)

    def eventFilter(self, _watched: QObject, event: QEvent) -> bool:
        """See Qt."""
        if event.type() == QEvent.Type.Resize:
            self.setGeometry(self._canvas.rect())
        return False


class _Keeper(QObject):
    """Remembers the size of a window that closes. Its child, so that Qt keeps it as long as the window."""

    def __init__(self, viewer: napari.Viewer) -> None:
        super().__init__(viewer.window._qt_window)

    def eventFilter(self, window: QObject, event: QEvent) -> bool:
        """See Qt."""
        if event.type() == QEvent.Type.Hide and isinstance(window, QWidget) and not event.spontaneous():
            _settings().setValue(GEOMETRY, window.saveGeometry())
        return False
