"""Segment one object from points, a box or a mask. A front door for scripts; the code is in ``segmentation``."""

from micro_sam.segmentation.prompted.single_object import (
    segment_from_box,
    segment_from_box_and_points,
    segment_from_mask,
    segment_from_points,
)

__all__ = ["segment_from_box", "segment_from_box_and_points", "segment_from_mask", "segment_from_points"]
