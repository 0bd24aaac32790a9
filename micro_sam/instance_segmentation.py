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
from micro_sam.segmentation.automatic.dense import DenseInstanceSegmenter, get_segmenter
from micro_sam.segmentation.automatic.masks import AutomaticMaskGenerator, TiledAutomaticMaskGenerator
from micro_sam.segmentation.automatic.segmenter import Segmenter as AMGBase
from micro_sam.segmentation.labels import mask_data_to_segmentation

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
