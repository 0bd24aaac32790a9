"""Figures of merit: of label images, of tracks, and of interactive segmentation by a simulated user."""

from importlib import import_module
from typing import Any

_COMPAT = "micro_sam.compat.evaluation"
_HOME = {
    "evaluate_tracks": "micro_sam.evaluation.tracking",
    "run_evaluation": "micro_sam.evaluation.metrics",
    "precompute_all_embeddings": _COMPAT,
    "run_evaluation_for_iterative_prompting": _COMPAT,
    "run_inference_with_iterative_prompting": _COMPAT,
    "run_inference_with_prompts": _COMPAT,
}
# of micro-sam 1.x, each a grid search over thresholds; calling one says what to do instead
_GRID_SEARCHES = (
    "run_amg",
    "run_apg",
    "run_instance_segmentation_grid_search",
    "run_instance_segmentation_grid_search_and_inference",
    "run_instance_segmentation_inference",
    "run_instance_segmentation_with_decoder",
    "run_multi_dimensional_segmentation_grid_search",
    "default_experiment_settings",
    "full_experiment_settings",
    "get_experiment_setting_name",
    "precompute_all_prompts",
)


def __getattr__(name: str) -> Any:
    """Import on first use: pandas and elf take a second that a command's ``-h`` need not pay."""
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    if name in _GRID_SEARCHES:
        return import_module(_COMPAT).refuse_grid_search
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = list(_HOME)
