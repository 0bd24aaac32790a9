"""Automatic segmentation of an image. A front door for scripts; the code is in ``segmentation`` and ``compat``."""

from micro_sam.compat.decoder_segmentation import (
    AutomaticPromptGenerator,
    InstanceSegmentationWithDecoder,
    TiledAutomaticPromptGenerator,
    TiledInstanceSegmentationWithDecoder,
    get_amg,
    get_instance_segmentation_generator,
)
from micro_sam.compat.decoders import DecoderAdapter, get_decoder, get_predictor_and_decoder, get_unetr
from micro_sam.segmentation.automatic_masks import AutomaticMaskGenerator, TiledAutomaticMaskGenerator
from micro_sam.segmentation.dense import DenseInstanceSegmenter, get_segmenter
from micro_sam.segmentation.labels import mask_data_to_segmentation
from micro_sam.segmentation.segmenter import Segmenter as AMGBase

__all__ = [
    "AMGBase",
    "AutomaticMaskGenerator",
    "AutomaticPromptGenerator",
    "DecoderAdapter",
    "DenseInstanceSegmenter",
    "InstanceSegmentationWithDecoder",
    "TiledAutomaticMaskGenerator",
    "TiledAutomaticPromptGenerator",
    "TiledInstanceSegmentationWithDecoder",
    "get_amg",
    "get_decoder",
    "get_instance_segmentation_generator",
    "get_predictor_and_decoder",
    "get_segmenter",
    "get_unetr",
    "mask_data_to_segmentation",
]
