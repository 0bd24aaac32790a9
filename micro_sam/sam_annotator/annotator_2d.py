"""A front door, as in micro-sam 1.x; the code is in ``launch``."""

from importlib import import_module
from typing import Any

from micro_sam.sam_annotator.launch import annotator_2d

__all__ = ["annotator_2d"]


def __getattr__(name: str) -> Any:
    """The widget; imported on first use, because it is made of what is in this package."""
    if name == "Annotator2d":
        return getattr(import_module("micro_sam.compat.widgets"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
