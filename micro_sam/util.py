"""Functions for scripts. A front door: the code is in the rooms named below, which are imported when they are used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from micro_sam.embeddings.compute import precompute_image_embeddings, set_precomputed
    from micro_sam.io.images import load_image_data
    from micro_sam.models.build import get_sam_model
    from micro_sam.models.cache import get_cache_directory
    from micro_sam.models.checkpoints import export_custom_sam_model
    from micro_sam.models.device import get_device
    from micro_sam.models.registry import get_model_names, models
    from micro_sam.segmentation.labels import (
        apply_nms,
        compute_iou,
        get_centers_and_bounding_boxes,
        mask_data_to_segmentation,
        segmentation_to_one_hot,
    )

__all__ = [
    "apply_nms",
    "compute_iou",
    "export_custom_sam_model",
    "get_cache_directory",
    "get_centers_and_bounding_boxes",
    "get_device",
    "get_model_names",
    "get_sam_model",
    "load_image_data",
    "mask_data_to_segmentation",
    "models",
    "precompute_image_embeddings",
    "segmentation_to_one_hot",
    "set_precomputed",
]

_HOME = {
    "micro_sam.embeddings.compute": ("precompute_image_embeddings", "set_precomputed"),
    "micro_sam.io.images": ("load_image_data",),
    "micro_sam.models.build": ("get_sam_model",),
    "micro_sam.models.cache": ("get_cache_directory",),
    "micro_sam.models.checkpoints": ("export_custom_sam_model",),
    "micro_sam.models.device": ("get_device",),
    "micro_sam.models.registry": ("get_model_names", "models"),
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
