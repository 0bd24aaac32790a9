"""The window around the image: as large as the screen, or as the user left it; napari's own panels are hidden."""

from __future__ import annotations

from typing import Any

import napari
from qtpy.QtCore import QEvent, QObject, QSettings
from qtpy.QtWidgets import QWidget

from micro_sam.models.cache import get_cache_directory

FILE = "window.ini"
GEOMETRY = "geometry"


def open_viewer(title: str) -> napari.Viewer:
    """A viewer in a window of our own: maximised the first time, later as large as it was when it was closed.

    Parameters
    ----------
    title
        Of the window.
    """
    viewer = napari.Viewer(title=title, show=False)
    window = viewer.window._qt_window
    show_napari_panels(viewer, False)
    viewer.window.show()  # in the size of napari's last window
    geometry = _settings().value(GEOMETRY)
    if geometry is None or not window.restoreGeometry(geometry):
        window.showMaximized()
    window.installEventFilter(_Keeper(viewer))
    return viewer


def kept_with(viewer: napari.Viewer, name: str) -> list[Any]:
    """A list that lives as long as the window of a viewer; what is kept elsewhere would keep a closed window."""
    kept: list[Any] = viewer.window._qt_window.__dict__.setdefault(f"_micro_sam_{name}", [])
    return kept


def napari_panels(viewer: napari.Viewer) -> list[QWidget]:
    """napari's layer controls and its list of layers."""
    qt_viewer = viewer.window._qt_viewer
    return [qt_viewer.dockLayerControls, qt_viewer.dockLayerList]


def show_napari_panels(viewer: napari.Viewer, shown: bool) -> None:
    """Show or hide napari's layer controls and its list of layers."""
    for panel in napari_panels(viewer):
        panel.setVisible(shown)


def _settings() -> QSettings:
    return QSettings(str(get_cache_directory() / FILE), QSettings.Format.IniFormat)


class _Keeper(QObject):
    """Remembers the size of a window that closes. Its child, so that Qt keeps it as long as the window."""

    def __init__(self, viewer: napari.Viewer) -> None:
        super().__init__(viewer.window._qt_window)

    def eventFilter(self, window: QObject, event: QEvent) -> bool:
        """See Qt."""
        if event.type() == QEvent.Type.Hide and isinstance(window, QWidget) and not event.spontaneous():
            _settings().setValue(GEOMETRY, window.saveGeometry())
        return False
