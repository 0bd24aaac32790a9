"""What is in sight: the whole image, the volume in 3D, napari's own panels."""

from __future__ import annotations

from collections.abc import Callable

from napari import Viewer
from qtpy.QtWidgets import QHBoxLayout, QPushButton, QWidget

from micro_sam.sam_annotator.actions import Actions
from micro_sam.sam_annotator.view.frame import napari_panels, show_napari_panels
from micro_sam.sam_annotator.view.panels.prompts import CHECKED


class ViewRow(QWidget):
    """``Fit``, ``Outlines``, ``Sections`` and ``3D`` (volumes only), ``Layers``.

    Parameters
    ----------
    viewer
        Whose view it is.
    fit
        Shows the whole image.
    outline
        Shows committed objects as outlines, or filled.
    actions
        Has ``show_sections`` where there are some.
    is_volume
        Whether there is something to see in 3D.
    """

    def __init__(
        self,
        viewer: Viewer,
        fit: Callable[[], object],
        outline: Callable[[bool], object],
        actions: Actions,
        is_volume: bool,
    ) -> None:
        super().__init__()
        self._viewer = viewer
        self.fit = QPushButton("Fit")
        self.fit.setToolTip("Show the whole image.")
        self.fit.clicked.connect(lambda: fit())
        self.outlines = self._switch("Outlines", "Show committed objects as outlines, or filled.")
        self.outlines.clicked.connect(outline)
        self.in_3d = self._switch("3D", "Show the volume in 3D, or slice by slice [Ctrl-Y].")
        self.in_3d.setVisible(is_volume)
        self.in_3d.clicked.connect(self._show_in_3d)
        self.sections: QPushButton | None = None
        if is_volume:
            sections = actions["show_sections"]
            self.sections = self._switch(sections.caption, sections.tip)
            self.sections.clicked.connect(lambda shown: actions.show_sections(shown))
        self.layers = self._switch("Layers", "Show or hide napari's list of layers and their settings.")
        self.layers.clicked.connect(lambda shown: show_napari_panels(viewer, shown))
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(3)
        for widget in (self.fit, self.outlines, self.sections, self.in_3d, self.layers):
            if widget is not None:
                layout.addWidget(widget)
        viewer.dims.events.ndisplay.connect(self._follow)
        for panel in napari_panels(viewer):
            panel.visibilityChanged.connect(self._follow)
        self._follow()

    def _switch(self, text: str, tip: str) -> QPushButton:
        switch = QPushButton(text)
        switch.setCheckable(True)
        switch.setStyleSheet(CHECKED)
        switch.setToolTip(tip)
        return switch

    def show_sections(self, place: tuple[int, int] | None) -> None:
        """Show whether there are sections, and where."""
        if self.sections is not None:
            self.sections.setChecked(place is not None)

    def _show_in_3d(self, shown: bool) -> None:
        self._viewer.dims.ndisplay = 3 if shown else 2

    def _follow(self, _event: object = None) -> None:
        """Show what is so, however it came about."""
        self.in_3d.setChecked(self._viewer.dims.ndisplay == 3)
        self.layers.setChecked(not all(panel.isHidden() for panel in napari_panels(self._viewer)))
