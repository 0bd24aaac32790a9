"""Segment the prompts; live preview; several objects at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from magicgui.widgets import CheckBox
from qtpy.QtWidgets import QVBoxLayout, QWidget

from micro_sam.sam_annotator.view.panels.parts import button, row

if TYPE_CHECKING:
    from micro_sam.sam_annotator.controller.annotator import Annotator


class SegmentMenu(QWidget):
    """``Segment Object`` (key ``s``)."""

    def __init__(self, annotator: Annotator) -> None:
        super().__init__()
        self._annotator = annotator
        self.run = button(f"Segment {annotator.segments} [S]", "Segment what the prompts show.", annotator.segment)
        self.live = CheckBox(text="live", value=True, tooltip="Every click is segmented at once, without a key.")
        self.live.changed.connect(self._set_live)
        self.batched = CheckBox(
            text="one per point",
            value=False,
            tooltip="Off: all positive points show one object. On: each positive point is an object of its own.",
        )
        self.batched.changed.connect(self._set_batched)
        self.hover = CheckBox(
            text="hover [H]",
            value=False,
            tooltip="Shows, while the mouse moves, the mask that a click there would give. Key H.",
        )
        self.hover.changed.connect(annotator.set_hover)
        annotator.hover_changed.connect(self._show_hover)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        layout.addWidget(self.run.native)
        switches = [self.live, *([self.batched] if annotator.has_batches else [])]
        layout.addWidget(row(*switches, *([self.hover] if annotator.has_hover else [])).native)

    def _show_hover(self, on: bool) -> None:
        self.hover.value = on

    def _set_live(self, live: bool) -> None:
        self._annotator.preview.live = live

    def _set_batched(self, batched: bool) -> None:
        self._annotator.preview.batched = batched
        self._annotator.preview.edited(self._annotator.z)
