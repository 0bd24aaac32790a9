"""Prompts in napari layers, for scripts of micro-sam 0.0.2 to 1.8. A front door; the code is in ``compat.layers``."""

from typing import Any

from micro_sam.compat.layers import (
    clear_annotations,
    create_prompt_menu,
    point_layer_to_prompts,
    prompt_layer_to_boxes,
    prompt_layer_to_points,
    refuse_inner_part,
    shape_layer_to_prompts,
    toggle_label,
)

__all__ = [
    "clear_annotations",
    "create_prompt_menu",
    "point_layer_to_prompts",
    "prompt_layer_to_boxes",
    "prompt_layer_to_points",
    "shape_layer_to_prompts",
    "toggle_label",
]

_INNER_PARTS = (
    "clear_annotations_slice",
    "prompt_layer_to_state",
    "prompt_layers_to_state",
    "prompt_segmentation",
    "segment_slices_with_prompts",
    "track_from_prompts",
)


def __getattr__(name: str) -> Any:
    """Inner parts of the windows of micro-sam 1.x; calling one says what to use instead."""
    if name in _INNER_PARTS:
        return refuse_inner_part
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
