"""Segment all objects of an image or movie. A front door for scripts; the code is in ``segmentation``."""

from micro_sam.compat.automatic import (
    automatic_instance_segmentation,
    automatic_tracking,
    get_predictor_and_segmenter,
)

__all__ = ["automatic_instance_segmentation", "automatic_tracking", "get_predictor_and_segmenter"]
