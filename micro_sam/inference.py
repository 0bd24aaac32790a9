"""Masks for many prompts at once. A front door for scripts; the code is in ``segmentation``."""

from micro_sam.compat.inference import batched_inference, batched_tiled_inference

__all__ = ["batched_inference", "batched_tiled_inference"]
