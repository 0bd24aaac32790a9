"""Prompts derived from known objects. (Implemented in :mod:`micro_sam.segmentation.prompt_generators`.)"""

from micro_sam.segmentation.prompt_generators import (
    IterativePromptGenerator,
    PointAndBoxPromptGenerator,
    PromptGeneratorBase,
    innermost,
    points_from_mask,
)

__all__ = [
    "IterativePromptGenerator",
    "PointAndBoxPromptGenerator",
    "PromptGeneratorBase",
    "innermost",
    "points_from_mask",
]
