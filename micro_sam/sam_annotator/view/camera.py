"""The camera of a viewer, wherever its version of napari keeps it."""

from __future__ import annotations

from typing import Any

from napari import Viewer


def camera_of(viewer: Viewer) -> Any:
    """The camera: of ``viewer.scene`` from napari 0.9 on, of the viewer itself before."""
    return viewer.scene.camera if hasattr(viewer, "scene") else viewer.camera
