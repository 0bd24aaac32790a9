"""The table of the Plugins menu; in a module of its own, because its libraries take longer than a tool's window."""

from __future__ import annotations

from typing import Any

from micro_sam.plugin.settings import whole
from micro_sam.sam_annotator.view.tables.layers import LayerTable


class Table(LayerTable):
    """A table of the objects in any label layer."""

    def __init__(self, napari_viewer: Any) -> None:
        super().__init__(whole(napari_viewer))
