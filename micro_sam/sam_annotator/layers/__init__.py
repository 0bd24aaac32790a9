"""The napari layers of a tool: a view of its session. Nothing outside this folder touches the data of a layer."""

from micro_sam.sam_annotator.layers.session_layers import SessionLayers
from micro_sam.sam_annotator.layers.values import LayerNames

__all__ = ["LayerNames", "SessionLayers"]
