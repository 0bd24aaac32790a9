"""Prompts in napari layers, for scripts of micro-sam 0.0.2 to 1.8. A front door; the code is in ``compat.layers``."""

from micro_sam.compat.layers import (
    clear_annotations,
    create_prompt_menu,
    point_layer_to_prompts,
    prompt_layer_to_boxes,
    prompt_layer_to_points,
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
