"""Functions for scripts. A front door: the code is in the rooms named below, which are imported when they are used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from micro_sam.compat.model_table import models
    from micro_sam.compat.util import (
        VIT_T_SUPPORT,
        ImageEmbeddings,
        SamPredictor,
        export_custom_qlora_model,
        get_block_shape,
        get_cell_center_coordinates,
        get_device,
        handle_pbar,
        micro_sam_info,
    )
    from micro_sam.embeddings.compute import precompute_image_embeddings, set_precomputed
    from micro_sam.io.images import load_image_data
    from micro_sam.models.build import get_sam_model
    from micro_sam.models.cache import get_cache_directory, microsam_cachedir
    from micro_sam.models.checkpoints import export_custom_sam_model
    from micro_sam.models.registry import get_model_names
    from micro_sam.segmentation.labels import (
        apply_nms,
        compute_iou,
        get_centers_and_bounding_boxes,
        mask_data_to_segmentation,
        segmentation_to_one_hot,
    )

__all__ = [
    "VIT_T_SUPPORT",
    "ImageEmbeddings",
    "SamPredictor",
    "apply_nms",
    "compute_iou",
    "export_custom_qlora_model",
    "export_custom_sam_model",
    "get_block_shape",
    "get_cache_directory",
    "get_cell_center_coordinates",
    "get_centers_and_bounding_boxes",
    "get_device",
    "get_model_names",
    "get_sam_model",
    "handle_pbar",
    "load_image_data",
    "mask_data_to_segmentation",
    "micro_sam_info",
    "microsam_cachedir",
    "models",
    "precompute_image_embeddings",
    "segmentation_to_one_hot",
    "set_precomputed",
]

_HOME = {
    "micro_sam.compat.model_table": ("models",),
    "micro_sam.compat.util": (
        "VIT_T_SUPPORT",
        "ImageEmbeddings",
        "SamPredictor",
        "export_custom_qlora_model",
        "get_block_shape",
        "get_cell_center_coordinates",
        "get_device",
        "handle_pbar",
        "micro_sam_info",
    ),
    "micro_sam.embeddings.compute": ("precompute_image_embeddings", "set_precomputed"),
    "micro_sam.io.images": ("load_image_data",),
    "micro_sam.models.build": ("get_sam_model",),
    "micro_sam.models.cache": ("get_cache_directory", "microsam_cachedir"),
    "micro_sam.models.checkpoints": ("export_custom_sam_model",),
    "micro_sam.models.registry": ("get_model_names",),
    "micro_sam.segmentation.labels": (
        "apply_nms",
        "compute_iou",
        "get_centers_and_bounding_boxes",
        "mask_data_to_segmentation",
        "segmentation_to_one_hot",
    ),
}
_ROOM = {name: room for room, names in _HOME.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _ROOM:
        raise AttributeError(f"module 'micro_sam.util' has no attribute {name!r}")
    value = getattr(import_module(_ROOM[name]), name)
    globals()[name] = value  # the next time without this function
    return value


def __dir__() -> list[str]:
    return __all__
