"""Objects in volumes: from the maps of all slices together, or handed from slice to slice (propagation)."""

from micro_sam.segmentation.projection import PROJECTION_MODES
from micro_sam.segmentation.volume.propagation import SliceStep, iter_propagate_volume, segment_mask_in_volume

__all__ = ["PROJECTION_MODES", "SliceStep", "iter_propagate_volume", "segment_mask_in_volume"]
