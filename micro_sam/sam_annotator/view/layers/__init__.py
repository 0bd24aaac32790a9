"""The napari layers of a tool: a view of its session. Nothing outside this folder touches the data of a layer."""

from micro_sam.sam_annotator.view.layers.session_layers import SessionLayers
from micro_sam.sam_annotator.view.layers.values import LayerNames

__all__ = ["LayerNames", "SessionLayers"]
