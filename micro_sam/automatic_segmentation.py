"""Segment all objects of an image. A front door for scripts; the code is in ``segmentation``."""

from micro_sam.segmentation.automatic import automatic_instance_segmentation, get_predictor_and_segmenter

__all__ = ["automatic_instance_segmentation", "get_predictor_and_segmenter"]
