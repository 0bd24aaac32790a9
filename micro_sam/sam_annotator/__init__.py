"""The windows: napari layers, panels and keys. They turn events into actions of a session, and paint its state."""

from typing import Any

from micro_sam.sam_annotator.runtime.garbage import no_collection

with no_collection():
    from micro_sam.sam_annotator.annotator_2d import annotator_2d
    from micro_sam.sam_annotator.annotator_3d import annotator_3d
    from micro_sam.sam_annotator.annotator_tracking import annotator_tracking
    from micro_sam.sam_annotator.image_series_annotator import image_folder_annotator, image_series_annotator
    from micro_sam.sam_annotator.launch import get_annotator

__all__ = [
    "Annotator2d",
    "Annotator3d",
    "AnnotatorTracking",
    "annotator_2d",
    "annotator_3d",
    "annotator_tracking",
    "get_annotator",
    "image_folder_annotator",
    "image_series_annotator",
]


def __getattr__(name: str) -> Any:
    """The tools as widgets; imported on first use, because they are made of what is in this package."""
    if name in ("Annotator2d", "Annotator3d", "AnnotatorTracking"):
        from micro_sam.compat import widgets

        return getattr(widgets, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
