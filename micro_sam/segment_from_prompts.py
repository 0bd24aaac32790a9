"""The module of micro_sam 0.0.2 in which ``prompt_based_segmentation`` lay. A front door for scripts."""

from micro_sam.prompt_based_segmentation import (
    segment_from_box,
    segment_from_box_and_points,
    segment_from_mask,
    segment_from_points,
)

__all__ = ["segment_from_box", "segment_from_box_and_points", "segment_from_mask", "segment_from_points"]
