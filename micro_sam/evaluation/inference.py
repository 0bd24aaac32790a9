"""Inference over many images. A front door for scripts of micro-sam 1.x; the code is in ``compat.evaluation``."""

from micro_sam.compat.evaluation import (
    precompute_all_embeddings,
    run_inference_with_iterative_prompting,
    run_inference_with_prompts,
)
from micro_sam.compat.evaluation import refuse_grid_search as precompute_all_prompts
from micro_sam.compat.evaluation import refuse_grid_search as run_amg
from micro_sam.compat.evaluation import refuse_grid_search as run_apg
from micro_sam.compat.evaluation import refuse_grid_search as run_instance_segmentation_with_decoder

__all__ = [
    "precompute_all_embeddings",
    "precompute_all_prompts",
    "run_amg",
    "run_apg",
    "run_inference_with_iterative_prompting",
    "run_inference_with_prompts",
    "run_instance_segmentation_with_decoder",
]
