"""Volumes and time-lapse movies, for scripts; the work is done in ``micro_sam.segmentation``."""

from micro_sam.compat.tracks import get_napari_track_data
from micro_sam.segmentation.prompted.projection import PROJECTION_MODES
from micro_sam.segmentation.propagation.volume import iter_propagate_volume, segment_mask_in_volume
from micro_sam.segmentation.stacks import (
    automatic_3d_segmentation,
    automatic_tracking,
    track_across_frames,
)
from micro_sam.segmentation.volume.merging import merge_instance_segmentation_3d
from micro_sam.segmentation.volume.scripts import segment_object_in_volume

automatic_tracking_implementation = automatic_tracking  # its name in micro_sam 1.8

__all__ = [
    "PROJECTION_MODES",
    "automatic_3d_segmentation",
    "automatic_tracking",
    "automatic_tracking_implementation",
    "get_napari_track_data",
    "iter_propagate_volume",
    "merge_instance_segmentation_3d",
    "segment_mask_in_volume",
    "segment_object_in_volume",
    "track_across_frames",
]
