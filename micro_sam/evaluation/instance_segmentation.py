"""Grid searches (micro-sam 1.x). Not supported; the names say what to use instead."""

from typing import Any

from micro_sam.compat.evaluation import refuse_grid_search

_NAMES = (
    "default_grid_search_values_amg",
    "default_grid_search_values_apg",
    "default_grid_search_values_instance_segmentation_with_decoder",
    "evaluate_instance_segmentation_grid_search",
    "run_instance_segmentation_grid_search",
    "run_instance_segmentation_grid_search_and_inference",
    "run_instance_segmentation_inference",
    "save_grid_search_best_params",
)


def __getattr__(name: str) -> Any:
    """Calling one of the names says what to do instead."""
    if name in _NAMES:
        return refuse_grid_search
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
