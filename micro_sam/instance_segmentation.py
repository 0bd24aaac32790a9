"""Automatic segmentation of an image. A front door for scripts; the code is in ``segmentation``."""

from micro_sam.segmentation.automatic_masks import AutomaticMaskGenerator, TiledAutomaticMaskGenerator, get_amg
from micro_sam.segmentation.dense import DenseInstanceSegmenter, get_segmenter
from micro_sam.segmentation.labels import mask_data_to_segmentation

__all__ = [
    "AutomaticMaskGenerator",
    "DenseInstanceSegmenter",
    "TiledAutomaticMaskGenerator",
    "get_amg",
    "get_segmenter",
    "mask_data_to_segmentation",
]
