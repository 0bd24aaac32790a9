"""Files that are dropped onto the window.

An image that is dropped onto an empty window is read by the program's own reader, which knows more formats than
napari's. Outlines and other files that can only be labels are added to the image that is open. Everything else goes the
way of napari.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from micro_sam.io.label_reading import is_labels_only

if TYPE_CHECKING:
    from micro_sam.sam_annotator.controller.annotator import Annotator


class Drops:
    """Stands before napari's own way to open what was dropped, for one window."""

    def __init__(self, annotator: Annotator) -> None:
        self._annotator = annotator
        view = annotator.viewer.window._qt_viewer
        self._napari = view._qt_open
        view._qt_open = self._open

    def _open(self, filenames: list[str], *args: Any, **kwargs: Any) -> Any:
        annotator = self._annotator
        is_plain = not any(kwargs.get(name) for name in ("stack", "choose_plugin", "plugin"))
        if len(filenames) == 1 and is_plain and not annotator.closed:
            path = filenames[0]
            if annotator.session is not None and is_labels_only(path):
                return annotator.load_labels(path)
            if annotator.session is None and annotator.takes_dropped_images:
                return annotator.open_path(path)
        return self._napari(filenames, *args, **kwargs)
